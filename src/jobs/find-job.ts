/** Finds a job by its id alone: ids are unique in all queues, but BullMQ keeps jobs by queue. */
import { isMillraceError } from '../errors.ts';
import { createBatch } from '../redis/batch.ts';
import type { OpenQueue, QueueSet } from './queue-set.ts';

/** What each job has, and no other hash of BullMQ's. */
const OF_JOBS_ONLY = 'timestamp';

/**
 * The queue that has the job, or of which it was cancelled. A node of a Cluster that does not answer hides its own jobs only.
 *
 * @throws MillraceError when the job was not found and not all could be asked.
 */
export async function findQueue(
  queues: QueueSet,
  jobId: string,
): Promise<{ queue: OpenQueue; isThere: boolean } | undefined> {
  const names = await queues.known();
  const batch = createBatch(queues.client);
  const asked = names.map((name) => {
    const queue = queues.get(name);
    const there = isJob(batch.command('HEXISTS', queue.key(jobId), OF_JOBS_ONLY));
    const cancelled = isOne(batch.command('EXISTS', queues.keys.cancelled(name, jobId)));
    return { queue, answers: Promise.allSettled([there, cancelled]) };
  });
  await batch.send();
  let trace: OpenQueue | undefined;
  let failure: PromiseRejectedResult | undefined;
  for (const { queue, answers } of asked) {
    const [there, cancelled] = await answers;
    if (there.status === 'fulfilled' && there.value) return { queue, isThere: true };
    if (cancelled.status === 'fulfilled' && cancelled.value) trace = queue;
    failure ??= [there, cancelled].find((answer) => answer.status === 'rejected');
  }
  if (trace) return { queue: trace, isThere: false };
  if (failure) throw failure.reason;
  return undefined;
}

/** Other keys of BullMQ's, such as `wait`, are beside the jobs, and most of them are no hashes. */
async function isJob(answer: Promise<unknown>): Promise<boolean> {
  try {
    return await isOne(answer);
  } catch (error) {
    if (isMillraceError(error) && error.cause instanceof Error && error.cause.message.startsWith('WRONGTYPE'))
      return false;
    throw error;
  }
}

async function isOne(answer: Promise<unknown>): Promise<boolean> {
  return Number(await answer) === 1;
}
