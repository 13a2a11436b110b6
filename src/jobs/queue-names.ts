/**
 * How queues are named, and where their keys are.
 *
 * Queues whose names agree up to the first dot are a family: they share a hash tag, so that a Cluster keeps them on one node and a
 * transaction may touch them together. A queue and its dead-letter queue are always of one family.
 */
import { createKeySpace, type KeySpace } from '../redis/keys.ts';

/** What the dead-letter queue of `email` adds to that name. */
export const DEAD_SUFFIX = '.dead';

/** The queue that takes the dead letters of a queue. */
export function deadQueueOf(queue: string): string {
  return `${queue}${DEAD_SUFFIX}`;
}

/** What the queues of one family share: the name up to the first dot. */
export function familyOf(queue: string): string {
  return queue.split('.', 1)[0] ?? queue;
}

/** The names and keys of the jobs under one prefix. */
export interface JobKeys {
  /** What BullMQ puts before a queue's name: `millrace:jobs:{email}`. */
  queuePrefix(queue: string): string;
  /** A key of BullMQ's own, of a queue: `wait`, or a job's id. For reading only. */
  bull(queue: string, suffix: string): string;
  /** SET of the names of all queues that were ever used; never expires. */
  readonly queues: string;
  /** HASH of effects that a job has had, by the key given to once(); expires. */
  once(queue: string, jobId: string): string;
  /** HASH job id -> why it shall be cancelled, for workers that hear of it late; expires. */
  cancels(queue: string): string;
  /** HASH what is left of a cancelled job; expires. */
  cancelled(queue: string, jobId: string): string;
  /** ZSET ids of the queue's cancelled jobs by when they were; expires. */
  cancelledList(queue: string): string;
  /** Channel on which workers hear of jobs to be cancelled. */
  readonly cancelChannel: string;
  /** Channel on which workers hear of jobs that are waited for. */
  readonly waitChannel: string;
  /** Channel on which those who wait hear that a job has finished. */
  readonly doneChannel: string;
  /** Any other key of ours beside a queue's. */
  ledger(queue: string, ...rest: string[]): string;
}

/** The keys of the jobs under a prefix. */
export function createJobKeys(prefix: string): JobKeys {
  const jobs = createKeySpace(prefix, 'jobs');
  const ledger: KeySpace = createKeySpace(prefix, 'ledger');
  const queuePrefix = (queue: string): string => jobs(familyOf(queue));
  return {
    queuePrefix,
    bull: (queue, suffix) => `${queuePrefix(queue)}:${queue}:${suffix}`,
    queues: ledger('queues'),
    once: (queue, jobId) => ledger(familyOf(queue), 'once', queue, jobId),
    cancels: (queue) => ledger(familyOf(queue), 'cancels', queue),
    cancelled: (queue, jobId) => ledger(familyOf(queue), 'cancelled', queue, jobId),
    cancelledList: (queue) => ledger(familyOf(queue), 'cancelled-list', queue),
    cancelChannel: `${prefix}:jobs:cancel`,
    waitChannel: `${prefix}:jobs:wait`,
    doneChannel: `${prefix}:jobs:done`,
    ledger: (queue, ...rest) => ledger(familyOf(queue), ...rest),
  };
}
