/** What is known of one job: for people, for the dashboard, and for those who wait. */
import type { Job } from 'bullmq';
import { explainRedisError } from '../redis/explain.ts';
import { attemptHistory } from './attempt-history.ts';
import type { AttemptRecord } from './attempt-record.ts';
import type { StoredOptions } from './enqueue-options.ts';
import { findQueue } from './find-job.ts';
import type { OpenQueue, QueueSet } from './queue-set.ts';
import { readTrace } from './worker/cancellations.ts';

/** Where a job is in its life; docs/states.md draws it. */
export type JobState =
  | 'waiting'
  | 'delayed'
  | 'prioritized'
  | 'waiting-children'
  | 'active'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'unknown';

/** All that is known of a job. */
export interface JobInfo {
  id: string;
  name: string;
  queue: string;
  state: JobState;
  /** As it was enqueued. */
  input: unknown;
  version: number;
  /** What the handler returned; undefined until it has. */
  result?: unknown;
  progress?: unknown;
  /** Why it was cancelled, or how it failed the last time. */
  reason?: string;
  attemptsMade: number;
  attempts: number;
  enqueuedAt: number;
  /** When the latest attempt began. */
  startedAt?: number;
  /** The process that ran it the last time, or runs it now: `host:pid`. */
  worker?: string;
  finishedAt?: number;
  /** The attempts that did not succeed, the first one first. */
  history: readonly AttemptRecord[];
  log: readonly string[];
}

/** All that is known of the job; undefined when nothing is. */
export async function inspectJob(queues: QueueSet, jobId: string): Promise<JobInfo | undefined> {
  const found = await findQueue(queues, jobId);
  if (!found) return undefined;
  try {
    const info = found.isThere ? await bullInfo(found.queue, jobId) : undefined;
    return info ?? (await cancelledInfo(queues, found.queue.name, jobId)); // Also when it was removed meanwhile.
  } catch (error) {
    throw explainRedisError(error, queues.connections.label);
  }
}

async function bullInfo(queue: OpenQueue, jobId: string): Promise<JobInfo | undefined> {
  // The state first: a job that is said to have completed then has its result, which the other way round it may lack.
  const state = await queue.backend.getState(jobId);
  const [job, logs] = await Promise.all([
    queue.queue.getJob(jobId) as Promise<Job | undefined>,
    queue.queue.getJobLogs(jobId),
  ]);
  if (!job) return undefined;
  const stored: StoredOptions = job.opts;
  return {
    id: jobId,
    name: job.name,
    queue: queue.name,
    state: state as JobState,
    input: job.data as unknown,
    version: stored.v ?? 1,
    ...(state === 'completed' && { result: job.returnvalue as unknown }),
    ...(job.progress !== 0 && { progress: job.progress }),
    ...(job.failedReason && { reason: job.failedReason }),
    attemptsMade: job.attemptsMade,
    attempts: job.opts.attempts ?? 1,
    enqueuedAt: job.timestamp,
    ...(job.processedOn !== undefined && { startedAt: job.processedOn }),
    ...(job.processedBy !== undefined && { worker: job.processedBy }),
    ...(job.finishedOn !== undefined && { finishedAt: job.finishedOn }),
    history: attemptHistory(job.stacktrace ?? [], {
      attemptsStarted: job.attemptsStarted,
      stalls: job.stalledCounter,
      withoutLast: state === 'active' || state === 'completed',
    }).attempts,
    log: logs.logs,
  };
}

async function cancelledInfo(queues: QueueSet, queue: string, jobId: string): Promise<JobInfo | undefined> {
  const trace = await readTrace(queues.client, queues.keys, queue, jobId);
  if (!trace) return undefined;
  const { cancelledAt, ...record } = trace;
  return { ...record, state: 'cancelled', finishedAt: cancelledAt, log: [] };
}
