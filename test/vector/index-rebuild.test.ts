/** A new version of an index that takes over while others read and write. */
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { textChunker } from '../../src/vector/chunker.ts';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { eventually } from '../support/eventually.ts';
import { ownedVectors, wordEmbedder } from './own-vectors.ts';

let server: TestServer;
beforeAll(async () => (server = await startRedis()));
afterAll(() => server.stop());
const vectorsOf = ownedVectors();
const fresh = () => vectorsOf({ url: server.url }).vectors;
const ask = <T>(question: (redis: Redis) => Promise<T>): Promise<T> => server.ask(question);

const COUNT = 200;
const textOf = (at: number, edition = 0): string => `item${at} edition${edition} of shelf${at % 7}`;
const items = (edition = 0, count = COUNT) =>
  Array.from({ length: count }, (_none, at) => ({
    id: String(at),
    text: textOf(at, edition),
    metadata: { shelf: String(at % 7) },
  }));

test('searches never fail and no write is lost while a new version is built and takes over, in processes that know nothing of it', async () => {
  const options = { name: 'live', embedder: wordEmbedder(256), schema: { shelf: 'tag' } } as const;
  const [builder, reader, writer] = [fresh(), fresh(), fresh()].map((vectors) => vectors.index(options));
  await builder!.upsert(items());
  const done = new AbortController();
  let [searches, writes, failures] = [0, 0, 0];
  const editions = new Map<string, number | undefined>();
  const read = async (): Promise<void> => {
    while (!done.signal.aborted) {
      const hits = await reader!.search({
        text: `item${searches % 100} shelf1`,
        k: 3,
        filter: (f) => f.exists('shelf'),
      });
      expect(hits).toHaveLength(3);
      searches++;
    }
  };
  const write = async (): Promise<void> => {
    for (let at = 0; !done.signal.aborted; at = (at + 1) % COUNT) {
      writes++;
      if (writes % 9 === 0) {
        await writer!.delete(String(at));
        editions.set(String(at), undefined);
      } else {
        const { failed } = await writer!.upsert([
          { id: String(at), text: textOf(at, writes), metadata: { shelf: 'new' } },
        ]);
        failures += failed;
        editions.set(String(at), writes);
      }
    }
  };
  const others = Promise.all([read(), write()]).finally(() => done.abort());
  const report = await builder!.rebuild({ keepOld: 200 });
  expect(report.version).toBe(2);
  await systemClock.sleep(300);
  done.abort();
  await others;
  expect(failures).toBe(0);
  expect(Math.min(searches, writes)).toBeGreaterThan(10);
  expect(await reader!.stats()).toMatchObject({
    version: 2,
    chunks: COUNT - [...editions.values()].filter((edition) => edition === undefined).length,
  });
  for (const [id, edition] of editions) {
    const found = await reader!.search({ text: textOf(Number(id), edition), k: 1 });
    const text = textOf(Number(id), edition);
    expect(found.some((hit) => hit.id === id && hit.text === text)).toBe(edition !== undefined);
  }
  expect((await ask((redis) => redis.keys('millrace:vector:{live:1:*'))).map((key) => key.split('}:')[1])).toEqual([
    'phase',
  ]);
});

test('another embedder embeds all texts again; processes of the old options read on until the old version goes, and are told then', async () => {
  const old = { name: 'model', embedder: wordEmbedder(64), schema: { shelf: 'tag' } } as const;
  const first = fresh().index(old);
  await first.upsert(items(0, 50));
  const embedder = wordEmbedder(128);
  const next = fresh().index({ ...old, embedder, shards: 2, quantisation: 'none' });
  await failureOf(next.open(), 'INDEX_MISMATCH');
  const rebuilt = next.rebuild({ keepOld: 1_000 });
  await eventually(async () =>
    expect(await ask((redis) => redis.hget('millrace:vector:{model}:index', 'current'))).toBe('2'),
  );
  expect(await first.search({ text: textOf(7), k: 1 })).toMatchObject([{ id: '7' }]);
  await failureOf(first.upsert([{ id: '7', text: 'too late' }]), 'INDEX_MISMATCH');
  expect(await rebuilt).toEqual({ version: 2, documents: 50, embedded: 50 });
  await failureOf(first.search({ text: textOf(7), k: 1 }), 'INDEX_MISMATCH');
  expect(await next.search({ text: textOf(7), k: 1 })).toMatchObject([{ id: '7', metadata: { shelf: '0' } }]);
  expect(embedder.asked.filter((text) => text.startsWith('item'))).toHaveLength(51);
  expect(await next.upsert(items(0, 50))).toMatchObject({ embedded: 0, failed: 0 });
});

test('a rebuild that was cut off goes on where it was, and what changed meanwhile is in it', async () => {
  const options = { name: 'cut', embedder: wordEmbedder(256), schema: { shelf: 'tag' } } as const;
  const index = fresh().index(options);
  await index.upsert(items());
  const stop = new AbortController();
  const cut = index.rebuild({
    signal: stop.signal,
    onProgress: ({ documents }) => documents > 100 && stop.abort(new Error('cut off')),
  });
  await expect(cut).rejects.toThrow('cut off');
  await index.delete(items(0, 80).map(({ id }) => id));
  await index.upsert(items(1, 20));
  expect(await index.rebuild({ keepOld: 0, minRecall: 0.5 })).toEqual({
    version: 2,
    documents: COUNT - 60,
    embedded: 0,
  });
  expect(await index.search({ text: textOf(5, 1), k: 1 })).toMatchObject([{ id: '5', text: textOf(5, 1) }]);
  await failureOf(
    index.rebuild({ minRecall: 1, keepOld: 0 }).then(() => index.rebuild({ load: 1 as never })),
    'OPTIONS_INVALID',
  );
});

test('two rebuilds at once: one is refused, and the other one finishes', async () => {
  const options = { name: 'two', dimensions: 2 } as const;
  const [first, second] = [fresh().index(options), fresh().index(options)];
  await first.upsert(Array.from({ length: 500 }, (_none, at) => ({ id: String(at), vector: [1, at] })));
  const outcomes = await Promise.allSettled([first.rebuild({ keepOld: 0 }), second.rebuild({ keepOld: 0 })]);
  expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
  expect(outcomes.find((outcome) => outcome.status === 'rejected')?.reason).toMatchObject({ code: 'INDEX_BUSY' });
  expect(await second.stats()).toMatchObject({ version: 2, documents: 500 });
});

test('another chunker takes whole texts, which the index does not keep', async () => {
  const schema = { shelf: 'tag' } as const;
  const chunked = { name: 'rechunk', embedder: wordEmbedder(), schema, chunker: textChunker({ maxChars: 100 }) };
  await fresh().index(chunked).upsert(items(0, 5));
  const index = fresh().index({ ...chunked, chunker: textChunker({ maxChars: 50 }) });
  expect((await failureOf(index.rebuild(), 'OPTIONS_INVALID')).message).toContain('load()');
  const load = async (ids: readonly string[]) =>
    items(0, 5)
      .filter(({ id }) => ids.includes(id))
      .map(({ id, text }) => ({ id, text }));
  expect(await index.rebuild({ load, keepOld: 0 })).toMatchObject({ version: 2, documents: 5 });
});
