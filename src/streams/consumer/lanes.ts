/**
 * Entries in the order of their keys: those of one key one after the other, those of several keys side by side.
 *
 *   lane: ready --a slot is free--> running --done, or dead--> ready with its next entry
 *                                      '--failed, or postponed--> parked --the time is over--> ready with the same entry
 *
 * One consumer of the group works at a time, so that the order holds over all processes. What it took over from another one is noted as begun
 * before it runs: a process that dies then is counted, and what one has died with runs alone.
 */
import type { EntryContext } from '../context.ts';
import { MillraceError } from '../../errors.ts';
import type { Attempt } from './attempt.ts';
import type { Desk } from './desk.ts';
import type { EntryHandler } from './plan.ts';
import type { Listed, Taken } from './scripts.ts';
import { isPromise } from './slots.ts';
import { Unfit } from './verdict.ts';
import type { Work } from './work.ts';

/** So many times `prefetch` entries are held at most, however long a key holds them up. */
const MOST_HELD = 2;
/** A note that could not be made is tried again after so long. */
const NOTE_AGAIN_MS = 200;

interface Held {
  attempt: Attempt;
  readonly data: unknown;
  /** Another process may have begun it. */
  isInherited: boolean;
}

interface Lane {
  readonly key: string;
  readonly entries: Held[];
  state: 'ready' | 'running' | 'parked';
  timer: NodeJS.Timeout | undefined;
  /** When it is parked no longer, in monotonic ms. */
  dueAtMs: number;
}

interface Arrival {
  readonly attempt: Attempt;
  readonly waitMs: number;
  readonly isInherited: boolean;
}

/** The lanes of one consumer. */
export class Lanes implements Work {
  readonly #desk: Desk;
  readonly #run: EntryHandler<unknown>;
  readonly #keyOf: (data: unknown) => string;
  readonly #lanes = new Map<string, Lane>();
  #ready: Lane[] = [];
  #arrivals: Arrival[] = [];
  /** Arrivals, from the first on, that are in their lanes by now, or settled. */
  #sorted = 0;
  #held = 0;
  #begun = 0;
  #isSorting = false;
  #alone: Attempt | undefined;
  #isClosed = false;
  onRoom: (() => void) | undefined;

  constructor(desk: Desk, run: EntryHandler<unknown>, keyOf: (data: unknown) => string) {
    this.#desk = desk;
    this.#run = run;
    this.#keyOf = keyOf;
  }

  get known(): number {
    return this.#held + this.#arrivals.length;
  }

  get isAlone(): boolean {
    return this.#alone !== undefined;
  }

  hasRoom(more: number, count: number): boolean {
    const { prefetch } = this.#desk.plan;
    return this.#ready.length + more <= count && this.known + more <= prefetch * MOST_HELD;
  }

  takeRoom(): number {
    return 1;
  }

  add(listed: readonly Listed[]): void {
    if (this.#isClosed) return;
    for (const [id, fields] of listed)
      this.#arrivals.push({ attempt: this.#desk.attemptOf(id, fields ?? []), waitMs: 0, isInherited: false });
    this.#sort();
  }

  addTaken(taken: readonly Taken[], areInherited = false): void {
    if (this.#isClosed) return;
    for (const one of taken)
      this.#arrivals.push({ attempt: this.#desk.attemptOfTaken(one), waitMs: one.waitMs, isInherited: areInherited });
    this.#sort();
  }

  addIds(ids: Set<string>): void {
    for (const { attempt } of this.#arrivals) ids.add(attempt.id);
    for (const { entries } of this.#lanes.values()) for (const { attempt } of entries) ids.add(attempt.id);
  }

  onSettled(): void {
    if ((this.#ready[0]?.entries[0]?.attempt.deaths ?? 0) > 0) this.#fill();
  }

  close(): Map<string, number> {
    this.#isClosed = true;
    const ids = new Map(this.#arrivals.slice(this.#sorted).map(({ attempt, waitMs }) => [attempt.id, waitMs]));
    const nowMs = this.#desk.clock.monotonicMs();
    for (const lane of this.#lanes.values()) {
      clearTimeout(lane.timer);
      for (const { attempt } of lane.entries.slice(lane.state === 'running' ? 1 : 0)) ids.set(attempt.id, 0);
      // The others of its key wait behind it.
      const [head] = lane.entries;
      if (lane.state === 'parked' && head) ids.set(head.attempt.id, Math.max(0, lane.dueAtMs - nowMs));
      if (lane.state !== 'running') this.#lanes.delete(lane.key);
      else lane.entries.length = 1;
    }
    this.#arrivals = [];
    this.#sorted = 0;
    this.#ready = [];
    this.#held = [...this.#lanes.values()].length;
    return ids;
  }

  /** Puts what has arrived into its lanes, strictly in order: a schema that answers with a promise is waited for. */
  #sort(): void {
    if (this.#isSorting) return;
    this.#isSorting = true;
    void this.#sortAll().finally(() => {
      this.#isSorting = false;
      this.#fill();
    });
  }

  async #sortAll(): Promise<void> {
    while (!this.#isClosed) {
      const arrival = this.#arrivals[this.#sorted];
      if (!arrival) break;
      try {
        const data =
          this.#desk.skips(arrival.attempt) || this.#desk.buries(arrival.attempt)
            ? SETTLED
            : this.#desk.dataOf(arrival.attempt);
        const parsed: unknown = data instanceof Promise ? await data : data;
        if (this.#isClosed) return;
        if (parsed !== SETTLED) this.#place(arrival, parsed);
      } catch (error) {
        this.#refuse(arrival.attempt, error);
      }
      if (++this.#sorted === this.#arrivals.length || this.#sorted === 100) {
        this.#arrivals.splice(0, this.#sorted);
        this.#sorted = 0;
        this.#fill();
      }
    }
  }

  #place({ attempt, waitMs, isInherited }: Arrival, data: unknown): void {
    const key = this.#keyOf(data);
    if (typeof key !== 'string')
      throw new MillraceError('INPUT_INVALID', `orderBy gave no string for the entry ${attempt.id}`, {});
    let lane = this.#lanes.get(key);
    if (!lane) {
      lane = { key, entries: [], state: 'ready', timer: undefined, dueAtMs: 0 };
      this.#lanes.set(key, lane);
    }
    lane.entries.push({ attempt, data, isInherited });
    this.#held++;
    if (lane.entries.length > 1) return;
    if (waitMs > 0) this.#park(lane, waitMs);
    else this.#ready.push(lane);
  }

  /** Without its key there is no place for it. */
  #refuse(attempt: Attempt, thrown: unknown): void {
    const cause = thrown instanceof Unfit ? thrown.error : thrown;
    const message = `the key of the entry ${attempt.id} cannot be told`;
    const unfit = thrown instanceof Unfit ? thrown : new Unfit(new MillraceError('INPUT_INVALID', message, { cause }));
    this.#desk.settle(attempt, this.#desk.judge(attempt, unfit));
  }

  #fill(): void {
    if (this.#isClosed) return;
    while (this.#begun < this.#desk.plan.concurrency && !this.#alone) {
      const lane = this.#ready[0];
      const head = lane?.entries[0];
      if (!lane || !head) break;
      if (head.attempt.deaths > 0) {
        if (this.#begun > 0 || !this.#desk.isQuiet()) break;
        this.#alone = head.attempt;
      }
      this.#ready.shift();
      lane.state = 'running';
      this.#begun++;
      if (head.isInherited) void this.#beginNoted(lane, head);
      else this.#begin(lane, head);
    }
    this.onRoom?.();
  }

  async #beginNoted(lane: Lane, head: Held): Promise<void> {
    const { attempt } = head;
    try {
      const [isMine] = await this.#desk.settler.note([[attempt.id, `${attempt.made} ${attempt.deaths} 1`]]);
      attempt.isNoted = true;
      head.isInherited = false;
      if (this.#isClosed || !isMine) {
        this.#leave(lane, attempt, true);
        return this.#fill();
      }
    } catch {
      // Whether it is noted is not known; the entry waits.
      this.#leave(lane, attempt, false);
      this.#park(lane, NOTE_AGAIN_MS);
      return this.#fill();
    }
    this.#begin(lane, head);
    this.#fill();
  }

  #begin(lane: Lane, { attempt, data }: Held): void {
    let work: unknown;
    const { clock, meter } = this.#desk;
    const startMs = clock.monotonicMs();
    try {
      work = this.#run(data, this.#desk.contextOf(attempt) as EntryContext);
    } catch (error) {
      meter.ran?.(clock.monotonicMs() - startMs);
      return this.#end(lane, attempt, error, false);
    }
    if (isPromise(work)) {
      return this.#desk.watch(attempt, work, (_attempt, thrown, isDone) => {
        this.#end(lane, attempt, thrown, isDone);
        this.#fill();
      });
    }
    meter.ran?.(clock.monotonicMs() - startMs);
    this.#end(lane, attempt, undefined, true);
  }

  #end(lane: Lane, attempt: Attempt, thrown: unknown, isDone: boolean): void {
    const desk = this.#desk;
    if (isDone) {
      desk.done(attempt);
      return this.#leave(lane, attempt, true);
    }
    const verdict = desk.judge(attempt, thrown);
    // One that is to be tried again stays in its lane, but for those of a process that stops.
    if (this.#isClosed || verdict.kind === 'forgotten' || verdict.kind === 'dead') {
      desk.settle(attempt, verdict);
      return this.#leave(lane, attempt, true);
    }
    desk.tell(attempt, verdict);
    this.#leave(lane, attempt, false);
    const made = attempt.made + (verdict.kind === 'retry' ? 1 : 0);
    const next = desk.attemptOfTaken({ id: attempt.id, fields: attempt.fields, made, deaths: attempt.deaths });
    const head = lane.entries[0];
    if (head) head.attempt = next;
    next.isNoted ||= attempt.isNoted;
    // If it gets lost, the attempt is not counted should this process die.
    if (next.isNoted)
      desk.settler
        .note([[next.id, `${made} ${attempt.deaths}`]])
        .catch((error: unknown) => desk.log.debug({ err: error }, 'an attempt was not noted'));
    this.#park(lane, verdict.delayMs);
  }

  /** The head of the lane does not run any more; it goes, or stays to be tried again. */
  #leave(lane: Lane, attempt: Attempt, isGone: boolean): void {
    this.#begun--;
    if (this.#alone === attempt) this.#alone = undefined;
    if (!isGone) return;
    lane.entries.shift();
    this.#held--;
    if (lane.entries.length === 0) {
      this.#lanes.delete(lane.key);
      return;
    }
    lane.state = 'ready';
    this.#ready.push(lane);
  }

  #park(lane: Lane, forMs: number): void {
    if (this.#isClosed) return;
    lane.state = 'parked';
    lane.dueAtMs = this.#desk.clock.monotonicMs() + forMs;
    lane.timer = setTimeout(() => this.#unpark(lane), Math.min(forMs, LONGEST_TIMER_MS));
  }

  #unpark(lane: Lane): void {
    const leftMs = lane.dueAtMs - this.#desk.clock.monotonicMs();
    if (leftMs >= TIMER_PRECISION_MS) return this.#park(lane, leftMs);
    lane.state = 'ready';
    this.#ready.push(lane);
    this.#fill();
  }
}

/** A timer may fire so much early. */
const TIMER_PRECISION_MS = 1;
/** A timer of Node's that is set for longer than this fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const SETTLED = Symbol('settled');
