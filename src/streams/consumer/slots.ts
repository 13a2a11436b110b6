/**
 * Entries one by one, in so many slots; in no order but that of their arrival.
 *
 * What was tried before, or lay with a process that died, comes first. What two processes have died with runs alone, once Redis knows of
 * all that was done before: only it ends with the next one.
 */
import type { EntryContext } from '../context.ts';
import type { Attempt } from './attempt.ts';
import type { Desk } from './desk.ts';
import type { EntryHandler } from './plan.ts';
import type { Listed, Taken } from './scripts.ts';
import type { Work } from './work.ts';

/** So many deaths make an entry suspect. */
const SUSPECT_DEATHS = 2;
/** How long handlers that answer at once may hold up everything else. */
const SLICE_MS = 10;
/** The clock is looked at once in so many entries. */
const LOOK_EACH = 8;

/** What was read, and how far it is used up. */
interface Pile {
  readonly listed: readonly Listed[];
  at: number;
}

/** The slots of one consumer. */
export class Slots implements Work {
  readonly #desk: Desk;
  readonly #run: EntryHandler<unknown>;
  readonly #piles: Pile[] = [];
  readonly #first: Attempt[] = [];
  #waiting = 0;
  #alone: Attempt | undefined;
  #isClosed = false;
  #isYielding = false;
  onRoom: (() => void) | undefined;
  readonly #onEnd = (attempt: Attempt, thrown: unknown, isDone: boolean): void => {
    if (attempt === this.#alone) this.#alone = undefined;
    if (isDone) this.#desk.done(attempt);
    else this.#desk.settle(attempt, this.#desk.judge(attempt, thrown));
    this.#fill();
  };

  constructor(desk: Desk, run: EntryHandler<unknown>) {
    this.#desk = desk;
    this.#run = run;
  }

  get known(): number {
    return this.#waiting + this.#first.length + this.#desk.active;
  }

  hasRoom(more: number, count: number): boolean {
    return this.#waiting + this.#first.length + more <= count;
  }

  get isAlone(): boolean {
    return this.#alone !== undefined || isSuspect(this.#first[0]);
  }

  takeRoom(): number {
    return this.isAlone ? 0 : Math.max(0, this.#desk.plan.concurrency - this.#first.length);
  }

  add(listed: readonly Listed[]): void {
    if (this.#isClosed) return;
    this.#piles.push({ listed, at: 0 });
    this.#waiting += listed.length;
    this.#fill();
  }

  addTaken(taken: readonly Taken[]): void {
    if (this.#isClosed) return;
    for (const one of taken) {
      const attempt = this.#desk.attemptOfTaken(one);
      if (!this.#desk.buries(attempt)) this.#first.push(attempt);
    }
    this.#fill();
  }

  addIds(ids: Set<string>): void {
    this.#desk.addIds(ids);
    this.#addWaiting(ids);
  }

  #addWaiting(ids: Set<string>): void {
    for (const { id } of this.#first) ids.add(id);
    for (const { listed, at } of this.#piles) for (const [id] of listed.slice(at)) ids.add(id);
  }

  onSettled(): void {
    if (isSuspect(this.#first[0])) this.#fill();
  }

  close(): Map<string, number> {
    this.#isClosed = true;
    const ids = new Set<string>();
    this.#addWaiting(ids);
    this.#first.length = 0;
    this.#piles.length = 0;
    this.#waiting = 0;
    return new Map([...ids].map((id) => [id, 0]));
  }

  /** Begins as much as there are slots for. */
  #fill(): void {
    if (this.#isYielding || this.#isClosed) return;
    const { clock, plan } = this.#desk;
    const untilMs = clock.monotonicMs() + SLICE_MS;
    let begun = 0;
    while (this.#desk.active < plan.concurrency && !this.#alone) {
      const next = this.#next();
      if (!next) break;
      this.#begin(next);
      if (++begun % LOOK_EACH === 0 && clock.monotonicMs() >= untilMs) return this.#yield();
    }
    this.onRoom?.();
  }

  /** Lets others have the event loop. */
  #yield(): void {
    this.#isYielding = true;
    setImmediate(() => {
      this.#isYielding = false;
      this.#fill();
    });
  }

  #next(): Attempt | undefined {
    const first = this.#first[0];
    if (first) {
      if (isSuspect(first)) {
        if (!this.#desk.isQuiet()) return undefined;
        this.#alone = first;
      }
      return this.#first.shift();
    }
    for (let pile = this.#piles[0]; pile; pile = this.#piles[0]) {
      const listed = pile.listed[pile.at++];
      if (pile.at >= pile.listed.length) this.#piles.shift();
      if (!listed) continue;
      this.#waiting--;
      return this.#desk.attemptOf(listed[0], listed[1] ?? []);
    }
    return undefined;
  }

  #begin(attempt: Attempt): void {
    const desk = this.#desk;
    if (desk.skips(attempt)) {
      if (attempt === this.#alone) this.#alone = undefined;
      return;
    }
    const { ran } = desk.meter;
    const startMs = ran ? desk.clock.monotonicMs() : 0;
    let work: unknown;
    try {
      const data = desk.dataOf(attempt);
      const context = desk.contextOf(attempt) as EntryContext;
      work = data instanceof Promise ? data.then((parsed) => this.#run(parsed, context)) : this.#run(data, context);
    } catch (error) {
      ran?.(desk.clock.monotonicMs() - startMs);
      return this.#endAtOnce(attempt, error, false);
    }
    if (isPromise(work)) return desk.watch(attempt, work, this.#onEnd);
    ran?.(desk.clock.monotonicMs() - startMs);
    this.#endAtOnce(attempt, undefined, true);
  }

  #endAtOnce(attempt: Attempt, thrown: unknown, isDone: boolean): void {
    if (attempt === this.#alone) this.#alone = undefined;
    if (isDone) this.#desk.done(attempt);
    else this.#desk.settle(attempt, this.#desk.judge(attempt, thrown));
  }
}

function isSuspect(attempt: Attempt | undefined): boolean {
  return attempt !== undefined && attempt.deaths >= SUSPECT_DEATHS;
}

export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}
