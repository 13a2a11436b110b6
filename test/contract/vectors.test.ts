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

/** The kinds of index that the server can hold. */
async function kindsOfIndex(): Promise<Options[]> {
  if (queryEngineUrl === undefined) return [];
  const admin = new Redis(queryEngineUrl);
  const [json] = (await admin.call('COMMAND', 'INFO', 'JSON.GET')) as unknown[];
  admin.disconnect();
  if (json) return [{}, { documents: 'json' }, { algorithm: 'flat' }, { shards: 3 }];
  console.log('the contract of vectors runs on hashes only: the server of TEST_QUERY_ENGINE_URL has no JSON.*');
  return [{}, { algorithm: 'flat' }, { shards: 3 }];
}

const SCHEMA = {
  lang: 'tag',
  labels: 'tags',
  year: { type: 'number', sortable: true },
  isFree: 'boolean',
  note: 'text',
  place: 'geo',
  weight: 'tag', // Named like an option of FT.CREATE.
} as const;
type Options = Partial<IndexOptions<typeof SCHEMA>>;
const kinds = await kindsOfIndex();
let runs = 0;

function vectorAt(degrees: number): number[] {
  const angle = (degrees * Math.PI) / 180;
  return [Math.cos(angle), Math.sin(angle)];
}

function many(lang: string) {
  return Array.from({ length: 40 }, (_none, at) => ({ id: String(at), text: `text ${at}`, metadata: { lang } }));
}

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

  test('the ids of all documents are listed, of all shards', async () => {
    const { index } = await open({ shards: 3 });
    await index.upsert([...documents, ...many('en')]);
    await index.delete(['fox', '7']);
    const ids = new Set<string>();
    for await (const id of index.ids()) ids.add(id);
    const left = [...documents, ...many('en')].map(({ id }) => id).filter((id) => id !== 'fox' && id !== '7');
    expect([...ids].toSorted()).toEqual(left.toSorted());
  });

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
    await index.upsert([
      { id: 'free', text: 'one', metadata: { isFree: true, weight: 'heavy' } },
      { id: 'dear', text: 'one', metadata: { isFree: false, weight: 'light' } },
    ]);
    expect(await found((f) => f.eq('isFree', true))).toBe('free');
    expect(await found((f) => f.and(f.exists('isFree'), f.ne('isFree', true)))).toBe('dear');
    expect(await found((f) => f.eq('weight', 'light'))).toBe('dear');
    await expect(found((f) => f.between('year', 2, 1))).rejects.toMatchObject({ code: 'FILTER_INVALID' });
  });

  test('the least score is kept to, to the border, by searches and by ranges', async () => {
    const { index } = await open({ embedder: undefined, dimensions: 2, chunker: undefined, quantisation: 'none' });
    const angles = [0, 30, 60, 90, 180];
    await index.upsert(angles.map((degrees) => ({ id: String(degrees), vector: vectorAt(degrees) })));
    for (const [minScore, expected] of [
      [0, '0 30 60 90 180'],
      [0.499, '0 30 60 90'],
      [0.501, '0 30 60'],
      [0.749, '0 30 60'],
      [0.751, '0 30'],
      [0.999, '0'],
    ] as const) {
      const hits = await index.search({ vector: vectorAt(0), minScore });
      expect(hits.map(({ id }) => id).join(' ')).toBe(expected);
      expect(await index.range({ vector: vectorAt(0), minScore })).toEqual(hits);
    }
    await index.upsert([
      { id: 'long', vector: [0, -1e25] },
      { id: 'short', vector: [1e-25, -1e-25], text: 'with a text' },
    ]);
    const best = async (vector: number[]) => (await index.search({ vector, k: 1 }))[0];
    expect(await best([0, -1])).toMatchObject({ id: 'long', score: expect.closeTo(1, 4) as number });
    expect(await best([1, -1])).toMatchObject({
      id: 'short',
      text: 'with a text',
      score: expect.closeTo(1, 4) as number,
    });
    await index.upsert([{ id: 'short', vector: [1, -1] }]);
    expect(await best([1, -1])).toMatchObject({ id: 'short', text: undefined });
  });

  test('texts of several lines and of any script come back as they were', async () => {
    const { index } = await open({ chunker: undefined });
    const texts = [
      'first line\nsecond\r\nthird\tword',
      'don’t “quote” — a\\b',
      '吾輩は猫である。',
      '"quoted"',
      'été 😀',
    ];
    expect(await index.upsert(texts.map((text) => ({ id: text, text })))).toMatchObject({ added: texts.length });
    const hits = await index.search({ text: 'anything', k: 10 });
    expect(new Set(hits.map(({ text }) => text))).toEqual(new Set(texts));
  });

  test('deleteByFilter() removes no document that another writer has made another one meanwhile', async () => {
    const { index, prefix } = await open();
    const writer = (await open({}, prefix)).index;
    await index.upsert(many('old'));
    await Promise.all([index.deleteByFilter((f) => f.eq('lang', 'old')), writer.upsert(many('new'))]);
    const left = await index.search({ text: 'text', k: 100 });
    expect(left.map(({ metadata }) => metadata.lang)).toEqual(Array.from({ length: 40 }, () => 'new'));
  });

  test('more than ten are found when more are asked for, and as many as there are of a range', async () => {
    const { index } = await open();
    const common = Array.from({ length: 60 }, (_none, at) => ({ id: `n${at}`, text: `common word number${at}` }));
    expect(await index.upsert(common)).toMatchObject({ added: 60 });
    expect(await index.search({ text: 'common word', k: 25 })).toHaveLength(25);
    expect(await index.range({ text: 'common word', minScore: 0.85 })).toHaveLength(60);
    expect(await index.range({ text: 'common word', minScore: 0.85, limit: 7 })).toHaveLength(7);
    expect(await index.selfTest({ sample: 10, k: 5 })).toMatchObject({ recall: expect.closeTo(1, 0), queries: 10 });
  });

  test('none of few is missed, though a graph reaches few of those that are nearer to one than to each other', async () => {
    const { index } = await open();
    const around = Array.from({ length: 300 }, (_none, at) => ({ id: `n${at}`, text: `common word number${at}` }));
    await index.upsert([{ id: 'centre', text: 'common word' }, ...around]);
    for (const hits of [
      await index.search({ text: 'common word', k: 301 }),
      await index.range({ text: 'common word', minScore: 0.85, limit: 301 }),
    ]) {
      expect(hits).toHaveLength(301);
      expect(hits[0]).toMatchObject({ id: 'centre', score: expect.closeTo(1, 3) });
    }
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
  describe.each(kinds)('with %j', (more) => {
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
      const filtered = await index.search({ text: 'green tree', k: 20, hybrid: {}, filter: (f) => f.lt('year', 3) });
      expect(filtered.map(({ id }) => id).toSorted()).toEqual(['0', '1', '2']);
    });

    test('words are found whatever stands between them and however common they are; places by their distance', async () => {
      const index = indexNamed('words-of-any-kind', { embedder: wordEmbedder(128) });
      await index.upsert([
        {
          id: 'hamlet',
          text: 'to be\nor not—to be; don’t “ask” a\\b',
          metadata: { note: 'sour\ngrapes', place: { lat: 52.5, lon: 13.4 } },
        },
        { id: 'other', text: 'the grapes', metadata: { note: 'the', place: { lat: 48.1, lon: 11.6 } } },
      ]);
      for (const words of ['to be or not to be', 'be or', 'don’t', 'ask', 'b', 'sour grapes'])
        expect(
          (await index.searchText(words)).hits.map(({ id }) => id),
          words,
        ).toEqual(['hamlet']);
      type Filter = NonNullable<Parameters<typeof index.search>[0]['filter']>;
      const found = async (filter: Filter): Promise<string> =>
        (await index.search({ text: 'any', k: 5, filter }))
          .map(({ id }) => id)
          .toSorted()
          .join(' ');
      expect(await found((f) => f.text('note', 'the'))).toBe('other');
      expect(await found((f) => f.not(f.text('note', 'the')))).toBe('hamlet');
      expect(await found((f) => f.text('note', 'grapes'))).toBe('hamlet');
      expect(await found((f) => f.near('place', { lat: 52.4, lon: 13.1 }, 50_000))).toBe('hamlet');
      expect(await found((f) => f.not(f.near('place', { lat: 52.4, lon: 13.1 }, 50_000)))).toBe('other');
    });

    test('the other metrics rank as they should, on one scale', async () => {
      const vectors = { near: [0.8, 0.6], same: [1, 0], opposite: [-1, 0] };
      for (const metric of ['l2', 'ip'] as const) {
        const index = indexNamed(`metric-${metric}`, { metric, dimensions: 2 });
        await index.upsert(Object.entries(vectors).map(([id, vector]) => ({ id, vector })));
        const hits = await index.search({ vector: [1, 0] });
        expect(hits.map(({ id }) => id)).toEqual(['same', 'near', 'opposite']);
        expect(hits[0]).toMatchObject({
          score: expect.closeTo(1, 4) as number,
          distance: expect.closeTo(0, 4) as number,
        });
        expect((await index.range({ vector: [1, 0], minScore: 0.7 })).map(({ id }) => id)).toEqual(['same', 'near']);
      }
    });

    const indexNamed = (name: string, options: Options) =>
      ownedVectorsOnce().vectors.index({ name, schema: SCHEMA, engine: 'query-engine', ...more, ...options });
    const ownedVectorsOf = ownedVectors();
    const ownedVectorsOnce = () => ownedVectorsOf(queryEngine(), { prefix: `contract-${process.pid}-${++runs}` });
  });
});
