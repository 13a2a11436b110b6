/**
 * What the stores count.
 *
 *   millrace_cache_store_changes_total{store,outcome}     millrace_cache_store_pending{store}
 *   millrace_cache_store_dead_letters{store}              millrace_cache_store_lag_seconds{store}
 *
 * The gauges are asked of Redis at a scrape, by every process that writes to the store or saves for it; they say the same everywhere.
 */

/** What becomes of a change; each is counted as `accepted` or `refused` first. */
export const CHANGE_OUTCOMES = [
  'accepted',
  /** There was no room for it. */
  'refused',
  /** A newer change of its key came before it was saved. */
  'replaced',
  'saved',
  /** A save failed; of write-behind it is tried again. */
  'failed',
  'dead',
] as const;
export type ChangeOutcome = (typeof CHANGE_OUTCOMES)[number];

interface Definition<Name extends string> {
  name: string;
  help: string;
  labels: readonly Name[];
  maxChildren?: number | undefined;
}

interface Sample {
  labels: { store: string };
  value: number;
}

/** What is needed of a metrics registry; createMetrics() gives one. */
export interface StoreMetricsRegistry {
  counter<const Name extends string>(
    definition: Definition<Name>,
  ): { labels(values: Readonly<Record<Name, string>>): { inc(n?: number): void } };
  gauge(definition: Definition<'store'> & { collect: () => Promise<Sample[]> }): unknown;
}

/** How far behind a store is, for the gauges. */
export interface StoreDepth {
  pending: number;
  deadLetters: number;
  oldestMs: number;
}

/** Counts for one store. */
export interface StoreMeter {
  count(outcome: ChangeOutcome, n: number): void;
}

const MAX_STORES = 200;

/** The counts of a store; without a registry they go nowhere. */
export function createStoreMeter(metrics: StoreMetricsRegistry | undefined, store: string): StoreMeter {
  if (!metrics) return { count: () => undefined };
  const changes = metrics.counter({
    name: 'millrace_cache_store_changes_total',
    help: 'Changes of stores behind the cache, by what became of them.',
    labels: ['store', 'outcome'],
    maxChildren: MAX_STORES * CHANGE_OUTCOMES.length,
  });
  const children = new Map(CHANGE_OUTCOMES.map((outcome) => [outcome, changes.labels({ store, outcome })]));
  return {
    count(outcome, n) {
      if (n > 0) children.get(outcome)?.inc(n);
    },
  };
}

type Source = () => Promise<StoreDepth>;

/** The stores of each registry: a gauge is declared once, for all of them. */
const sources = new WeakMap<StoreMetricsRegistry, Map<string, Source>>();

/** Has the gauges ask for this store too; what it returns ends that. */
export function collectStore(metrics: StoreMetricsRegistry | undefined, store: string, source: Source): () => void {
  if (!metrics) return () => undefined;
  let known = sources.get(metrics);
  if (!known) {
    known = new Map();
    sources.set(metrics, known);
    defineGauges(metrics, known);
  }
  const stores = known;
  stores.set(store, source);
  return () => {
    if (stores.get(store) === source) stores.delete(store);
  };
}

function defineGauges(metrics: StoreMetricsRegistry, stores: ReadonlyMap<string, Source>): void {
  let looking: Promise<Array<StoreDepth & { store: string }>> | undefined;
  // Gauges of one scrape are collected side by side; they share a look.
  const look = (): Promise<Array<StoreDepth & { store: string }>> => {
    looking ??= Promise.all([...stores].map(async ([store, source]) => ({ store, ...(await source()) }))).finally(
      () => (looking = undefined),
    );
    return looking;
  };
  const gauge = (name: string, help: string, valueOf: (depth: StoreDepth) => number): void => {
    const collect = async (): Promise<Sample[]> =>
      (await look()).map(({ store, ...depth }) => ({ labels: { store }, value: valueOf(depth) }));
    metrics.gauge({ name, help, labels: ['store'], maxChildren: MAX_STORES, collect });
  };
  gauge('millrace_cache_store_pending', 'Changes that the store still lacks.', ({ pending }) => pending);
  gauge(
    'millrace_cache_store_lag_seconds',
    'Age of the oldest change that the store still lacks.',
    ({ oldestMs }) => oldestMs / 1_000,
  );
  gauge(
    'millrace_cache_store_dead_letters',
    'Changes that will not be tried again by themselves.',
    ({ deadLetters }) => deadLetters,
  );
}
