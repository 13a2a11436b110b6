/**
 * Brings jobs to Redis within a deadline.
 *
 *   waits --connection is there--> sent --answer--> accepted
 *     |                             |--connection lost, silent for too long, or master demoted--> waits; then what did not arrive is sent again
 *     |                             `--refused--> its reason; withdrawn
 *     `---- at the deadline, from either ----> ENQUEUE_TIMEOUT; what was sent is withdrawn
 *
 * Nothing is handed to a client that has no connection: what waits in a client's own queue is sent once Redis is back, however long
 * after its deadline, and workers could take it before it is withdrawn. For the same reason a send that takes several steps asks,
 * right before it writes, whether there is still time.
 *
 * Whoever sends again looks first for what has arrived: as a job, or as its dead letter. Of a job that has completed and is kept no
 * more nothing is left to find: it is added a second time, unless it has an idempotencyKey.
 */
import type { Clock } from '../clock.ts';
import { formatMs } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import type { RedisClient } from '../redis/clients.ts';
import { explainRedisError } from '../redis/explain.ts';
import { isNoScript } from '../redis/script.ts';
import { createBatch } from '../redis/batch.ts';
import { loadScripts } from './bull-scripts.ts';
import { letterIdOf } from './dead-letters/letter.ts';
import { Dated, Deadlines } from '../redis/deadlines.ts';
import { deadQueueOf } from './queue-names.ts';
import type { OpenQueue, QueueSet } from './queue-set.ts';
import { Withdrawals } from './withdrawals.ts';

/** Jobs on their way. */
export interface Shipment<T> {
  /** The name of their contract, for messages. */
  readonly contract: string;
  /** The queue of all of them, or of the root of a flow. */
  readonly queue: OpenQueue;
  readonly deadlineMs: number;
  /** Sends them, but for those that have arrived; called again, it must add none that is there already. */
  send(way: Way): Promise<T>;
  /** Their ids. */
  ids(): string[];
  /** Those of them that nobody else can know of. */
  withdrawable(): string[];
  /** Whether jobs below them go with them. */
  readonly hasChildren?: boolean;
}

/** What a send is told of its way, and tells. */
export interface Way {
  /** Ids that an earlier try has brought. */
  readonly arrived: ReadonlySet<string>;
  /** To be called right before they are written, with nothing awaited in between. @throws MillraceError when it is too late for that */
  depart(): void;
}

const NONE: ReadonlySet<string> = new Set();

/** A shipment on its way, and what is known of it. One object for all of it, because there is one for each enqueue. */
class Trip<T> extends Dated implements Way {
  readonly shipment: Shipment<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
  /** Whether any of it may have arrived. */
  wasSent = false;
  arrived = NONE;
  /** What it met the last time. */
  failure: MillraceError | undefined = undefined;
  /** Set when its time is over. */
  late: MillraceError | undefined = undefined;

  constructor(atMs: number, shipment: Shipment<T>, resolve: (value: T) => void, reject: (error: unknown) => void) {
    super(atMs);
    this.shipment = shipment;
    this.resolve = resolve;
    this.reject = reject;
  }

  depart(): void {
    if (this.late) throw this.late;
    this.wasSent = true;
  }
}

const RETRY_AFTER_MS = 25;

/** What passes by itself; the same ids may be sent again after it, whether or not they had arrived. */
const PASSING: readonly string[] = ['REDIS_UNREACHABLE', 'REDIS_TIMEOUT', 'REDIS_NOT_READY', 'REDIS_CLUSTER_DOWN'];

/** Whether a master was demoted meanwhile: it has refused the jobs, and the client looks for the new one. */
function isDemoted({ code, cause }: MillraceError): boolean {
  return code === 'REDIS_WRITES_REFUSED' && cause instanceof Error && cause.message.startsWith('READONLY');
}

/** Brings jobs to Redis, for one process. */
export class Delivery {
  readonly #queues: QueueSet;
  readonly #clock: Clock;
  readonly #deadlines: Deadlines<Trip<unknown>>;
  readonly #withdrawals: Withdrawals;
  #pausing: Promise<void> | undefined;

  constructor(queues: QueueSet, clock: Clock) {
    this.#queues = queues;
    this.#clock = clock;
    this.#deadlines = new Deadlines(clock, (trip) => trip.reject(this.#tooLate(trip)));
    this.#withdrawals = new Withdrawals(queues);
  }

  /** What send() gives, once Redis has accepted the jobs. @throws MillraceError ENQUEUE_TIMEOUT, or why they were refused */
  deliver<T>(shipment: Shipment<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const atMs = this.#clock.monotonicMs() + shipment.deadlineMs;
      const trip = new Trip(atMs, shipment, resolve, reject);
      this.#deadlines.add(trip as Trip<unknown>);
      if (shipment.queue.redis.status === 'ready') this.#bringAtOnce(trip);
      else void this.#bring(trip as Trip<unknown>, undefined);
    });
  }

  /** Gives up what is still on its way to being withdrawn; enqueues that are under way end by themselves. */
  close(): void {
    this.#deadlines.close();
    this.#withdrawals.close();
  }

  /** The usual case, with as few promises as it takes. */
  #bringAtOnce<T>(trip: Trip<T>): void {
    this.#queues.register(trip.shipment.queue.name);
    trip.shipment.send(trip).then(
      (value) => this.#arrived(trip, value),
      (error: unknown) => this.#bring(trip as Trip<unknown>, { error }),
    );
  }

  #arrived<T>(trip: Trip<T>, value: T): void {
    this.#deadlines.remove(trip as Trip<unknown>);
    trip.resolve(value);
  }

  async #bring(trip: Trip<unknown>, failed: { error: unknown } | undefined): Promise<void> {
    try {
      if (failed) await this.#mustPass(failed.error, trip);
      for (;;) {
        const client = trip.shipment.queue.redis;
        await this.#pause(client);
        if (trip.late || this.#clock.monotonicMs() >= trip.atMs) throw this.#tooLate(trip);
        if (client.status !== 'ready') continue;
        try {
          this.#queues.register(trip.shipment.queue.name);
          if (trip.wasSent) trip.arrived = await this.#arrivedOf(trip.shipment);
          return trip.resolve(await trip.shipment.send(trip));
        } catch (error) {
          await this.#mustPass(error, trip);
        }
      }
    } catch (error) {
      trip.reject(error);
    } finally {
      this.#deadlines.remove(trip);
    }
  }

  /** @throws MillraceError for what does not pass by itself */
  async #mustPass(error: unknown, trip: Trip<unknown>): Promise<void> {
    if (trip.late) throw trip.late; // Its sender knows, and it was withdrawn.
    const { client, connections } = this.#queues;
    const before = trip.failure;
    trip.failure = explainRedisError(error, connections.label);
    if (PASSING.includes(trip.failure.code) || isDemoted(trip.failure)) return;
    if (isNoScript(error) && !isNoScript(before?.cause)) {
      // ioredis sends a script again that the server has forgotten, but not one in a transaction.
      try {
        return await loadScripts(client, trip.shipment.queue.key('meta'));
      } catch (cause) {
        trip.failure = explainRedisError(cause, connections.label);
        if (PASSING.includes(trip.failure.code)) return;
      }
    }
    this.#withdraw(trip.shipment); // Some of them may have been accepted before, or beside the one that was refused.
    throw trip.failure;
  }

  /** Which of the jobs are there, or have died since; a dead one goes over into its letter in one transaction. */
  async #arrivedOf(shipment: Shipment<unknown>): Promise<ReadonlySet<string>> {
    const { queue } = shipment;
    const dead = this.#queues.get(deadQueueOf(queue.name));
    const batch = createBatch(queue.redis);
    const asked = shipment.ids().map((id) => ({
      id,
      found: batch.command('EXISTS', queue.key(id), dead.key(letterIdOf(id, 0))),
    }));
    await batch.send();
    const arrived = new Set<string>();
    for (const { id, found } of asked) if (Number(await found) > 0) arrived.add(id);
    return arrived;
  }

  /** Resolves when the client has its connection, or a little later in any case; one timer for all who wait. */
  #pause(client: RedisClient): Promise<void> {
    if (client.status === 'wait') client.connect().catch(() => undefined); // How that goes, the connections tell.
    const isThere = client.status === 'ready';
    this.#pausing ??= new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        client.off('ready', done);
        this.#pausing = undefined;
        resolve();
      };
      const timer = setTimeout(done, RETRY_AFTER_MS);
      if (!isThere) client.once('ready', done);
    });
    return this.#pausing;
  }

  #withdraw(shipment: Shipment<unknown>): void {
    this.#withdrawals.add(shipment.queue, shipment.withdrawable(), shipment.hasChildren === true);
  }

  #tooLate(trip: Trip<unknown>): MillraceError {
    trip.late ??= this.#late(trip);
    return trip.late;
  }

  #late({ shipment, wasSent, failure }: Trip<unknown>): MillraceError {
    const { contract, queue, deadlineMs } = shipment;
    const { connections } = this.#queues;
    if (wasSent) this.#withdraw(shipment);
    const ids = shipment.ids();
    const cause = connections.outage() ?? failure;
    const why = cause?.message ?? `no answer from Redis at ${connections.label}`;
    return new MillraceError('ENQUEUE_TIMEOUT', `${contract} was not enqueued within ${formatMs(deadlineMs)}: ${why}`, {
      contract,
      queue: queue.name,
      ids,
      deadlineMs,
      mayBeRepeated: shipment.withdrawable().length < ids.length,
      cause,
    });
  }
}
