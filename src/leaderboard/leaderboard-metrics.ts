/**
 * What is counted of leaderboards. Neither boards nor members are labels: there may be a board for each level of a game.
 *
 *   millrace_leaderboard_scores_total{outcome}     better, kept: not better than what stood; known: its operation had counted; refused
 *   millrace_leaderboard_clock_total               calls that were sent again, because the server's clock was in another period
 *   millrace_leaderboard_unions_total{outcome}     rolling windows that were read: made anew, fresh
 */
import type { Bindable, CounterChild, MeterDefinition } from '../meters.ts';

/** What is needed of a metrics registry; createMetrics() gives one. */
export interface LeaderboardMetricsRegistry {
  counter<const Name extends string>(definition: MeterDefinition<Name>): Bindable<Name, CounterChild>;
}

const OUTCOMES = ['better', 'kept', 'known', 'refused'] as const;
/** What became of a score. */
export type ScoreOutcome = (typeof OUTCOMES)[number];
const UNIONS = ['made', 'fresh'] as const;

/** Counts for one process. */
export interface LeaderboardMeter {
  score(outcome: ScoreOutcome): void;
  clock(): void;
  union(outcome: (typeof UNIONS)[number]): void;
}

/** @throws MillraceError OPTIONS_INVALID when one of the names is taken by another metric. */
export function createLeaderboardMeter(registry: LeaderboardMetricsRegistry | undefined): LeaderboardMeter {
  if (!registry) return { score: () => undefined, clock: () => undefined, union: () => undefined };
  const counted = <const Value extends string>(
    name: string,
    help: string,
    values: readonly Value[],
  ): Readonly<Record<Value, CounterChild>> => {
    const metric = registry.counter({ name, help, labels: ['outcome'], maxChildren: values.length });
    const all = values.map((value) => [value, metric.labels({ outcome: value })]);
    return Object.fromEntries(all) as Record<Value, CounterChild>;
  };
  const name = 'millrace_leaderboard';
  const scores = counted(`${name}_scores_total`, 'Scores that were submitted, by what became of them.', OUTCOMES);
  const unions = counted(`${name}_unions_total`, 'Rolling windows that were read.', UNIONS);
  const clocks = registry.counter({
    name: `${name}_clock_total`,
    help: "Calls that were sent again, because the server's clock was in another period.",
    labels: [],
    maxChildren: 1,
  });
  const clock = clocks.labels({});
  return {
    score: (outcome) => scores[outcome].inc(),
    clock: () => clock.inc(),
    union: (outcome) => unions[outcome].inc(),
  };
}
