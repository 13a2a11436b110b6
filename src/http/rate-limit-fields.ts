/**
 * What a response tells of rate limits, in three forms.
 *
 *   draft-10     RateLimit-Policy: "burst";q=20;w=1;millrace-burst=40, "day";q=1000;w=86400      all policies
 *                RateLimit: "burst";r=39;t=2, "day";r=812;t=4000
 *   draft-6      RateLimit-Policy: 20;w=1, 1000;w=86400                                          all policies
 *                RateLimit-Limit: 40   RateLimit-Remaining: 39   RateLimit-Reset: 2              the nearest to its limit
 *   x-ratelimit  X-RateLimit-Limit: 40   -Remaining: 39   -Reset: 1767225602 (Unix seconds)      the nearest to its limit
 *
 * The first two are of draft-ietf-httpapi-ratelimit-headers, in its revisions 10 and 6. Seconds are rounded up, so that whoever comes
 * back then is not too early. Policies that only watch are not told, and nothing is told that is not known, as while Redis is down.
 */
import type { ServerResponse } from 'node:http';
import type { ConsumeResult, PolicyResult } from '../rate-limit/limiter.ts';

/** The forms in which limits are told. */
export const RATE_LIMIT_FORMS = ['draft-10', 'draft-6', 'x-ratelimit'] as const;
export type RateLimitForm = (typeof RATE_LIMIT_FORMS)[number];

/** What is told of a policy, whatever its state is. A limiter's policies are such. */
export interface ToldPolicy {
  readonly name: string;
  readonly limit: number;
  readonly perMs: number;
  readonly burst?: number | undefined;
  readonly shadow?: boolean | undefined;
}

/** What a structured field can hold of an integer. */
const LARGEST = 999_999_999_999_999;

/** Whole seconds that cover the time. */
export function secondsOf(ms: number): number {
  return Math.min(LARGEST, Math.max(0, Math.ceil(ms / 1_000)));
}

/**
 * Sets the fields of a result.
 *
 * @param retryAfterS what Retry-After tells, which must not be sooner than what the others tell
 */
export function setFields(
  response: ServerResponse,
  forms: ReadonlySet<RateLimitForm>,
  policies: readonly ToldPolicy[],
  result: ConsumeResult,
  { nowMs, retryAfterS, partition }: { nowMs: number; retryAfterS: number | undefined; partition: string | undefined },
): void {
  if (result.source === 'outage') return;
  const told = policies.filter(({ shadow }) => shadow !== true);
  const states = result.policies.filter(({ shadow }) => !shadow);
  if (forms.has('draft-10')) {
    append(response, 'RateLimit-Policy', told.map((policy) => policyItem(policy, partition)).join(', '));
    append(response, 'RateLimit', states.map((state) => stateItem(state, retryAfterS, partition)).join(', '));
  }
  if (forms.has('draft-6')) {
    append(response, 'RateLimit-Policy', told.map(({ limit, perMs }) => `${limit};w=${secondsOf(perMs)}`).join(', '));
    setTriple(response, 'RateLimit', result, secondsOf(resetMsOf(result)));
  }
  if (forms.has('x-ratelimit')) {
    setTriple(response, 'X-RateLimit', result, secondsOf(nowMs + resetMsOf(result)));
  }
}

/** The names of the policies that refused the call. */
export function violatedPolicies({ policies, policy }: ConsumeResult): string[] {
  const names = policies.filter(({ allowed, shadow }) => !allowed && !shadow).map((state) => state.policy);
  return names.length > 0 ? names : [policy]; // A block, or what is known from before.
}

/** Beside what another limit of the same request tells. */
function append(response: ServerResponse, name: string, value: string): void {
  if (value !== '') response.appendHeader(name, value);
}

function policyItem({ name, limit, perMs, burst = limit }: ToldPolicy, partition: string | undefined): string {
  // A window is whole seconds or is not told: half a second is neither 0 nor 1.
  const window = perMs % 1_000 === 0 ? `;w=${perMs / 1_000}` : '';
  const atOnce = burst === limit ? '' : `;millrace-burst=${integer(burst)}`;
  return `${string(name)};q=${integer(limit)}${window}${atOnce}${partitionOf(partition)}`;
}

function stateItem(state: PolicyResult, retryAfterS: number | undefined, partition: string | undefined): string {
  const resetMs = resetMsOf(state);
  const resetS = secondsOf(resetMs);
  // What refused the call and never will allow it has no time; nor may another policy's be later than Retry-After.
  const isTold = Number.isFinite(resetMs) && (retryAfterS === undefined || resetS <= retryAfterS);
  return `${string(state.policy)};r=${integer(state.remaining)}${isTold ? `;t=${resetS}` : ''}${partitionOf(partition)}`;
}

/** When to come again: of what refused, the moment at which it would not; of what allowed, the one at which all is there again. */
function resetMsOf({
  allowed,
  retryAfterMs,
  resetMs,
}: Pick<PolicyResult, 'allowed' | 'retryAfterMs' | 'resetMs'>): number {
  return allowed ? resetMs : retryAfterMs;
}

function setTriple(response: ServerResponse, prefix: string, result: ConsumeResult, reset: number): void {
  response.setHeader(`${prefix}-Limit`, integer(result.limit));
  response.setHeader(`${prefix}-Remaining`, integer(result.remaining));
  if (Number.isFinite(resetMsOf(result))) response.setHeader(`${prefix}-Reset`, reset);
}

function integer(value: number): number {
  return Math.min(LARGEST, Math.max(0, Math.floor(value)));
}

function string(text: string): string {
  return `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
}

function partitionOf(partition: string | undefined): string {
  return partition === undefined ? '' : `;pk=:${partition}:`;
}
