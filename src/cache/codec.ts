/**
 * How a value becomes bytes and comes back.
 *
 * The codec's id is kept with each value, so a cache whose codec was changed still reads what the built-in ones wrote, and takes what
 * it cannot read for a miss. Bytes (Buffer, Uint8Array) never pass a codec: they are kept as they are.
 */
import { deserialize, serialize } from 'node:v8';
import { MillraceError } from '../errors.ts';

/** Turns values into bytes and back. */
export interface Codec {
  /** 1 to 15 are the built-in ones; 16 to 255 are free for others. Another encoding needs another id. */
  readonly id: number;
  /** @throws what it likes for a value that it cannot carry. */
  encode(value: unknown): string | Uint8Array;
  /** The bytes are only valid during the call: what is kept of them must be copied. */
  decode(bytes: Buffer): unknown;
}

/**
 * JSON, the default: quick and readable. As JSON does, it turns a Date into a string and drops what is undefined; a Map or a Set
 * becomes an empty object. Values that need those take `structuredCodec`.
 *
 * @example
 * createCache(connections, { codec: jsonCodec });
 */
export const jsonCodec: Codec = {
  id: 1,
  encode(value) {
    const text = JSON.stringify(value) as string | undefined;
    if (text !== undefined) return text;
    throw new MillraceError('CACHE_VALUE_INVALID', `a ${typeof value} has no JSON form`, { type: typeof value });
  },
  decode: (bytes) => JSON.parse(bytes.toString('utf8')) as unknown,
};

/**
 * What structuredClone() carries: Date, Map, Set, BigInt, typed arrays, cycles. Some five times slower than JSON for plain data.
 *
 * @example
 * createCache(connections, { codec: structuredCodec });
 */
export const structuredCodec: Codec = {
  id: 2,
  encode: (value) => serialize(value),
  decode: (bytes) => deserialize(bytes) as unknown,
};
