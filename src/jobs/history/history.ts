/**
 * How many jobs of each queue were run, how they ended, how long they waited and ran: by the minute for 2 days, by the hour for 35 days.
 *
 * Promise: what a worker counted is in the history within 10 s, once; times are within 10 %; a queue costs a bounded number of bytes. Times
 * and depth are the server's minute. What a process that is killed had counted in its last 10 s is missing.
 * Keys: history/keys.ts.
 * Redis down: series() and sample() throw; workers keep what they count until it is back.
 */
import { z } from 'zod';
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { createBatch } from '../../redis/batch.ts';
import { defineScript } from '../../redis/script.ts';
import { checkOptions } from '../../schema.ts';
import type { QueueCounts } from '../jobs.ts';
import { readDepths } from '../queue-depths.ts';
import type { QueueSet } from '../queue-set.ts';
import { percentilesOf, type Percentiles } from './buckets.ts';
import { joinPieces, keyAt, SCALES, type Step } from './keys.ts';
import { addPacked, nothingCounted, pack, type Counted } from './packed.ts';
import { addRecords, type RecordPlace } from './record.ts';

/** What was counted in one minute or hour. */
export interface HistoryPoint {
  /** When it began, by the server's clock, in ms. */
  at: number;
  completed: number;
  /** Attempts that failed, whatever became of the job. */
  failed: number;
  /** Those of the failed attempts that were to be tried again. */
  retried: number;
  /** Dead letters that were made. */
  dead: number;
  /** From when a job could have run to its first attempt; undefined when none began. */
  waitMs: Percentiles | undefined;
  /** How long attempts ran; undefined when none ended. */
  runMs: Percentiles | undefined;
  /** The most jobs that could run and waited; undefined when nobody looked. */
  depth: number | undefined;
  /** The longest that one of them had waited; undefined when nobody looked. */
  oldestAgeMs: number | undefined;
}

/** What of the history is asked for. */
export interface SeriesOptions {
  /** Default: all queues as one. Their depths are summed, of the oldest ages the highest is told. */
  queue?: string | undefined;
  /** The first point is the one that has this moment in it, in ms. */
  from: number;
  /** The last point is the one before this moment. */
  to: number;
  step: Step;
}

/** A queue as it is now. */
export interface QueueSnapshot {
  queue: string;
  counts: QueueCounts;
  /** How long the oldest job that could run has waited; undefined when none waits. */
  oldestAgeMs: number | undefined;
  isPaused: boolean;
}

/** The history of the queues. */
export interface History {
  /**
   * A point for each minute or hour, also where nothing was counted.
   *
   * @example
   * const now = systemClock.wallMs();
   * const points = await platform.history.series({ queue: 'email', from: now - toMs('3h'), to: now, step: 'minute' });
   * @throws MillraceError OPTIONS_INVALID; what is wrong with Redis
   */
  series(options: SeriesOptions): Promise<HistoryPoint[]>;
  /**
   * Looks at all queues, and keeps depth and oldest age with the current minute. For whoever watches, such as the dashboard, a few times a
   * minute; several that do it are no harm. A queue that cannot be asked now is left out.
   *
   * @throws MillraceError when none can be asked
   */
  sample(): Promise<QueueSnapshot[]>;
}

/** What the history is made of. */
export interface HistoryParts {
  queues: QueueSet;
  place: RecordPlace;
  clock: Clock;
  log: Logger;
}

const readRecords = defineScript({
  file: 'jobs/history/read.lua',
  keys: ['...records'],
  args: [],
  binary: true,
  reply: (keys: Buffer[][]) => keys,
});

const seriesSchema = z.strictObject({
  queue: z.string().min(1).optional(),
  from: z.number().min(0),
  to: z.number().min(0),
  step: z.enum(['minute', 'hour']),
});

/** Points beyond what is kept, for a caller whose clock is ahead or who rounds up. */
const SLACK_POINTS = 60;
/** Queues that are read in one round trip. */
const QUEUES_AT_ONCE = 20;
/** Queues whose depth is written in one round trip. */
const WRITTEN_AT_ONCE = 100;

/** The history, as any process sees it. */
export function createHistory({ queues, place, clock, log }: HistoryParts): History {
  /** The minute for which it is written that nothing waits: of a minute the highest stays, so once is enough. */
  const idleIn = new Map<string, number>();
  return {
    async series(options) {
      const { queue, from, to, step } = checkOptions(seriesSchema, options, 'series');
      const times = timesOf(from, to, step);
      const names = queue === undefined ? await queues.known() : [queue];
      const totals = new Map(times.map((at) => [at, nothingCounted()]));
      for (let first = 0; first < names.length; first += QUEUES_AT_ONCE) {
        await addQueues(place, names.slice(first, first + QUEUES_AT_ONCE), step, totals);
      }
      return [...totals].map(([at, counted]) => pointOf(at, counted));
    },

    async sample() {
      const snapshots = (await readDepths(queues, clock)).map(
        ({ queue, counts, oldestWaitingMs, isPaused }): QueueSnapshot => ({
          queue,
          counts,
          oldestAgeMs: oldestWaitingMs,
          isPaused,
        }),
      );
      const minute = Math.floor(place.time.nowMs() / SCALES.minute.stepMs);
      const due = snapshots.filter(({ queue, counts }) => depthOf(counts) > 0 || idleIn.get(queue) !== minute);
      for (let first = 0; first < due.length; first += WRITTEN_AT_ONCE) {
        const records = due.slice(first, first + WRITTEN_AT_ONCE).map(({ queue, counts, oldestAgeMs = 0 }) => {
          const depth = depthOf(counts);
          return { queue, depth, sequence: 0, packed: pack({ ...nothingCounted(), depth, oldestAgeMs }) };
        });
        const { added, failure } = await addRecords(place, records);
        for (const record of records) if (record.depth === 0 && added.has(record)) idleIn.set(record.queue, minute);
        if (failure === undefined) continue;
        log.debug({ err: failure }, 'a look at the queues was not kept');
        break; // The rest would wait for the same.
      }
      return snapshots;
    },
  };
}

/** How many jobs could run and wait. */
function depthOf({ waiting, prioritized }: QueueCounts): number {
  return waiting + prioritized;
}

/** When the points begin. */
function timesOf(from: number, to: number, step: Step): number[] {
  const { stepMs, keptMs } = SCALES[step];
  const first = Math.floor(from / stepMs) * stepMs;
  const count = Math.ceil((to - first) / stepMs);
  const most = keptMs / stepMs + SLACK_POINTS;
  if (count <= most) return Array.from({ length: Math.max(0, count) }, (_, place) => first + place * stepMs);
  const message = `series: expected at most ${most} points between from and to, got ${count}; ${step}s are kept no longer`;
  throw new MillraceError('OPTIONS_INVALID', message, { from, to, step });
}

/** Adds what is kept of the queues to the totals of their times. */
async function addQueues(
  { client, keys }: RecordPlace,
  names: readonly string[],
  step: Step,
  totals: ReadonlyMap<number, Counted>,
): Promise<void> {
  const { stepMs, keyMs } = SCALES[step];
  const starts = [...new Set([...totals.keys()].map((at) => Math.floor(at / keyMs) * keyMs))];
  if (starts.length === 0) return;
  const batch = createBatch(client());
  const answers = names.map((name) =>
    batch.run(readRecords, { records: starts.map((at) => keyAt(keys, name, step, at)) }, {}),
  );
  await batch.send();
  for (const records of await Promise.all(answers)) {
    for (const [place, fields] of records.entries()) {
      for (const [at, packed] of joinPieces(fields, step)) {
        const total = totals.get((starts[place] ?? 0) + at * stepMs);
        if (total) addPacked(total, packed);
      }
    }
  }
}

function pointOf(at: number, { wait, run, ...counts }: Counted): HistoryPoint {
  return { at, ...counts, waitMs: percentilesOf(wait), runMs: percentilesOf(run) };
}
