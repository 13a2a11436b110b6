/** Searches of an index on vector sets. */
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { textChunker } from '../../src/vector/chunker.ts';
import { matchesFilter } from '../../src/vector/filter-match.ts';
import type { Filter } from '../../src/vector/filter.ts';
import { cosine } from '../../src/vector/vectors.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { never } from '../support/gate.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { clusteredVectors, ownedVectors, wordEmbedder } from './own-vectors.ts';

let server: TestServer;
beforeAll(async () => (server = await startRedis()));
afterAll(() => server.stop());
const vectorsOf = ownedVectors();
const fresh = () => vectorsOf({ url: server.url }).vectors;

const COUNT = 400;
const SCHEMA = { lang: 'tag', labels: 'tags', year: 'number', draft: 'boolean' } as const;
const vectors = clusteredVectors(COUNT, 32);
const items = vectors.map((vector, at) => ({
  id: String(at),
  vector,
  metadata: {
    lang: ['en', 'fr', 'de'][at % 3] as string,
    ...(at % 4 !== 0 && { labels: [`l${at % 5}`, `l${at % 7}`] }),
    ...(at % 10 !== 0 && { year: 1_990 + (at % 40) }),
    draft: at % 2 === 0,
  },
}));

/** What a search by brute force finds. */
function nearest(query: Float32Array, k: number, filter?: Filter): string[] {
  return items
    .filter(({ metadata }) => !filter || matchesFilter(filter, metadata))
    .map(({ id, vector }) => ({ id, score: cosine(query, vector) }))
    .toSorted((left, right) => right.score - left.score)
    .slice(0, k)
    .map(({ id }) => id);
}

test('the nearest are found, best first, with scores of 0 to 1 and the distance beside them, over one key or several', async () => {
  for (const shards of [1, 4]) {
    const index = fresh().index({ name: `nearest-${shards}`, dimensions: 32, shards, quantisation: 'none' });
    expect(await index.upsert(items.map(({ id, vector }) => ({ id, vector })))).toMatchObject({ added: COUNT });
    for (const at of [3, 77, 300]) {
      const query = vectors[at] as Float32Array;
      const hits = await index.search({ vector: query, k: 10 });
      expect(hits.map(({ id }) => id)).toEqual(nearest(query, 10));
      for (const { id, score, distance } of hits) {
        const similarity = cosine(query, vectors[Number(id)] as Float32Array);
        expect(score).toBeCloseTo((1 + similarity) / 2, 4);
        expect(distance).toBeCloseTo(1 - similarity, 4);
      }
    }
    const least = (await index.search({ vector: vectors[3], k: 10 }))[4]?.score as number;
    expect(await index.search({ vector: vectors[3], k: 10, minScore: least })).toHaveLength(5);
    expect(await index.selfTest({ sample: 20 })).toMatchObject({ recall: expect.closeTo(1, 1), queries: 20, k: 10 });
    expect(await index.stats()).toMatchObject({ documents: COUNT, chunks: COUNT, version: 1, failures: 0, indexed: 1 });
  }
});

const FILTERS = fc.letrec<{ filter: Filter }>((tie) => ({
  filter: fc.oneof(
    { depthSize: 'small' },
    fc.record({
      op: fc.constantFrom('eq', 'ne'),
      field: fc.constant('lang'),
      value: fc.constantFrom('en', 'fr', 'xx'),
    }),
    fc.record({
      op: fc.constantFrom('eq', 'ne'),
      field: fc.constant('labels'),
      value: fc.constantFrom('l1', 'l6', 'l9'),
    }),
    fc.record({
      op: fc.constant('in' as const),
      field: fc.constant('labels'),
      values: fc.constant(['l1', 'l2', 'l1']),
    }),
    fc.record({
      op: fc.constantFrom('lt', 'lte', 'gt', 'gte'),
      field: fc.constant('year'),
      value: fc.integer({ min: 1_985, max: 2_035 }),
    }),
    fc.record({
      op: fc.constant('between' as const),
      field: fc.constant('year'),
      from: fc.constant(2_000),
      to: fc.constant(2_004),
    }),
    fc.record({ op: fc.constant('eq' as const), field: fc.constant('draft'), value: fc.boolean() }),
    fc.record({ op: fc.constant('exists' as const), field: fc.constantFrom('labels', 'year', 'lang') }),
    fc.record({ op: fc.constantFrom('and', 'or'), filters: fc.array(tie('filter'), { minLength: 1, maxLength: 3 }) }),
    fc.record({ op: fc.constant('not' as const), filter: tie('filter') }),
  ) as fc.Arbitrary<Filter>,
})).filter;

test('a filter lets the same documents pass by whichever way it is looked for', async () => {
  const listings = [[], ['lang', 'labels', 'year']] as const;
  const indexes = listings.map((listed, at) =>
    fresh().index({
      name: `filters-${at}`,
      dimensions: 32,
      schema: SCHEMA,
      listed,
      quantisation: 'none',
      shards: at + 1,
    }),
  );
  for (const index of indexes) expect(await index.upsert(items)).toMatchObject({ added: COUNT });
  await fc.assert(
    fc.asyncProperty(FILTERS, fc.integer({ min: 0, max: COUNT - 1 }), async (filter, at) => {
      const vector = vectors[at] as Float32Array;
      const expected = nearest(vector, 5, filter);
      for (const index of indexes) {
        const found = await index.search({ vector, k: 5, filter, ef: COUNT });
        expect(found.map(({ id }) => id)).toEqual(expected);
      }
    }),
    { numRuns: 60 },
  );
});

test('a narrow filter compares what passes instead of walking: nothing that passes is missed, on each quantisation', async () => {
  for (const quantisation of ['q8', 'none', 'bin'] as const) {
    const index = fresh().index({ name: `narrow-${quantisation}`, dimensions: 32, schema: SCHEMA, quantisation });
    await index.upsert(items);
    const vector = vectors[10] as Float32Array;
    const byList = await index.search({ vector, k: 50, filter: (f) => f.eq('labels', 'l3') });
    const byWalk = await index.search({ vector, k: 50, ef: COUNT, filter: (f) => f.and(f.not(f.ne('labels', 'l3'))) });
    expect(byList).toHaveLength(50);
    const scores = (hits: typeof byList): Map<string, number> => new Map(hits.map(({ id, score }) => [id, score]));
    const walked = scores(byWalk);
    const both = [...scores(byList)].filter(([id]) => walked.has(id));
    for (const [id, score] of both) expect(score).toBeCloseTo(walked.get(id) as number, 1);
    expect(both.length).toBeGreaterThan(quantisation === 'bin' ? 30 : 45);
  }
});

/** A text of a paragraph for each word. */
function textOf(...words: string[]): string {
  return words.map((word) => `${word} ${word}ish and so on.`).join('\n\n');
}

test('similar() finds other documents, range() all that are near enough, a search may be grouped by document', async () => {
  const chunker = textChunker({ maxChars: 30 });
  const index = fresh().index({ name: 'related', embedder: wordEmbedder(1_024), chunker, schema: { lang: 'tag' } });
  await index.upsert([
    { id: 'fruit', text: textOf('apple', 'pear', 'plum'), metadata: { lang: 'en' } },
    { id: 'basket', text: textOf('pear', 'plum', 'grape'), metadata: { lang: 'en' } },
    { id: 'corbeille', text: textOf('pear', 'plum', 'cherry'), metadata: { lang: 'fr' } },
    { id: 'tools', text: textOf('hammer', 'saw', 'nail'), metadata: { lang: 'en' } },
  ]);
  const similar = await index.similar('fruit', { k: 2 });
  expect(similar?.map(({ id }) => id).toSorted()).toEqual(['basket', 'corbeille']);
  expect((await index.similar('fruit', { k: 2, filter: (f) => f.eq('lang', 'en') }))?.[0]?.id).toBe('basket');
  expect(await index.similar('nobody')).toBeUndefined();
  const range = await index.range({ text: 'plum plumish and so on.', minScore: 0.99 });
  expect(range.map(({ id }) => id).toSorted()).toEqual(['basket', 'corbeille', 'fruit']);
  const grouped = await index.search({ text: 'pear plum', k: 4, groupByDocument: true });
  expect(grouped.map(({ id }) => id).toSorted()).toEqual(['basket', 'corbeille', 'fruit', 'tools']);
  const [hit] = await index.search({ text: 'hammer', k: 1, withText: false });
  expect(hit).toMatchObject({ id: 'tools', text: undefined });
});

test('a ranking of another search, a reranker and vectors in full each change the order', async () => {
  const index = fresh().index({
    name: 'order',
    embedder: wordEmbedder(1_024),
    keepVectors: true,
    quantisation: 'bin',
    schema: { lang: 'tag' },
  });
  await index.upsert(
    ['red car', 'red bus', 'blue car', 'green tree'].map((text) => ({ id: text, text, metadata: { lang: 'en' } })),
  );
  const hybrid = await index.search({
    text: 'red car',
    k: 4,
    hybrid: { ranking: ['green tree', 'gone', 'red car'], window: 2 },
  });
  expect(hybrid.slice(0, 2).map(({ id }) => id)).toEqual(['red car', 'green tree']);
  expect(hybrid[1]).toMatchObject({ text: 'green tree', metadata: { lang: 'en' } });
  const reranked = await index.search({
    text: 'red car',
    k: 1,
    rerank: (hits) => hits.map(({ text }) => (text?.includes('tree') ? 1 : 0)),
  });
  expect(reranked.map(({ id, rank }) => [id, rank])).toEqual([['green tree', 1]]);
  await failureOf(index.search({ text: 'red', rerank: () => [1] }), 'INPUT_INVALID');
  const [best] = await index.search({ text: 'red car', k: 1, rescore: 4 });
  expect(best).toMatchObject({ id: 'red car', score: expect.closeTo(1, 5) });
});

test('what vector sets cannot do is refused with what it takes', async () => {
  const index = fresh().index({
    name: 'refused',
    dimensions: 2,
    schema: { body: 'text', lang: 'tag' },
    engine: 'vector-sets',
  });
  await index.open();
  expect((await failureOf(index.searchText('words'), 'CAPABILITY_MISSING')).message).toContain('Query Engine');
  await failureOf(index.search({ vector: [1, 0], hybrid: { text: 'words' } }), 'CAPABILITY_MISSING');
  await failureOf(index.search({ vector: [1, 0], filter: (f) => f.text('body', 'words') }), 'FILTER_UNSUPPORTED');
  await failureOf(index.search({ vector: [1, 0], rescore: 2 }), 'OPTIONS_INVALID');
  await failureOf(index.search({ text: 'no embedder' }), 'OPTIONS_INVALID');
  await failureOf(index.search({ k: 3 }), 'OPTIONS_INVALID');
  const vector = [1, 0];
  for (const options of [
    { vector, rescore: 2, hybrid: { ranking: ['1'] } },
    { vector, hybrid: { text: 'words', ranking: ['1'] } },
    { vector, groupByDocument: false, hybrid: { ranking: ['1'] } },
  ]) {
    await failureOf(index.search(options), 'OPTIONS_INVALID');
  }
  await failureOf(fresh().index({ name: 'other', dimensions: 2, engine: 'query-engine' }).open(), 'CAPABILITY_MISSING');
  for (const options of [
    { metric: 'l2' },
    { algorithm: 'flat' },
    { dimensions: 0 },
    { name: 'a b' },
    { listed: ['body'] },
    { unknown: 1 },
  ]) {
    const all = { name: 'bad', dimensions: 2, schema: { body: 'text' }, engine: 'vector-sets', ...options } as never;
    await failureOf((async () => fresh().index(all))(), 'OPTIONS_INVALID');
  }
});

test('calls after stop() end with CLOSED', async () => {
  const { vectors: mine } = vectorsOf({ url: server.url });
  const index = mine.index({ name: 'stopped', dimensions: 2 });
  await mine.stop();
  await failureOf(index.search({ vector: [1, 0] }), 'CLOSED');
  await failureOf(index.upsert([{ id: '1', vector: [1, 0] }]), 'CLOSED');
});

test('a self-test checks its options, and measures nothing where there is nothing', async () => {
  const index = fresh().index({ name: 'untested', dimensions: 2 });
  for (const options of [{ sample: -1 }, { k: 0 }, { samples: 5 } as never])
    await failureOf(index.selfTest(options), 'OPTIONS_INVALID');
  expect(await index.selfTest()).toMatchObject({ recall: undefined, worst: undefined, queries: 0 });
  expect(await index.rebuild({ minRecall: 0.9, keepOld: 0 })).toMatchObject({ version: 2 });
});

test('however many are asked for, no search looks for more parts than it has a bound for', async () => {
  const index = fresh().index({ name: 'bound', dimensions: 2, keepVectors: true });
  await index.upsert([{ id: '1', vector: [1, 0] }]);
  const counts: number[] = [];
  await server.ask(async (redis) => {
    const monitor = await redis.monitor();
    monitor.on('monitor', (_time: string, args: string[]) => {
      if (/^vsim$/i.test(args[0] ?? '')) counts.push(Number(args[args.indexOf('COUNT') + 1]));
    });
    await index.search({ vector: [1, 0], k: 1_000, rescore: 100, groupByDocument: true });
    await index.search({ vector: [1, 0], k: 10_000, groupByDocument: true });
    await eventually(() => expect(counts).toEqual([5_000, 10_000]));
    monitor.disconnect();
  });
});

test('a search ends when it is told to, also where its embedder does not', async () => {
  let asked = 0;
  const deaf = { id: 'deaf', dimensions: 2, embed: () => (asked++, never()) };
  const index = fresh().index({ name: 'deaf', embedder: deaf });
  await index.open();
  const stop = new AbortController();
  const search = index.search({ text: 'anything', signal: stop.signal });
  await eventually(() => expect(asked).toBe(1));
  stop.abort(new Error('enough'));
  await expect(search).rejects.toThrow('enough');
});

test('an index that names neither an embedder nor dimensions takes the embedder of all', async () => {
  const embedder = wordEmbedder(16);
  const { vectors: mine } = vectorsOf({ url: server.url }, { embedder });
  expect(await mine.index({ name: 'default' }).upsert([{ id: '1', text: 'words' }])).toMatchObject({ added: 1 });
  expect(await mine.index({ name: 'given', dimensions: 3 }).upsert([{ id: '1', vector: [1, 0, 0] }])).toMatchObject({
    added: 1,
  });
  expect(embedder.asked).toEqual(['words']);
});
