/** Finds a job by its id alone: ids are unique in all queues, but BullMQ keeps jobs by queue. */
import { isMillraceError } from '../errors.ts';
import { createBatch } from '../redis/batch.ts';
import { holdersOf } from '../redis/holders.ts';
import type { OpenQueue, QueueSet } from './queue-set.ts';

/** What each job has, and no other hash of BullMQ's. */
const OF_JOBS_ONLY = 'timestamp';
/** So many queues are asked in one round trip; of more it is asked first which may have it. */
const FEW = 20;

/**
 * The queue that has the job, or of which it was cancelled. A node of a Cluster that does not answer hides its own jobs only.
 *
 * @throws MillraceError when the job was not found and not all could be asked.
 */
export async function findQueue(
  queues: QueueSet,
  jobId: string,
): Promise<{ queue: OpenQueue; isThere: boolean } | undefined> {
  const { keys } = queues;
  const known = await queues.known();
  const keysOf = (name: string): string[] => [keys.bull(name, jobId), keys.cancelled(name, jobId)];
  const { names, failure: unasked } =
    known.length > FEW ? await holdersOf(queues.client, known, keysOf) : { names: known, failure: undefined };
  let failure = unasked;
  let trace: string | undefined;
  const batch = createBatch(queues.client);
  const asked = names.map((name) => {
    const there = isJob(batch.command('HEXISTS', keys.bull(name, jobId), OF_JOBS_ONLY));
    const cancelled = isOne(batch.command('EXISTS', keys.cancelled(name, jobId)));
    return { name, answers: Promise.allSettled([there, cancelled]) };
  });
  await batch.send();
  for (const { name, answers } of asked) {
    const [there, cancelled] = await answers;
    if (there.status === 'fulfilled' && there.value) return { queue: queues.get(name), isThere: true };
    if (cancelled.status === 'fulfilled' && cancelled.value) trace = name;
    failure ??= [there, cancelled].find((answer) => answer.status === 'rejected')?.reason;
  }
  if (trace !== undefined) return { queue: queues.get(trace), isThere: false };
  if (failure !== undefined) throw failure;
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
