/** Stores that hang on a cache: they share its connections, and end with it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ownedCaches } from '../support/caches.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

test('a store that is written through is read from the cache, by other processes too', async () => {
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
  const table = new Map([['a', 1]]);
  let reads = 0;
  const store = {
    name: 'numbers',
    load: (key: string) => {
      reads++;
      return table.get(key);
    },
    save: async (key: string, value: number) => void table.set(key, value),
  };
  const [mine, theirs] = [cache.writeThrough(store), other.writeThrough(store)];
  expect([await mine.get('a'), await theirs.get('a'), reads]).toEqual([1, 1, 1]);
  await mine.set('a', 2);
  expect(await mine.get('a')).toBe(2);
  await eventually(async () => expect(await theirs.get('a')).toBe(2));
});

test('a store that is written behind is saved before the cache has stopped', async () => {
  const { cache } = await cacheOf({ redis: { url: server.url } });
  const table = new Map<string, number>();
  const store = { name: 'numbers', save: async (key: string, value: number) => void table.set(key, value) };
  const numbers = cache.writeBehind(store, { flushAfter: '1m' });
  numbers.start();
  await numbers.set('a', 1);
  expect(await numbers.get('a')).toBe(1);
  await cache.stop();
  expect(table.get('a')).toBe(1);
});
