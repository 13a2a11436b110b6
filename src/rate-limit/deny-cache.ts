/**
 * Refusals that are known, so that a caller who is over the limit costs no round trip.
 *
 * Promise: a refusal is repeated only until the moment at which the server said that the call would pass, only for calls that cost
 * as much or more, and only while every message arrives that could end it earlier: a reset, a refund, the end of a block or a new one, a
 * changed policy. Moments are counted from before the question was sent, on the monotonic clock of this process. A refusal that
 * was under way while such a message came in is not kept. Bounded in number, and in time, against what no message tells of: an evicted
 * key, a failover to a replica that was behind.
 * Redis down: without messages nothing is remembered.
 */
import type { ConsumeResult, PolicyResult } from './limiter.ts';

/** Bounds. */
export interface DenyCacheOptions {
  /** How many refusals are kept; 0 keeps none. The oldest one goes first. */
  size: number;
  /** How long one is kept at most. */
  longestMs: number;
}

/** By how much `retryAfterMs` may be later than the moment itself. */
const ROUNDED_UP_MS = 1;

interface Denial {
  readonly cost: number;
  readonly atMs: number;
  readonly untilMs: number;
  readonly result: ConsumeResult;
}

/** The known refusals of one limiter. */
export class DenyCache {
  readonly #size: number;
  readonly #longestMs: number;
  readonly #denials = new Map<string, Denial>();
  #isLive = false;
  #epoch = 0;

  constructor({ size, longestMs }: DenyCacheOptions) {
    this.#size = size;
    this.#longestMs = longestMs;
  }

  /** How many are kept. */
  get count(): number {
    return this.#denials.size;
  }

  /** Changes whenever something may have made room; taken before a question, and given with its answer. */
  get epoch(): number {
    return this.#epoch;
  }

  /** The refusal of a call of this cost, with the times that are left now; undefined when the server must be asked. */
  find(key: string, cost: number, nowMs: number): ConsumeResult | undefined {
    const denial = this.#denials.get(key);
    if (denial === undefined) return undefined;
    if (nowMs >= denial.untilMs) {
      this.#denials.delete(key);
      return undefined;
    }
    // So put, a cost that is no number matches nothing, and is refused as such.
    return cost >= denial.cost ? aged(denial.result, nowMs - denial.atMs) : undefined;
  }

  /**
   * Keeps a refusal.
   *
   * @param sentAtMs When the question was sent.
   * @param epoch What `epoch` was then.
   */
  keep(key: string, cost: number, result: ConsumeResult, sentAtMs: number, epoch: number): void {
    if (!this.#isLive || epoch !== this.#epoch || this.#size === 0) return;
    const keptMs = Math.min(result.retryAfterMs - ROUNDED_UP_MS, this.#longestMs);
    this.#denials.delete(key); // So that it comes to stand last.
    this.#denials.set(key, { cost, atMs: sentAtMs, untilMs: sentAtMs + keptMs, result });
    if (this.#denials.size <= this.#size) return;
    for (const oldest of this.#denials.keys()) {
      this.#denials.delete(oldest);
      return;
    }
  }

  /** Something may have made room for the key. */
  forget(key: string): void {
    this.#epoch++;
    this.#denials.delete(key);
  }

  /** Something may have made room for all keys. */
  clear(): void {
    this.#epoch++;
    this.#denials.clear();
  }

  /** Whether messages arrive; what was kept before is let go of in any case. */
  setLive(isLive: boolean): void {
    this.#isLive = isLive;
    this.clear();
  }
}

/** As the server would tell it now, by the time that has passed. */
function aged(result: ConsumeResult, ms: number): ConsumeResult {
  const { policy, limit, remaining, shadow } = result;
  const policies: PolicyResult[] = [];
  for (const one of result.policies) {
    policies.push({
      policy: one.policy,
      allowed: one.allowed,
      limit: one.limit,
      remaining: one.remaining,
      retryAfterMs: left(one.retryAfterMs, ms),
      resetMs: left(one.resetMs, ms),
      shadow: one.shadow,
    });
  }
  return {
    allowed: false,
    policy,
    limit,
    remaining,
    retryAfterMs: Math.max(1, left(result.retryAfterMs, ms)),
    resetMs: left(result.resetMs, ms),
    policies,
    source: 'deny-cache',
    shadow,
  };
}

function left(ms: number, passedMs: number): number {
  return Math.max(0, Math.ceil(ms - passedMs));
}
