/**
 * What is counted of vector indexes, by index.
 *
 *   millrace_vector_search_seconds{index,kind}   millrace_vector_search_failures_total{index,kind}
 *   millrace_vector_upserts_total{index,outcome}   millrace_vector_embedded_total{index}
 */
import type { CountingRegistry } from '../meters.ts';

/** What is needed of a metrics registry; createMetrics() gives one. */
export type VectorMetricsRegistry = CountingRegistry;

/** The kinds of search that are told apart. */
export type SearchKind = 'search' | 'similar' | 'range' | 'text' | 'hybrid';
/** What became of a document. */
export type UpsertStatus = 'added' | 'updated' | 'unchanged' | 'failed';

const SECONDS_BUCKETS: readonly number[] = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
];
const INDEXES = 100;
const KINDS = 5;
const STATUSES = 4;

/** Counts for one index. */
export interface VectorMeter {
  searched(kind: SearchKind, ms: number): void;
  failed(kind: SearchKind): void;
  upserted(status: UpsertStatus, count: number): void;
  embedded(chunks: number): void;
}

const NO_METER: VectorMeter = {
  searched: () => undefined,
  failed: () => undefined,
  upserted: () => undefined,
  embedded: () => undefined,
};

/**
 * The meters of indexes on a registry; without one they count nothing.
 *
 * @throws MillraceError OPTIONS_INVALID when one of the names is taken by another metric.
 */
export function createVectorMetrics(registry: VectorMetricsRegistry | undefined): (index: string) => VectorMeter {
  if (!registry) return () => NO_METER;
  const byKind = { labels: ['index', 'kind'], maxChildren: INDEXES * KINDS } as const;
  const seconds = registry.histogram({
    name: 'millrace_vector_search_seconds',
    help: 'How long searches took, with the embedding of their text and the reranking.',
    ...byKind,
    buckets: SECONDS_BUCKETS,
  });
  const failures = registry.counter({
    name: 'millrace_vector_search_failures_total',
    help: 'Searches that ended with an error.',
    ...byKind,
  });
  const upserts = registry.counter({
    name: 'millrace_vector_upserts_total',
    help: 'Documents by what became of them.',
    labels: ['index', 'outcome'],
    maxChildren: INDEXES * STATUSES,
  });
  const embeddings = registry.counter({
    name: 'millrace_vector_embedded_total',
    help: 'Chunks whose vector was asked of the embedder.',
    labels: ['index'],
    maxChildren: INDEXES,
  });
  return (index) => ({
    searched: (kind, ms) => seconds.labels({ index, kind }).observe(ms / 1_000),
    failed: (kind) => failures.labels({ index, kind }).inc(),
    upserted: (outcome, count) => upserts.labels({ index, outcome }).inc(count),
    embedded: (chunks) => embeddings.labels({ index }).inc(chunks),
  });
}
