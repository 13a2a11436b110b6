/**
 * Times, counted by size: each bucket's upper edge is 1.2 times that of the one below, so that what is told of a time is never more than
 * 10 % off, from a tenth of a millisecond to 13 days. What is below or above counts as just that.
 *
 * The buckets are part of what is kept in Redis: other edges would need other keys.
 */

/** How many buckets there are. */
export const BUCKETS = 128;

const SMALLEST_MS = 0.1;
const GROWTH = 1.2;
const PER_LOG = 1 / Math.log(GROWTH);
const OFFSET = Math.log(SMALLEST_MS) * PER_LOG;

/** How often each bucket was hit. */
export type Histogram = Uint32Array | Float64Array;

/** Percentiles of times in ms, each within 10 %, and how many times there were. */
export interface Percentiles {
  p50: number;
  p95: number;
  p99: number;
  count: number;
}

/** The bucket of a time. */
export function bucketOf(ms: number): number {
  if (!(ms > SMALLEST_MS)) return 0;
  const bucket = Math.ceil(Math.log(ms) * PER_LOG - OFFSET);
  return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/** What is told of the times in a bucket: its middle, as logarithms go. */
export function msOf(bucket: number): number {
  const ms = bucket === 0 ? SMALLEST_MS : SMALLEST_MS * GROWTH ** (bucket - 0.5);
  return Number(ms.toPrecision(3));
}

/** The percentiles of a histogram; undefined for an empty one. */
export function percentilesOf(histogram: Histogram): Percentiles | undefined {
  let count = 0;
  for (const hits of histogram) count += hits;
  if (count === 0) return undefined;
  const at = (share: number): number => {
    let left = Math.ceil(count * share);
    const bucket = histogram.findIndex((hits: number) => (left -= hits) <= 0);
    return msOf(bucket);
  };
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), count };
}
