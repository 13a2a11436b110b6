/**
 * The schedules of a platform: declared in code, kept in Redis, run by the workers.
 *
 * Promise: of each tick there is one job, however many workers there are, or it is counted as missed; see settler.ts. Which ticks come
 * after a time without workers is for the policy of the schedule; see settle.ts. What a declaration changes, and who wins when two
 * versions of an application run at once, is for reconcile.ts.
 * Redis down: reconcile, list, get, remove and run reject with what is wrong; the ticker waits for it.
 */
import { hostname } from 'node:os';
import { z } from 'zod';
import { MillraceError } from '../../errors.ts';
import { checkOptions } from '../../schema.ts';
import type { JobContract } from '../contract.ts';
import type { JobsCore } from '../core.ts';
import { Transactions } from '../transactions.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from '../../payload.ts';
import type { Enqueued } from '../producer.ts';
import { planOf } from './definition.ts';
import { describeSchedule, listSchedules, type ScheduleInfo } from './list.ts';
import { ScheduleReconciler, type Reconciled } from './reconcile.ts';
import type { Schedule } from './schedule.ts';
import { Settler, type Settled } from './settler.ts';
import { ScheduleStore, type StoredState } from './store.ts';
import { Ticker } from './ticker.ts';

/** Who reconciles. */
export interface ReconcileOptions {
  /**
   * The application that declares. Default `default`: all workers under the prefix are one application, and must then declare the same
   * schedules, because what one of them does not declare it removes.
   */
  owner?: string | undefined;
  /** Grows with each release, such as a build number. A process with a lower one than was seen changes nothing. Default: none. */
  revision?: number | undefined;
}

/** The schedules under one prefix. */
export interface Schedules {
  /**
   * Makes Redis agree with what is declared; for the start of each worker.
   * @throws MillraceError INPUT_INVALID and OPTIONS_INVALID before anything is written; OPTIONS_INVALID for a schedule that another owner declared
   */
  reconcile(declared: readonly Schedule[], options?: ReconcileOptions): Promise<Reconciled>;
  /** All schedules under the prefix, by id. */
  list(): Promise<ScheduleInfo[]>;
  get(id: string): Promise<ScheduleInfo | undefined>;
  /** Removes it until it is declared again; jobs of its ticks stay. False when there is none. */
  remove(id: string): Promise<boolean>;
  /** Enqueues a job as its ticks do, now. @throws MillraceError JOB_UNKNOWN, ENQUEUE_TIMEOUT */
  run(id: string): Promise<Enqueued>;
}

/** What the schedules may be given beside the core. */
export interface SchedulesOptions {
  maxPayloadBytes?: number | undefined;
  /** Between two looks for new schedules. Default 5 s. */
  pollMs?: number | undefined;
  /** In the place of the server's time. For tests. */
  nowMs?: (() => Promise<number>) | undefined;
  /** Told of ticks that this process has settled. */
  onSettled?: ((settled: Settled) => void) | undefined;
  /** Default: one of its own, which it closes. */
  transactions?: Transactions | undefined;
}

const reconcileSchema = z.strictObject({
  owner: z.string().min(1).max(200).default('default'),
  revision: z.number().int().min(0).optional(),
});

/** The schedules of one process. */
export class SchedulesClient implements Schedules {
  readonly ticker: Ticker;
  readonly #core: JobsCore;
  readonly #store: ScheduleStore;
  readonly #reconciler: ScheduleReconciler;
  readonly #nowMs: () => Promise<number>;
  readonly #ownTransactions: Transactions | undefined;
  /** By owner, the ids of what this process has declared. */
  readonly #declared = new Map<string, readonly string[]>();

  constructor(core: JobsCore, options: SchedulesOptions = {}) {
    const { queues, metrics, clock, log } = core;
    const { maxPayloadBytes = DEFAULT_MAX_PAYLOAD_BYTES, pollMs, onSettled } = options;
    const store = new ScheduleStore(queues);
    const nowMs = options.nowMs ?? (() => store.nowMs());
    const transactions = options.transactions ?? new Transactions(queues);
    const settler = new Settler({ store, transactions, metrics, log, onSettled });
    this.#core = core;
    this.#store = store;
    this.#nowMs = nowMs;
    this.#ownTransactions = options.transactions ? undefined : transactions;
    this.#reconciler = new ScheduleReconciler({ store, settler, nowMs, log, maxPayloadBytes });
    this.ticker = new Ticker({ store, settler, clock, nowMs: options.nowMs, log, pollMs });
  }

  async reconcile(declared: readonly Schedule[], options: ReconcileOptions = {}): Promise<Reconciled> {
    const { owner, revision } = checkOptions(reconcileSchema, options, 'schedules');
    const by = `${hostname()}:${process.pid}`;
    const reconciled = await this.#reconciler.reconcile(declared, { owner, revision, by });
    const { added, changed, unchanged } = reconciled;
    this.#declared.set(owner, [...added, ...changed, ...unchanged]); // A newer revision's are not of this process.
    this.ticker.wake();
    return reconciled;
  }

  /** The ids of the schedules that this process has declared, and would again. */
  get declaredHere(): string[] {
    return [...this.#declared.values()].flat();
  }

  async list(): Promise<ScheduleInfo[]> {
    return listSchedules(this.#store, await this.#nowMs());
  }

  async get(id: string): Promise<ScheduleInfo | undefined> {
    const queue = await this.#store.queueOf(id);
    return queue === undefined ? undefined : describeSchedule(this.#store, id, queue, await this.#nowMs());
  }

  remove(id: string): Promise<boolean> {
    return this.#reconciler.remove(id);
  }

  async run(id: string): Promise<Enqueued> {
    const { definition } = await this.#state(id);
    const { producer } = this.#core;
    // All that is asked of the contract here is what the definition has of it.
    const contract = { name: definition.contract, queue: definition.queue } as JobContract;
    return producer.send(contract, producer.entry(contract, definition.input, planOf(definition)));
  }

  /** Settles ticks from now on, in this process. */
  start(): void {
    this.ticker.start();
  }

  /** Ends what start() began, and lets go of everything. */
  async close(): Promise<void> {
    await this.ticker.stop();
    await this.#ownTransactions?.close();
  }

  async #state(id: string): Promise<StoredState> {
    const queue = await this.#store.queueOf(id);
    const state = queue === undefined ? undefined : await this.#store.read(queue, id);
    if (state) return state;
    throw new MillraceError('JOB_UNKNOWN', `there is no schedule ${id}`, { schedule: id });
  }
}

/** The schedules of one process. Nothing is asked of Redis until a method is called, or start(). */
export function createSchedules(core: JobsCore, options?: SchedulesOptions): SchedulesClient {
  return new SchedulesClient(core, options);
}
