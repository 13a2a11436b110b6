/** Deadlines for many things under way on one timer: a timer each would cost an enqueue a tenth of its time. */
import type { Clock } from '../clock.ts';

/** Something that must have ended by a time. */
export interface Dated {
  /** In monotonic ms. */
  readonly atMs: number;
}

/** How late a deadline may be noticed. */
const TICK_MS = 25;

/** The deadlines of one owner. */
export class Deadlines<T extends Dated> {
  readonly #clock: Clock;
  readonly #onExpired: (dated: T) => void;
  readonly #watched = new Set<T>();
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

  /** @returns whether it had not expired yet. */
  remove(dated: T): boolean {
    return this.#watched.delete(dated);
  }

  /** Stops the timer. @returns what is still under way, now without a deadline. */
  close(): T[] {
    clearInterval(this.#timer);
    this.#timer = undefined;
    const left = [...this.#watched];
    this.#watched.clear();
    return left;
  }

  #check(): void {
    if (this.#watched.size === 0) return void this.close();
    const nowMs = this.#clock.monotonicMs();
    let isLate = false;
    for (const { atMs } of this.#watched) isLate ||= atMs <= nowMs;
    // After an event loop that was blocked, timers come before what has arrived meanwhile: that is read first.
    if (isLate) setImmediate(() => this.#expire(nowMs));
  }

  #expire(nowMs: number): void {
    for (const dated of this.#watched) {
      if (dated.atMs > nowMs) continue;
      this.#watched.delete(dated);
      this.#onExpired(dated);
    }
  }
}
