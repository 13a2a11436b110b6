/**
 * Watches over the event loop of a worker, on which lease renewals, heartbeats and fetching depend.
 *
 * A handler that computes for long without a pause keeps all of them waiting, until leases run out and other workers
 * take jobs that still run here. A timer notices by how much it came late; a process that was stopped and continued
 * looks the same, and means the same for its leases.
 *
 * Promise: `lagMs` is never less than the block that has just ended, even when it is asked before the timer had its turn.
 * Redis down: nothing here talks to Redis.
 */
import { z } from 'zod';
import { systemClock, type Clock } from '../../clock.ts';
import { checkOptions } from '../../schema.ts';

/** Options of the watch. */
export interface EventLoopWatchOptions {
  /** Time between two looks. Default 100 ms. A block that is shorter than this may show as less than it was. */
  intervalMs?: number | undefined;
  /** Lateness from which on it is a block, and is reported. Default 500 ms. Far below 100 ms, a busy machine is reported too. */
  warnAfterMs?: number | undefined;
  /** Called once a block, after it has ended. Must not throw. */
  onBlocked?: ((blockedMs: number) => void) | undefined;
  /** Default: the machine's time. */
  clock?: Clock | undefined;
}

/** A watch over this process's event loop. */
export interface EventLoopWatch {
  /** By how much the loop is behind, as far as is known now; 0 when not started. Falls back when the next look was on time. */
  readonly lagMs: number;
  /** How many blocks there were since the watch was made. */
  readonly blocks: number;
  /** How long they were together. */
  readonly blockedMs: number;
  /** The longest that it was behind since this was last asked. */
  takeLongestMs(): number;
  /** Begins to watch; safe to call again, also after stop(). Never keeps the process alive. */
  start(): void;
  /** Stops to watch. */
  stop(): void;
}

const INTERVAL_MS = 100;
const WARN_AFTER_MS = 500;

const optionsSchema = z.strictObject({
  intervalMs: z.number().positive().default(INTERVAL_MS),
  warnAfterMs: z.number().positive().default(WARN_AFTER_MS),
  onBlocked: z
    .custom<(blockedMs: number) => void>((value) => typeof value === 'function', 'expected a function')
    .optional(),
  clock: z.custom<Clock>((value) => typeof value === 'object' && value !== null, 'expected a clock').optional(),
});

/**
 * A watch that is not started yet.
 *
 * @example
 * const watch = watchEventLoop({ warnAfterMs: 500, onBlocked: (ms) => log.warn({ ms }, 'the event loop was blocked') });
 * watch.start();
 * if (watch.lagMs > 1_000) await pauseFetching();
 * watch.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function watchEventLoop(options: EventLoopWatchOptions = {}): EventLoopWatch {
  return new Watch(checkOptions(optionsSchema, options, 'watchEventLoop'));
}

class Watch implements EventLoopWatch {
  readonly #options: z.output<typeof optionsSchema>;
  readonly #clock: Clock;
  #timer: NodeJS.Timeout | undefined;
  #dueAt = 0;
  #lastLagMs = 0;
  #longestMs = 0;
  #blocks = 0;
  #blockedMs = 0;

  constructor(options: z.output<typeof optionsSchema>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  get lagMs(): number {
    return this.#timer ? Math.max(this.#lastLagMs, this.#latenessMs()) : 0;
  }

  takeLongestMs(): number {
    const longestMs = Math.max(this.#longestMs, this.lagMs);
    this.#longestMs = 0;
    return longestMs;
  }

  get blocks(): number {
    return this.#blocks;
  }

  get blockedMs(): number {
    return this.#blockedMs;
  }

  start(): void {
    if (this.#timer) return;
    this.#lastLagMs = 0;
    this.#wait();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #wait(): void {
    const { intervalMs } = this.#options;
    this.#dueAt = this.#clock.monotonicMs() + intervalMs;
    // Set anew each time: an interval of Node's would make up for a block with a look that comes too early to tell anything.
    this.#timer = setTimeout(() => this.#look(), intervalMs).unref();
  }

  #look(): void {
    const lagMs = this.#latenessMs();
    this.#lastLagMs = lagMs;
    this.#longestMs = Math.max(this.#longestMs, lagMs);
    this.#wait(); // Before the callback, which may stop the watch.
    if (lagMs < this.#options.warnAfterMs) return;
    this.#blocks++;
    this.#blockedMs += lagMs;
    this.#options.onBlocked?.(lagMs);
  }

  #latenessMs(): number {
    return Math.max(0, this.#clock.monotonicMs() - this.#dueAt);
  }
}
