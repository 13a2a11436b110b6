/**
 * The progress that a thread tells its worker: a few times a second, also from a loop that never waits, and the last one at the end. The
 * worker thins it out again for Redis; this keeps a busy loop from flooding the worker with messages.
 */
import type { Clock } from '../../clock.ts';

const INTERVAL_MS = 50;

/** The progress of one run. */
export class ThreadProgress {
  readonly #tell: (value: number | object) => void;
  readonly #clock: Clock;
  #latest: number | object | undefined;
  #toldAtMs = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(tell: (value: number | object) => void, clock: Clock) {
    this.#tell = tell;
    this.#clock = clock;
  }

  /** Takes the place of what was not told yet. */
  set(value: number | object): void {
    this.#latest = value;
    const waitMs = this.#toldAtMs + INTERVAL_MS - this.#clock.monotonicMs();
    if (waitMs <= 0) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), waitMs);
  }

  /** Tells what was not told yet. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const value = this.#latest;
    if (value === undefined) return;
    this.#latest = undefined;
    this.#toldAtMs = this.#clock.monotonicMs();
    this.#tell(value);
  }
}
