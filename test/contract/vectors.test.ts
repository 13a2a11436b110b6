/** Vector indexes on each engine, and on each topology where the server of the suite has the engine. */
import { Redis } from 'ioredis';
import { afterAll, describe, expect, test } from 'vitest';
import type { RedisOptions, Topology } from '../../src/redis/address.ts';
import { textChunker } from '../../src/vector/chunker.ts';
import type { IndexOptions } from '../../src/vector/options.ts';
import { ownedVectors, wordEmbedder } from '../vector/own-vectors.ts';
import { openAll, startForFile } from './topologies.ts';

const queryEngineUrl = process.env['TEST_QUERY_ENGINE_URL'];
if (queryEngineUrl === undefined) {
  console.log(
    'the contract of vectors runs on vector sets only: TEST_QUERY_ENGINE_URL names no server with the Query Engine',
  );
}

const SCHEMA = { lang: 'tag', labels: 'tags', year: { type: 'number', sortable: true }, note: 'text' } as const;
type Options = Partial<IndexOptions<typeof SCHEMA>>;
let runs = 0;

/** The same for both engines. */
function contract(redis: () => RedisOptions, more: Options): void {
  const vectorsOf = ownedVectors();
  const open = async (options: Options = {}, prefix = `contract-${process.pid}-${++runs}`) => {
    const { vectors, connections } = vectorsOf(redis(), { prefix });
    await openAll(connections.commands());
    const embedder = wordEmbedder(512);
    const index = vectors.index({
      name: 'docs',
      schema: SCHEMA,
      embedder,
      chunker: textChunker({ maxChars: 60 }),
      ...more,
      ...options,
    });
    return { index, embedder, prefix };
  };
  const documents = [
    {
      id: 'fox',
      text: 'the fox saw the sour grapes',
      metadata: { lang: 'en', labels: ['fable', 'a|b "c"'], year: 1_900 },
    },
    { id: 'renard', text: 'le renard et les raisins', metadata: { lang: 'fr', labels: ['fable'], year: 1_668 } },
    {
      id: 'long',
      text: 'alpha beta gamma delta.\n\nepsilon zeta eta theta iota.\n\nkappa lambda mu nu xi omicron pi rho.',
      metadata: { year: 2_020 },
    },
    { id: 'bare', text: 'nothing is known of this one' },
  ];

  test('documents are put, found, changed and removed', async () => {
    const { index, embedder } = await open();
    expect(await index.upsert(documents)).toMatchObject({ added: 4, failed: 0 });
    const asked = embedder.asked.length;
    expect(await index.upsert(documents)).toMatchObject({ unchanged: 4, embedded: 0 });
    expect(embedder.asked).toHaveLength(asked);
    const [best] = await index.search({ text: 'sour grapes of the fox', k: 2 });
    expect(best).toMatchObject({ id: 'fox', index: 0, text: documents[0]?.text, metadata: documents[0]?.metadata });
    expect(best!.score).toBeGreaterThan(0.8);
    expect(best!.distance).toBeCloseTo(2 * (1 - best!.score), 3);
    const [same] = await index.search({ text: documents[0]!.text, k: 1 });
    expect(same!.score).toBeCloseTo(1, 2);
    const short = { ...documents[2]!, text: 'epsilon zeta eta theta iota.' };
    expect(await index.upsert([short])).toMatchObject({ updated: 1 });
    expect(await index.search({ text: 'kappa lambda', k: 1, minScore: 0.7 })).toEqual([]);
    expect((await index.similar('fox', { k: 3 }))?.map(({ id }) => id)).not.toContain('fox');
    expect(await index.delete(['fox'])).toBe(1);
    expect(await index.deleteByFilter((f) => f.lt('year', 1_800))).toBe(1);
    expect((await index.search({ text: 'the fox', k: 10 })).map(({ id }) => id).toSorted()).toEqual(['bare', 'long']);
    expect(await index.stats()).toMatchObject({ documents: 2, chunks: 2, failures: 0, indexed: 1 });
  });

  test('filters mean the same', async () => {
    const { index } = await open();
    await index.upsert(documents);
    type Filter = NonNullable<Parameters<typeof index.search>[0]['filter']>;
    const found = async (filter: Filter): Promise<string> => {
      const hits = await index.search({ text: 'the one', k: 20, filter, groupByDocument: true });
      return hits
        .map(({ id }) => id)
        .toSorted()
        .join(' ');
    };
    expect(await found((f) => f.eq('lang', 'en'))).toBe('fox');
    expect(await found((f) => f.ne('lang', 'en'))).toBe('bare long renard');
    expect(await found((f) => f.eq('labels', 'a|b "c"'))).toBe('fox');
    expect(await found((f) => f.in('lang', ['en', 'fr']))).toBe('fox renard');
    expect(await found((f) => f.between('year', 1_668, 1_900))).toBe('fox renard');
    expect(await found((f) => f.and(f.eq('labels', 'fable'), f.gt('year', 1_668)))).toBe('fox');
    expect(await found((f) => f.or(f.eq('lang', 'fr'), f.gte('year', 2_020)))).toBe('long renard');
    expect(await found((f) => f.not(f.exists('year')))).toBe('bare');
    expect(await found((f) => f.exists('lang'))).toBe('fox renard');
  });

  test('more than ten are found when more are asked for, and as many as there are of a range', async () => {
    const { index } = await open();
    const many = Array.from({ length: 60 }, (_none, at) => ({ id: `n${at}`, text: `common word number${at}` }));
    expect(await index.upsert(many)).toMatchObject({ added: 60 });
    expect(await index.search({ text: 'common word', k: 25 })).toHaveLength(25);
    expect(await index.range({ text: 'common word', minScore: 0.85 })).toHaveLength(60);
    expect(await index.range({ text: 'common word', minScore: 0.85, limit: 7 })).toHaveLength(7);
    expect(await index.selfTest({ sample: 10, k: 5 })).toMatchObject({ recall: expect.closeTo(1, 0), queries: 10 });
  });

  test('a new version takes over, and another process reads it', async () => {
    const { index, prefix } = await open();
    const reader = (await open({}, prefix)).index;
    await index.upsert(documents);
    expect(await reader.search({ text: 'fox', k: 1 })).toMatchObject([{ id: 'fox' }]);
    expect(await index.rebuild({ keepOld: 100 })).toMatchObject({ version: 2, documents: 4 });
    expect(await reader.search({ text: 'fox', k: 1 })).toMatchObject([{ id: 'fox' }]);
    expect(await reader.stats()).toMatchObject({ version: 2, documents: 4 });
  });
}

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('vector sets on %s', (topology) => {
  const topologyOf = startForFile(topology);
  contract(() => ({ ...topologyOf().redis, commandTimeout: 5_000 }), {
    engine: 'vector-sets',
    shards: topology === 'cluster' ? 5 : 1,
  });
});

const queryEngine = (): RedisOptions => ({ url: queryEngineUrl });

describe.runIf(queryEngineUrl !== undefined)('the Query Engine', () => {
  afterAll(async () => {
    const admin = new Redis(queryEngineUrl as string);
    for (const index of (await admin.call('FT._LIST')) as string[]) {
      if (index.startsWith(`contract-${process.pid}-`)) await admin.call('FT.DROPINDEX', index, 'DD');
    }
    const keys = await admin.keys(`contract-${process.pid}-*`);
    if (keys.length > 0) await admin.del(keys);
    admin.disconnect();
  });
  describe.each<Options>([{}, { documents: 'json' }, { algorithm: 'flat' }, { shards: 3 }])('with %j', (more) => {
    contract(queryEngine, { engine: 'query-engine', ...more });

    test('words are searched for, sorted and paged, and rank with the vectors', async () => {
      const { vectors } = ownedVectorsOnce();
      const index = vectors.index({
        name: 'words',
        schema: SCHEMA,
        embedder: wordEmbedder(128),
        engine: 'query-engine',
        ...more,
      });
      await index.upsert(
        Array.from({ length: 12 }, (_none, at) => ({
          id: String(at),
          text: `green tree number ${at}`,
          metadata: { year: at, note: 'leafy' },
        })),
      );
      await index.upsert([{ id: 'car', text: 'red car', metadata: { year: 99 } }]);
      const page = await index.searchText('green tree', { k: 5, offset: 5, sort: { by: 'year', direction: 'desc' } });
      expect(page.total).toBe(12);
      expect(page.hits.map(({ id }) => id)).toEqual(['6', '5', '4', '3', '2']);
      expect((await index.searchText('leafy', { k: 1 })).total).toBe(12);
      expect((await index.search({ text: 'red car', k: 1, hybrid: {} }))[0]).toMatchObject({ id: 'car' });
      expect(await index.search({ text: 'tree', k: 20, filter: (f) => f.text('note', 'leafy') })).toHaveLength(12);
    });
    const ownedVectorsOf = ownedVectors();
    const ownedVectorsOnce = () => ownedVectorsOf(queryEngine(), { prefix: `contract-${process.pid}-${++runs}` });
  });
});
