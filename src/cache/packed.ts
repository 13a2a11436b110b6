/**
 * A value as bytes, made once a load: the bytes are stored, and what they decode to is what every caller is given, the first one too.
 */
import { describeValue, MillraceError } from '../errors.ts';
import type { Codec } from './codec.ts';

/** What the bytes are. */
export type PackedKind = 'nothing' | 'bytes' | 'coded';

const NO_BYTES = Buffer.alloc(0);

/** A value that is encoded. */
export class Packed {
  readonly kind: PackedKind;
  readonly bytes: Buffer;
  readonly codec: Codec;

  constructor(kind: PackedKind, bytes: Buffer, codec: Codec) {
    this.kind = kind;
    this.bytes = bytes;
    this.codec = codec;
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  /** The value anew: nothing of it is shared with another one that was unpacked. @throws what the codec throws. */
  unpack(): unknown {
    switch (this.kind) {
      case 'nothing':
        return null;
      case 'bytes':
        return Buffer.from(this.bytes);
      case 'coded':
        return this.codec.decode(this.bytes);
    }
  }
}

/**
 * Encodes a value; null and undefined become a kept "nothing", which unpacks as null.
 *
 * @throws MillraceError CACHE_VALUE_INVALID for a value that the codec cannot carry.
 */
export function pack(value: unknown, codec: Codec): Packed {
  if (value === null || value === undefined) return new Packed('nothing', NO_BYTES, codec);
  if (value instanceof Uint8Array) return new Packed('bytes', Buffer.from(value), codec);
  return new Packed('coded', encode(value, codec), codec);
}

function encode(value: unknown, codec: Codec): Buffer {
  try {
    const encoded = codec.encode(value);
    return typeof encoded === 'string'
      ? Buffer.from(encoded, 'utf8')
      : Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `a value cannot be kept: ${reason}; it was ${describeValue(value)}`;
    throw new MillraceError('CACHE_VALUE_INVALID', message, { cause });
  }
}
