/** What the tests of dead letters work with: queues of their own, and jobs that BullMQ itself has failed. */
import { randomUUID } from 'node:crypto';
import { Worker, type JobsOptions } from 'bullmq';
import { formatAttempt, type AttemptRecord } from '../../../src/jobs/attempt-record.ts';
import {
  createDeadLetters,
  type DeadLetters,
  type DeadLettersOptions,
} from '../../../src/jobs/dead-letters/dead-letters.ts';
import { Mover, type MoverOptions } from '../../../src/jobs/dead-letters/mover.ts';
import { Transactions, type Step } from '../../../src/jobs/transactions.ts';
import { deadQueueOf } from '../../../src/jobs/queue-names.ts';
import { QueueSet } from '../../../src/jobs/queue-set.ts';
import type { RedisOptions } from '../../../src/redis/address.ts';
import { createConnections, type Connections } from '../../../src/redis/connect.ts';

/** A job that shall fail. */
export interface Doomed {
  id: string;
  queue?: string;
  name?: string;
  data?: unknown;
  opts?: JobsOptions & Record<string, unknown>;
  error?: Error;
  /** What our worker would have written of the attempt. */
  record?: Partial<AttemptRecord>;
}

/** Where the jobs of a test are. */
export interface States {
  failed: string[];
  waiting: string[];
  /** The newest first. */
  dead: string[];
}

export interface GravesOptions {
  prefix?: string;
  onStep?: (step: Step) => void | Promise<void>;
  onMoved?: MoverOptions['onMoved'];
  lettersAgeMs?: MoverOptions['lettersAgeMs'];
  letters?: DeadLettersOptions;
}

/** Everything about dead letters on one Redis. */
export class Graves {
  readonly prefix: string;
  readonly connections: Connections;
  readonly queues: QueueSet;
  readonly transactions: Transactions;
  readonly mover: Mover;
  readonly letters: DeadLetters;
  readonly #workers = new Map<string, Worker>();

  constructor(redis: RedisOptions, options: GravesOptions = {}) {
    this.prefix = options.prefix ?? `t${randomUUID().slice(0, 8)}`;
    this.connections = createConnections({ ...redis, commandTimeout: 3_000 });
    this.queues = new QueueSet(this.connections, this.prefix);
    this.transactions = new Transactions(this.queues, { onStep: options.onStep });
    const { queues, transactions } = this;
    this.mover = new Mover({ queues, transactions, onMoved: options.onMoved, lettersAgeMs: options.lettersAgeMs });
    this.letters = createDeadLetters(this.queues, { transactions: this.transactions, ...options.letters });
  }

  /** Adds a job and lets BullMQ fail it for good. */
  async fail({
    id,
    queue = 'mail',
    name = 'mail.send',
    data = { id },
    opts = {},
    error,
    record,
  }: Doomed): Promise<void> {
    this.queues.register(queue);
    await this.queues.get(queue).queue.add(name, data, { attempts: 1, ...opts, jobId: id });
    await this.failNext(queue, error ?? new Error(`job ${id} is broken`), record);
  }

  /** Lets BullMQ fail the next job of the queue. */
  async failNext(queue: string, error: Error, record?: Partial<AttemptRecord>): Promise<void> {
    const job = await this.worker(queue).getNextJob('token', { block: false });
    if (!job) throw new Error(`no job waits in ${queue}`);
    if (record) {
      const described = { name: error.name, message: error.message, stack: error.stack ?? '' };
      error.stack = formatAttempt({ attempt: 1, outcome: 'failed', error: described, log: [], ...record });
    }
    await job.moveToFailed(error, 'token');
  }

  /** Takes and completes the next job of the queue; its id. */
  async completeNext(queue: string): Promise<string | undefined> {
    const job = await this.worker(queue).getNextJob('token', { block: false });
    await job?.moveToCompleted('done', 'token', false);
    return job?.id;
  }

  /** A worker of BullMQ's that does nothing by itself. */
  worker(queue: string): Worker {
    const known = this.#workers.get(queue);
    if (known) return known;
    const worker = new Worker(queue, null, {
      connection: this.connections.queue(),
      prefix: this.queues.keys.queuePrefix(queue),
      autorun: false,
      skipStalledCheck: true,
    });
    worker.on('error', () => undefined);
    this.#workers.set(queue, worker);
    return worker;
  }

  async states(queue = 'mail'): Promise<States> {
    const [origin, dead] = [this.queues.get(queue), this.queues.get(deadQueueOf(queue))];
    const { client } = this.queues;
    const [failed, waiting, prioritized, letters] = await Promise.all([
      client.zrange(origin.key('failed'), '0', '-1'),
      client.lrange(origin.key('wait'), 0, -1),
      client.zrange(origin.key('prioritized'), '0', '-1'),
      client.lrange(dead.key('wait'), 0, -1),
    ]);
    return { failed, waiting: [...waiting, ...prioritized], dead: letters.toReversed() };
  }

  async close(): Promise<void> {
    await this.letters.close();
    await this.mover.idle();
    await this.transactions.close();
    for (const worker of this.#workers.values()) await worker.close();
    await this.queues.close();
    await this.connections.close();
  }
}
