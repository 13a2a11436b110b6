/**
 * From what a queue has to do and who could do it: how long that takes, and how many workers it takes.
 *
 *   cost     what a job keeps a slot busy for until it has ended for good, with the attempts that fail on the way: from the history
 *   rate     slots / cost; where a queue was never empty for a minute or more, what it has really done in that time, if that is less
 *   drain    depth / rate, and the run of the last job
 *   workers  as many as make `depth x cost` fit into the target, no fewer than what runs needs, no more than there are jobs for
 *
 * Nothing is guessed: what the history does not tell yet is undefined, and then one worker is asked for, which will find out.
 */
import type { WorkerInfo } from '../jobs/fleet/report.ts';
import type { QueueWork } from './autoscale-look.ts';

/** What is told of a queue. */
export interface QueueFigures {
  queue: string;
  /** Jobs that could run now and wait: waiting, prioritized, and delayed ones whose time has come. */
  depth: number;
  /** Jobs that run. */
  active: number;
  isPaused: boolean;
  /** How long the oldest job has waited that was never tried; 0 when none waits. */
  oldestWaitingSeconds: number;
  /** Jobs that ended for good, a second, in this minute and the one before. */
  ratePerSecond: number;
  /** Worker processes that take jobs of the queue: neither draining nor silent. */
  workers: number;
  /** The slots of these for the queue, all together. */
  concurrency: number;
  /** How long it takes these to do all that waits and runs, if nothing is added; null when nobody can tell: no worker, paused, or a job of the queue never ended. */
  drainSeconds: number | null;
  /** How many workers drain it within the target. */
  desiredWorkers: number;
}

/** What the figures depend on beyond the queue. */
export interface FigureOptions {
  /** Within which the queue should be drained. */
  targetMs: number;
  /** Slots of a worker that is started, where no worker of the queue is known. */
  concurrency: number;
}

/** The workers of a queue. */
export interface Hands {
  workers: number;
  slots: number;
  /** Slots of one; undefined when no worker of the queue is known, silent ones included. */
  slotsEach: number | undefined;
  /** The slots of each that counts, and since when they are there, by the server's clock. */
  since: ReadonlyArray<{ slots: number; atMs: number }>;
}

const NOBODY: Hands = { workers: 0, slots: 0, slotsEach: undefined, since: [] };

/** Who works on each queue. */
export function handsOf(workers: readonly WorkerInfo[]): (queue: string) => Hands {
  const hands = new Map<string, Hands>();
  for (const { state, queues, startedAt } of workers) {
    for (const { name, concurrency } of queues) {
      const { workers: before, slots, slotsEach, since } = hands.get(name) ?? NOBODY;
      const isRunning = state === 'running';
      hands.set(name, {
        workers: before + (isRunning ? 1 : 0),
        slots: slots + (isRunning ? concurrency : 0),
        // The workers come with the oldest first: the newest tells what the next one will be like.
        slotsEach: concurrency > 0 ? concurrency : slotsEach,
        since: isRunning ? [...since, { slots: concurrency, atMs: startedAt }] : since,
      });
    }
  }
  return (queue) => hands.get(queue) ?? NOBODY;
}

/** The figures of a queue. */
export function figuresOf(work: QueueWork, hands: Hands, { targetMs, concurrency }: FigureOptions): QueueFigures {
  const { queue, depth, active, isPaused, oldestMs = 0, lately, latelyMs, usual } = work;
  const { workers, slots, slotsEach = concurrency } = hands;
  const costMs = slotMsPerJob(work, hands);
  const runMs = usual.attempts > 0 ? usual.busyMs / usual.attempts : undefined;
  let drainMs: number | undefined;
  if (depth + active === 0) drainMs = 0;
  else if (!isPaused && slots > 0 && costMs !== undefined) drainMs = (depth * costMs) / slots + (runMs ?? 0);
  const slotsWanted = isPaused ? active : slotsFor(work, costMs, targetMs);
  return {
    queue,
    depth,
    active,
    isPaused,
    oldestWaitingSeconds: seconds(oldestMs),
    ratePerSecond: Number(((lately.jobs * 1_000) / latelyMs).toPrecision(4)),
    workers,
    concurrency: slots,
    drainSeconds: drainMs === undefined ? null : seconds(drainMs),
    desiredWorkers: Math.ceil(slotsWanted / slotsEach),
  };
}

/** The slots that are wanted. Without a known cost one is, so that it becomes known. */
function slotsFor({ depth, active }: QueueWork, costMs: number | undefined, targetMs: number): number {
  if (costMs === undefined) return Math.max(active, Math.min(depth, 1));
  // What runs is not taken away while it does; more slots than jobs have nothing to do.
  return Math.min(depth + active, Math.max((depth * costMs) / targetMs, active, Math.min(depth, 1)));
}

/** What a job costs in time of a slot; undefined when none has ended yet. */
function slotMsPerJob(work: QueueWork, { slots, since }: Hands): number | undefined {
  const { usual, lately, latelyMs, atMs, active, oldestMs = 0, isSteady } = work;
  if (usual.jobs <= 0) return undefined;
  const costMs = usual.busyMs / usual.jobs;
  // A job has waited all that time, so no slot was free in it: what was done is what can be done, with all that no handler's time tells.
  const wasFull = isSteady && slots > 0 && active >= slots && oldestMs >= latelyMs && lately.jobs > 0;
  if (!wasFull) return costMs;
  // Slots that have just come have done nothing of it yet: counted in full they would make jobs look dear, and call for ever more.
  const thereMs = since.reduce((sum, one) => sum + one.slots * Math.min(Math.max(atMs - one.atMs, 0), latelyMs), 0);
  return Math.max(costMs, thereMs / lately.jobs);
}

function seconds(ms: number): number {
  return Math.round(ms) / 1_000;
}
