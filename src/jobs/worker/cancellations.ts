/**
 * What a worker knows and writes of cancelled jobs.
 *
 * An order to cancel is told on a channel, and stands as a mark until the job has ended, for workers that did not hear it. What is left
 * of a cancelled job is its trace, for a day.
 */
import type { Job } from 'bullmq';
import { attemptHistory } from '../attempt-history.ts';
import type { AttemptRecord } from '../attempt-record.ts';
import type { Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { RedisClient } from '../../redis/clients.ts';
import type { StoredOptions } from '../enqueue-options.ts';
import type { JobKeys } from '../queue-names.ts';

/** How long it is told of a job that it was cancelled. */
export const CANCELLED_TTL_MS = 86_400_000;

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

  /** Leaves a trace of the job, which BullMQ is about to remove. */
  async record(queue: string, job: Job, reason: string): Promise<void> {
    const record = recordOf(queue, job, reason, this.#clock.wallMs());
    try {
      await this.#client.set(this.#keys.cancelled(queue, record.id), JSON.stringify(record), 'PX', CANCELLED_TTL_MS);
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
export function recordOf(queue: string, job: Job, reason: string, nowMs: number): CancelledJob {
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
    history: attemptHistory(job.stacktrace ?? [], {
      attemptsStarted: job.attemptsStarted,
      stalls: job.stalledCounter,
      withoutLast: job.token !== undefined, // A worker holds it: the attempt that is cancelled.
    }).attempts,
  };
}
