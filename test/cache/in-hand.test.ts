/** What a flight has in hand, to be given while nothing newer is there: not once it was invalidated. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LoadContext } from '../../src/cache/run-loader.ts';
import { ownedCaches, pass } from '../support/caches.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const loadTagged = async ({ tags }: LoadContext): Promise<string> => {
  await tags('tag');
  return 'old';
};
const SHORT = { ttl: '50ms', grace: '1m', jitter: 0 } as const;

/** A value past its TTL whose tag only its loader names. */
async function staleWithTag() {
  const { cache } = await cacheOf({ redis: { url: server.url } });
  expect(await cache.getOrSet('key', loadTagged, SHORT)).toBe('old');
  await pass(100);
  return cache;
}

test('a refresh gives nobody the value whose tag was invalidated meanwhile, though its loader has not named the tag yet', async () => {
  const cache = await staleWithTag();
  const refresh = gate<string>();
  expect(await cache.getOrSet('key', () => refresh.opened, SHORT)).toBe('old');
  await eventually(() => expect(cache.stats().loads).toBe(2));
  await cache.invalidateTags('tag');
  const after = cache.getOrSet('key', () => 'newest', SHORT);
  refresh.open('new');
  expect(await after).not.toBe('old');
});

test('nor does it once messages may have been missed', async () => {
  const ears = await startRedis();
  try {
    const { cache, prefix } = await cacheOf({ redis: { url: server.url }, subscriber: { url: ears.url } });
    const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
    await cache.set('key', 'old', SHORT);
    await pass(100);
    const refresh = gate<string>();
    expect(await cache.getOrSet('key', () => refresh.opened, SHORT)).toBe('old');
    await eventually(() => expect(cache.stats().loads).toBe(1));
    const { flushes } = cache.stats();
    await other.delete('key');
    await ears.kill();
    await eventually(() => expect(cache.stats().flushes).toBeGreaterThan(flushes));
    const after = cache.getOrSet('key', () => 'newest', SHORT);
    refresh.open('new');
    expect(await after).not.toBe('old');
  } finally {
    await ears.stop();
  }
});

test('a load that fails gives it only to those who asked before', async () => {
  const cache = await staleWithTag();
  const load = gate();
  const options = { ...SHORT, swr: false };
  const before = cache.getOrSet('key', () => load.opened.then(() => fail()), options);
  await eventually(() => expect(cache.stats().loads).toBe(2));
  await cache.invalidateTags('tag');
  const after = cache.getOrSet('key', () => 'new', options);
  load.open();
  expect(await before).toBe('old');
  expect(await after).toBe('new');
});

const INVALIDATIONS = [
  ['a delete', (cache) => cache.delete('key')],
  ['a tag', (cache) => cache.invalidateTags('tag')],
  ['a clear', (cache) => cache.clear()],
] satisfies Array<[string, (cache: Awaited<ReturnType<typeof staleWithTag>>) => Promise<unknown>]>;

test.each(INVALIDATIONS)('whoever waits for another process has none in hand after %s', async (_name, invalidate) => {
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
  const options = { ...SHORT, tags: ['tag'], swr: false };
  await cache.set('key', 'old', { ...SHORT, tags: ['tag'] });
  await pass(100);
  const load = gate<string>();
  void other.getOrSet('key', () => load.opened, options);
  await eventually(() => expect(other.stats().loads).toBe(1));
  const before = cache.getOrSet('key', () => fail(), options).catch(() => 'failed');
  await eventually(() => expect(cache.stats().waits).toBe(1));

  await invalidate(cache);
  const after = cache.getOrSet('key', () => fail(), { ...options, soft: '20ms' }).catch(() => 'failed');
  load.open('new');
  await before;
  expect(await after).not.toBe('old');
});

function fail(): never {
  throw new TypeError('the database is down');
}
