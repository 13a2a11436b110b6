/** What an embedder over HTTP answers, and how it is read. */
import type { Clock } from '../../clock.ts';
import { describeValue, MillraceError } from '../../errors.ts';
import { checkVector } from '../vectors.ts';

/** An answer, read to its end. */
export interface HttpReply {
  readonly status: number;
  readonly body: string;
  readonly retryAfter: number | undefined;
}

interface Expected {
  readonly count: number;
  readonly dimensions: number;
  readonly label: string;
  /** The body as messages may have it. */
  masked(this: void, body: string): string;
}

/**
 * The vectors, in the order of the texts: each item says its place, and servers have answered in another order.
 *
 * @throws MillraceError EMBEDDING_FAILED when it is no list of as many items; VECTOR_INVALID
 */
export function readReply(body: string, expected: Expected): readonly Float32Array[] {
  const { count, dimensions, label } = expected;
  const items = itemsOf(body, expected);
  if (items.length !== count) throw wrong(label, `expected ${count} vectors, got ${items.length}`);
  const vectors = Array.from<Float32Array | undefined>({ length: count });
  items.forEach((item, position) => {
    const { index = position, embedding } = (item ?? {}) as { index?: unknown; embedding?: unknown };
    if (typeof index !== 'number' || !(index in vectors))
      throw wrong(label, `expected an index below ${count}, got ${describeValue(index)}`);
    if (vectors[index]) throw wrong(label, `two vectors have the index ${index}`);
    const numbers = typeof embedding === 'string' ? fromBase64(embedding, `${label}: vector ${index}`) : embedding;
    vectors[index] = checkVector(numbers, dimensions, `${label}: vector ${index}`);
  });
  return vectors as Float32Array[];
}

/** Without the error of JSON.parse(), which has a piece of the body in it. */
function itemsOf(body: string, { label, masked }: Expected): unknown[] {
  let reply: unknown;
  try {
    reply = JSON.parse(body);
  } catch {
    throw wrong(label, `the answer is not JSON: ${describeValue(masked(body))}`);
  }
  const { data } = (reply ?? {}) as { data?: unknown };
  if (!Array.isArray(data)) throw wrong(label, `expected { data: [...] }, got ${describeValue(masked(body))}`);
  return data;
}

/** 32-bit floats in little-endian order. */
function fromBase64(text: string, what: string): number[] {
  const bytes = Buffer.from(text, 'base64');
  const { byteLength } = bytes;
  if (byteLength % 4 !== 0) throw wrong(what, `expected base64 of whole floats, got ${byteLength} bytes`);
  return Array.from({ length: byteLength / 4 }, (_, at) => bytes.readFloatLE(at * 4));
}

function wrong(label: string, reason: string): MillraceError {
  return new MillraceError('EMBEDDING_FAILED', `${label}: ${reason}`, { reason });
}

/** How long the server asks to wait: `retry-after-ms`, or Retry-After in seconds or as a date. */
export function retryAfterMs(headers: Headers, clock: Clock): number | undefined {
  const exact = Number(headers.get('retry-after-ms') ?? Number.NaN);
  if (exact >= 0) return exact;
  const value = headers.get('retry-after')?.trim() ?? '';
  if (/^\d+(?:\.\d+)?$/.test(value)) return Number(value) * 1_000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - clock.wallMs());
}
