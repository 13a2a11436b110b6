/**
 * The timeouts of the attempts that run, all on one timer: a timer for each job would cost a worker some per cent of its
 * throughput, and nearly none of them ever fires.
 *
 * The timer is set for the earliest timeout that was asked for. When it fires, the attempts that still run say what is due.
 */
import type { Clock } from '../../clock.ts';
import type { Attempt } from './attempt.ts';

/** A timer of Node's that is set for longer than this fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The timeouts of one queue's attempts. */
export class AttemptTimeouts {
  readonly #clock: Clock;
  readonly #running: ReadonlyMap<string, Attempt>;
  #timer: NodeJS.Timeout | undefined;
  /** When the timer fires, in monotonic ms. */
  #firesAtMs = Infinity;

  /** @param running has the attempts until they have ended. */
  constructor(clock: Clock, running: ReadonlyMap<string, Attempt>) {
    this.#clock = clock;
    this.#running = running;
  }

  /** When a timeout that begins now is over, in monotonic ms; running attempts are told then. */
  begin(timeoutMs: number): number {
    const atMs = this.#clock.monotonicMs() + timeoutMs;
    if (atMs < this.#firesAtMs) this.#arm(atMs, timeoutMs);
    return atMs;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#firesAtMs = Infinity;
  }

  #arm(atMs: number, inMs: number): void {
    clearTimeout(this.#timer);
    this.#firesAtMs = atMs;
    this.#timer = setTimeout(() => this.#check(), Math.min(inMs, LONGEST_TIMER_MS)).unref();
  }

  #check(): void {
    const nowMs = this.#clock.monotonicMs();
    let nextMs = Infinity;
    for (const attempt of this.#running.values()) {
      if (attempt.timesOutAtMs <= nowMs) attempt.timeOut();
      else nextMs = Math.min(nextMs, attempt.timesOutAtMs);
    }
    this.#firesAtMs = Infinity;
    if (nextMs < Infinity) this.#arm(nextMs, nextMs - nowMs);
  }
}
