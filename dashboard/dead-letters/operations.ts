/**
 * Redrives and discards of many letters, in the background of this process.
 *
 * Promise: an operation goes on when its reader goes away, says twice a second how far it is, and ends when somebody asks it to, in whatever
 * process. One whose process ends is told to be cut off, and can be started again: only what is still there is moved, and a letter moves at most
 * once. A limit holds for all its starts together. Letters that die after it has begun are left alone.
 * Redis down: it fails, and says so once Redis is back; until then it looks cut off.
 */
import { randomUUID } from 'node:crypto';
import { systemClock, type Clock, type Logger, type Platform } from 'millrace';
import { NOTHING_DONE, OperationStore } from './operation-store.ts';
import type { Operation, Plan, Progress } from './operation.ts';
import { Quota } from './quota.ts';
import { describeFailure, runPlan, type Outcome } from './run-plan.ts';

/** Called when an operation has ended, for the audit. */
export type OnEnd = (outcome: Outcome, progress: Progress) => Promise<void>;

const BEAT_MS = 500;

/** What operations are made of. */
export interface OperationsParts {
  platform: Platform;
  log: Logger;
  clock?: Clock;
  store?: OperationStore;
}

/** A start of an operation. */
interface Start {
  readonly id: string;
  readonly token: string;
  readonly plan: Plan;
  /** Of its limit, what earlier starts have spent. */
  readonly spent: number;
  readonly onEnd: OnEnd;
}

interface Run {
  readonly id: string;
  readonly stopping: AbortController;
  readonly ended: Promise<void>;
}

/** Why a run stops whose operation was started again elsewhere. */
const TAKEN = Symbol('taken');

/** Those of one process; what it shows are those of all. */
export class Operations {
  readonly store: OperationStore;
  readonly #platform: Platform;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #runs = new Set<Run>();
  #isStopping = false;

  constructor({ platform, log, clock = systemClock, store = new OperationStore(platform) }: OperationsParts) {
    this.#platform = platform;
    this.#log = log;
    this.#clock = clock;
    this.store = store;
  }

  /** Starts one; its id. */
  async start(plan: Omit<Plan, 'startedAt'>, onEnd: OnEnd): Promise<string> {
    const full = { ...plan, startedAt: await this.store.now() };
    const token = randomUUID();
    const id = await this.store.add(full, token);
    this.#run({ id, token, plan: full, spent: 0, onEnd });
    return id;
  }

  /** Starts one again that was cut off, aborted or stopped; false when it runs, or is gone. */
  async again(id: string, by: string, onEnd: OnEnd): Promise<boolean> {
    const known = await this.store.get(id);
    if (!known || !canGoOn(known)) return false;
    const { plan, progress } = known;
    // Its start stays: what has died since then is no part of it.
    const next: Plan = { ...plan, expected: Math.max(0, progress.total - progress.done), by };
    const token = randomUUID();
    const spent = await this.store.take(id, next, token);
    if (spent === undefined) return false;
    this.#run({ id, token, plan: next, spent, onEnd });
    return true;
  }

  /** Asks for its end. */
  async abort(id: string, by: string): Promise<void> {
    await this.store.askToAbort(id, by);
    for (const run of this.#runs) if (run.id === id) run.stopping.abort(by);
  }

  /** Ends those of this process; they are cut off. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const { stopping } of this.#runs) stopping.abort();
    await Promise.all([...this.#runs].map(({ ended }) => ended));
  }

  #run(start: Start): void {
    const stopping = new AbortController();
    if (this.#isStopping) stopping.abort();
    const run = { id: start.id, stopping, ended: this.#work(start, stopping) };
    this.#runs.add(run);
    void run.ended.finally(() => this.#runs.delete(run));
  }

  async #work({ id, token, plan, spent, onEnd }: Start, stopping: AbortController): Promise<void> {
    const startedMs = this.#clock.monotonicMs();
    const progress: Progress = { ...NOTHING_DONE, total: plan.expected, skipped: {} };
    const measured = (): Progress => ({ ...progress, elapsedMs: Math.round(this.#clock.monotonicMs() - startedMs) });
    const spend = async (count: number): Promise<boolean> => {
      const isOurs = await this.store.spend(id, token, count);
      if (!isOurs) stopping.abort(TAKEN);
      return isOurs;
    };
    const quota = plan.limit === undefined ? undefined : new Quota(Math.max(0, plan.limit - spent), plan.rate, spend);
    const beating = new AbortController();
    const beats = this.#beat({ id, token }, stopping, beating.signal, measured);
    const { signal } = stopping;
    const parts = { platform: this.#platform, plan, progress, signal, quota, clock: this.#clock };
    const outcome = await runPlan(parts).catch((error: unknown) => this.#failed(id, error));
    beating.abort();
    await Promise.all([beats, quota?.settle()]);
    const told = toldBy(outcome, signal.reason);
    // Of a failed step nobody knows what it has moved.
    const unspent = outcome.state === 'failed' ? 0 : (quota?.unspent ?? 0);
    try {
      if (signal.reason !== TAKEN)
        await this.store.end(id, token, { state: told.state, note: told.note, progress: measured(), unspent });
      await onEnd(told, measured());
    } catch (error) {
      this.#log.error({ err: error, operation: id, ...told }, 'how an operation has ended could not be written down');
    }
  }

  #failed(id: string, error: unknown): Outcome {
    this.#log.warn({ err: error, operation: id }, 'an operation has failed');
    return describeFailure(error);
  }

  /** Until it has ended, or another process has taken it. */
  async #beat(
    { id, token }: Pick<Start, 'id' | 'token'>,
    stopping: AbortController,
    signal: AbortSignal,
    progress: () => Progress,
  ): Promise<void> {
    while (!signal.aborted) {
      // Awakened by its end.
      await this.#clock.sleep(BEAT_MS, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        const { isTaken, abortedBy } = await this.store.beat(id, token, progress());
        if (isTaken) return stopping.abort(TAKEN);
        if (abortedBy !== undefined) stopping.abort(abortedBy);
      } catch (error) {
        this.#log.warn({ err: error, operation: id }, 'the progress of an operation could not be written down');
      }
    }
  }
}

function toldBy(outcome: Outcome, reason: unknown): Outcome {
  if (outcome.state !== 'aborted') return outcome;
  if (typeof reason === 'string') return { state: 'aborted', note: `${reason} has ended it.` };
  const note = reason === TAKEN ? 'It was started again elsewhere.' : 'The dashboard that worked on it was stopped.';
  return { state: 'cut-off', note };
}

/** Whether the rest of it can be done. */
export function canGoOn({ state }: Operation): boolean {
  return state === 'cut-off' || state === 'aborted' || state === 'stopped' || state === 'failed';
}
