/** Vectors as a vector set keeps them, and how near they are to one in FP32. */
import type { RawVector } from '../scripts.ts';

/** What a byte of 127 stands for is the range. */
const LARGEST_BYTE = 127;
const BITS = 8;

/** The similarity of a kept vector to one of norm 1: (1 + cosine) / 2. */
export function similarityTo(query: Float32Array, raw: Pick<RawVector, 'kind' | 'bytes' | 'range'>): number {
  const cosine = cosineOf(query, raw);
  return Math.min(1, Math.max(0, (1 + cosine) / 2));
}

/** The vector, as exactly as it was kept. Its norm is 1 unless the norm is given. */
export function decodeVector(
  raw: Pick<RawVector, 'kind' | 'bytes' | 'range' | 'norm'>,
  dimensions: number,
): Float32Array {
  const { kind, bytes, range, norm } = raw;
  const vector = new Float32Array(dimensions);
  if (kind === 'f32') {
    for (let at = 0; at < dimensions; at++) vector[at] = bytes.readFloatLE(at * 4) * norm;
  } else if (kind === 'int8') {
    const step = (range / LARGEST_BYTE) * norm;
    for (let at = 0; at < dimensions; at++) vector[at] = bytes.readInt8(at) * step;
  } else {
    const size = norm / Math.sqrt(dimensions);
    for (let at = 0; at < dimensions; at++) vector[at] = isSet(bytes, at) ? size : -size;
  }
  return vector;
}

function cosineOf(query: Float32Array, { kind, bytes, range }: Pick<RawVector, 'kind' | 'bytes' | 'range'>): number {
  let sum = 0;
  const { length } = query;
  if (kind === 'int8') {
    const numbers = new Int8Array(bytes.buffer, bytes.byteOffset, length);
    for (let at = 0; at < length; at++) sum += (query[at] as number) * (numbers[at] as number);
    return (sum * range) / LARGEST_BYTE;
  }
  if (kind === 'f32') {
    const numbers = new Float32Array(length);
    new Uint8Array(numbers.buffer).set(bytes.subarray(0, length * 4));
    for (let at = 0; at < length; at++) sum += (query[at] as number) * (numbers[at] as number);
    return sum;
  }
  for (let at = 0; at < length; at++) sum += (query[at] as number) > 0 === isSet(bytes, at) ? 1 : -1;
  return sum / length;
}

function isSet(bytes: Buffer, at: number): boolean {
  return ((bytes[Math.floor(at / BITS)] as number) & (1 << (at % BITS))) !== 0;
}
