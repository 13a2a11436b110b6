/**
 * Vectors on their way in and out: 32-bit floats, checked, and as bytes.
 *
 * Redis takes a NaN, a zero vector or a Buffer that became text without an error, and then finds nothing or nonsense. So nothing goes out
 * that was not looked at here. As bytes a vector is its floats in little-endian order and not a byte more: the buffer behind a subarray is
 * larger than the subarray.
 */
import { endianness } from 'node:os';
import { describeValue, MillraceError } from '../errors.ts';

/** How near two vectors are. Vector sets know `cosine` only. */
export type Metric = 'cosine' | 'l2' | 'ip';

/** What a caller may give as a vector. */
export type VectorLike = Float32Array | Float64Array | readonly number[];

const BYTES = Float32Array.BYTES_PER_ELEMENT;
const IS_BIG_ENDIAN = endianness() === 'BE';

/**
 * The vector as 32-bit floats with memory of its own: a view into other memory is copied.
 *
 * @param what What messages call it, such as `the vector of doc 7`.
 * @throws MillraceError VECTOR_INVALID when it is of another type or size, holds what is not finite, or is zero.
 */
export function checkVector(value: unknown, dimensions: number, what: string): Float32Array {
  if (!isVectorLike(value)) throw invalid(what, `expected a Float32Array or numbers, got ${typeOf(value)}`);
  if (value.length !== dimensions) throw invalid(what, `expected ${dimensions} dimensions, got ${value.length}`);
  const isWhole = value instanceof Float32Array && value.byteLength === value.buffer.byteLength;
  const vector = isWhole ? value : Float32Array.from(value);
  let squares = 0;
  for (let index = 0; index < vector.length; index++) {
    const number = vector[index] ?? Number.NaN;
    squares += number * number; // Not finite as soon as one number is not: the square of the largest float fits a double.
  }
  if (!Number.isFinite(squares)) throw invalid(what, notFinite(value, vector));
  if (squares === 0) throw invalid(what, 'expected a vector with a direction, got zeros only');
  return vector;
}

/** A new vector of the same direction and of length 1. */
export function normalise(vector: Float32Array): Float32Array {
  const norm = Math.sqrt(dot(vector, vector));
  const unit = new Float32Array(vector.length);
  for (let index = 0; index < unit.length; index++) unit[index] = (vector[index] ?? 0) / norm;
  return unit;
}

/** The vector as Redis takes it: little-endian FP32, its own bytes only. */
export function toBlob(vector: Float32Array): Buffer {
  const blob = Buffer.copyBytesFrom(vector);
  return IS_BIG_ENDIAN ? blob.swap32() : blob;
}

/** The same bytes for whoever only reads them, and at once: they may be the vector's own memory. */
export function bytesOf(vector: Float32Array): Uint8Array {
  return IS_BIG_ENDIAN ? toBlob(vector) : new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
}

/** As toBlob(), of the vector that normalise() makes of it. */
export function toUnitBlob(vector: Float32Array): Buffer {
  const blob = Buffer.from(normalise(vector).buffer);
  return IS_BIG_ENDIAN ? blob.swap32() : blob;
}

/**
 * The vector that toBlob() has written.
 *
 * @throws MillraceError VECTOR_INVALID
 */
export function fromBlob(blob: Uint8Array, dimensions: number, what: string): Float32Array {
  if (!(blob instanceof Uint8Array)) throw invalid(what, `expected bytes, got ${typeOf(blob)}`);
  if (blob.byteLength !== dimensions * BYTES) {
    throw invalid(what, `expected ${dimensions * BYTES} bytes for ${dimensions} dimensions, got ${blob.byteLength}`);
  }
  const copy = Buffer.alloc(blob.byteLength, blob);
  if (IS_BIG_ENDIAN) copy.swap32();
  return checkVector(new Float32Array(Uint8Array.from(copy).buffer), dimensions, what);
}

/** The sum of products, in 64-bit floats. Both vectors are of one size. */
export function dot(left: Float32Array, right: Float32Array): number {
  let sum = 0;
  for (let index = 0; index < left.length; index++) sum += (left[index] ?? 0) * (right[index] ?? 0);
  return sum;
}

/** -1 for opposite, 0 for unrelated, 1 for the same direction. */
export function cosine(left: Float32Array, right: Float32Array): number {
  const norms = Math.sqrt(dot(left, left) * dot(right, right));
  return Math.max(-1, Math.min(1, dot(left, right) / norms));
}

/** The distance as the Query Engine gives it: 1 - cosine, the square of the Euclidean distance, or 1 - inner product. */
export function distanceOf(metric: Metric, left: Float32Array, right: Float32Array): number {
  switch (metric) {
    case 'cosine':
      return 1 - cosine(left, right);
    case 'ip':
      return 1 - dot(left, right);
    case 'l2': {
      let sum = 0;
      for (let index = 0; index < left.length; index++) sum += ((left[index] ?? 0) - (right[index] ?? 0)) ** 2;
      return sum;
    }
  }
}

/**
 * The one scale of scores: 1 for the same, 0 for the opposite (`cosine`, `ip` of normalised vectors) or the infinitely far (`l2`). It
 * grows as the distance shrinks, on either engine.
 */
export function similarityOf(metric: Metric, distance: number): number {
  return metric === 'l2' ? 1 / (1 + Math.max(0, distance)) : Math.max(0, Math.min(1, 1 - distance / 2));
}

/** The distance at which the similarity is this; for range searches. */
export function distanceAt(metric: Metric, similarity: number): number {
  return metric === 'l2' ? 1 / similarity - 1 : 2 * (1 - similarity);
}

function isVectorLike(value: unknown): value is VectorLike {
  if (value instanceof Float32Array || value instanceof Float64Array) return true;
  return Array.isArray(value) && value.every((number) => typeof number === 'number');
}

function notFinite(given: VectorLike, vector: Float32Array): string {
  const place = vector.findIndex((number) => !Number.isFinite(number));
  const came = given[place] ?? Number.NaN;
  const why = Number.isFinite(came) ? `${came}, which no 32-bit float holds` : String(came);
  return `expected finite numbers, got ${why} at ${place}`;
}

function typeOf(value: unknown): string {
  if (typeof value === 'string') return `a string of ${value.length} characters`;
  if (Array.isArray(value)) {
    const place = value.findIndex((number) => typeof number !== 'number');
    return `${describeValue(value[place])} at ${place}`;
  }
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${value.byteLength} bytes`;
  return describeValue(value);
}

function invalid(what: string, reason: string): MillraceError {
  return new MillraceError('VECTOR_INVALID', `${what}: ${reason}`, { what, reason });
}
