/**
 * Entries in batches: a handler is given many at once, and they begin and end together.
 *
 * An entry that failed is tried again alone, so that one bad entry costs the others of its batch one attempt and no more. Likewise what a
 * process has died with.
 */
import type { BatchContext } from '../context.ts';
import type { Attempt } from './attempt.ts';
import type { Desk } from './desk.ts';
import type { BatchEntry, BatchHandler } from './plan.ts';
import type { Listed, Taken } from './scripts.ts';
import { isPromise } from './slots.ts';
import type { Work } from './work.ts';

interface Held {
  readonly attempt: Attempt;
  readonly data: unknown;
}

interface Batch {
  readonly carrier: Attempt;
  readonly entries: readonly Held[];
  readonly failed: Map<Attempt, unknown>;
}

const SUSPECT_DEATHS = 2;

/** The batches of one consumer. */
export class Batches implements Work {
  readonly #desk: Desk;
  readonly #run: BatchHandler<unknown>;
  readonly #size: number;
  readonly #withinMs: number;
  #held: Held[] = [];
  /** Those that are tried alone. */
  #single: Held[] = [];
  /** Whose schema has not answered yet. */
  readonly #parsing = new Set<Attempt>();
  readonly #running = new Set<Batch>();
  #timer: NodeJS.Timeout | undefined;
  #isDue = false;
  #alone: Batch | undefined;
  #isClosed = false;
  onRoom: (() => void) | undefined;

  constructor(desk: Desk, run: BatchHandler<unknown>, { size, withinMs }: { size: number; withinMs: number }) {
    this.#desk = desk;
    this.#run = run;
    this.#size = size;
    this.#withinMs = withinMs;
  }

  get known(): number {
    return [...this.#running].reduce((sum, { entries }) => sum + entries.length, this.#waiting);
  }

  get isAlone(): boolean {
    return this.#alone !== undefined || this.#isSuspect();
  }

  hasRoom(more: number, count: number): boolean {
    return this.#waiting + more <= Math.max(count, this.#size - 1);
  }

  takeRoom(): number {
    return this.isAlone ? 0 : Math.max(0, this.#desk.plan.concurrency - this.#single.length);
  }

  add(listed: readonly Listed[]): void {
    if (this.#isClosed) return;
    for (const [id, fields] of listed) this.#arrive(this.#desk.attemptOf(id, fields ?? []));
    this.#fill();
  }

  addTaken(taken: readonly Taken[]): void {
    if (this.#isClosed) return;
    for (const one of taken) this.#arrive(this.#desk.attemptOfTaken(one));
    this.#fill();
  }

  addIds(ids: Set<string>): void {
    for (const id of this.#waitingIds()) ids.add(id);
    for (const { entries } of this.#running) for (const { attempt } of entries) ids.add(attempt.id);
  }

  onSettled(): void {
    if (this.#isSuspect()) this.#fill();
  }

  close(): Map<string, number> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const ids = this.#waitingIds();
    this.#held = [];
    this.#single = [];
    this.#parsing.clear();
    return new Map(ids.map((id) => [id, 0]));
  }

  get #waiting(): number {
    return this.#held.length + this.#single.length + this.#parsing.size;
  }

  #waitingIds(): string[] {
    return [...this.#held, ...this.#single]
      .map(({ attempt }) => attempt.id)
      .concat([...this.#parsing].map(({ id }) => id));
  }

  #isSuspect(): boolean {
    return (this.#single[0]?.attempt.deaths ?? 0) >= SUSPECT_DEATHS;
  }

  #arrive(attempt: Attempt): void {
    const desk = this.#desk;
    if (desk.skips(attempt) || desk.buries(attempt)) return;
    try {
      const data = desk.dataOf(attempt);
      if (!(data instanceof Promise)) return this.#place(attempt, data);
      this.#parsing.add(attempt);
      data.then(
        (parsed) => this.#parsed(attempt, () => this.#place(attempt, parsed)),
        (error: unknown) => this.#parsed(attempt, () => desk.settle(attempt, desk.judge(attempt, error))),
      );
    } catch (error) {
      desk.settle(attempt, desk.judge(attempt, error));
    }
  }

  #parsed(attempt: Attempt, act: () => void): void {
    if (!this.#parsing.delete(attempt)) return;
    act();
    this.#fill();
  }

  #place(attempt: Attempt, data: unknown): void {
    (attempt.isNoted ? this.#single : this.#held).push({ attempt, data });
  }

  #fill(): void {
    while (!this.#isClosed && this.#running.size < this.#desk.plan.concurrency && !this.#alone) {
      const isSuspect = this.#isSuspect();
      if (isSuspect && !this.#desk.isQuiet()) break;
      const entries = this.#next();
      if (entries.length === 0) break;
      this.#begin(entries, isSuspect);
    }
    if (this.#held.length > 0 && !this.#isDue && !this.#isClosed)
      this.#timer ??= setTimeout(() => this.#due(), this.#withinMs);
    this.onRoom?.();
  }

  #due(): void {
    this.#timer = undefined;
    this.#isDue = true;
    this.#fill();
  }

  #next(): Held[] {
    if (this.#single.length > 0) return this.#single.splice(0, 1);
    if (this.#held.length < this.#size && !this.#isDue) return [];
    const entries = this.#held.splice(0, this.#size);
    this.#isDue = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return entries;
  }

  #begin(entries: readonly Held[], isAlone: boolean): void {
    const desk = this.#desk;
    const carrier = desk.attemptOf(entries[0]?.attempt.id ?? '', []);
    const batch: Batch = { carrier, entries, failed: new Map() };
    this.#running.add(batch);
    if (isAlone) this.#alone = batch;
    const given = entries.map(({ attempt, data }): BatchEntry<unknown> => ({
      data,
      get entry() {
        return attempt.facts;
      },
      fail: (error) => void batch.failed.set(attempt, error),
    }));
    const startMs = desk.clock.monotonicMs();
    let work: unknown;
    try {
      work = this.#run(given, desk.batchContextOf(carrier, entries.length) as BatchContext);
    } catch (error) {
      desk.meter.ran?.(desk.clock.monotonicMs() - startMs);
      return this.#end(batch, error, false);
    }
    if (isPromise(work)) {
      return desk.watch(carrier, work, (_carrier, thrown, isDone) => {
        this.#end(batch, thrown, isDone);
        this.#fill();
      });
    }
    desk.meter.ran?.(desk.clock.monotonicMs() - startMs);
    this.#end(batch, undefined, true);
  }

  #end(batch: Batch, thrown: unknown, isDone: boolean): void {
    const desk = this.#desk;
    this.#running.delete(batch);
    if (this.#alone === batch) this.#alone = undefined;
    for (const { attempt } of batch.entries) {
      attempt.interruption = batch.carrier.interruption;
      const hasFailed = batch.failed.has(attempt);
      if (isDone && !hasFailed) desk.done(attempt);
      else desk.settle(attempt, desk.judge(attempt, hasFailed ? batch.failed.get(attempt) : thrown));
    }
  }
}
