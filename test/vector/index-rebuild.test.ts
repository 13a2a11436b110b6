/** A new version of an index that takes over while others read and write. */
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { textChunker } from '../../src/vector/chunker.ts';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
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
    const found = await reader!.search({ text: textOf(Number(id), edition), k: 5 });
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

test('a field of another type takes the documents anew, and load() gives them', async () => {
  const options = { name: 'retyped', dimensions: 2 } as const;
  const documents = [1, 2].map((at) => ({ id: `${at}`, vector: [1, at] }));
  const old = fresh().index({ ...options, schema: { year: 'tag' } });
  await old.upsert(documents.map((one) => ({ ...one, metadata: { year: '2020' } })));
  const index = fresh().index({ ...options, schema: { year: 'number' } });
  expect((await failureOf(index.rebuild(), 'OPTIONS_INVALID')).message).toContain('type of a field');
  const load = async () => documents.map((one) => ({ ...one, metadata: { year: 2_020 } }));
  expect(await index.rebuild({ load, keepOld: 0 })).toMatchObject({ version: 2, documents: 2 });
  expect(await index.metadataOf('1')).toEqual({ year: 2_020 });
});

test('a process that lost its lease in the midst of a batch writes nothing any more into what another one has built', async () => {
  const options = { name: 'fenced', embedder: wordEmbedder(64) } as const;
  const writer = fresh().index(options);
  await writer.upsert(items(0, 5).map(({ id, text }) => ({ id, text })));
  const embedder = wordEmbedder(256);
  const { opened, open } = gate();
  let isWaiting = false;
  const slow = {
    ...embedder,
    embed: async (...call: Parameters<typeof embedder.embed>) => {
      isWaiting = true;
      await opened;
      return embedder.embed(...call);
    },
  };
  const lost = failureOf(
    fresh()
      .index({ ...options, embedder: slow })
      .rebuild({ keepOld: 0 }),
    'INDEX_BUSY',
  );
  await eventually(() => expect(isWaiting).toBe(true));
  await ask((redis) => redis.del('millrace:vector:{fenced}:rebuilding'));
  await writer.upsert([{ id: '3', text: 'changed meanwhile' }]);
  const index = fresh().index({ ...options, embedder });
  expect(await index.rebuild({ keepOld: 0 })).toMatchObject({ version: 2, documents: 5 });
  open();
  await lost;
  expect(await index.search({ text: 'changed meanwhile', k: 1 })).toMatchObject([
    { id: '3', text: 'changed meanwhile' },
  ]);
});

/** Everything that is kept of a version. */
const keysOf = (name: string, version: number): Promise<string[]> =>
  ask(async (redis) =>
    (await redis.keys(`millrace:vector:{${name}:${version}:*`)).map((key) => key.split('}:')[1] ?? ''),
  );

test('what was closed takes over by the next one who writes, when the process that closed it has died', async () => {
  const options = { name: 'died', dimensions: 2, shards: 2 } as const;
  const index = fresh().index(options);
  await index.upsert(Array.from({ length: 50 }, (_none, at) => ({ id: String(at), vector: [1, at] })));
  const stop = new AbortController();
  const cut = index.rebuild({
    signal: stop.signal,
    onProgress: ({ documents }) => documents === 50 && stop.abort(new Error('died')),
  });
  await expect(cut).rejects.toThrow('died');
  expect(await ask((redis) => redis.hget('millrace:vector:{died}:index', 'current'))).toBe('1');
  await ask((redis) =>
    redis.mset(Object.fromEntries([0, 1].map((at) => [`millrace:vector:{died:1:${at}}:phase`, 'closed 2']))),
  );
  expect(await index.upsert([{ id: 'new', vector: [0, 1] }])).toMatchObject({ added: 1 });
  expect(await index.stats()).toMatchObject({ version: 2, documents: 51 });
});

test('once the new version has taken over, an abort ends the wait alone; the next rebuild drops what is left, by UNLINK', async () => {
  const options = { name: 'left', dimensions: 2, schema: { shelf: 'tag' } } as const;
  const { vectors } = vectorsOf({ url: server.url }, { follow: '1m' });
  const index = vectors.index(options);
  await index.upsert(items(0, 20).map(({ id, metadata }) => ({ id, vector: [1, Number(id)], metadata })));
  const stop = new AbortController();
  const rebuilt = index.rebuild({ keepOld: 0, signal: stop.signal });
  const record = 'millrace:vector:{left}:index';
  await eventually(async () => expect(await ask((redis) => redis.hexists(record, 'version:1'))).toBe(0));
  stop.abort(new Error('enough'));
  expect(await rebuilt).toMatchObject({ version: 2, documents: 20 });
  expect(await keysOf('left', 1)).toContain('vectors');
  const removals: string[][] = [];
  await ask(async (redis) => {
    const monitor = await redis.monitor();
    monitor.on(
      'monitor',
      (_time: string, args: string[]) => /^(del|unlink)$/i.test(args[0] ?? '') && removals.push(args),
    );
    expect(await fresh().index(options).rebuild({ keepOld: 0 })).toMatchObject({ version: 3, documents: 20 });
    await eventually(() => expect(removals.flat()).toContain('millrace:vector:{left:2:0}:vectors'));
    monitor.disconnect();
  });
  expect(
    removals
      .filter(([verb]) => /^del$/i.test(verb ?? ''))
      .flat()
      .join(' '),
  ).not.toContain(':vectors');
  expect([await keysOf('left', 1), await keysOf('left', 2)]).toEqual([['phase'], ['phase']]);
  expect(Object.keys(await ask((redis) => redis.hgetall(record))).toSorted()).toEqual(['current', 'last', 'version:3']);
});

test('whoever is told of the end and throws does not make a failure of what has taken over', async () => {
  const index = fresh().index({ name: 'told', dimensions: 2 });
  await index.upsert([{ id: 'a', vector: [1, 0] }]);
  const told = index.rebuild({
    keepOld: 0,
    onProgress: ({ phase }) => {
      if (phase === 'dropping') throw new Error('whoever is told has gone');
    },
  });
  expect(await told).toMatchObject({ version: 2, documents: 1 });
});
