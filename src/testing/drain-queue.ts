/**
 * Waits on a real platform: until queues are idle, or a job has finished. For tests that run workers on a Redis of their own.
 *
 * Both ask again and again instead of sleeping for luck, so they end as soon as what they wait for is there.
 */
import { z } from 'zod';
import { systemClock } from '../clock.ts';
import { formatMs, type Duration } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import type { JobContract } from '../jobs/contract.ts';
import type { DeadLetters } from '../jobs/dead-letters/dead-letters.ts';
import type { DeadLetter } from '../jobs/dead-letters/letter.ts';
import type { JobInfo } from '../jobs/inspect.ts';
import type { Jobs, QueueCounts } from '../jobs/jobs.ts';
import { checkOptions, durationOption } from '../schema.ts';

/** What can be waited on: a platform, or its jobs. With a platform, waitForJob() also finds dead letters. */
export type WaitTarget = Jobs | { readonly jobs: Jobs; readonly deadLetters?: Pick<DeadLetters, 'get'> | undefined };

/** How long to wait. */
export interface WithinOptions {
  /** Default `10s`. */
  within?: Duration | undefined;
}

/** What it means to be idle. */
export interface DrainQueueOptions extends WithinOptions {
  /** Whether delayed jobs, and so jobs that wait for a retry, must be gone too. Default true. */
  includeDelayed?: boolean | undefined;
}

/** A queue by its name, or by a contract of it. */
export type QueueLike = string | Pick<JobContract, 'queue'>;

const ASK_EVERY_MS = 10;
const BUSY = ['waiting', 'prioritized', 'active', 'waiting-children', 'delayed'] as const;

const withinSchema = z.strictObject({ within: durationOption.default(10_000) });
const drainSchema = withinSchema.extend({ includeDelayed: z.boolean().default(true) });

/**
 * Resolves when nothing of the queues waits, runs or is delayed.
 *
 * @param queues A queue's name, or contracts, whose queues are meant.
 * @example
 * await drainQueue(platform, 'email', { within: '5s' });
 * @throws MillraceError WAIT_TIMEOUT with what is left.
 */
export async function drainQueue(
  target: WaitTarget,
  queues: QueueLike | readonly QueueLike[],
  options: DrainQueueOptions = {},
): Promise<void> {
  const { within, includeDelayed } = checkOptions(drainSchema, options, 'drainQueue');
  const names = namesOf(queues);
  const states = includeDelayed ? BUSY : BUSY.filter((state) => state !== 'delayed');
  const jobs = jobsOf(target);
  const until = systemClock.monotonicMs() + within;
  let wasIdle = false;
  for (;;) {
    const left = await leftIn(jobs, names, states);
    // Queues are asked one by one, and a job of one may have fed another meanwhile: idle is what was idle twice.
    if (left.length === 0 && wasIdle) return;
    wasIdle = left.length === 0;
    if (systemClock.monotonicMs() >= until && !wasIdle) {
      const message = `not idle after ${formatMs(within)}: ${left.map(({ text }) => text).join('; ')}`;
      const counts = Object.fromEntries(left.map((queue) => [queue.name, queue.counts]));
      throw new MillraceError('WAIT_TIMEOUT', message, { queues: counts, withinMs: within });
    }
    if (!wasIdle) await systemClock.sleep(ASK_EVERY_MS);
  }
}

/**
 * Resolves with all that is known of a job once it has finished: completed, failed for good, or cancelled.
 *
 * @example
 * const { state, result } = await waitForJob(platform, id, { within: '5s' });
 * @throws MillraceError WAIT_TIMEOUT; JOB_UNKNOWN for a job of which nothing is known, or of which nothing was kept.
 */
export async function waitForJob(target: WaitTarget, jobId: string, options: WithinOptions = {}): Promise<JobInfo> {
  const { within } = checkOptions(withinSchema, options, 'waitForJob');
  const until = systemClock.monotonicMs() + within;
  for (;;) {
    const info = await jobsOf(target).get(jobId);
    const ended = info ? isFinished(info) && info : await deadJob(target, jobId);
    if (ended) return ended;
    if (systemClock.monotonicMs() >= until) {
      const message = `job ${jobId} did not finish within ${formatMs(within)}; it is ${info?.state ?? 'unknown'}`;
      throw new MillraceError('WAIT_TIMEOUT', message, { jobId, state: info?.state, withinMs: within });
    }
    await systemClock.sleep(ASK_EVERY_MS);
  }
}

function jobsOf(target: WaitTarget): Jobs {
  return 'jobs' in target ? target.jobs : target;
}

function namesOf(queues: QueueLike | readonly QueueLike[]): string[] {
  const list: readonly QueueLike[] = Array.isArray(queues) ? (queues as readonly QueueLike[]) : [queues as QueueLike];
  return [...new Set(list.map((queue) => (typeof queue === 'string' ? queue : queue.queue)))];
}

async function leftIn(
  jobs: Jobs,
  names: readonly string[],
  states: ReadonlyArray<keyof QueueCounts>,
): Promise<Array<{ name: string; counts: QueueCounts; text: string }>> {
  const queues = await Promise.all(names.map(async (name) => ({ name, counts: await jobs.counts(name) })));
  return queues.flatMap(({ name, counts }) => {
    const busy = states.filter((state) => counts[state] > 0).map((state) => `${counts[state]} ${state}`);
    return busy.length === 0 ? [] : [{ name, counts, text: `queue ${name} has ${busy.join(', ')}` }];
  });
}

function isFinished({ state }: JobInfo): boolean {
  return state === 'completed' || state === 'failed' || state === 'cancelled';
}

/** A job that is no longer there may be a dead letter. @throws MillraceError JOB_UNKNOWN */
async function deadJob(target: WaitTarget, jobId: string): Promise<JobInfo | undefined> {
  const letter = 'jobs' in target ? await target.deadLetters?.get(jobId) : undefined;
  if (letter) return infoOfLetter(letter);
  const message = `nothing is known of job ${jobId}: it never was, or its contract keeps nothing of it; jobs of a platform are also looked for among its dead letters`;
  throw new MillraceError('JOB_UNKNOWN', message, { jobId });
}

function infoOfLetter(letter: DeadLetter): JobInfo {
  const { jobId, contract, queue, input, version, error, attempts, options, enqueuedAt, diedAt } = letter;
  return {
    id: jobId,
    name: contract,
    queue,
    state: 'failed',
    input,
    version,
    reason: error.message,
    attemptsMade: attempts.length,
    attempts: options.attempts ?? 1,
    enqueuedAt,
    finishedAt: diedAt,
    history: attempts,
    log: [],
  };
}
