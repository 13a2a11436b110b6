/** Adding and removing jobs within a transaction, by BullMQ's own scripts. */
import type { JobJson, RedisQueueBackend } from 'bullmq';
import type { StoredOptions } from './enqueue-options.ts';
import type { Commands, Transaction } from './transactions.ts';

/** The parent that waits for a job. */
export interface Parent {
  key: string;
  id: string;
  /** Its queue, with BullMQ's prefix. */
  queueKey: string;
}

/** A job to be added. */
export interface NewJob {
  id: string;
  name: string;
  /** JSON. */
  data: string;
  timestamp: number;
  opts?: StoredOptions | undefined;
  parent?: Parent | undefined;
}

/** Adds the command; its reply is the id. */
export async function addJob(commands: Commands, backend: RedisQueueBackend, job: NewJob): Promise<void> {
  const { id, name, data, timestamp, opts = {}, parent } = job;
  const json = {
    name,
    data,
    opts,
    timestamp,
    ...(opts.deduplication && { deduplicationId: opts.deduplication.id }),
    ...(parent && { parentKey: parent.key, parent: { id: parent.id, queueKey: parent.queueKey } }),
  };
  const placing = parent && { parentKey: parent.key, parentDependenciesKey: `${parent.key}:dependencies` };
  await backend.addJobToTransaction(commands, json as unknown as JobJson, id, placing ?? {});
}

/** Adds the command; its reply is 1, or 0 for a job that is locked. Its children stay. */
export function removeJob(commands: Commands, backend: RedisQueueBackend, id: string): void {
  const { removeArgs } = backend as unknown as { removeArgs: (id: string, withChildren: boolean) => unknown[] };
  backend.execCommand(commands, 'removeJob', removeArgs.call(backend, id, false));
}

/** The parent that waits for the job with that key, which is watched from now on; undefined if none waits. */
export async function waitingParentOf(
  transaction: Transaction,
  { parentKey, parent }: JobJson,
  jobKey: string,
): Promise<Parent | undefined> {
  const id = parent?.id;
  if (parentKey === undefined || parent === undefined || id === undefined) return undefined;
  const dependencies = `${parentKey}:dependencies`;
  await transaction.watch(parentKey, dependencies);
  const [isWaiting, isThere] = await Promise.all([
    transaction.client.sismember(dependencies, jobKey),
    transaction.client.exists(parentKey),
  ]);
  return isWaiting === 1 && isThere === 1 ? { key: parentKey, id, queueKey: parent.queueKey } : undefined;
}
