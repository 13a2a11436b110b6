/**
 * How a value stands in Redis: one STRING, numbers big-endian.
 *
 * ```
 *  0 format (1)        1 kind, and 128 for a negative one   2 the codec's id      3 compression
 *  4 u32 bytes as encoded             8 u32 bytes as stored                       } up to here: the form, made by layOut()
 * 12 id, 12 characters: the token of the load, or of the set, that wrote it
 * 24 f64 fresh until, server µs      32 f64 stale until      40 f64 ms that the load took
 * 48 version of the epoch, 20 characters          68 u16 number of tags
 * 70 if there are tags: the generation (20), then for each tag: its version (20), u16 length of its name, its name
 *    payload
 * ```
 * The scripts write all but the form and the payload. What does not fit the format is no failure: it is told as the
 * reason why there is no value, so that a later version's values, or a key that somebody else wrote, are misses.
 */
import { expand, squeeze, type Compression, type Squeezed } from './compression.ts';
import { jsonCodec, type Codec } from './codec.ts';
import { decodeName } from './keys.ts';
import type { Packed, PackedKind } from './packed.ts';

const FORMAT = 1;
const KINDS: readonly PackedKind[] = ['nothing', 'bytes', 'coded'];
const COMPRESSIONS: readonly Compression[] = ['none', 'deflate'];
const NEGATIVE = 128;
const FORM_BYTES = 12;
const ID_AT = 12;
const TIMES_AT = 24;
const EPOCH_AT = 48;
const TAGS_AT = 68;
const VERSION_BYTES = 20;
const NO_TAGS: readonly string[] = Object.freeze([]);

/** A value's header, read, and where its payload is. */
export interface StoredHeader {
  readonly kind: PackedKind;
  readonly isNegative: boolean;
  readonly codecId: number;
  readonly compression: Compression;
  /** As encoded, before compression. */
  readonly sizeBytes: number;
  /** Server µs. */
  readonly freshUntilUs: number;
  readonly staleUntilUs: number;
  readonly deltaMs: number;
  readonly tags: readonly string[];
  /** All of what was read; the payload is its end. */
  readonly raw: Buffer;
  readonly payloadAt: number;
}

/** What a script is given to store: the form goes first, the payload last, and the script puts the rest between them. */
export interface LaidOut {
  readonly form: Buffer;
  readonly payload: Buffer;
}

/** Lays a value out, compressed if it has more than `compressOverBytes` and it pays. */
export async function layOut(packed: Packed, isNegative: boolean, compressOverBytes: number): Promise<LaidOut> {
  const squeezed = await squeeze(packed.bytes, compressOverBytes);
  return { form: formOf(packed, squeezed, isNegative), payload: squeezed.bytes };
}

function formOf({ kind, codec, sizeBytes }: Packed, squeezed: Squeezed, isNegative: boolean): Buffer {
  const form = Buffer.allocUnsafe(FORM_BYTES);
  form[0] = FORMAT;
  form[1] = KINDS.indexOf(kind) + (isNegative ? NEGATIVE : 0);
  form[2] = codec.id;
  form[3] = COMPRESSIONS.indexOf(squeezed.compression);
  form.writeUInt32BE(sizeBytes, 4);
  form.writeUInt32BE(squeezed.bytes.length, 8);
  return form;
}

/** The header of a stored value; a string says why there is none. */
export function readHeader(raw: Buffer): StoredHeader | string {
  if (raw.length < TAGS_AT + 2) return `${raw.length} bytes are too few`;
  if (raw[0] !== FORMAT) return `of format ${raw[0]}`;
  const kind = KINDS[(raw[1] as number) & ~NEGATIVE];
  const compression = COMPRESSIONS[raw[3] as number];
  if (kind === undefined || compression === undefined) return `of kind ${raw[1]} and compression ${raw[3]}`;
  const freshUntilUs = raw.readDoubleBE(TIMES_AT);
  const staleUntilUs = raw.readDoubleBE(TIMES_AT + 8);
  const deltaMs = raw.readDoubleBE(TIMES_AT + 16);
  if (!Number.isFinite(freshUntilUs + staleUntilUs + deltaMs)) return 'its times are no numbers';
  const count = raw.readUInt16BE(TAGS_AT);
  const tags = count === 0 ? NO_TAGS : ([] as string[]);
  let at = TAGS_AT + 2 + (count === 0 ? 0 : VERSION_BYTES);
  for (let index = 0; index < count; index++) {
    const nameAt = at + VERSION_BYTES + 2;
    if (nameAt > raw.length) return 'cut short within its tags';
    at = nameAt + raw.readUInt16BE(nameAt - 2);
    (tags as string[]).push(decodeName(raw.toString('utf8', nameAt, at)));
  }
  if (raw.length - at !== raw.readUInt32BE(8)) return 'its length is not what it says';
  return {
    kind,
    isNegative: (raw[1] as number) >= NEGATIVE,
    codecId: raw[2] as number,
    compression,
    sizeBytes: raw.readUInt32BE(4),
    freshUntilUs,
    staleUntilUs,
    deltaMs,
    tags,
    raw,
    payloadAt: at,
  };
}

/**
 * Whether a stored value is one of now, as far as the versions of its bucket tell; `unknown` where the versions of its tags must be asked.
 * A value that cannot be read is taken for valid: readHeader() says what is wrong with it.
 */
export function standingOf(
  raw: Buffer,
  epoch: Buffer | null,
  generation: Buffer | null,
): 'valid' | 'invalid' | 'unknown' {
  if (raw.length < TAGS_AT + 2 || raw[0] !== FORMAT) return 'valid';
  if (!epoch || !isVersionAt(raw, EPOCH_AT, epoch)) return 'invalid';
  if (raw.readUInt16BE(TAGS_AT) === 0) return 'valid';
  return generation && isVersionAt(raw, TAGS_AT + 2, generation) ? 'valid' : 'unknown';
}

/** In less time than Buffer.compare() takes to begin. */
function isVersionAt(raw: Buffer, at: number, version: Buffer): boolean {
  if (version.length !== VERSION_BYTES || raw.length < at + VERSION_BYTES) return false;
  for (let index = 0; index < VERSION_BYTES; index++) if (raw[at + index] !== version[index]) return false;
  return true;
}

/** Whether JSON.parse() makes the payload. */
export function isJson({ kind, codecId }: StoredHeader): boolean {
  return kind === 'coded' && codecId === jsonCodec.id;
}

/** The id alone, also of a value whose payload cannot be read. */
export function idOf(raw: Buffer): string {
  return raw.toString('latin1', ID_AT, TIMES_AT);
}

/**
 * The value itself. A promise only for a large compressed one.
 *
 * @throws whatever is wrong with the payload.
 */
export function readPayload(header: StoredHeader, codecs: ReadonlyMap<number, Codec>): unknown {
  const { kind, compression, raw, payloadAt, sizeBytes } = header;
  if (kind === 'nothing') return null;
  // The way of most values: without a view of the bytes, which costs more than the rest of the header.
  if (isJson(header) && compression === 'none') {
    checkSize(raw.length - payloadAt, sizeBytes);
    return JSON.parse(raw.toString('utf8', payloadAt)) as unknown;
  }
  const bytes = expand(raw.subarray(payloadAt), compression, sizeBytes);
  return bytes instanceof Promise
    ? bytes.then((expanded) => decode(expanded, header, codecs))
    : decode(bytes, header, codecs);
}

function checkSize(length: number, sizeBytes: number): void {
  if (length !== sizeBytes) throw new RangeError(`expected ${sizeBytes} bytes, got ${length}`);
}

function decode(
  bytes: Buffer,
  { kind, codecId, sizeBytes }: StoredHeader,
  codecs: ReadonlyMap<number, Codec>,
): unknown {
  checkSize(bytes.length, sizeBytes);
  if (kind === 'bytes') return Buffer.from(bytes); // A part of what the socket gave would keep all of that in memory.
  const codec = codecs.get(codecId);
  if (!codec) throw new TypeError(`its codec ${codecId} is not known here`);
  return codec.decode(bytes);
}
