/**
 * What rate limits count.
 *
 *   millrace_rate_limit_calls_total{limiter,outcome,source}     outcome: allowed, refused; source: redis, deny-cache, local, outage
 *   millrace_rate_limit_refusals_total{limiter,policy}          by the policy that held the call up longest; `block` for blocked keys
 *   millrace_rate_limit_shadow_refusals_total{limiter,policy}   what a policy that only watches would have refused
 *   millrace_concurrency_slots_total{limit,outcome}             outcome: allowed, refused, lost, outage
 *
 * Keys are never labels. Promise: counting costs nanoseconds and never throws, with a registry or without one.
 */
import type { ConsumeResult, DecisionSource } from './limiter.ts';

interface Counter {
  inc(n?: number): void;
}

interface Definition<Name extends string> {
  name: string;
  help: string;
  labels: readonly Name[];
  maxChildren: number;
}

/** What is needed of a metrics registry; createMetrics() gives one. */
export interface RateLimitMetricsRegistry {
  counter<const Name extends string>(
    definition: Definition<Name>,
  ): { labels(values: Readonly<Record<Name, string>>): Counter };
}

/** Counts for one limiter. */
export interface LimiterMeter {
  counted(result: ConsumeResult): void;
}

/** What became of a slot of a concurrency limit. */
export type SlotOutcome = 'allowed' | 'refused' | 'lost' | 'outage';

/** Counts for all limiters. */
export interface RateLimitMetrics {
  forLimiter(limiter: string): LimiterMeter;
  readonly slot: (outcome: SlotOutcome, limit: string) => void;
}

const SOURCES: readonly DecisionSource[] = ['redis', 'deny-cache', 'local', 'outage'];

/**
 * The metrics of rate limits on a registry; without one, nothing is counted.
 *
 * @param mostLimiters How many limiters are told apart.
 * @throws MillraceError OPTIONS_INVALID when one of the names is taken by another metric.
 */
export function createRateLimitMetrics(
  registry: RateLimitMetricsRegistry | undefined,
  mostLimiters: number,
): RateLimitMetrics {
  if (!registry) return { forLimiter: () => NO_METER, slot: () => undefined };
  const calls = registry.counter({
    name: 'millrace_rate_limit_calls_total',
    help: 'Calls that a rate limit decided on, by outcome and by who decided.',
    labels: ['limiter', 'outcome', 'source'],
    maxChildren: 2 * SOURCES.length * mostLimiters,
  });
  const refusals = registry.counter({
    name: 'millrace_rate_limit_refusals_total',
    help: 'Refused calls by the policy that held them up longest.',
    labels: ['limiter', 'policy'],
    maxChildren: 8 * mostLimiters,
  });
  const shadows = registry.counter({
    name: 'millrace_rate_limit_shadow_refusals_total',
    help: 'Calls that a policy which only watches would have refused.',
    labels: ['limiter', 'policy'],
    maxChildren: 8 * mostLimiters,
  });
  const slots = registry.counter({
    name: 'millrace_concurrency_slots_total',
    help: 'Slots of concurrency limits that were asked for, by outcome, and those that were lost while held.',
    labels: ['limit', 'outcome'],
    maxChildren: 4 * mostLimiters,
  });
  return {
    slot: (outcome, limit) => slots.labels({ limit, outcome }).inc(),
    forLimiter(limiter) {
      const bySource = (outcome: string): Readonly<Record<DecisionSource, Counter>> =>
        Object.fromEntries(SOURCES.map((source) => [source, calls.labels({ limiter, outcome, source })])) as Record<
          DecisionSource,
          Counter
        >;
      const allowed = bySource('allowed');
      const refused = bySource('refused');
      // Policies are few and named by code.
      const byPolicy = new Map<string, Counter>();
      return {
        counted(result) {
          if (result.shadow)
            for (const { policy, shadow, allowed: fits } of result.policies)
              if (shadow && !fits) shadows.labels({ limiter, policy }).inc();
          if (result.allowed) return allowed[result.source].inc();
          refused[result.source].inc();
          let counter = byPolicy.get(result.policy);
          if (!counter) byPolicy.set(result.policy, (counter = refusals.labels({ limiter, policy: result.policy })));
          counter.inc();
        },
      };
    },
  };
}

const NO_METER: LimiterMeter = { counted: () => undefined };
