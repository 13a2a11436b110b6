/** Finds a job by its id alone: ids are unique in all queues, but BullMQ keeps jobs by queue. */
import { createBatch } from '../redis/batch.ts';
import type { OpenQueue, QueueSet } from './queue-set.ts';

/** The queue that has the job, or of which it was cancelled. */
export async function findQueue(
  queues: QueueSet,
  jobId: string,
): Promise<{ queue: OpenQueue; isThere: boolean } | undefined> {
  const names = await queues.known();
  const batch = createBatch(queues.client);
  const asked = names.map((name) => {
    const queue = queues.get(name);
    const there = batch.command('EXISTS', queue.key(jobId));
    const cancelled = batch.command('EXISTS', queues.keys.cancelled(name, jobId));
    return { queue, there, cancelled };
  });
  await batch.send();
  let trace: OpenQueue | undefined;
  for (const { queue, there, cancelled } of asked) {
    if ((await there) === 1) return { queue, isThere: true };
    if ((await cancelled) === 1) trace = queue;
  }
  return trace && { queue: trace, isThere: false };
}
