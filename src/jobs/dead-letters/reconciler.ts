/**
 * Finishes what was left undone: moves jobs that still lie in `failed`, and drops letters that are over their limits.
 *
 * A job is left there when its worker died between BullMQ's write and ours, or when Redis was away. Several processes may do this at
 * once; that they never do it twice is for the mover's transactions. Each round does a bounded part of what it finds. Redis down:
 * the round is logged and the next one tries again.
 */
import { systemClock, type Clock } from '../../clock.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { familyOf } from '../queue-names.ts';
import type { QueueSet } from '../queue-set.ts';
import type { MoveOutcome, Mover } from './mover.ts';
import { Redriver } from './redriver.ts';
import { Retention, type RetentionLimits, type RetentionWarning } from './retention.ts';
import { Shelf } from './shelf.ts';
import type { Transactions } from '../transactions.ts';

/** What a reconciler is made of. */
export interface ReconcilerOptions {
  queues: QueueSet;
  mover: Mover;
  transactions: Transactions;
  /** Queues that it looks after besides the known ones. */
  queueNames?: readonly string[] | undefined;
  /** Between two rounds, give or take a fifth. Default 15 s. */
  everyMs?: number | undefined;
  /** A job that failed more recently is being moved by its worker. Default 5 s. */
  afterMs?: number | undefined;
  /** Default 30 days and 100 000 letters for each queue. */
  retention?: Partial<RetentionLimits> | undefined;
  onWarning?: ((warning: RetentionWarning) => void) | undefined;
  onDropped?: ((queue: string, count: number, limit: 'age' | 'count') => void) | undefined;
  /** Called for a job in `failed` that was cancelled and is no dead letter: its end was left undone. */
  onCancelled?: ((queue: string, jobId: string) => Promise<void>) | undefined;
  clock?: Clock | undefined;
  /** For the jitter, 0 to 1. */
  random?: (() => number) | undefined;
}

/** What a round has found. */
export interface Round {
  /** By what became of them. */
  outcomes: Record<MoveOutcome, number>;
  /** Queues that could not be looked after. */
  failed: string[];
}

const DEFAULT_LIMITS: RetentionLimits = { ageMs: 30 * 86_400_000, count: 100_000 };
const PAGE = 100;
/** Of one queue in one round. */
const MOST_JOBS = 2_000;
const JITTER = 0.2;

/** Looks after failed jobs and dead letters, again and again. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;
  readonly #retention: Retention;
  #stopping: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: ReconcilerOptions) {
    const { queues, transactions, clock = systemClock, retention, onWarning, onDropped } = options;
    this.#options = options;
    this.#clock = clock;
    this.#retention = new Retention({
      queues,
      shelf: new Shelf(queues),
      redriver: new Redriver(queues, transactions, clock),
      limits: { ...DEFAULT_LIMITS, ...retention },
      clock,
      onWarning,
      onDropped,
    });
  }

  /** Begins; the first round comes after a part of the interval, so that processes which start together do not work together. */
  start(): void {
    if (this.#stopping) return;
    const stopping = new AbortController();
    this.#stopping = stopping;
    this.#running = this.#running.then(() => this.#loop(stopping.signal));
  }

  /** Resolves when the round that is under way has ended. */
  async stop(): Promise<void> {
    this.#stopping?.abort();
    this.#stopping = undefined;
    await this.#running;
  }

  /** One round over all queues, now. Never rejects: what fails is logged and told. */
  async round(signal?: AbortSignal): Promise<Round> {
    const round: Round = { outcomes: { moved: 0, gone: 0, cancelled: 0, left: 0 }, failed: [] };
    const names = await this.#names(round);
    await Promise.all(this.#groups(names).map((queues) => this.#reconcile(queues, round, signal)));
    return round;
  }

  /** Queues that are looked after one by one; on a Cluster those of a family, so that one whose server is away holds up no other. */
  #groups(names: readonly string[]): string[][] {
    if (this.#options.queues.connections.topology !== 'cluster') return [[...names]];
    const groups = new Map<string, string[]>();
    for (const name of names) groups.set(familyOf(name), [...(groups.get(familyOf(name)) ?? []), name]);
    return [...groups.values()];
  }

  async #reconcile(queues: readonly string[], round: Round, signal: AbortSignal | undefined): Promise<void> {
    for (const queue of queues) {
      if (signal?.aborted) return;
      try {
        await this.#moveFailed(queue, round, signal);
        await this.#retention.keep(queue);
      } catch (error) {
        this.#failed(queue, error, round);
      }
    }
  }

  async #loop(signal: AbortSignal): Promise<void> {
    const { everyMs = 15_000, random = Math.random } = this.#options;
    let waitMs = everyMs * random();
    for (;;) {
      try {
        await this.#clock.sleep(waitMs, { signal });
      } catch (error) {
        if (signal.aborted) return;
        throw error;
      }
      await this.round(signal);
      waitMs = everyMs * (1 + JITTER * (2 * random() - 1));
    }
  }

  async #names(round: Round): Promise<string[]> {
    const { queues, queueNames = [] } = this.#options;
    try {
      return [...new Set([...queueNames, ...(await queues.known())])];
    } catch (error) {
      this.#failed('', error, round);
      return [];
    }
  }

  async #moveFailed(queue: string, round: Round, signal: AbortSignal | undefined): Promise<void> {
    const { mover, afterMs = 5_000, onCancelled } = this.#options;
    const before = this.#clock.wallMs() - afterMs;
    let past = 0;
    for (let seen = 0; seen < MOST_JOBS; seen += PAGE) {
      if (signal?.aborted) return;
      const ids = await this.#failedBefore(queue, before, past);
      const outcomes = await Promise.all(ids.map((id) => mover.moved(queue, id)));
      for (const [index, outcome] of outcomes.entries()) {
        round.outcomes[outcome]++;
        const id = ids[index];
        if (outcome === 'cancelled' && id !== undefined) await onCancelled?.(queue, id);
        if (outcome !== 'moved') past++;
      }
      if (ids.length < PAGE) return;
    }
  }

  async #failedBefore(queue: string, before: number, past: number): Promise<string[]> {
    const { queues } = this.#options;
    try {
      return await queues.client.zrangebyscore(queues.keys.bull(queue, 'failed'), 0, before, 'LIMIT', past, PAGE);
    } catch (error) {
      throw explainRedisError(error, queues.connections.label);
    }
  }

  #failed(queue: string, error: unknown, round: Round): void {
    round.failed.push(queue);
    this.#options.queues.log.warn({ queue, err: error }, 'dead letters not reconciled; the next round tries again');
  }
}
