/** What `millrace top` shows: one look at queues and workers. */
import { systemClock, type Platform, type QueueSnapshot, type WorkerInfo } from '../index.ts';

/** A queue, with what was done in the last minute. */
export interface TopQueue extends QueueSnapshot {
  /** Jobs that were completed in the last minute, as workers have told by now; undefined for a queue beyond those that are asked for. */
  donePerMinute: number | undefined;
  /** Attempts that failed, likewise. */
  failedPerMinute: number | undefined;
}

/** One look. */
export interface TopLook {
  /** Milliseconds since 1970. */
  at: number;
  redis: string;
  /** The fullest first. */
  queues: TopQueue[];
  workers: WorkerInfo[];
}

type Rates = Pick<TopQueue, 'donePerMinute' | 'failedPerMinute'>;

const MINUTE_MS = 60_000;
/** Workers tell what they did every few seconds, so that asking more often shows nothing new. */
const RATES_EVERY_MS = 5_000;
/** Queues whose rates are asked for: more than a terminal has lines. */
const MOST_RATES = 60;

/** What looks, again and again. */
export function createTopLooks(platform: Platform): () => Promise<TopLook> {
  let rates = new Map<string, Rates>();
  let ratesAt = -Infinity;
  return async () => {
    const [snapshots, workers] = await Promise.all([platform.history.sample(), platform.fleet.workers()]);
    const sorted = snapshots.toSorted(
      (one, other) => weight(other) - weight(one) || (one.queue < other.queue ? -1 : 1),
    );
    if (systemClock.monotonicMs() - ratesAt >= RATES_EVERY_MS) {
      const asked = sorted.slice(0, MOST_RATES).map(({ queue }) => queue);
      rates = new Map(
        await Promise.all(asked.map(async (queue) => [queue, await readRates(platform, queue)] as const)),
      );
      ratesAt = systemClock.monotonicMs();
    }
    const unknown: Rates = { donePerMinute: undefined, failedPerMinute: undefined };
    const queues = sorted.map((snapshot) => ({ ...snapshot, ...(rates.get(snapshot.queue) ?? unknown) }));
    return { at: systemClock.wallMs(), redis: platform.redis.label, queues, workers };
  };
}

function weight({ counts }: QueueSnapshot): number {
  return counts.active + counts.waiting + counts.prioritized;
}

/** The minute that ends now: this one so far, and as much of the one before as it lacks. */
async function readRates({ history }: Platform, queue: string): Promise<Rates> {
  const now = systemClock.wallMs();
  const points = await history.series({ queue, from: now - MINUTE_MS, to: now, step: 'minute' });
  const sum = (of: (point: (typeof points)[number]) => number): number =>
    points.reduce((total, point) => {
      const share = Math.min(1, Math.max(0, (point.at + MINUTE_MS - (now - MINUTE_MS)) / MINUTE_MS));
      return total + of(point) * share;
    }, 0);
  return {
    donePerMinute: Math.round(sum(({ completed }) => completed)),
    failedPerMinute: Math.round(sum(({ failed }) => failed)),
  };
}
