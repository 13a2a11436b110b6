/** The parent and the children of a job in a flow, as BullMQ keeps them. */
import type { Platform } from 'millrace';

/** Who belongs to a job. */
export interface Family {
  parent: string | undefined;
  /** Those that are not done, then those that are; the first of each. */
  children: ReadonlyArray<{ id: string; state: string }>;
}

const MOST_CHILDREN = 50;

/** Asks Redis about the family of a job that is in a queue. */
export async function familyOf({ jobs }: Platform, queue: string, id: string): Promise<Family> {
  const job = await jobs.bullmq(queue).queue.getJob(id);
  if (!job) return { parent: undefined, children: [] };
  const count = { count: MOST_CHILDREN };
  const {
    processed = {},
    unprocessed = [],
    failed = [],
  } = await job.getDependencies({
    processed: count,
    unprocessed: count,
    failed: count,
  });
  const children = [
    ...unprocessed.map((key) => ({ id: idOf(key), state: 'open' })),
    ...failed.map((key) => ({ id: idOf(key), state: 'failed' })),
    ...Object.keys(processed).map((key) => ({ id: idOf(key), state: 'completed' })),
  ];
  return { parent: job.parent?.id, children };
}

/** Keys of jobs end in their ids, which have no colon. */
function idOf(key: string): string {
  return key.slice(key.lastIndexOf(':') + 1);
}
