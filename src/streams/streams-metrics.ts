/**
 * What is counted of streams, beside what consumers count of their work.
 *
 *   millrace_streams_published_total{stream,outcome}
 *   millrace_streams_length{stream}                          entries that the stream has
 *   millrace_streams_lag{stream,group}                       entries that the group has not read
 *   millrace_streams_pending{stream,group}                   entries that it was given and has not finished
 *   millrace_streams_oldest_pending_seconds{stream,group}    since the oldest of these was published
 *   millrace_streams_retrying{stream,group}                  entries that wait for their next attempt
 *   millrace_streams_dead_letters{stream,group}
 *   millrace_streams_consumers{stream,group}                 consumers that hold their lease
 *   millrace_streams_dead_letters_near_limit_total, _dropped_total {stream,group,limit}
 *
 * The gauges are asked of Redis at a scrape, by every process that publishes to the stream or consumes it, and by one that tells
 * of all (`collectKnown()`); they say the same everywhere.
 */

import type { CounterChild, MeterRegistry } from '../meters.ts';

/** What is needed of a metrics registry. */
export type StreamsMetricsRegistry = MeterRegistry;

const PUBLISHED = ['added', 'duplicate', 'failed'] as const;
/** How a publish ended. */
export type PublishOutcome = (typeof PUBLISHED)[number];

/** Counts what is published to one stream. */
export interface PublishMeter {
  count(outcome: PublishOutcome, n?: number): void;
}

const NO_METER: PublishMeter = { count: () => undefined };

/** Streams, and groups of all of them, that are told apart. */
const MAX_STREAMS = 200;
const MAX_GROUPS = 1_000;

/** The meters on a registry; without one they count nothing. @throws MillraceError OPTIONS_INVALID when a name is taken by another metric. */
export function createPublishMetrics(registry: StreamsMetricsRegistry | undefined): (stream: string) => PublishMeter {
  if (!registry) return () => NO_METER;
  const published = registry.counter({
    name: 'millrace_streams_published_total',
    help: 'Entries that were published, by how it ended.',
    labels: ['stream', 'outcome'],
    maxChildren: MAX_STREAMS * PUBLISHED.length,
  });
  return (stream) => {
    const [added, duplicate, failed] = PUBLISHED.map((outcome) => published.labels({ stream, outcome }));
    const children = { added, duplicate, failed } as Record<PublishOutcome, CounterChild>;
    return { count: (outcome, n) => children[outcome].inc(n) };
  };
}

const LIMITS = ['age', 'count'] as const;
/** A bound of dead letters. */
export type LetterLimit = (typeof LIMITS)[number];

/** Counts what becomes of the dead letters of one group by their bounds. */
export interface LetterMeter {
  nearLimit(limit: LetterLimit): void;
  dropped(limit: LetterLimit, letters: number): void;
}

const NO_LETTER_METER: LetterMeter = { nearLimit: () => undefined, dropped: () => undefined };

/** Likewise. */
export function createLetterMetrics(
  registry: StreamsMetricsRegistry | undefined,
): (stream: string, group: string) => LetterMeter {
  if (!registry) return () => NO_LETTER_METER;
  const shape = { labels: ['stream', 'group', 'limit'], maxChildren: MAX_GROUPS * LIMITS.length } as const;
  const nearLimit = registry.counter({
    name: 'millrace_streams_dead_letters_near_limit_total',
    help: 'Looks at the dead letters of a group that are near a bound; raised before any is dropped.',
    ...shape,
  });
  const dropped = registry.counter({
    name: 'millrace_streams_dead_letters_dropped_total',
    help: 'Dead letters that were dropped because they were too many or too old.',
    ...shape,
  });
  return (stream, group) => ({
    nearLimit: (limit) => nearLimit.labels({ stream, group, limit }).inc(),
    dropped: (limit, letters) => dropped.labels({ stream, group, limit }).inc(letters),
  });
}

/** What the gauges tell of one stream. */
export interface StreamDepth {
  readonly stream: string;
  readonly length: number;
  readonly groups: ReadonlyArray<{
    readonly group: string;
    readonly lag: number;
    readonly pending: number;
    readonly oldestPendingMs: number;
    readonly retrying: number;
    readonly deadLetters: number;
    readonly consumers: number;
  }>;
}

type Source = () => Promise<readonly StreamDepth[]>;

/** Who knows streams, by registry: a gauge is declared once, for all of them. */
const sources = new WeakMap<StreamsMetricsRegistry, Set<Source>>();

/** Has the gauges ask this source too; what it returns ends that. */
export function collectStreams(registry: StreamsMetricsRegistry | undefined, source: Source): () => void {
  if (!registry) return () => undefined;
  let known = sources.get(registry);
  if (!known) {
    known = new Set();
    sources.set(registry, known);
    defineGauges(registry, known);
  }
  const all = known;
  all.add(source);
  return () => all.delete(source);
}

function defineGauges(registry: StreamsMetricsRegistry, known: ReadonlySet<Source>): void {
  let looking: Promise<StreamDepth[]> | undefined;
  // Gauges of one scrape are collected side by side; they share a look.
  const look = (): Promise<StreamDepth[]> => {
    looking ??= Promise.all([...known].map((source) => source()))
      .then((depths) => depths.flat())
      .finally(() => (looking = undefined));
    return looking;
  };
  registry.gauge({
    name: 'millrace_streams_length',
    help: 'Entries that the stream has.',
    labels: ['stream'],
    maxChildren: MAX_STREAMS,
    collect: async () => (await look()).map(({ stream, length }) => ({ labels: { stream }, value: length })),
  });
  const ofGroups = (name: string, help: string, valueOf: (group: StreamDepth['groups'][number]) => number): void => {
    registry.gauge({
      name: `millrace_streams_${name}`,
      help,
      labels: ['stream', 'group'],
      maxChildren: MAX_GROUPS,
      collect: async () =>
        (await look()).flatMap(({ stream, groups }) =>
          groups.map((one) => ({ labels: { stream, group: one.group }, value: valueOf(one) })),
        ),
    });
  };
  ofGroups('lag', 'Entries that the group has not read.', ({ lag }) => lag);
  ofGroups('pending', 'Entries that the group was given and has not finished.', ({ pending }) => pending);
  ofGroups(
    'oldest_pending_seconds',
    'Since the oldest entry that the group was given and has not finished was published.',
    ({ oldestPendingMs }) => oldestPendingMs / 1_000,
  );
  ofGroups('retrying', 'Entries that wait for their next attempt.', ({ retrying }) => retrying);
  ofGroups('dead_letters', 'Dead letters of the group.', ({ deadLetters }) => deadLetters);
  ofGroups('consumers', 'Consumers of the group that hold their lease.', ({ consumers }) => consumers);
}
