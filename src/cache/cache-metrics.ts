/**
 * The metrics of the cache.
 *
 *   millrace_cache_reads_total{from}          first-level, second-level, stale, miss
 *   millrace_cache_loads_total{outcome}       kept, alone (Redis did not take it), superseded, too-large, nothing, failed, timeout
 *   millrace_cache_events_total{event}        refresh-early, refresh-stale, wait, joined, misfit, unreadable, ...
 *   millrace_cache_load_seconds               how long loaders ran
 *   millrace_cache_first_level_bytes, millrace_cache_first_level_entries
 *   millrace_cache_outage                     1 while Redis is not asked
 *
 * Promise: a hit adds one to a number; everything else is reckoned at a scrape. Several caches on one registry are added up. Without a
 * registry nothing is exported.
 * Redis down: a scrape does not notice.
 */
import type { CacheStats } from './counts.ts';

interface Sample {
  labels: Readonly<Record<string, string>>;
  value: number;
}

interface Definition {
  name: string;
  help: string;
  labels: readonly string[];
  maxChildren: number;
  collect: () => Sample[];
}

/** What is needed of a metrics registry; createMetrics() gives one. */
export interface CacheMetricsRegistry {
  counter(definition: Definition): unknown;
  gauge(definition: Definition): unknown;
  histogram(definition: {
    name: string;
    help: string;
    labels: readonly never[];
    maxChildren: number;
    buckets: readonly number[];
  }): { labels(values: Readonly<Record<string, never>>): { observe(value: number): void } };
}

/** Told how long each load took. */
export interface LoadTimer {
  observe(seconds: number): void;
}

type Source = () => CacheStats;

/** From 1 ms to 30 s. */
const LOAD_SECONDS_BUCKETS: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
];

/** The caches of each registry: they share its metrics. */
const sourcesOf = new WeakMap<
  CacheMetricsRegistry,
  { sources: Set<Source>; gone: Map<string, number>; loadTimer: LoadTimer }
>();

const NO_TIMER: LoadTimer = { observe: () => undefined };

/** Adds a cache to what the registry shows. `remove` takes it out again; what it has counted stays in the sums, so that no counter falls. */
export function exportCounts(
  registry: CacheMetricsRegistry | undefined,
  source: Source,
): { loadTimer: LoadTimer; remove: () => void } {
  if (!registry) return { loadTimer: NO_TIMER, remove: () => undefined };
  let shared = sourcesOf.get(registry);
  if (!shared) {
    const sources = new Set<Source>();
    const gone = new Map<string, number>();
    shared = { sources, gone, loadTimer: define(registry, sources, gone) };
    sourcesOf.set(registry, shared);
  }
  const { sources, gone, loadTimer } = shared;
  sources.add(source);
  return {
    loadTimer,
    remove: () => {
      if (!sources.delete(source)) return;
      for (const [name, value] of counters(source())) gone.set(name, (gone.get(name) ?? 0) + value);
    },
  };
}

/** Every counter by metric, label and value of the label. */
function counters(stats: CacheStats): Array<[name: string, value: number]> {
  return [
    ['reads/from/first-level', stats.hits],
    ['reads/from/second-level', stats.secondLevelHits],
    ['reads/from/stale', stats.staleHits],
    ['reads/from/miss', stats.misses],
    ['loads/outcome/kept', stats.loadsKept],
    ['loads/outcome/failed', stats.loadFailures - stats.loadTimeouts],
    ['loads/outcome/timeout', stats.loadTimeouts],
    ['loads/outcome/alone', stats.loadsAlone],
    ['loads/outcome/superseded', stats.superseded],
    ['loads/outcome/too-large', stats.tooLarge],
    ['loads/outcome/nothing', stats.nothing],
    ['events/event/refresh-early', stats.earlyRefreshes],
    ['events/event/refresh-stale', stats.staleRefreshes],
    ['events/event/joined', stats.joined],
    ['events/event/wait', stats.waits],
    ['events/event/misfit', stats.misfits],
    ['events/event/unreadable', stats.unreadable],
    ['events/event/second-level-failed', stats.secondLevelFailures],
    ['events/event/invalidation', stats.invalidations],
    ['events/event/invalidation-heard', stats.heard],
    ['events/event/flush', stats.flushes],
    ['events/event/eviction', stats.firstLevel.evictions],
  ];
}

const HELP = {
  reads: 'Reads of the cache by where their value came from.',
  loads: 'Loaders that were called, by what came of it.',
  events: 'What else happened in the cache.',
} as const;

function define(
  registry: CacheMetricsRegistry,
  sources: ReadonlySet<Source>,
  gone: ReadonlyMap<string, number>,
): LoadTimer {
  const sum = (read: (stats: CacheStats) => number): number =>
    [...sources].reduce((total, source) => total + read(source()), 0);
  const collectFrom = (metric: string): Sample[] => {
    const sums = new Map<string, number>(gone);
    for (const source of sources)
      for (const [name, value] of counters(source())) sums.set(name, (sums.get(name) ?? 0) + value);
    return [...sums].flatMap(([name, value]) => {
      const [of = '', label = '', text = ''] = name.split('/');
      return of === metric ? [{ labels: { [label]: text }, value: Math.max(0, value) }] : [];
    });
  };
  for (const [metric, label] of [
    ['reads', 'from'],
    ['loads', 'outcome'],
    ['events', 'event'],
  ] as const) {
    registry.counter({
      name: `millrace_cache_${metric}_total`,
      help: HELP[metric],
      labels: [label],
      maxChildren: 50,
      collect: () => collectFrom(metric),
    });
  }
  const gauge = (name: string, help: string, read: (stats: CacheStats) => number): unknown =>
    registry.gauge({ name, help, labels: [], maxChildren: 1, collect: () => [{ labels: {}, value: sum(read) }] });
  gauge(
    'millrace_cache_first_level_bytes',
    'What is kept in the memory of this process.',
    ({ firstLevel }) => firstLevel.bytes,
  );
  gauge(
    'millrace_cache_first_level_entries',
    'Values in the memory of this process.',
    ({ firstLevel }) => firstLevel.entries,
  );
  gauge('millrace_cache_outage', '1 while the cache does not ask Redis, because it does not answer.', ({ isOutage }) =>
    Number(isOutage),
  );
  return registry
    .histogram({
      name: 'millrace_cache_load_seconds',
      help: 'How long loaders ran.',
      labels: [],
      maxChildren: 1,
      buckets: LOAD_SECONDS_BUCKETS,
    })
    .labels({});
}
