/**
 * The waiters of one lock in this process. The oldest looks for all of them: when the lease in the way may have ended, else once a second.
 *
 * The queue in Redis is in the order in which this process asked, so while the oldest waits, the others do. A hand-over within the process
 * is a sign that all is well and puts the next look off; now and then one is due all the same, which keeps the queue from expiring.
 */
import type { Clock } from '../clock.ts';
import type { Waiter } from './waiter.ts';

/** A message that was lost costs at most this. */
const LOOK_EVERY_MS = 1_000;
/** Well below the life of a queue that nobody looks after. */
const LOOK_AT_LEAST_EVERY_MS = 15_000;
/** After a look that failed. */
const LOOK_AGAIN_MS = 200;
/** Those of several processes are spread a little, and none comes before the lease has ended. */
const SPREAD_MS = 4;

/** Looks for one waiter, and says for how long the lease in the way lasts; undefined when the look failed. */
export type Look = (waiter: Waiter) => Promise<number | undefined>;

/** The line of one lock. */
export class WaitingLine {
  readonly #look: Look;
  readonly #clock: Clock;
  readonly #onEmpty: () => void;
  readonly #waiters = new Set<Waiter>();
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  /** Until then the last hand-over within this process says that all is well. */
  #wellUntilMs = 0;
  #lookedMs: number;
  #isLooking = false;
  #mustLookAgain = false;

  constructor(look: Look, clock: Clock, onEmpty: () => void) {
    this.#look = look;
    this.#clock = clock;
    this.#onEmpty = onEmpty;
    this.#lookedMs = clock.monotonicMs();
  }

  get isEmpty(): boolean {
    return this.#waiters.size === 0;
  }

  /** Whether it still stands in the line. */
  has(waiter: Waiter): boolean {
    return this.#waiters.has(waiter);
  }

  /** All of them, the oldest first. */
  waiters(): Waiter[] {
    return [...this.#waiters];
  }

  /** Joins, with what is known of the lease in the way. */
  add(waiter: Waiter, leftMs: number | undefined): void {
    waiter.line = this;
    this.#waiters.add(waiter);
    this.#lookWithin(leftMs);
  }

  remove(waiter: Waiter): void {
    if (!this.#waiters.delete(waiter) || this.#waiters.size > 0) return;
    this.#disarm();
    this.#onEmpty();
  }

  /** The lock has just changed hands within this process, for a lease of that length. */
  sign(atMs: number, ttlMs: number): void {
    this.#wellUntilMs = atMs + Math.min(LOOK_EVERY_MS, ttlMs);
    if (ttlMs < LOOK_EVERY_MS) this.#lookWithin(ttlMs);
  }

  /** Looks now, or again once the look that is under way is over. */
  look(): void {
    if (this.#isLooking) this.#mustLookAgain = true;
    else void this.#lookNow();
  }

  #lookWithin(leftMs: number = LOOK_EVERY_MS): void {
    if (leftMs <= 0) this.#wellUntilMs = 0;
    const inMs = Math.min(LOOK_EVERY_MS, Math.max(0, leftMs)) + 1 + Math.random() * SPREAD_MS;
    const atMs = this.#clock.monotonicMs() + inMs;
    if (atMs >= this.#timerAtMs) return;
    this.#disarm();
    this.#timerAtMs = atMs;
    this.#timer = setTimeout(() => this.#due(), inMs);
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
  }

  #due(): void {
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.monotonicMs();
    const isWell = nowMs < this.#wellUntilMs && nowMs - this.#lookedMs < LOOK_AT_LEAST_EVERY_MS;
    if (isWell) this.#lookWithin(this.#wellUntilMs - nowMs);
    else this.look();
  }

  async #lookNow(): Promise<void> {
    const [oldest] = this.#waiters;
    if (!oldest) return;
    this.#isLooking = true;
    this.#mustLookAgain = false;
    this.#lookedMs = this.#clock.monotonicMs();
    const leftMs = await this.#look(oldest);
    this.#isLooking = false;
    if (this.isEmpty) return;
    if (this.#mustLookAgain) this.look();
    else this.#lookWithin(leftMs ?? LOOK_AGAIN_MS);
  }
}
