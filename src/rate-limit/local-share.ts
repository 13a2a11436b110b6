/**
 * A limit that this process keeps by itself while Redis does not answer: its share of each policy, by GCRA.
 *
 * Promise: as long as no more processes than `instances` take part, all of them together let in no more than a policy's limit a `per`, on top
 * of what Redis had let in before. Whatever its algorithm, a policy is kept as a rate with a burst of the share, and at least 1. What
 * was taken locally is not carried over when Redis is back. Bounded in number: beyond that, the key that was used longest ago begins anew.
 */
import type { ConsumeResult, PolicyResult } from './limiter.ts';
import { summed } from './decision.ts';
import type { PolicyInfo } from './policies.ts';

const MOST_KEYS = 10_000;
/** What a share can never let in, the whole limit may: it is told to come again. */
const TOO_LARGE_RETRY_MS = 1_000;

/** The local shares of one limiter. */
export class LocalShare {
  readonly #instances: number;
  /** For each key, when the bucket of each policy is full again, in monotonic ms. */
  readonly #fullAt = new Map<string, Map<string, number>>();

  constructor(instances: number) {
    this.#instances = instances;
  }

  /** Decides on a call, and takes its cost if `takes`. */
  decide(policies: readonly PolicyInfo[], key: string, cost: number, nowMs: number, takes: boolean): ConsumeResult {
    const known = this.#fullAt.get(key);
    const results = policies.map((policy) => this.#look(policy, known?.get(policy.name) ?? 0, cost, nowMs));
    const answer = summed(results, 'local');
    if (!takes || !answer.allowed) return answer;
    const fullAt = known ?? new Map<string, number>();
    const after = policies.map((policy, index): PolicyResult => {
      const before = results[index];
      if (before?.allowed === false) return before;
      const { intervalMs } = this.#shareOf(policy);
      const filledAtMs = Math.max(nowMs, fullAt.get(policy.name) ?? 0) + cost * intervalMs;
      fullAt.set(policy.name, filledAtMs);
      return this.#look(policy, filledAtMs, 0, nowMs);
    });
    this.#fullAt.delete(key); // So that it comes to stand last.
    this.#fullAt.set(key, fullAt);
    this.#makeRoom();
    return summed(after, 'local');
  }

  /** Redis answers again. */
  clear(): void {
    this.#fullAt.clear();
  }

  #look(policy: PolicyInfo, filledAtMs: number, cost: number, nowMs: number): PolicyResult {
    const { burst, intervalMs } = this.#shareOf(policy);
    const debtMs = Math.max(0, filledAtMs - nowMs);
    const lateMs = debtMs + cost * intervalMs - burst * intervalMs;
    let retryAfterMs = Math.max(0, Math.ceil(lateMs));
    if (cost > policy.burst) retryAfterMs = Infinity;
    else if (cost > burst) retryAfterMs = TOO_LARGE_RETRY_MS;
    // A thousandth of a unit is not refused for the rounding of a fraction.
    const allowed = cost <= burst && lateMs <= intervalMs / 1_000;
    return {
      policy: policy.name,
      allowed,
      limit: burst,
      remaining: Math.max(0, Math.floor(burst - debtMs / intervalMs + 0.001)),
      retryAfterMs: allowed ? 0 : Math.max(1, retryAfterMs),
      resetMs: Math.ceil(debtMs),
      shadow: policy.shadow,
    };
  }

  #shareOf({ limit, burst, perMs }: PolicyInfo): { burst: number; intervalMs: number } {
    return {
      burst: Math.max(1, Math.floor(burst / this.#instances)),
      intervalMs: (perMs / limit) * this.#instances,
    };
  }

  #makeRoom(): void {
    if (this.#fullAt.size <= MOST_KEYS) return;
    for (const oldest of this.#fullAt.keys()) {
      this.#fullAt.delete(oldest);
      return;
    }
  }
}
