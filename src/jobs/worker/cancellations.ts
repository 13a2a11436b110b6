/**
 * What a worker knows and writes of cancelled jobs.
 *
 * An order to cancel is told on a channel, and stands as a mark until the job has ended, for workers that did not hear it. What is left
 * of a cancelled job is its trace, for a day. It has the fields of the job that it was, so that a search reads it as any other job.
 */
import type { Job } from 'bullmq';
import { attemptHistory } from '../attempt-history.ts';
import type { AttemptRecord } from '../attempt-record.ts';
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { RedisClient } from '../../redis/clients.ts';
import { defineScript, type PreparedCall } from '../../redis/script.ts';
import type { StoredOptions } from '../enqueue-options.ts';
import type { JobKeys } from '../queue-names.ts';

/** How long it is told of a job that it was cancelled. */
export const CANCELLED_TTL_MS = 86_400_000;
/** Of a queue, the latest that a search finds; `get(id)` tells of all. */
const MOST_LISTED = 10_000;

const leaveTrace = defineScript({
  file: 'jobs/leave-trace.lua',
  keys: ['trace', 'list'],
  args: ['id', 'ttlMs', 'most', '...facts'],
  reply: (left: number) => left === 1,
});

/** What is left of a cancelled job. */
export interface CancelledJob {
  id: string;
  name: string;
  queue: string;
  input: unknown;
  version: number;
  reason: string;
  enqueuedAt: number;
  cancelledAt: number;
  attemptsMade: number;
  attempts: number;
  history: AttemptRecord[];
}

/** The reason of a signal, and the error of an attempt, whose job was cancelled. */
export function cancelledError(jobId: string, reason: string): MillraceError {
  return new MillraceError('JOB_CANCELLED', `job ${jobId} was cancelled: ${reason}`, { jobId, reason });
}

/** The cancellations of one queue's worker. */
export class Cancellations {
  readonly #client: RedisClient;
  readonly #keys: JobKeys;
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor({ client, keys, clock, log }: { client: RedisClient; keys: JobKeys; clock: Clock; log: Logger }) {
    this.#client = client;
    this.#keys = keys;
    this.#clock = clock;
    this.#log = log;
  }

  /** Which of the jobs shall be cancelled, and why; none when Redis cannot be asked. */
  async reasonsOf(queue: string, jobIds: readonly string[]): Promise<Map<string, string>> {
    const reasons = new Map<string, string>();
    if (jobIds.length === 0) return reasons;
    try {
      const marks = await this.#client.hmget(this.#keys.cancels(queue), ...jobIds);
      for (const [index, reason] of marks.entries()) {
        const jobId = jobIds[index];
        if (jobId !== undefined && reason !== null) reasons.set(jobId, reason);
      }
    } catch (error) {
      this.#log.debug({ queue, err: error }, 'not known which jobs were cancelled'); // Whoever cancels says so again.
    }
    return reasons;
  }

  /**
   * Leaves a trace of the job, which BullMQ is about to remove.
   *
   * @param attempt The one that was cancelled, as BullMQ would be told of it.
   */
  async record(queue: string, job: Job, reason: string, attempt: Error): Promise<void> {
    const record = recordOf(queue, job, reason, this.#clock.wallMs(), attempt);
    try {
      const { keys, args } = layOut(this.#keys, record);
      await leaveTrace(this.#client, keys, args);
    } catch (error) {
      this.#log.warn({ jobId: record.id, err: error }, 'cancelled job left no trace'); // It is cancelled all the same.
    }
  }

  /** The job is gone: its mark would tell nobody any more. Not sooner, for a worker that takes it after this one needs the mark. */
  async forget(queue: string, jobId: string): Promise<void> {
    try {
      await this.#client.hdel(this.#keys.cancels(queue), jobId);
    } catch (error) {
      this.#log.debug({ jobId, err: error }, 'mark of a cancelled job not removed'); // It expires.
    }
  }
}

/** What is kept of a cancelled job. */
export function recordOf(queue: string, job: Job, reason: string, nowMs: number, attempt?: Error): CancelledJob {
  const traces = attempt?.stack === undefined ? [] : [attempt.stack];
  const stored: StoredOptions = job.opts;
  return {
    id: job.id ?? '',
    name: job.name,
    queue,
    input: job.data,
    version: stored.v ?? 1,
    reason,
    enqueuedAt: job.timestamp,
    cancelledAt: nowMs,
    attemptsMade: job.attemptsMade,
    attempts: job.opts.attempts ?? 1,
    history: attemptHistory([...(job.stacktrace ?? []), ...traces], {
      attemptsStarted: job.attemptsStarted,
      stalls: job.stalledCounter,
      withoutLast: !attempt && job.token !== undefined, // A worker holds it.
    }).attempts,
  };
}

/** Leaves the trace, as a part of a transaction. */
export function traceOf(keys: JobKeys, record: CancelledJob): PreparedCall<boolean> {
  const { keys: places, args } = layOut(keys, record);
  return leaveTrace.prepare(places, args);
}

function layOut(keys: JobKeys, record: CancelledJob) {
  const { id, name, queue, input, version, reason, enqueuedAt, cancelledAt, attemptsMade, attempts, history } = record;
  const facts = {
    name,
    data: JSON.stringify(input) ?? 'null',
    opts: JSON.stringify({ v: version, attempts }),
    timestamp: enqueuedAt,
    finishedOn: cancelledAt,
    atm: attemptsMade,
    failedReason: reason,
    history: JSON.stringify(history),
  };
  return {
    keys: { trace: keys.cancelled(queue, id), list: keys.cancelledList(queue) },
    args: { id, ttlMs: CANCELLED_TTL_MS, most: MOST_LISTED, facts: Object.entries(facts).flat() },
  };
}

/** The record that a trace holds; undefined where there is none. */
export async function readTrace(
  client: RedisClient,
  keys: JobKeys,
  queue: string,
  id: string,
): Promise<CancelledJob | undefined> {
  const { name, data = 'null', opts = '{}', ...rest } = await client.hgetall(keys.cancelled(queue, id));
  if (name === undefined) return undefined;
  const { v = 1, attempts = 1 } = JSON.parse(opts) as StoredOptions;
  return {
    id,
    name,
    queue,
    input: JSON.parse(data) as unknown,
    version: v,
    reason: rest['failedReason'] ?? '',
    enqueuedAt: Number(rest['timestamp']),
    cancelledAt: Number(rest['finishedOn']),
    attemptsMade: Number(rest['atm']),
    attempts,
    history: JSON.parse(rest['history'] ?? '[]') as AttemptRecord[],
  };
}
