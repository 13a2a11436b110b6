/**
 * Two clocks that must not be mixed up, and the waits that are built on them.
 *
 * `wallMs` may be stored and shown, and jumps when somebody sets the machine's clock. `monotonicMs` never jumps; it is
 * for differences and deadlines inside this process only. What several machines must agree on comes from neither:
 * it comes from Redis (TIME).
 */
import { setTimeout as delay } from 'node:timers/promises';

/** Time, so that a test can own it. */
export interface Clock {
  /** Milliseconds since 1970. For storing and showing. */
  wallMs(): number;
  /** Milliseconds since some moment in the past; never goes back. For measuring. */
  monotonicMs(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
  sleep(ms: number, options?: { signal?: AbortSignal | undefined }): Promise<void>;
}

/** A timer of Node's that is set for longer than this fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The machine's own time. */
export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  async sleep(ms, { signal } = {}) {
    signal?.throwIfAborted();
    let leftMs = ms;
    try {
      do {
        await delay(Math.min(leftMs, LONGEST_TIMER_MS), undefined, signal ? { signal } : undefined);
        leftMs -= LONGEST_TIMER_MS;
      } while (leftMs > 0);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  },
};

/**
 * The promise's outcome, or what `late` throws once `ms` have passed. The promise itself goes on; give it a signal of
 * its own if it should not. A rejection that comes after the deadline is not left unhandled.
 *
 * @example
 * const reply = await withDeadline(redis.ping(), 500, () => new MillraceError('REDIS_TIMEOUT', 'no PONG in 500 ms'));
 */
export async function withDeadline<T>(promise: Promise<T>, ms: number, late: () => Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    const wait = (leftMs: number): void => {
      const next = (): void => (leftMs > LONGEST_TIMER_MS ? wait(leftMs - LONGEST_TIMER_MS) : reject(late()));
      timer = setTimeout(next, Math.min(leftMs, LONGEST_TIMER_MS));
    };
    wait(ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
