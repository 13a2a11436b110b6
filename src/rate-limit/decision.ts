/** What a caller is told, made of the numbers of the script. */
import type { ConsumeResult, DecisionSource, PolicyResult } from './limiter.ts';
import type { Bucket, PolicyInfo } from './policies.ts';
import { FIRST_POLICY, NUMBERS_A_POLICY, type BucketDecision, type Decision } from './scripts.ts';

/** The name under which a blocked key is refused. */
export const BLOCK = 'block';

/** The result of what the server decided. */
export function resultOf(policies: readonly PolicyInfo[], decision: Decision): ConsumeResult {
  const results: PolicyResult[] = [];
  let at = FIRST_POLICY;
  for (const { name, burst, shadow } of policies) {
    const retryUs = decision[at + 2] ?? 0;
    results.push({
      policy: name,
      allowed: decision[at] === 1,
      limit: burst,
      remaining: decision[at + 1] ?? 0,
      retryAfterMs: retryUs < 0 ? Infinity : Math.ceil(retryUs / 1_000),
      resetMs: Math.ceil((decision[at + 3] ?? 0) / 1_000),
      shadow,
    });
    at += NUMBERS_A_POLICY;
  }
  return summed(results, 'redis', Math.ceil((decision[1] ?? 0) / 1_000));
}

/** The result of what the server decided on a bucket, with the arithmetic of consume.lua. */
export function resultOfBucket(bucket: Bucket, cost: number, said: BucketDecision): ConsumeResult {
  const { policy, fullNs, intervalNs } = bucket;
  const passes = typeof said === 'number';
  const debtNs = passes ? said : said[2];
  const lacksNs = passes ? 0 : debtNs + cost * intervalNs - fullNs;
  const result: PolicyResult = {
    policy: policy.name,
    allowed: lacksNs <= 0,
    limit: policy.burst,
    remaining: Math.floor((fullNs - debtNs) / intervalNs),
    retryAfterMs: lacksNs <= 0 ? 0 : cost > policy.burst ? Infinity : Math.ceil(lacksNs / 1_000_000),
    resetMs: Math.ceil(debtNs / 1_000_000),
    shadow: false,
  };
  if (!passes) return summed([result], 'redis', Math.ceil(said[1] / 1_000));
  const { remaining, resetMs } = result;
  return {
    allowed: true,
    policy: policy.name,
    limit: policy.burst,
    remaining,
    retryAfterMs: 0,
    resetMs,
    policies: [result],
    source: 'redis',
    shadow: false,
  };
}

/** One answer for all policies. */
export function summed(results: readonly PolicyResult[], source: DecisionSource, blockedMs: number = 0): ConsumeResult {
  let nearest: PolicyResult | undefined;
  let longest: PolicyResult | undefined;
  let shadow = false;
  for (const result of results) {
    if (result.shadow) {
      if (!result.allowed) shadow = true;
      continue;
    }
    if (!result.allowed && (longest === undefined || result.retryAfterMs > longest.retryAfterMs)) longest = result;
    if (nearest === undefined || result.remaining < nearest.remaining) nearest = result;
  }
  const told = longest ?? nearest ?? results[0];
  const isBlocked = blockedMs > 0 && blockedMs >= (longest?.retryAfterMs ?? 0);
  return {
    allowed: blockedMs === 0 && longest === undefined,
    policy: isBlocked ? BLOCK : (told?.policy ?? BLOCK),
    limit: told?.limit ?? 0,
    remaining: isBlocked ? 0 : (told?.remaining ?? 0),
    retryAfterMs: Math.max(blockedMs, longest?.retryAfterMs ?? 0),
    resetMs: isBlocked ? blockedMs : (told?.resetMs ?? 0),
    policies: results,
    source,
    shadow,
  };
}
