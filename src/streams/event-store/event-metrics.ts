/**
 * What is counted of event stores. Streams are no labels: there may be one for each order.
 *
 *   millrace_events_appends_total{store,outcome}     millrace_events_appended_total{store}
 *   millrace_events_handled_total{store,follower}    millrace_events_failures_total{store,follower}    millrace_events_lag{store,follower}
 *
 * A follower is a projection or a named subscription; of those that stand by in a process, the lag is what they last knew.
 */
import type { StreamsMetricsRegistry } from '../streams-metrics.ts';

const OUTCOMES = ['appended', 'duplicate', 'conflict'] as const;
const MAX_STORES = 100;
const MAX_FOLLOWERS = 1_000;

/** Counts for one store. */
export interface StoreMeter {
  appended(outcome: (typeof OUTCOMES)[number], events: number): void;
  follower(name: string): FollowerMeter;
}

/** Counts for one projection or subscription. */
export interface FollowerMeter {
  handled(events: number): void;
  failed(): void;
  /** How many events it has still to look at. */
  lag(events: number): void;
}

/** The meter of a store; without a registry it counts nothing. */
export function createStoreMeter(registry: StreamsMetricsRegistry | undefined, store: string): StoreMeter {
  if (!registry) return NO_METER;
  const appends = registry.counter({
    name: 'millrace_events_appends_total',
    help: 'Appends to event stores by how they ended.',
    labels: ['store', 'outcome'],
    maxChildren: MAX_STORES * OUTCOMES.length,
  });
  const appended = registry
    .counter({
      name: 'millrace_events_appended_total',
      help: 'Events that were appended.',
      labels: ['store'],
      maxChildren: MAX_STORES,
    })
    .labels({ store });
  const byOutcome = new Map(OUTCOMES.map((outcome) => [outcome, appends.labels({ store, outcome })]));
  const ofFollower = { labels: ['store', 'follower'], maxChildren: MAX_FOLLOWERS } as const;
  const handled = registry.counter({
    name: 'millrace_events_handled_total',
    help: 'Events that a projection or a subscription has handled.',
    ...ofFollower,
  });
  const failures = registry.counter({
    name: 'millrace_events_failures_total',
    help: 'Events that a projection or a subscription could not handle, each time it tried.',
    ...ofFollower,
  });
  const lag = registry.gauge({
    name: 'millrace_events_lag',
    help: 'Events that a projection or a subscription has still to look at.',
    ...ofFollower,
  });
  return {
    appended(outcome, events) {
      byOutcome.get(outcome)?.inc();
      if (outcome === 'appended') appended.inc(events);
    },
    follower(follower) {
      const labels = { store, follower };
      const [ofHandled, ofFailures, ofLag] = [handled.labels(labels), failures.labels(labels), lag.labels(labels)];
      return {
        handled: (events) => ofHandled.inc(events),
        failed: () => ofFailures.inc(),
        lag: (events) => ofLag.set(events),
      };
    },
  };
}

const NO_FOLLOWER: FollowerMeter = { handled: () => undefined, failed: () => undefined, lag: () => undefined };
const NO_METER: StoreMeter = { appended: () => undefined, follower: () => NO_FOLLOWER };
