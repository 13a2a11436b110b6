/** Many entries with one call. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeEntry } from '../../src/streams/entry.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { createScene, failureOf, idsOf, many, notes } from './scene.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const scene = (redis = { url: server.url }) => createScene(own, redis);

test('2,500 entries are 3 round trips, in order, with their results in order', async () => {
  const alone = own(await startRedis());
  const { streams, client, keysOf } = scene({ url: alone.url });
  const contract = notes();
  await streams.publishMany(contract, []);
  const published = await streams.publishMany(contract, many(2_500));
  expect(await commandCount([alone], 'evalsha')).toBe(3);
  const entries = await client.xrange(keysOf(contract).entries, '-', '+');
  expect(entries.map(([id]) => id)).toEqual(published.map(({ id }) => id));
  expect(entries.map(([, [, data]]) => data)).toEqual(many(2_500).map((note) => JSON.stringify(note)));
  expect(new Set(published.map(({ status }) => status))).toEqual(new Set(['added']));
});

test('of 2,500 entries with one bad one nothing is sent, and the message names it', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  const list = many(2_500);
  list[2_400] = { n: 'x' } as never;
  const failure = await failureOf(streams.publishMany(contract, list));
  expect(failure).toMatchObject({ code: 'INPUT_INVALID', facts: { index: 2_400 } });
  expect(failure.message).toContain('entry 2400 of 2500');
  expect(failure.message).toContain('nothing was published');
  expect(await client.exists(keysOf(contract).entries)).toBe(0);
});

test('keys and headers are of each entry; a key twice in one list is one entry', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  const before = await streams.publish(contract, { n: 0 }, { key: 'k0' });
  const published = await streams.publishMany(contract, many(6), ({ n }) =>
    n % 2 === 0 ? { key: `k${n % 4}`, headers: { n: `${n}` } } : {},
  );
  expect(published.map(({ status }) => status)).toEqual(['duplicate', 'added', 'added', 'added', 'duplicate', 'added']);
  expect([published[0]?.id, published[4]?.id]).toEqual([before.id, before.id]);
  const entries = (await client.xrange(keysOf(contract).entries, '-', '+')).map(([id, fields]) =>
    decodeEntry(id, fields),
  );
  expect(entries.map(({ data, key, headers }) => [data, key, headers['n']])).toEqual([
    ['{"n":0}', 'k0', undefined],
    ['{"n":1}', undefined, undefined],
    ['{"n":2}', 'k2', '2'],
    ['{"n":3}', undefined, undefined],
    ['{"n":5}', undefined, undefined],
  ]);
});

test('one key for all of them, options that are wrong, and what is no list are refused', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes();
  expect((await failureOf(streams.publishMany(contract, many(2), { key: 'k' }))).message).toContain(
    'give a function of the data',
  );
  expect(await failureOf(streams.publishMany(contract, many(2), () => ({ key: '' })))).toMatchObject({
    code: 'OPTIONS_INVALID',
    facts: { index: 0 },
  });
  expect(await failureOf(streams.publishMany(contract, { n: 1 } as never))).toMatchObject({ code: 'OPTIONS_INVALID' });
  await expect(
    streams.publishMany(contract, many(1), () => {
      throw new TypeError('of the caller');
    }),
  ).rejects.toThrow(TypeError);
  expect(await client.exists(keysOf(contract).entries)).toBe(0);
});

test('large entries go in round trips of some megabytes', async () => {
  const { streams, client, keysOf } = scene();
  const contract = notes({ maxBytes: 3_000_000 });
  const text = 'x'.repeat(1_500_000);
  const list = many(8).map((note) => ({ ...note, text }));
  await streams.publishMany(contract, list);
  expect(await idsOf(client, keysOf(contract).entries)).toHaveLength(8);
});

test('when Redis fails in the middle, it is told what was published and what may have been', async () => {
  const proxy = own(await startProxy(server.port));
  const { streams, keysOf } = scene({ url: proxy.url });
  const contract = notes();
  const { entries } = keysOf(contract);
  await streams.publish(contract, { n: -1 });
  const length = (): Promise<number> => server.ask((redis) => redis.xlen(entries));
  proxy.slowDown(150);
  const lost = failureOf(streams.publishMany(contract, many(3_500)));
  await eventually(async () => expect(await length()).toBe(1_001));
  await eventually(async () => expect(await length()).toBe(2_001));
  proxy.cut(); // The second answer is still on its way.
  const failure = await lost;
  expect(failure.code).toBe('REDIS_UNREACHABLE');
  expect(failure.message).toContain('1000 of 3500 entries were published, of the next 1000 it is not known');
  expect(failure.facts['published']).toHaveLength(1_000);
  expect(failure.facts['unknown']).toBe(1_000);
  expect(await length()).toBe(2_001);
});

test('what the server refuses is in no doubt', async () => {
  const { streams, client } = scene();
  await client.config('SET', 'maxmemory', '1');
  const failure = await failureOf(streams.publishMany(notes(), many(10)));
  await client.config('SET', 'maxmemory', '0');
  expect(failure).toMatchObject({ code: 'REDIS_WRITES_REFUSED', facts: { published: [], unknown: 0 } });
});
