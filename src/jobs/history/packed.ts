/**
 * What was counted of a queue in a minute or an hour, as a few bytes.
 *
 * A record is a row of numbers, each in as few bytes as it needs (7 bits a byte, the low ones first, the high bit when more follow):
 *   completed, failed, retried, dead, depth + 1, oldest age in ms + 1 (0: not known), then the histograms of wait and run.
 * A histogram is its hits, bucket by bucket; a 0 is followed by how many buckets are skipped, and by another 0 at the end.
 *
 * lua/jobs/history/record.lua reads and writes the same form when it adds records of one queue; there, of depths too the highest stays.
 */
import { BUCKETS } from './buckets.ts';

/** What was counted in a stretch of time. */
export interface Counted {
  completed: number;
  failed: number;
  retried: number;
  dead: number;
  /** The most jobs that could run and waited, as far as somebody looked. */
  depth: number | undefined;
  /** The longest that one of them had waited. */
  oldestAgeMs: number | undefined;
  readonly wait: Float64Array;
  readonly run: Float64Array;
}

/** A record with nothing in it. */
export function nothingCounted(): Counted {
  return {
    completed: 0,
    failed: 0,
    retried: 0,
    dead: 0,
    depth: undefined,
    oldestAgeMs: undefined,
    wait: new Float64Array(BUCKETS),
    run: new Float64Array(BUCKETS),
  };
}

/** What can be packed: a Counted, or one that is still counted on. */
export type Packable = Pick<Counted, 'completed' | 'failed' | 'retried' | 'dead'> & {
  readonly depth?: number | undefined;
  readonly oldestAgeMs?: number | undefined;
  readonly wait: ArrayLike<number>;
  readonly run: ArrayLike<number>;
};

/** The record as bytes. */
export function pack({ completed, failed, retried, dead, depth, oldestAgeMs, wait, run }: Packable): Buffer {
  const bytes: number[] = [];
  for (const number of [completed, failed, retried, dead, gauge(depth), gauge(oldestAgeMs)]) put(bytes, number);
  for (const histogram of [wait, run]) {
    let skipped = 0;
    for (let bucket = 0; bucket < histogram.length; bucket++) {
      const hits = histogram[bucket] ?? 0;
      if (hits === 0) {
        skipped++;
        continue;
      }
      if (skipped > 0) bytes.push(0, skipped);
      skipped = 0;
      put(bytes, hits);
    }
    bytes.push(0, 0);
  }
  return Buffer.from(bytes);
}

/** Adds the record of another queue: counts and depths are summed, of the oldest ages the highest stays. */
export function addPacked(total: Counted, packed: Buffer): void {
  const numbers = numbersOf(packed);
  const [completed = 0, failed = 0, retried = 0, dead = 0, depth = 0, oldestAgeMs = 0] = numbers;
  total.completed += completed;
  total.failed += failed;
  total.retried += retried;
  total.dead += dead;
  if (depth > 0) total.depth = (total.depth ?? 0) + depth - 1;
  if (oldestAgeMs > 0) total.oldestAgeMs = Math.max(total.oldestAgeMs ?? 0, oldestAgeMs - 1);
  let at = 6;
  for (const histogram of [total.wait, total.run]) {
    for (let bucket = 0; at < numbers.length;) {
      const hits = numbers[at++] ?? 0;
      if (hits > 0) {
        if (bucket < BUCKETS) histogram[bucket] = (histogram[bucket] ?? 0) + hits;
        bucket++;
        continue;
      }
      const skipped = numbers[at++] ?? 0;
      if (skipped === 0) break;
      bucket += skipped;
    }
  }
}

const gauge = (value: number | undefined): number => (value === undefined ? 0 : Math.max(0, Math.round(value)) + 1);

/** Without shifts, which would cut the number to 32 bits. */
function put(bytes: number[], number: number): void {
  let left = number;
  while (left >= 128) {
    bytes.push((left % 128) + 128);
    left = Math.floor(left / 128);
  }
  bytes.push(left);
}

function numbersOf(packed: Buffer): number[] {
  const numbers: number[] = [];
  let number = 0;
  let scale = 1;
  for (const byte of packed) {
    number += (byte % 128) * scale;
    scale *= 128;
    if (byte >= 128) continue;
    numbers.push(number);
    number = 0;
    scale = 1;
  }
  return numbers;
}
