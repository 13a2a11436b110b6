/**
 * Cancels a job, whatever state it is in and whichever process runs it.
 *
 *   waits ----------> removed, in a transaction that comes to nothing if a worker takes it meanwhile
 *   runs -----------> marked, told on the channel until its worker has let go, or the deadline is over
 *   is a child -----> marked too, and let go by the worker that takes it, so that its parent hears of it as of a child that failed
 *   has finished ---> left as it is
 *
 * A cancelled job is neither failed nor a dead letter; for a day it is told of it that it was cancelled, and why.
 */
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { explainRedisError } from '../redis/explain.ts';
import { checkOptions, durationOption } from '../schema.ts';
import type { Channel } from './channel.ts';
import type { JobsCore } from './core.ts';
import { findQueue } from './find-job.ts';
import { removeJob } from './job-commands.ts';
import type { OpenQueue } from './queue-set.ts';
import { addScript, type Transaction, type Transactions } from './transactions.ts';
import { CANCELLED_TTL_MS, recordOf, traceOf } from './worker/cancellations.ts';

/** What an order to cancel may say. */
export interface CancelOptions {
  /** Why; the handler's signal carries it. */
  reason?: string | undefined;
  /** How long to wait for the worker that runs the job. Default `10s`. */
  deadline?: Duration | undefined;
}

/**
 * What became of it. `cancelled`: it does not run, and will not. `requested`: it still ran at the deadline; its worker will be told again.
 * `finished`: it had completed or failed. `unknown`: there is no such job.
 */
export type CancelStatus = 'cancelled' | 'requested' | 'finished' | 'unknown';

const ASK_EVERY_MS = 50;
const TELL_EVERY_MS = 500;
const DEFAULT_DEADLINE_MS = 10_000;
/** What BullMQ's script answers about a job that is not delayed. */
const NOT_DELAYED = -3;
/** The states of a job that no worker has. */
const WAITING: ReadonlySet<string> = new Set(['waiting', 'delayed', 'prioritized', 'waiting-children']);

const optionsSchema = z.strictObject({
  reason: z.string().min(1).max(1_000).default('no reason given'),
  deadline: durationOption.default(DEFAULT_DEADLINE_MS),
});

/** How often a job is looked at again that was touched between the look and the removal. */
const TRIES = 5;

/** What a cancellation works with. */
export interface CancelParts {
  core: JobsCore;
  channel: Channel;
  /** Where those hear of it who wait for the job. */
  doneChannel: Channel;
  transactions: Transactions;
}

/** Cancels the job. @throws MillraceError when Redis cannot be asked */
export async function cancelJob(
  parts: CancelParts,
  jobId: string,
  options: CancelOptions = {},
): Promise<{ status: CancelStatus }> {
  const { core } = parts;
  const { reason, deadline } = checkOptions(optionsSchema, options, 'cancel');
  const found = await findQueue(core.queues, jobId);
  if (!found) return { status: 'unknown' };
  if (!found.isThere) return { status: 'cancelled' };
  try {
    return { status: await new Cancel(parts, found.queue, jobId, reason).within(deadline) };
  } catch (error) {
    throw explainRedisError(error, core.connections.label);
  }
}

class Cancel {
  readonly #core: JobsCore;
  readonly #channel: Channel;
  readonly #doneChannel: Channel;
  readonly #transactions: Transactions;
  readonly #queue: OpenQueue;
  readonly #jobId: string;
  readonly #reason: string;

  constructor(
    { core, channel, doneChannel, transactions }: CancelParts,
    queue: OpenQueue,
    jobId: string,
    reason: string,
  ) {
    this.#core = core;
    this.#channel = channel;
    this.#doneChannel = doneChannel;
    this.#transactions = transactions;
    this.#queue = queue;
    this.#jobId = jobId;
    this.#reason = reason;
  }

  async within(deadlineMs: number): Promise<CancelStatus> {
    const { clock, queues } = this.#core;
    const until = clock.monotonicMs() + deadlineMs;
    let tellAtMs = Number.NEGATIVE_INFINITY;
    for (;;) {
      const outcome = await this.#try();
      if (outcome) {
        const wasTold = tellAtMs > Number.NEGATIVE_INFINITY;
        if (wasTold) await queues.client.hdel(queues.keys.cancels(this.#queue.name), this.#jobId);
        return outcome;
      }
      if (clock.monotonicMs() >= tellAtMs) {
        await this.#tell();
        tellAtMs = clock.monotonicMs() + TELL_EVERY_MS;
      }
      if (clock.monotonicMs() >= until) return 'requested';
      await clock.sleep(ASK_EVERY_MS);
    }
  }

  /** What became of it; undefined while a worker has to let it go. */
  async #try(): Promise<CancelStatus | undefined> {
    const state = await this.#queue.backend.getState(this.#jobId);
    if (state === 'unknown') return (await this.#hasTrace()) ? 'cancelled' : 'finished';
    if (state === 'completed' || state === 'failed') return 'finished';
    if (state === 'active') return undefined;
    const job = await this.#queue.queue.getJob(this.#jobId);
    if (!job) return undefined;
    if (!job.parent) return this.#remove();
    if (state === 'delayed') await this.#promote();
    return undefined;
  }

  /** A child is let go by the worker that takes it, which shall be soon. */
  async #promote(): Promise<void> {
    await this.#mark();
    try {
      await this.#queue.backend.promote(this.#jobId);
    } catch (error) {
      if ((error as { code?: unknown }).code !== NOT_DELAYED) throw error; // Else it has left the delayed ones by itself.
    }
  }

  /** Undefined when it does not wait any more, or is touched again and again. */
  async #remove(): Promise<'cancelled' | undefined> {
    for (let tried = 0; tried < TRIES; tried++) {
      const outcome = await this.#transactions.run(this.#queue.name, (transaction) => this.#tryToRemove(transaction));
      if (outcome === 'cancelled') await this.#doneChannel.tell({ queue: this.#queue.name, id: this.#jobId });
      if (outcome !== 'touched') return outcome;
    }
    return undefined;
  }

  /** A job that was taken, or has ended, has changed: nothing happens then. */
  async #tryToRemove(transaction: Transaction): Promise<'cancelled' | 'touched' | undefined> {
    const { queues, clock } = this.#core;
    const { name, queue } = this.#queue;
    await transaction.watch(this.#queue.key(this.#jobId), this.#queue.key(`${this.#jobId}:lock`));
    const backend = transaction.backend(name);
    const state = await backend.getState(this.#jobId);
    const job = WAITING.has(state) ? await queue.getJob(this.#jobId) : undefined;
    if (!job) return undefined;
    const trace = traceOf(queues.keys, recordOf(name, job, this.#reason, clock.wallMs()));
    const replies = await transaction.commit(async (commands) => {
      removeJob(commands, backend, this.#jobId);
      addScript(transaction.client, commands, trace);
    });
    if (!replies) return 'touched';
    if (Number(replies[0]) === 1) return 'cancelled';
    // BullMQ keeps the job that stands for the next run of a schedule of its own.
    await queues.client.del(queues.keys.cancelled(name, this.#jobId));
    return undefined;
  }

  /** For a worker that hears no message, or dies of the job: the next attempt reads it. */
  async #mark(): Promise<void> {
    const { keys, client } = this.#core.queues;
    const marks = keys.cancels(this.#queue.name);
    await client.multi().hset(marks, this.#jobId, this.#reason).pexpire(marks, CANCELLED_TTL_MS).exec();
  }

  async #tell(): Promise<void> {
    await this.#mark();
    await this.#channel.tell({ queue: this.#queue.name, id: this.#jobId, reason: this.#reason });
  }

  async #hasTrace(): Promise<boolean> {
    const { keys, client } = this.#core.queues;
    return (await client.exists(keys.cancelled(this.#queue.name, this.#jobId))) === 1;
  }
}
