/** What the Query Engine answers, on RESP2 and RESP3. Maps come as flat lists; see search-port.ts. */

/** A row of a search. */
export interface SearchRow {
  readonly id: string | undefined;
  /** By the words; undefined without WITHSCORES. */
  readonly score: number | undefined;
  readonly fields: ReadonlyMap<string, string>;
}

/** What FT.SEARCH or FT.HYBRID found. */
export interface SearchReply {
  readonly total: number;
  readonly rows: readonly SearchRow[];
  /** What the server says of an answer that is not whole, such as that its time was over. */
  readonly warnings: readonly string[];
}

/** What FT.INFO says of an index, as far as it is asked. */
export interface IndexState {
  readonly documents: number;
  readonly failures: number;
  /** 0 to 1. */
  readonly indexed: number;
  readonly isIndexing: boolean;
  readonly sizeBytes: number;
  readonly lastError: string | undefined;
  readonly lastErrorKey: string | undefined;
}

const BYTES_PER_MB = 1_024 * 1_024;

/** @param hasScores Whether the command had WITHSCORES, which RESP2 does not tell. */
export function readSearchReply(reply: unknown, hasScores: boolean): SearchReply {
  if (Array.isArray(reply) && typeof reply[0] === 'number') return readFlatReply(reply as unknown[], hasScores);
  const map = mapOf(reply);
  const rows = listOf(map.get('results')).map((row): SearchRow => {
    const entry = mapOf(row);
    const attributes = entry.get('extra_attributes');
    const score = entry.get('score');
    return {
      id: entry.has('id') ? String(entry.get('id')) : undefined,
      score: score === undefined ? undefined : Number(Array.isArray(score) ? score[0] : score),
      fields: fieldsOf(attributes === undefined ? row : attributes),
    };
  });
  const warnings = listOf(map.get('warning') ?? map.get('warnings')).map(String);
  return { total: Number(map.get('total_results') ?? rows.length), rows, warnings };
}

export function readIndexState(reply: unknown): IndexState {
  const map = mapOf(reply);
  const number = (name: string): number => Number(map.get(name) ?? 0);
  const errors = mapOf(map.get('Index Errors') ?? []);
  const text = (name: string): string | undefined => {
    const value = errors.get(name);
    return typeof value !== 'string' || value === 'N/A' ? undefined : value;
  };
  return {
    documents: number('num_docs'),
    failures: Math.max(number('hash_indexing_failures'), Number(errors.get('indexing failures') ?? 0)),
    indexed: map.has('percent_indexed') ? number('percent_indexed') : 1,
    isIndexing: number('indexing') > 0, // On a Cluster, on how many nodes.
    sizeBytes: Math.round(sizeMb(number) * BYTES_PER_MB),
    lastError: text('last indexing error'),
    lastErrorKey: text('last indexing error key'),
  };
}

/** The whole index. Up to 8.0 of the Query Engine, the total is that of all but the vectors. */
function sizeMb(number: (name: string) => number): number {
  const [total, vectors] = [number('total_index_memory_sz_mb'), number('vector_index_sz_mb')];
  const some = number('doc_table_size_mb') + number('inverted_sz_mb');
  return total < vectors + some ? total + vectors : total;
}

function readFlatReply([total, ...rest]: unknown[], hasScores: boolean): SearchReply {
  const rows: SearchRow[] = [];
  const step = hasScores ? 3 : 2;
  for (let at = 0; at + step <= rest.length; at += step) {
    rows.push({
      id: String(rest[at]),
      score: hasScores ? Number(rest[at + 1]) : undefined,
      fields: fieldsOf(rest[at + step - 1]),
    });
  }
  return { total: Number(total), rows, warnings: [] };
}

function fieldsOf(value: unknown): Map<string, string> {
  return new Map([...mapOf(value)].map(([name, field]) => [name, String(field)]));
}

/** A map that came as a flat list, a Map or an object. */
export function mapOf(value: unknown): Map<string, unknown> {
  if (value instanceof Map) return new Map([...value].map(([name, entry]) => [String(name), entry]));
  if (!Array.isArray(value)) return new Map(Object.entries((value ?? {}) as Record<string, unknown>));
  const map = new Map<string, unknown>();
  for (let at = 0; at + 1 < value.length; at += 2) map.set(String(value[at]), value[at + 1]);
  return map;
}

export function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
