/**
 * Waiting until a limit allows a call, for no longer than a bound.
 *
 * Promise: of those that wait for one key in this process only the first asks, at the moment that the limit named; the others
 * follow in the order in which they came, so a large cost is not starved by small ones, and a thousand waiters cost no more
 * questions than one. Processes do not queue with each other: between them, who asks first wins.
 * A wait that cannot end in time is not begun: the refusal is returned at once. Nobody is kept beyond the bound by those before
 * him; he then asks once for himself.
 * Redis down: what the limit answers then counts, as it does without waiting.
 */
import type { Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';

/** What a limit answers. */
export interface Answer {
  readonly allowed: boolean;
  /** When to ask again; Infinity for never. */
  readonly retryAfterMs: number;
}

/** For how long to wait, and what ends it early. */
export interface WaitBound {
  /** 0 asks once. */
  maxMs: number;
  signal?: AbortSignal | undefined;
}

/** Beyond these nobody waits: a call is answered at once, as with `maxMs: 0`. */
const MOST_WAITING = 10_000;

/** Those that wait for the limits of one process. */
export class Waits {
  readonly #clock: Clock;
  readonly #lines = new Map<string, Waiter[]>();
  #count = 0;
  #isStopped = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many wait now. */
  get count(): number {
    return this.#count;
  }

  /**
   * The first answer that allows, or the last one that refuses.
   *
   * A call that was allowed is returned, even if the signal has aborted meanwhile: it has been counted.
   *
   * @param key What is waited for; who waits for the same key stands in one line.
   * @param ask Takes from the limit; what it throws ends the wait.
   * @throws the reason of the signal when it aborts; MillraceError CLOSED after stop().
   */
  async wait<A extends Answer>(key: string, ask: () => Promise<A>, { maxMs, signal }: WaitBound): Promise<A> {
    signal?.throwIfAborted();
    if (this.#isStopped) throw closed();
    if (maxMs <= 0 || this.#count >= MOST_WAITING) return ask();
    const untilMs = this.#clock.monotonicMs() + maxMs;
    const waiter = new Waiter(this.#clock);
    const onAbort = (): void => waiter.giveUp(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#join(key, waiter);
    try {
      for (let leftMs = maxMs; !waiter.isFirst && leftMs > 0; leftMs = untilMs - this.#clock.monotonicMs())
        await waiter.nap(leftMs);
      return await this.#askUntil(untilMs, waiter, ask);
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#leave(key, waiter);
    }
  }

  /** Whoever waits is told CLOSED. Safe to call twice. */
  stop(): void {
    this.#isStopped = true;
    for (const line of this.#lines.values()) for (const waiter of line) waiter.giveUp(closed());
  }

  async #askUntil<A extends Answer>(untilMs: number, waiter: Waiter, ask: () => Promise<A>): Promise<A> {
    for (;;) {
      const answer = await ask();
      const leftMs = untilMs - this.#clock.monotonicMs();
      // A wait without an end is none, whatever the bound is.
      if (answer.allowed || !Number.isFinite(answer.retryAfterMs) || answer.retryAfterMs > leftMs) return answer;
      // Never 0, or a limit that says so by mistake would be asked without a pause.
      await waiter.nap(Math.max(1, Math.ceil(answer.retryAfterMs)));
    }
  }

  #join(key: string, waiter: Waiter): void {
    this.#count++;
    const line = this.#lines.get(key);
    if (line) {
      line.push(waiter);
      return;
    }
    waiter.isFirst = true;
    this.#lines.set(key, [waiter]);
  }

  #leave(key: string, waiter: Waiter): void {
    this.#count--;
    const line = this.#lines.get(key) ?? [];
    line.splice(line.indexOf(waiter), 1);
    const [first] = line;
    if (first) first.comeForward();
    else this.#lines.delete(key);
  }
}

/** One that waits. */
class Waiter {
  readonly #clock: Clock;
  #nap: AbortController | undefined;
  #givenUp: { reason: unknown } | undefined;
  isFirst = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves after `ms`, or when it comes to stand first. @throws the reason for which it was given up. */
  async nap(ms: number): Promise<void> {
    this.#checkGivenUp();
    const nap = new AbortController();
    this.#nap = nap;
    try {
      await this.#clock.sleep(ms, { signal: nap.signal });
    } catch (error) {
      if (!nap.signal.aborted) throw error;
    }
    this.#checkGivenUp();
  }

  comeForward(): void {
    if (this.isFirst) return;
    this.isFirst = true;
    this.#nap?.abort();
  }

  giveUp(reason: unknown): void {
    this.#givenUp ??= { reason };
    this.#nap?.abort();
  }

  #checkGivenUp(): void {
    if (this.#givenUp) throw this.#givenUp.reason;
  }
}

function closed(): MillraceError {
  return new MillraceError('CLOSED', 'the rate limits have been stopped', {});
}
