/**
 * What became of a job, as it stands in Redis: in its record, in its trace if it was cancelled, in its dead letter, or in the result that
 * its worker keeps for a minute for those who wait, because the record may be gone as soon as others of its queue have completed.
 */
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { createBatch } from '../redis/batch.ts';
import type { RedisClient } from '../redis/clients.ts';
import { explainRedisError } from '../redis/explain.ts';
import { holdersOf } from '../redis/holders.ts';
import type { JobsCore } from './core.ts';
import { letterIdOf, LIVES_KEPT } from './dead-letters/letter.ts';
import { findQueue } from './find-job.ts';
import { deadQueueOf, type JobKeys } from './queue-names.ts';
import type { OpenQueue, QueueSet } from './queue-set.ts';

/** What the handler returned, as JSON; undefined or empty for nothing. */
export interface Returned {
  readonly json: string | undefined;
}

/** How long the result of a job that somebody waits for is kept, whatever becomes of its record. */
const AWAITED_FOR_MS = 60_000;
/** What isFinished of BullMQ answers with. */
const MISSING = -1;
const UNFINISHED = 0;
const COMPLETED = 1;
/** A job that was missed may have been on its way from the dead letters back to its queue, or to another one. */
const LOOKS = 2;

/** STRING the result as JSON; expires. */
function resultKeyOf(keys: JobKeys, queue: string, jobId: string): string {
  return keys.ledger(queue, 'result', jobId);
}

/** Keeps what the handler has returned. Before BullMQ is told of it: from then on the record may be gone at any time. */
export async function keepResult(
  { client, keys, log }: { client: RedisClient; keys: JobKeys; log: Logger },
  queue: string,
  jobId: string,
  result: unknown,
): Promise<void> {
  try {
    const json = JSON.stringify(result) ?? 'null';
    await client.set(resultKeyOf(keys, queue, jobId), json, 'PX', AWAITED_FOR_MS);
  } catch (error) {
    log.debug({ queue, jobId, err: error }, 'result not kept'); // It is in the record, as long as that is there.
  }
}

/** What the handler returned; undefined while the job has not ended. @throws MillraceError JOB_FAILED, JOB_CANCELLED, JOB_UNKNOWN; what is wrong with Redis */
export async function outcomeOf(core: JobsCore, queue: OpenQueue, jobId: string): Promise<Returned | undefined> {
  const { queues, connections } = core;
  try {
    for (let look = 0; look < LOOKS; look++) {
      const [status, value] = (await queue.backend.isFinished(jobId, true)) as unknown as [number, string | undefined];
      if (status === UNFINISHED) return undefined;
      if (status === COMPLETED) return { json: value };
      if (status !== MISSING) throw failed(queue.name, jobId, value ?? 'no reason known');
      const kept = await leftOf(queues, queue, jobId);
      if (kept) return kept;
    }
  } catch (error) {
    throw explainRedisError(error, connections.label);
  }
  const message = `job ${jobId} of queue ${queue.name} is no longer there: it has ended, and how is not known any more`;
  throw new MillraceError('JOB_UNKNOWN', message, { jobId, queue: queue.name });
}

/** The queue that has the job, or has had it. @throws MillraceError JOB_UNKNOWN when nothing is left of it */
export async function queueOf({ queues }: JobsCore, jobId: string): Promise<OpenQueue> {
  for (let look = 0; look < LOOKS; look++) {
    const queue = (await findQueue(queues, jobId))?.queue ?? (await queueThatHad(queues, jobId));
    if (queue) return queue;
  }
  const message = `there is no job ${jobId}: none of that id was enqueued, or it has ended and is kept no longer`;
  throw new MillraceError('JOB_UNKNOWN', message, { jobId });
}

/** The queue where the job died, or that keeps its result. */
async function queueThatHad(queues: QueueSet, jobId: string): Promise<OpenQueue | undefined> {
  const { keys, client } = queues;
  const { names, failure } = await holdersOf(client, await queues.known(), (name) => [
    resultKeyOf(keys, name, jobId),
    ...letterKeys(keys, name, jobId),
  ]);
  if (names[0] !== undefined) return queues.get(names[0]);
  if (failure !== undefined) throw failure;
  return undefined;
}

/** What is left of a job that has no record any more; undefined for nothing. */
async function leftOf({ keys, client }: QueueSet, { name }: OpenQueue, jobId: string): Promise<Returned | undefined> {
  const batch = createBatch(client);
  const asked = [
    batch.command('HGET', keys.cancelled(name, jobId), 'failedReason'),
    batch.command('GET', resultKeyOf(keys, name, jobId)),
    ...letterKeys(keys, name, jobId).map((key) => batch.command('HGET', key, 'data')),
  ];
  await batch.send();
  const [reason, json, ...letters] = (await Promise.all(asked)) as Array<string | null>;
  if (typeof reason === 'string') {
    throw new MillraceError('JOB_CANCELLED', `job ${jobId} was cancelled: ${reason}`, { jobId, reason });
  }
  // Before the result, which may be that of a worker who had lost the job.
  const letter = letters.findLast((data) => typeof data === 'string');
  const said = letter ? (JSON.parse(letter) as { error?: { message?: string } }).error?.message : undefined;
  if (said !== undefined) throw failed(name, jobId, said);
  return typeof json === 'string' ? { json } : undefined;
}

/** Where its dead letter may be. Which of its lives was the last one is not known: an earlier letter went when the job was redriven. */
function letterKeys(keys: JobKeys, queue: string, jobId: string): string[] {
  const dead = deadQueueOf(queue);
  return Array.from({ length: LIVES_KEPT + 1 }, (_, life) => keys.bull(dead, letterIdOf(jobId, life)));
}

function failed(queue: string, jobId: string, reason: string): MillraceError {
  return new MillraceError('JOB_FAILED', `job ${jobId} of queue ${queue} failed: ${reason}`, { jobId, queue, reason });
}
