/**
 * What a consumer counts, by stream and group. What waits in Redis is looked up by the module that asks Redis, not here.
 *
 *   millrace_streams_entries_total{stream,group,outcome}   millrace_streams_handler_seconds{stream,group}
 *   millrace_streams_in_flight{stream,group}
 */
import type { StreamsMetricsRegistry } from '../streams-metrics.ts';

/**
 * How an entry left a consumer. `done`: acknowledged. `retried`, `postponed`: to be tried again. `dead`: a dead letter. `skipped`: it was for another
 * group. `vanished`: it was deleted from the stream before it was done. `dropped`: it was another's by then.
 */
const OUTCOMES = ['done', 'retried', 'postponed', 'dead', 'skipped', 'vanished', 'dropped'] as const;
export type EntryOutcome = (typeof OUTCOMES)[number];

const SECONDS_BUCKETS: readonly number[] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300];
const MOST_GROUPS = 500;

/** Counts for one consumer. */
export interface ConsumerMeter {
  count(outcome: EntryOutcome, entries: number): void;
  /** Undefined where nobody counts, so that no clock is asked. */
  readonly ran: ((ms: number) => void) | undefined;
  inFlight(entries: number): void;
}

/** @throws MillraceError OPTIONS_INVALID when one of the names is taken by another metric. */
export function createConsumerMeter(
  registry: StreamsMetricsRegistry | undefined,
  names: { stream: string; group: string },
): ConsumerMeter {
  if (!registry) return { count: () => undefined, ran: undefined, inFlight: () => undefined };
  const labels = ['stream', 'group'] as const;
  const entries = registry.counter({
    name: 'millrace_streams_entries_total',
    help: 'Entries by how they left a consumer.',
    labels: ['stream', 'group', 'outcome'],
    maxChildren: MOST_GROUPS * OUTCOMES.length,
  });
  const seconds = registry
    .histogram({
      name: 'millrace_streams_handler_seconds',
      help: 'How long handlers worked on an entry, or on a batch.',
      labels,
      maxChildren: MOST_GROUPS,
      buckets: SECONDS_BUCKETS,
    })
    .labels(names);
  const inFlight = registry
    .gauge({
      name: 'millrace_streams_in_flight',
      help: 'Entries that this process has and that are not settled yet.',
      labels,
      maxChildren: MOST_GROUPS,
    })
    .labels(names);
  const counters = new Map(OUTCOMES.map((outcome) => [outcome, entries.labels({ ...names, outcome })]));
  return {
    count: (outcome, n) => counters.get(outcome)?.inc(n),
    ran: (ms) => seconds.observe(ms / 1_000),
    inFlight: (n) => inFlight.set(n),
  };
}
