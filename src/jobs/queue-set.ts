/**
 * The BullMQ queues of one process: one Queue object a queue, all on one client, opened on first use.
 *
 * Two clients can carry them. Producers and everything that somebody waits for go over `commands`, which has a deadline and sends
 * nothing twice; BullMQ's workers need `queue`, which waits as long as it takes.
 */
import { Queue, type IRedisClient, type RedisQueueBackend, type Telemetry } from 'bullmq';
import { systemClock, type Clock } from '../clock.ts';
import { silentLogger, type Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import type { RedisClient } from '../redis/clients.ts';
import { explainRedisError } from '../redis/explain.ts';
import { createJobKeys, type JobKeys } from './queue-names.ts';

/** A queue of BullMQ, and what of it is worth a name. */
export interface OpenQueue {
  readonly name: string;
  readonly queue: Queue;
  /** BullMQ's scripts for this queue. */
  readonly backend: RedisQueueBackend;
  /** Our client, which it is on. */
  readonly redis: RedisClient;
  /** BullMQ's view of our client, once it has made it: a moment after the queue was opened. */
  readonly client: IRedisClient | undefined;
  /** A key of BullMQ's: `wait`, or a job's id. For reading only. */
  key(suffix: string): string;
}

/** What the queues may be given. */
export interface QueueSetOptions {
  clock?: Clock | undefined;
  /** Of BullMQ's kind. */
  telemetry?: object | undefined;
}

/** The queues of one process. */
export class QueueSet {
  readonly keys: JobKeys;
  readonly connections: Connections;
  readonly log: Logger;
  readonly #open = new Map<string, OpenQueue>();
  readonly #registered = new Map<string, number>();
  readonly #clock: Clock;
  readonly #telemetry: object | undefined;
  #listensTo: RedisClient | undefined;

  constructor(
    connections: Connections,
    prefix: string,
    log: Logger = silentLogger,
    { clock = systemClock, telemetry }: QueueSetOptions = {},
  ) {
    this.#clock = clock;
    this.#telemetry = telemetry;
    this.connections = connections;
    this.keys = createJobKeys(prefix);
    this.log = log;
  }

  /** The client that the queues are on. */
  get client(): RedisClient {
    return this.connections.commands();
  }

  /** The queue, for adding to it and looking at it. Asks Redis nothing. */
  get(name: string): OpenQueue {
    const open = this.#open.get(name);
    if (open) return open;
    const opened = openQueue(name, this.keys, this.client, this.log, this.#telemetry);
    this.#open.set(name, opened);
    return opened;
  }

  /** Makes the queue one of the known: once a minute, and after a new connection, because a server may have lost its data. */
  register(name: string): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - (this.#registered.get(name) ?? Number.NEGATIVE_INFINITY) < REGISTER_EVERY_MS) return;
    if (this.#listensTo !== this.client) {
      this.#listensTo = this.client;
      this.#listensTo.on('close', this.#forget);
    }
    this.#registered.set(name, nowMs);
    this.client.sadd(this.keys.queues, name).catch((error: unknown) => {
      this.#registered.delete(name); // The next enqueue tries again; until then the dashboard may miss the queue.
      this.log.debug({ queue: name, err: explainRedisError(error, this.connections.label) }, 'queue not registered');
    });
  }

  /** The names of all queues that were ever used under this prefix, dead-letter queues left out. */
  async known(): Promise<string[]> {
    try {
      return (await this.client.smembers(this.keys.queues)).toSorted();
    } catch (error) {
      throw explainRedisError(error, this.connections.label);
    }
  }

  /** Lets go of the queues; the client stays open. */
  async close(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    this.#listensTo?.off('close', this.#forget);
    this.#listensTo = undefined;
    await Promise.all(open.map(({ queue }) => queue.close()));
  }

  readonly #forget = (): void => this.#registered.clear();
}

const REGISTER_EVERY_MS = 60_000;

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

/** A queue of BullMQ on a client of ours. It asks nothing of Redis by itself, so that it can be made while Redis is down. */
export function openQueue(
  name: string,
  keys: JobKeys,
  client: RedisClient,
  log: Logger,
  telemetry?: object,
): OpenQueue {
  const queue = new Queue(name, {
    connection: client,
    prefix: keys.queuePrefix(name),
    skipWaitingForReady: true,
    skipVersionCheck: true,
    skipMetasUpdate: true,
    ...(telemetry && { telemetry: telemetry as Telemetry }),
  });
  queue.on('error', (error) => log.debug({ queue: name, err: error }, 'queue'));
  const backend = queue.getBackend();
  const open: Mutable<OpenQueue> = {
    name,
    queue,
    backend,
    redis: client,
    client: undefined,
    key: (suffix) => keys.bull(name, suffix),
  };
  backend.client.then(
    (ready) => (open.client = ready),
    (error: unknown) => log.debug({ queue: name, err: error }, 'queue'),
  );
  return open;
}
