/** Deadlines for many things under way on one timer: a timer each would cost an enqueue a tenth of its time. */
import type { Clock } from '../clock.ts';
import { Link, Ring } from './ring.ts';

/** Something that must have ended by a time. */
export class Dated extends Link {
  /** In monotonic ms. */
  readonly atMs: number;

  constructor(atMs: number) {
    super();
    this.atMs = atMs;
  }
}

/** How late a deadline may be noticed. */
const TICK_MS = 25;

/** The deadlines of one owner. */
export class Deadlines<T extends Dated> {
  readonly #clock: Clock;
  readonly #onExpired: (dated: T) => void;
  readonly #watched = new Ring<T>();
  #timer: NodeJS.Timeout | undefined;

  /** @param onExpired is told once of each that was not removed before its time. */
  constructor(clock: Clock, onExpired: (dated: T) => void) {
    this.#clock = clock;
    this.#onExpired = onExpired;
  }

  add(dated: T): void {
    this.#watched.add(dated);
    this.#timer ??= setInterval(() => this.#check(), TICK_MS);
  }

  /** @returns whether it was still watched. */
  remove(dated: T): boolean {
    return this.#watched.remove(dated);
  }

  /** Stops the timer. @returns what is still under way, now without a deadline. */
  close(): T[] {
    clearInterval(this.#timer);
    this.#timer = undefined;
    return this.#take(Infinity);
  }

  #check(): void {
    if (this.#watched.isEmpty) return void this.close();
    const nowMs = this.#clock.monotonicMs();
    // After an event loop that was blocked, timers come before what has arrived meanwhile: that is read first.
    if (this.#watched.all().some(({ atMs }) => atMs <= nowMs)) {
      setImmediate(() => this.#take(nowMs).forEach(this.#onExpired));
    }
  }

  /** Lets go of all whose time has come by then. */
  #take(untilMs: number): T[] {
    const due = this.#watched.all().filter(({ atMs }) => atMs <= untilMs);
    for (const dated of due) this.#watched.remove(dated);
    return due;
  }
}
