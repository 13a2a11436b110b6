/** The hour before the shop opened, written as its workers would have: a history of a minute only makes no chart. */
import type { Platform } from '../../src/index.ts';
import { systemClock } from '../../src/clock.ts';
import { bucketOf } from '../../src/jobs/history/buckets.ts';
import { keyAt, SCALES } from '../../src/jobs/history/keys.ts';
import { nothingCounted, pack } from '../../src/jobs/history/packed.ts';
import { createJobKeys } from '../../src/jobs/queue-names.ts';

const MINUTES = 60;
const PIECE_BYTES = 64;

/** A queue as it was. */
export interface Past {
  queue: string;
  perMinute: number;
  failedShare: number;
  waitMs: number;
  runMs: number;
}

/** Writes the last hour of the queues. The figures swing a little, the same on each run. */
export async function writePast(platform: Platform, queues: readonly Past[]): Promise<void> {
  const { stepMs, keyMs } = SCALES.minute;
  const keys = createJobKeys(platform.prefix);
  const pipeline = platform.redis.commands().pipeline();
  const now = systemClock.wallMs();
  for (const past of queues) {
    for (let ago = 1; ago <= MINUTES; ago++) {
      const at = now - ago * stepMs;
      const place = Math.floor((at % keyMs) / stepMs);
      const packed = pack(minuteOf(past, ago));
      const fields: Array<number | Buffer> = [];
      for (let from = 0; from < packed.length; from += PIECE_BYTES)
        fields.push(place + (from / PIECE_BYTES) * MINUTES, packed.subarray(from, from + PIECE_BYTES));
      pipeline.hset(keyAt(keys, past.queue, 'minute', at), ...fields);
    }
  }
  await pipeline.exec();
}

function minuteOf({ perMinute, failedShare, waitMs, runMs }: Past, ago: number) {
  const swing = 1 + 0.25 * Math.sin(ago / 7) + 0.12 * Math.sin(ago * 2.3);
  const isRush = ago > 18 && ago < 26;
  const counted = nothingCounted();
  const attempts = Math.round(perMinute * swing);
  counted.failed = Math.round(attempts * failedShare * (isRush ? 4 : swing));
  counted.completed = attempts - counted.failed;
  counted.depth = Math.round(perMinute * swing * (isRush ? 0.9 : 0.1));
  counted.oldestAgeMs = Math.round(waitMs * swing * (isRush ? 9 : 2));
  for (let attempt = 0; attempt < attempts; attempt++) {
    // Most are near the middle, a few take much longer.
    const spread = 0.6 + attempt / attempts + 3 * (attempt / attempts) ** 20;
    for (const [histogram, ms] of [
      [counted.wait, waitMs * (isRush ? 4 : 1)],
      [counted.run, runMs],
    ] as const) {
      const bucket = bucketOf(ms * spread * swing);
      histogram[bucket] = (histogram[bucket] ?? 0) + 1;
    }
  }
  return counted;
}
