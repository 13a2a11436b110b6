/**
 * Waits for the end of a job.
 *
 * The worker tells on a channel when a job has finished that was enqueued to be waited for; besides, its state is asked for every
 * second, so that a message which was lost delays the answer and loses nothing. The worker keeps its result beside the job for a minute,
 * because the job's own record may be gone as soon as others of its queue have completed.
 *
 * Redis down: goes on waiting until the deadline, because the job does too; then WAIT_TIMEOUT with the reason as its cause.
 */
import { withDeadline } from '../clock.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import { formatMs } from '../durations.ts';
import { explainRedisError } from '../redis/explain.ts';
import type { Logger } from '../log.ts';
import type { RedisClient } from '../redis/clients.ts';
import type { Channel } from './channel.ts';
import type { JobsCore } from './core.ts';
import { createBatch } from '../redis/batch.ts';
import { letterIdOf, LIVES_KEPT } from './dead-letters/letter.ts';
import { deadQueueOf, type JobKeys } from './queue-names.ts';
import type { OpenQueue } from './queue-set.ts';

const ASK_EVERY_MS = 1_000;
const LEAST_ASK_MS = 250;

/** What Redis may say during an outage, after which it is asked again. */
const PASSING: readonly string[] = ['REDIS_UNREACHABLE', 'REDIS_TIMEOUT', 'REDIS_NOT_READY', 'REDIS_CLUSTER_DOWN'];

/** How long the result of a job that somebody waits for is kept, whatever becomes of its record. */
const AWAITED_FOR_MS = 60_000;

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

/** What isFinished of BullMQ answers with. */
const MISSING = -1;
const UNFINISHED = 0;
const COMPLETED = 1;

/** What the job's handler returned. @throws MillraceError JOB_FAILED, JOB_CANCELLED, JOB_UNKNOWN, WAIT_TIMEOUT */
export async function waitForJob(
  core: JobsCore,
  channel: Channel,
  queue: OpenQueue,
  jobId: string,
  deadlineMs: number,
): Promise<unknown> {
  const { clock } = core;
  const until = clock.monotonicMs() + deadlineMs;
  let isTold = false;
  let pause = new AbortController();
  let trouble: MillraceError | undefined;
  const unlisten = channel.listen(({ queue: of, id }) => {
    if (id !== jobId || of !== queue.name) return;
    isTold = true;
    pause.abort();
  });
  try {
    for (;;) {
      pause = new AbortController();
      try {
        const outcome = await inTime(ask(core, queue, jobId), until - clock.monotonicMs());
        if (outcome) return outcome.result;
        trouble = undefined;
      } catch (error) {
        if (!isMillraceError(error) || !PASSING.includes(error.code)) throw error;
        trouble = error;
      }
      const leftMs = until - clock.monotonicMs();
      if (leftMs <= 0) throw late(queue.name, jobId, deadlineMs, trouble);
      // Told, and yet not finished: the question was on its way when the message came.
      if (!isTold) await clock.sleep(Math.min(leftMs, ASK_EVERY_MS), { signal: pause.signal }).catch(() => undefined);
      isTold = false;
    }
  } finally {
    unlisten();
  }
}

/** Even a wait of no time asks once. */
function inTime<T>(asked: Promise<T>, leftMs: number): Promise<T> {
  const withinMs = Math.max(leftMs, LEAST_ASK_MS);
  return withDeadline(asked, withinMs, () => new MillraceError('REDIS_TIMEOUT', 'no answer from Redis meanwhile'));
}

async function ask(core: JobsCore, queue: OpenQueue, jobId: string): Promise<{ result: unknown } | undefined> {
  let answer: unknown;
  try {
    answer = await queue.backend.isFinished(jobId, true);
  } catch (error) {
    throw explainRedisError(error, core.connections.label);
  }
  const [status, value] = answer as [number, string | undefined];
  if (status === UNFINISHED) return undefined;
  if (status === COMPLETED) return read(value);
  if (status === MISSING) {
    try {
      return await gone(core, queue, jobId);
    } catch (error) {
      throw explainRedisError(error, core.connections.label);
    }
  }
  throw failed(queue.name, jobId, value ?? 'no reason known');
}

function read(value: string | undefined): { result: unknown } {
  return { result: value === undefined || value === '' ? undefined : (JSON.parse(value) as unknown) };
}

/** A job that is no longer there was cancelled, moved to the dead letters, or finished and removed. */
async function gone({ queues }: JobsCore, { name }: OpenQueue, jobId: string): Promise<{ result: unknown }> {
  const batch = createBatch(queues.client);
  const dead = queues.get(deadQueueOf(name));
  const asked = [
    batch.command('HGET', queues.keys.cancelled(name, jobId), 'failedReason'),
    batch.command('GET', resultKeyOf(queues.keys, name, jobId)),
  ];
  // Which of its lives was the last one is not known any more: an earlier letter went when the job was redriven.
  for (let life = 0; life <= LIVES_KEPT; life++) {
    asked.push(batch.command('HGET', dead.key(letterIdOf(jobId, life)), 'data'));
  }
  await batch.send();
  const [reason, result, ...letters] = (await Promise.all(asked)) as Array<string | null>;
  if (typeof reason === 'string') {
    throw new MillraceError('JOB_CANCELLED', `job ${jobId} was cancelled: ${reason}`, { jobId, reason });
  }
  // Before the result, which may be that of a worker who had lost the job.
  const letter = letters.findLast((data) => typeof data === 'string');
  const said = letter ? (JSON.parse(letter) as { error?: { message?: string } }).error?.message : undefined;
  if (said !== undefined) throw failed(name, jobId, said);
  if (typeof result === 'string') return read(result);
  const message = `job ${jobId} of queue ${name} is no longer there: it has ended, and how is not known any more`;
  throw new MillraceError('JOB_UNKNOWN', message, { jobId, queue: name });
}

function failed(queue: string, jobId: string, reason: string): MillraceError {
  return new MillraceError('JOB_FAILED', `job ${jobId} of queue ${queue} failed: ${reason}`, { jobId, queue, reason });
}

function late(queue: string, jobId: string, deadlineMs: number, cause: MillraceError | undefined): MillraceError {
  const message = `job ${jobId} of queue ${queue} did not finish within ${formatMs(deadlineMs)}; it goes on`;
  return new MillraceError('WAIT_TIMEOUT', message, { jobId, queue, deadlineMs, cause });
}
