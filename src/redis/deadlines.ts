/**
 * Deadlines for many things under way on one timer: a timer each would cost an enqueue a tenth of its time.
 *
 * They are links of a ring. A Set of them would do, but for each that comes and goes it makes the collector of garbage work for
 * longer than all the rest of a call takes.
 */
import type { Clock } from '../clock.ts';

/** Something that must have ended by a time. */
export class Dated {
  /** In monotonic ms. */
  readonly atMs: number;
  /** Its neighbours while it is watched; of nobody's concern but Deadlines'. */
  before: Dated | undefined = undefined;
  after: Dated | undefined = undefined;

  constructor(atMs: number) {
    this.atMs = atMs;
  }
}

/** How late a deadline may be noticed. */
const TICK_MS = 25;

/** The deadlines of one owner. */
export class Deadlines<T extends Dated> {
  readonly #clock: Clock;
  readonly #onExpired: (dated: T) => void;
  /** Where the ring begins and ends; it never expires. */
  readonly #ring = new Dated(Infinity);
  #timer: NodeJS.Timeout | undefined;

  /** @param onExpired is told once of each that was not removed before its time. */
  constructor(clock: Clock, onExpired: (dated: T) => void) {
    this.#clock = clock;
    this.#onExpired = onExpired;
    this.#ring.before = this.#ring;
    this.#ring.after = this.#ring;
  }

  add(dated: T): void {
    const ring = this.#ring;
    const last = ring.before as Dated;
    dated.before = last;
    dated.after = ring;
    last.after = dated;
    ring.before = dated;
    this.#timer ??= setInterval(() => this.#check(), TICK_MS);
  }

  /** @returns whether it was still watched. */
  remove(dated: T): boolean {
    const { before, after } = dated;
    if (!before || !after) return false;
    before.after = after;
    after.before = before;
    dated.before = undefined;
    dated.after = undefined;
    return true;
  }

  /** Stops the timer. @returns what is still under way, now without a deadline. */
  close(): T[] {
    clearInterval(this.#timer);
    this.#timer = undefined;
    return this.#take(Infinity);
  }

  #check(): void {
    if (this.#ring.after === this.#ring) return void this.close();
    const nowMs = this.#clock.monotonicMs();
    let isLate = false;
    for (let dated = this.#ring.after; dated !== this.#ring; dated = dated?.after)
      isLate ||= (dated as Dated).atMs <= nowMs;
    // After an event loop that was blocked, timers come before what has arrived meanwhile: that is read first.
    if (isLate) setImmediate(() => this.#take(nowMs).forEach(this.#onExpired));
  }

  /** Lets go of all whose time has come by then. */
  #take(untilMs: number): T[] {
    const taken: T[] = [];
    for (let dated = this.#ring.after; dated && dated !== this.#ring;) {
      const { after } = dated;
      if (dated.atMs <= untilMs) {
        this.remove(dated as T);
        taken.push(dated as T);
      }
      dated = after;
    }
    return taken;
  }
}
