/** Reads that end with what Redis has: they cost little, and promise all that others do. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ownedCaches } from '../support/caches.ts';
import { commandCount } from '../support/command-count.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

async function pair() {
  const { cache: writer, prefix } = await cacheOf({ redis: { url: server.url } });
  const { cache } = await cacheOf({ redis: { url: server.url }, prefix });
  return { writer, cache };
}

test('a value whose tags the reader does not name is found, in one command from the second time on, and invalidated by them', async () => {
  const { writer, cache } = await pair();
  await writer.set('key', 'old', { ttl: '1m', tags: ['t'] });
  const read = () => cache.getOrSet('key', () => 'new', { ttl: '1m', firstLevel: false });
  expect(await read()).toBe('old');
  const before = await commandCount([server], 'evalsha', 'eval');
  expect(await read()).toBe('old');
  expect(await commandCount([server], 'evalsha', 'eval')).toBe(before);
  await writer.invalidateTags('t');
  expect(await read()).toBe('new');
});

test('callers of one key share one answer, which none of them can change', async () => {
  const { writer, cache } = await pair();
  await writer.set('key', { list: [{ n: 1 }] }, { ttl: '1m' });
  const read = () => cache.getOrSet('key', () => ({ list: [] as object[] }), { ttl: '1m', firstLevel: false });
  const [one, two] = await Promise.all([read(), read()]);
  expect(one).toBe(two);
  expect([Object.isFrozen(one), Object.isFrozen(one.list), Object.isFrozen(one.list[0])]).toEqual([true, true, true]);
  expect(cache.stats()).toMatchObject({ secondLevelHits: 1, joined: 1, loads: 0 });
});

test('a call that is refused rejects, and does not throw', async () => {
  const { cache } = await pair();
  const refused = [cache.getOrSet('', () => 1, { ttl: '1m' }), cache.getOrSet('key', () => 1)];
  const outcomes = await Promise.allSettled(refused);
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
});
