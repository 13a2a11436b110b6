/**
 * What a vector index costs: vectors in, the nearest out, against the bare commands of vector sets. support/vector-sides.ts says what each
 * side sends. Of recall, bytes and embedded texts the figure itself counts.
 */
import { textChunker } from '../src/vector/chunker.ts';
import type { Quantisation } from '../src/vector/definition.ts';
import type { IndexOptions } from '../src/vector/options.ts';
import type { VectorIndex } from '../src/vector/vector-index.ts';
import { toBlob } from '../src/vector/vectors.ts';
import { callsPerSecond, median, type Case, type Side } from './support/measure.ts';
import { benchBinary, startBenchServer } from './support/server.ts';
import { clustered, nearest, nodeRedisOn, oursOn, queriesNear, recallOf } from './support/vector-sides.ts';

const DIMENSIONS = 384;
const K = 10;
/** What the bare search is given, so that it finds as much as ours. */
const EF = 64;
const INGESTED = 400;
const IN_FLIGHT = 64;
const SCHEMA = { group: 'tag' } as const;
/** What 1 in 100 passes. */
const NARROW = { op: 'eq', field: 'group', value: 'g7' } as const;

const isQuick = process.argv.includes('--quick');
/** Building takes half a millisecond a vector and more. */
const COUNT = isQuick ? 3_000 : 50_000;
/** What each quantisation finds is measured on fewer: there are three of them. */
const COMPARED = isQuick ? 2_000 : 20_000;
const WEIGHED = isQuick ? 1_000 : 2_000;
const QUERIES = isQuick ? 50 : 100;
const REINGESTED = isQuick ? 2_000 : 10_000;

function groupOf(at: number): string {
  return `g${at % 100}`;
}

/** Does it the first time, and gives what came of it from then on. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

/** The cases, and what must be closed after them. */
export async function prepare(): Promise<{ cases: Case[]; close: () => Promise<void> }> {
  // Not pinned: searches of the other side use threads.
  const server = await startBenchServer(await benchBinary());
  const ours = oursOn(server.url);
  const theirs = await nodeRedisOn(server.url);
  const vectors = clustered(COUNT, DIMENSIONS);
  const queries = queriesNear(vectors, QUERIES);
  const some = vectors.slice(0, COMPARED);
  const queriesOfSome = queriesNear(some, QUERIES);

  const itemsOf = (count: number) =>
    vectors.slice(0, count).map((vector, at) => ({ id: String(at), vector, metadata: { group: groupOf(at) } }));
  /** An index of all vectors. */
  const index = once(async () => {
    const made = ours.vectors.index({ name: 'bench', dimensions: DIMENSIONS, schema: SCHEMA });
    await made.upsert(itemsOf(COUNT));
    return made;
  });
  const kindOf = (quantisation: Quantisation) =>
    once(async () => {
      const made = ours.vectors.index({
        name: `kind-${quantisation}`,
        dimensions: DIMENSIONS,
        schema: SCHEMA,
        quantisation,
        keepVectors: quantisation !== 'none',
      });
      await made.upsert(itemsOf(COMPARED));
      return made;
    });
  const kinds = { q8: kindOf('q8'), bin: kindOf('bin'), none: kindOf('none') };
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
  /** How much of what comparing all finds is found; a count, so it is taken once. */
  const recall = (
    of: { queries: readonly Float32Array[]; right: () => Promise<number[][]> },
    search: (query: Float32Array) => Promise<readonly string[]>,
  ): Side =>
    once(async () => {
      const right = await of.right();
      let sum = 0;
      for (const [at, query] of of.queries.entries()) sum += recallOf(await search(query), right[at] ?? []);
      return sum / of.queries.length;
    });
  const asking = (
    these: readonly Float32Array[],
    among: readonly Float32Array[],
    passes?: (at: number) => boolean,
  ) => ({
    queries: these,
    right: once(async () => these.map((query) => nearest(among, query, K, passes))),
  });
  const ofAll = asking(queries, vectors);
  const ofNarrow = asking(queries, vectors, (at) => at % 100 === 7);
  const ofSome = asking(queriesOfSome, some);
  const idsOf = async (options: Parameters<VectorIndex<typeof SCHEMA>['search']>[0]): Promise<string[]> =>
    (await (await index()).search({ k: K, ...options })).map(({ id }) => id);

  return {
    cases: [
      {
        name: 'ingest',
        unit: 'vectors/s',
        theirsIs: "node-redis' own vAdd() of as many vectors with attributes, 64 in flight",
        rounds: { quick: 3, full: 21 },
        async ours() {
          const made = ours.vectors.index({ name: `ingest-${round++}`, dimensions: DIMENSIONS, schema: SCHEMA });
          await made.open();
          const items = itemsOf(INGESTED);
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
        rounds: { quick: 5, full: 21 },
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
        ours: recall(ofAll, (vector) => idsOf({ vector })),
        theirs: recall(ofAll, (query) => bare(query)),
      },
      {
        name: 'filter-1pct',
        unit: 'ms',
        lessIsBetter: true,
        theirsIs: 'VSIM FILTER of the same attribute, EF 200, which 1 in 100 passes',
        rounds: { quick: 1, full: 9 },
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
        ours: recall(ofNarrow, (vector) => idsOf({ vector, filter: NARROW })),
        theirs: recall(ofNarrow, (query) => bare(query, 'FILTER', '.group == "g7"')),
      },
      ...(['q8', 'bin', 'none'] as const).map((quantisation): Case => ({
        name: `bytes-${quantisation}`,
        unit: 'bytes/vector',
        lessIsBetter: true,
        theirsIs: 'the vector in FP32',
        rounds: { quick: 1, full: 1 },
        ours: once(() => bytesOf(`bytes-${quantisation}`, { quantisation })),
        theirs: async () => DIMENSIONS * 4,
      })),
      {
        name: 'bytes-listed',
        unit: 'bytes/vector',
        lessIsBetter: true,
        isExtra: true,
        theirsIs: 'for a tag whose chunks are listed, beyond the same one that is not listed',
        rounds: { quick: 1, full: 1 },
        ours: once(() => bytesOf('listed', { schema: SCHEMA })),
        theirs: once(() => bytesOf('unlisted', { schema: SCHEMA, listed: [] })),
      },
      ...(['bin', 'none'] as const).map((quantisation): Case => ({
        name: `recall-${quantisation}`,
        unit: `recall@${K}`,
        theirsIs: `q8 over the same ${COMPARED} vectors`,
        rounds: { quick: 1, full: 1 },
        ours: recallOfKind(quantisation),
        theirs: recallOfKind('q8'),
      })),
      ...(
        [
          ['bin', 5],
          ['q8', 2],
        ] as const
      ).map(([quantisation, rescore]): Case => ({
        name: `rescore-recall-${quantisation}`,
        unit: `recall@${K}`,
        theirsIs: `${quantisation} as it is; ours ranks ${rescore} times as many by their vectors in full`,
        rounds: { quick: 1, full: 1 },
        ours: recallOfKind(quantisation, rescore),
        theirs: recallOfKind(quantisation),
      })),
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

  async function bytesOf(name: string, more: Partial<IndexOptions<typeof SCHEMA>>): Promise<number> {
    const made = ours.vectors.index({ name, dimensions: DIMENSIONS, ...more });
    const items = itemsOf(WEIGHED);
    await made.upsert(more.schema ? items : items.map(({ id, vector }) => ({ id, vector })));
    return (await made.stats()).bytesPerChunk;
  }

  function recallOfKind(quantisation: Quantisation, rescore?: number): Side {
    return recall(ofSome, async (vector) => {
      const hits = await (await kinds[quantisation]()).search({ vector, k: K, rescore, withText: false });
      return hits.map(({ id }) => id);
    });
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
    const first = once(() => put('reingested'));
    return {
      async ours() {
        await first();
        const before = asked;
        const rate = await put('reingested');
        if (asked !== before) throw new Error(`${asked - before} texts were embedded again`);
        return rate;
      },
      theirs: () => put(`first-${round++}`),
    };
  }
}
