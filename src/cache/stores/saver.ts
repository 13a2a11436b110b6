/**
 * Brings a batch of changes to the user's store, and tells of each what became of it. Never rejects.
 *
 * saveMany() that rejects says nothing of who was to blame. So a change that failed before goes with fewer others each time (a tenth, then
 * alone): one that the store will never take cannot pull its neighbours into the dead letters. When the store seems to be down, the batch is a
 * probe: its first call decides whether the rest is tried at all.
 */
import { MillraceError } from '../../errors.ts';
import { callStore } from './call-store.ts';
import type { Taken } from './change-log.ts';
import type { BehindPlan } from './options.ts';
import type { BehindStore, Change, FailedChange, StoreContext } from './store.ts';

/** What became of a change: `back` was not tried, or broken off by the signal. */
export type Attempted = { readonly taken: Taken } & (
  | { readonly outcome: 'saved' | 'back' }
  | { readonly outcome: 'failed'; readonly error: unknown }
);

type Plan = Pick<BehindPlan, 'batchSize' | 'concurrency' | 'saveTimeoutMs'>;

/** With each further attempt, so many times fewer changes share a call. */
const SHRINK = 10;

/** Saves batches to one store. */
export class Saver<T> {
  readonly #store: BehindStore<T>;
  readonly #plan: Plan;

  constructor(store: BehindStore<T>, plan: Plan) {
    this.#store = store;
    this.#plan = plan;
  }

  /** Saves what can be saved. */
  async save(batch: readonly Taken[], signal: AbortSignal, isProbe: boolean): Promise<Attempted[]> {
    const calls = this.#store.saveMany ? this.#bulks(batch) : batch.map((taken) => [taken]);
    const results: Attempted[] = [];
    const width = this.#store.saveMany ? 1 : this.#plan.concurrency;
    let next = 0;
    let isHopeless = false;
    const work = async (): Promise<void> => {
      for (let call = calls[next++]; call; call = calls[next++]) {
        if (signal.aborted || isHopeless) {
          for (const taken of call) results.push({ taken, outcome: 'back' });
          continue;
        }
        const done = await this.#call(call, signal);
        results.push(...done);
        if (isProbe && done.every(({ outcome }) => outcome !== 'saved')) isHopeless = true;
        isProbe = false;
      }
    };
    // A probe is one call; the others wait for what becomes of it.
    if (isProbe) await work();
    else await Promise.all(Array.from({ length: Math.min(width, calls.length) }, work));
    return results;
  }

  /** The calls of saveMany: changes of one attempt together, the more often tried the fewer. */
  #bulks(batch: readonly Taken[]): Taken[][] {
    const byAttempt = new Map<number, Taken[]>();
    for (const taken of batch) {
      const same = byAttempt.get(taken.attempt);
      if (same) same.push(taken);
      else byAttempt.set(taken.attempt, [taken]);
    }
    const bulks: Taken[][] = [];
    for (const [attempt, list] of byAttempt) {
      const size = Math.max(1, Math.floor(this.#plan.batchSize / SHRINK ** (attempt - 1)));
      for (let at = 0; at < list.length; at += size) bulks.push(list.slice(at, at + size));
    }
    return bulks;
  }

  async #call(group: readonly Taken[], signal: AbortSignal): Promise<Attempted[]> {
    const limits = { timeoutMs: this.#plan.saveTimeoutMs, signal, what: `save of store ${this.#store.name}` };
    try {
      const failed = await callStore((inner) => this.#send(group, { signal: inner }), limits);
      return judge(group, failed);
    } catch (error) {
      const outcome = signal.aborted ? ({ outcome: 'back' } as const) : ({ outcome: 'failed', error } as const);
      return group.map((taken) => ({ taken, ...outcome }));
    }
  }

  async #send(group: readonly Taken[], context: StoreContext): Promise<readonly FailedChange[] | void> {
    const changes = group.map((taken) => this.#changeOf(taken));
    if (this.#store.saveMany) return this.#store.saveMany(changes, context);
    for (const { key, kind, value, version } of changes) {
      if (kind === 'set') await this.#store.save?.(key, value as T, { ...context, version });
      else if (this.#store.remove) await this.#store.remove(key, { ...context, version });
      // It was accepted by a process whose store has one.
      else
        throw new MillraceError('OPTIONS_INVALID', `store ${this.#store.name} has no remove()`, {
          store: this.#store.name,
        });
    }
  }

  #changeOf({ key, kind, value, version, attempt }: Taken): Change<T> {
    return { key, kind, value: kind === 'set' ? (JSON.parse(value) as T) : undefined, version, attempt };
  }
}

function judge(group: readonly Taken[], failed: readonly FailedChange[] | void): Attempted[] {
  const errors = new Map((failed ?? []).map(({ key, error }) => [key, error]));
  return group.map((taken) =>
    errors.has(taken.key) ? { taken, outcome: 'failed', error: errors.get(taken.key) } : { taken, outcome: 'saved' },
  );
}
