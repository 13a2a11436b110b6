/** Runs a job again that has finished, or now that is delayed. A dead letter is none of these: it is redriven. */
import { explainRedisError } from '../redis/explain.ts';
import { findQueue } from './find-job.ts';
import type { OpenQueue, QueueSet } from './queue-set.ts';

/**
 * What became of it. `retried`: it had completed or failed, and waits to run again with all its attempts. `promoted`: it was delayed and may
 * run now. `not-found`: there is no such job, or it is a dead letter or cancelled. `not-possible`: it waits already, or runs.
 */
export type RetryStatus = 'retried' | 'promoted' | 'not-found' | 'not-possible';

/** What BullMQ's scripts answer about a job that is not there, or not in the state in which it was seen. */
const NOT_THERE = -1;
const MOVED_ON = -3;
/** How often a job is looked at again that has moved meanwhile. */
const TRIES = 5;

/** Retries or promotes the job. @throws MillraceError when Redis cannot be asked */
export async function retryJob(queues: QueueSet, jobId: string): Promise<{ status: RetryStatus }> {
  const found = await findQueue(queues, jobId);
  if (!found?.isThere) return { status: 'not-found' };
  try {
    for (let tried = 0; tried < TRIES; tried++) {
      const status = await tryOnce(queues, found.queue, jobId);
      if (status) return { status };
    }
    return { status: 'not-possible' };
  } catch (error) {
    throw explainRedisError(error, queues.connections.label);
  }
}

/** Undefined when it has moved on meanwhile. */
async function tryOnce(
  { client, keys }: QueueSet,
  { name, queue, backend }: OpenQueue,
  jobId: string,
): Promise<RetryStatus | undefined> {
  const state = await backend.getState(jobId);
  if (state === 'unknown') return 'not-found';
  if (state !== 'delayed' && state !== 'completed' && state !== 'failed') return 'not-possible';
  try {
    if (state === 'delayed') {
      await backend.promote(jobId);
      return 'promoted';
    }
    const job = await queue.getJob(jobId);
    if (!job) return 'not-found';
    await client.hdel(keys.cancels(name), jobId); // An order to cancel was for the run that has ended.
    await job.retry(state, { resetAttemptsMade: true });
    return 'retried';
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === MOVED_ON || code === NOT_THERE) return undefined;
    throw error;
  }
}
