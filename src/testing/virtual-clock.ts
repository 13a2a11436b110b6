/**
 * A clock that stands still until it is told to move, for delays, backoff, timeouts and whatever else takes a Clock.
 *
 * Promise: sleeps end in the order of their times, and what each one sets going gets its turns before the next one ends. Real time
 * never moves it.
 */
import { systemClock, type Clock } from '../clock.ts';
import { toMs, type Duration } from '../durations.ts';
import { MillraceError } from '../errors.ts';

/** A clock for tests. */
export interface VirtualClock extends Clock {
  /** Moves the time on; what sleeps until a moment on the way is woken at that moment. */
  advance(by: Duration): Promise<void>;
}

interface Sleep {
  readonly atMs: number;
  readonly isGuard: boolean;
  wake(): void;
}

/** Rounds of the event loop in which what was woken may go on, before the time moves again. */
const TURNS = 3;

// Taken when this file is loaded, so that fake timers which a test installs later do not stop the virtual clock.
const nextTurn = setImmediate;

/** Lets everything run that waits for nothing but its turn. */
export async function takeTurns(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise<void>((resolve) => void nextTurn(resolve));
}

/** The virtual clock, with what the fake jobs need of it. */
export class VirtualTime implements VirtualClock {
  readonly #startMs: number;
  readonly #sleeps = new Set<Sleep>();
  #elapsedMs = 0;
  #onSleep: (() => void) | undefined;

  /** Time for the kit itself: deadlines and timeouts, which must not make a handler look as if it slept. */
  readonly guard: Clock = {
    wallMs: () => this.wallMs(),
    monotonicMs: () => this.monotonicMs(),
    sleep: (ms, { signal } = {}) => this.#sleep(ms, signal, true),
  };

  constructor(startMs: number) {
    this.#startMs = startMs;
  }

  wallMs(): number {
    return this.#startMs + this.#elapsedMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  sleep(ms: number, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return this.#sleep(ms, signal, false);
  }

  advance(by: Duration): Promise<void> {
    return this.advanceTo(this.#elapsedMs + toMs(by));
  }

  /** Moves on to a moment of monotonicMs(). */
  async advanceTo(untilMs: number): Promise<void> {
    await takeTurns();
    for (let next = this.#first(); next && next.atMs <= untilMs; next = this.#first()) {
      this.#elapsedMs = Math.max(this.#elapsedMs, next.atMs);
      next.wake();
      await takeTurns();
    }
    this.#elapsedMs = Math.max(this.#elapsedMs, untilMs);
  }

  /** When the next sleep ends, in monotonic ms: of all, or of those that are no guards. */
  nextMs(of: 'all' | 'sleeps'): number | undefined {
    return this.#first(of)?.atMs;
  }

  /** Resolves when somebody begins to sleep. */
  sleepBegins(): Promise<void> {
    return new Promise((resolve) => {
      this.#onSleep = resolve;
    });
  }

  #first(of: 'all' | 'sleeps' = 'all'): Sleep | undefined {
    let first: Sleep | undefined;
    for (const sleep of this.#sleeps) {
      if (of === 'sleeps' && sleep.isGuard) continue;
      if (!first || sleep.atMs < first.atMs) first = sleep;
    }
    return first;
  }

  #sleep(ms: number, signal: AbortSignal | undefined, isGuard: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const abort = (): void => {
        this.#sleeps.delete(sleep);
        reject(signal?.reason as Error);
      };
      const sleep: Sleep = {
        atMs: this.#elapsedMs + ms,
        isGuard,
        wake: () => {
          this.#sleeps.delete(sleep);
          signal?.removeEventListener('abort', abort);
          resolve();
        },
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#sleeps.add(sleep);
      if (!isGuard) this.#onSleep?.();
    });
  }
}

/** What a virtual clock may be told. */
export interface VirtualClockOptions {
  /** What it shows first. Default: now. */
  start?: Date | number | undefined;
}

/** The virtual clock with all that the kit knows of it. @throws MillraceError OPTIONS_INVALID */
export function createVirtualTime({ start }: VirtualClockOptions): VirtualTime {
  const startMs = start === undefined ? systemClock.wallMs() : Number(start);
  if (Number.isFinite(startMs)) return new VirtualTime(Math.trunc(startMs));
  throw new MillraceError('OPTIONS_INVALID', 'start: expected a Date, or milliseconds since 1970', { start });
}

/**
 * A clock that moves when it is told to.
 *
 * @example
 * const clock = createVirtualClock();
 * const run = runHandler(slowReport, { month: 7 }, { clock });
 * await clock.advance('30s');
 * assert.equal((await run).outcome, 'timeout');
 * @throws MillraceError OPTIONS_INVALID
 */
export function createVirtualClock(options: VirtualClockOptions = {}): VirtualClock {
  return createVirtualTime(options);
}
