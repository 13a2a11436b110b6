/**
 * What a vector index costs: vectors in, the nearest out, against the bare commands of vector sets. support/vector-sides.ts says what each
 * side sends. Of recall, bytes and embedded texts the figure itself counts.
 */
import { textChunker } from '../src/vector/chunker.ts';
import type { VectorIndex } from '../src/vector/vector-index.ts';
import { toBlob } from '../src/vector/vectors.ts';
import { callsPerSecond, median, type Case } from './support/measure.ts';
import { benchBinary, startBenchServer } from './support/server.ts';
import { clustered, nearest, nodeRedisOn, oursOn, queriesNear, recallOf } from './support/vector-sides.ts';

const DIMENSIONS = 384;
const K = 10;
/** What the bare search is given, so that it finds as much as ours. */
const EF = 64;
const QUERIES = 100;
const INGESTED = 400;
const IN_FLIGHT = 64;
const REINGESTED = 10_000;
const SCHEMA = { group: 'tag' } as const;
/** What 1 in 100 passes. */
const NARROW = { op: 'eq', field: 'group', value: 'g7' } as const;

const isQuick = process.argv.includes('--quick');
/** Building takes half a millisecond a vector. */
const COUNT = isQuick ? 5_000 : 50_000;

function groupOf(at: number): string {
  return `g${at % 100}`;
}

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  // Not pinned: searches of the other side use threads.
  const server = await startBenchServer(await benchBinary());
  const ours = oursOn(server.url);
  const theirs = await nodeRedisOn(server.url);
  const vectors = clustered(COUNT, DIMENSIONS);
  const queries = queriesNear(vectors, QUERIES);

  let filled: Promise<VectorIndex<typeof SCHEMA>> | undefined;
  /** An index of all vectors, filled once. */
  const index = (): Promise<VectorIndex<typeof SCHEMA>> =>
    (filled ??= (async () => {
      const made = ours.vectors.index({ name: 'bench', dimensions: DIMENSIONS, schema: SCHEMA });
      await made.upsert(vectors.map((vector, at) => ({ id: String(at), vector, metadata: { group: groupOf(at) } })));
      return made;
    })());
  const VECTORS_KEY = 'millrace:vector:{bench:1:0}:vectors';

  let round = 0;
  const ingest = async (put: (at: number, name: string) => Promise<unknown>): Promise<number> => {
    const name = `round-${round++}`;
    let next = 0;
    return callsPerSecond(INGESTED, IN_FLIGHT, () => put(next++, name));
  };
  const timed = async (search: (query: Float32Array) => Promise<unknown>): Promise<number> => {
    const timesMs: number[] = [];
    for (const query of queries) {
      const start = performance.now();
      await search(query);
      timesMs.push(performance.now() - start);
    }
    return median(timesMs);
  };
  const bare = async (query: Float32Array, ...more: string[]): Promise<string[]> => {
    const command = ['VSIM', VECTORS_KEY, 'FP32', toBlob(query), 'COUNT', String(K), 'EF', String(EF), ...more];
    return (await theirs.send<Array<string | number>>(command)).map((chunk) => String(chunk).split('#')[0] as string);
  };
  const meanRecall = async (
    search: (query: Float32Array) => Promise<readonly string[]>,
    passes?: (at: number) => boolean,
  ): Promise<number> => {
    let sum = 0;
    for (const query of queries) sum += recallOf(await search(query), nearest(vectors, query, K, passes));
    return sum / queries.length;
  };
  const idsOf = async (options: Parameters<VectorIndex<typeof SCHEMA>['search']>[0]): Promise<string[]> =>
    (await (await index()).search({ k: K, ...options })).map(({ id }) => id);

  return {
    cases: [
      {
        name: 'ingest',
        unit: 'vectors/s',
        theirsIs: "node-redis' own vAdd() of as many vectors with attributes, 64 in flight",
        rounds: { quick: 7, full: 21 },
        async ours() {
          const made = ours.vectors.index({ name: `ingest-${round++}`, dimensions: DIMENSIONS, schema: SCHEMA });
          await made.open();
          const items = Array.from({ length: INGESTED }, (_none, at) => ({
            id: String(at),
            vector: vectors[at] as Float32Array,
            metadata: { group: groupOf(at) },
          }));
          const start = performance.now();
          await made.upsert(items);
          return (INGESTED / (performance.now() - start)) * 1_000;
        },
        theirs: () =>
          ingest((at, key) =>
            theirs.add(key, vectors[at] as Float32Array, String(at), JSON.stringify({ group: groupOf(at) })),
          ),
      },
      {
        name: 'search-p50',
        unit: 'ms',
        lessIsBetter: true,
        theirsIs: `VSIM of node-redis over the same ${COUNT} vectors, EF ${EF}, without texts or metadata`,
        rounds: { quick: 7, full: 21 },
        ours: async () => {
          const made = await index();
          return timed((vector) => made.search({ vector, k: K }));
        },
        theirs: () => timed((query) => bare(query)),
      },
      {
        name: 'recall',
        unit: `recall@${K}`,
        theirsIs: `VSIM, EF ${EF}; the limit is 0.99`,
        rounds: { quick: 1, full: 1 },
        ours: () => meanRecall((vector) => idsOf({ vector })),
        theirs: () => meanRecall((query) => bare(query)),
      },
      {
        name: 'filter-1pct',
        unit: 'ms',
        lessIsBetter: true,
        theirsIs: 'VSIM FILTER of the same attribute, EF 200, which 1 in 100 passes',
        rounds: { quick: 3, full: 9 },
        ours: async () => {
          const made = await index();
          return timed((vector) => made.search({ vector, k: K, filter: NARROW }));
        },
        theirs: () => timed((query) => bare(query, 'FILTER', '.group == "g7"')),
      },
      {
        name: 'filter-1pct-recall',
        unit: `recall@${K}`,
        theirsIs: 'VSIM FILTER',
        rounds: { quick: 1, full: 1 },
        ours: () =>
          meanRecall(
            (vector) => idsOf({ vector, filter: NARROW }),
            (at) => at % 100 === 7,
          ),
        theirs: () =>
          meanRecall(
            (query) => bare(query, 'FILTER', '.group == "g7"'),
            (at) => at % 100 === 7,
          ),
      },
      ...(['q8', 'bin', 'none'] as const).map((quantisation): Case => ({
        name: `bytes-${quantisation}`,
        unit: 'bytes/vector',
        lessIsBetter: true,
        theirsIs: 'the vector in FP32',
        rounds: { quick: 1, full: 1 },
        async ours() {
          const made = ours.vectors.index({
            name: `bytes-${quantisation}-${round++}`,
            dimensions: DIMENSIONS,
            quantisation,
          });
          await made.upsert(vectors.slice(0, 2_000).map((vector, at) => ({ id: String(at), vector })));
          return (await made.stats()).bytesPerChunk;
        },
        theirs: async () => DIMENSIONS * 4,
      })),
      {
        name: 'rescore-recall',
        unit: `recall@${K}`,
        theirsIs: 'the same bits without rescoring',
        rounds: { quick: 1, full: 1 },
        ...rescored(),
      },
      {
        name: 'reingest',
        unit: 'documents/s',
        theirsIs: `the first time, with an embedder that costs nothing; ${REINGESTED} documents are unchanged, and no text is embedded`,
        rounds: { quick: 1, full: 3 },
        ...reingested(),
      },
    ],
    async close() {
      await theirs.close();
      await ours.close();
      await server.stop();
    },
  };

  function rescored(): Pick<Case, 'ours' | 'theirs'> {
    const some = vectors.slice(0, 5_000);
    const made = ours.vectors.index({
      name: 'rescored',
      dimensions: DIMENSIONS,
      quantisation: 'bin',
      keepVectors: true,
    });
    const recall = async (rescore: number): Promise<number> => {
      await made.upsert(some.map((vector, at) => ({ id: String(at), vector })));
      let sum = 0;
      for (const query of queries) {
        const found = await made.search({ vector: query, k: K, rescore });
        sum += recallOf(
          found.map(({ id }) => id),
          nearest(some, query, K),
        );
      }
      return sum / queries.length;
    };
    return { ours: () => recall(5), theirs: () => recall(1) };
  }

  function reingested(): Pick<Case, 'ours' | 'theirs'> {
    let asked = 0;
    const embedder = {
      id: 'free',
      dimensions: 8,
      async embed(texts: readonly string[]) {
        asked += texts.length;
        return texts.map((text) => Float32Array.from({ length: 8 }, (_none, at) => (text.charCodeAt(at) % 17) + 1));
      },
    };
    const documents = Array.from({ length: REINGESTED }, (_none, at) => ({
      id: String(at),
      text: `${at} `.repeat(100),
    }));
    const put = async (name: string): Promise<number> => {
      const made = ours.vectors.index({ name, embedder, chunker: textChunker() });
      await made.open();
      const start = performance.now();
      await made.upsert(documents);
      return (REINGESTED / (performance.now() - start)) * 1_000;
    };
    return {
      async ours() {
        await put('reingested');
        const before = asked;
        const rate = await put('reingested');
        if (asked !== before) throw new Error(`${asked - before} texts were embedded again`);
        return rate;
      },
      theirs: () => put(`first-${round++}`),
    };
  }
}
