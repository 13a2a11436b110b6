/** However many ask for a key that nobody has, it is loaded once. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ownedCaches, pass } from '../support/caches.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
const own = ownedByTest();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

async function group(size: number) {
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  const rest = await Promise.all(
    Array.from({ length: size - 1 }, () => cacheOf({ redis: { url: server.url }, prefix })),
  );
  return [cache, ...rest.map(({ cache: other }) => other)] as [typeof cache, typeof cache, ...Array<typeof cache>];
}

test('1,000 callers of one process are one load, one read and one value', async () => {
  const [cache] = await group(1);
  let loads = 0;
  const load = async () => {
    loads++;
    await pass(20);
    return { n: 1 };
  };
  const before = await commandCount([server], 'evalsha', 'eval');
  const values = await Promise.all(Array.from({ length: 1_000 }, () => cache.getOrSet('key', load, { ttl: '1m' })));
  expect(loads).toBe(1);
  expect(new Set(values).size).toBe(1);
  expect((await commandCount([server], 'evalsha', 'eval')) - before).toBeLessThanOrEqual(6); // Read, lease, store; each with its text once.
  expect(cache.stats()).toMatchObject({ loads: 1, joined: 999, misses: 1 });
});

test('four processes that ask at once load once, and each is given the value', async () => {
  const caches = await group(4);
  let loads = 0;
  const load = async () => {
    loads++;
    await pass(50);
    return 'value';
  };
  const values = await Promise.all(
    caches.flatMap((cache) => Array.from({ length: 100 }, () => cache.getOrSet('key', load, { ttl: '1m' }))),
  );
  expect(loads).toBe(1);
  expect(new Set(values)).toEqual(new Set(['value']));
});

test('a load that takes longer than a lease is still the only one, because the lease is renewed', async () => {
  const [cache, other] = await group(2);
  let loads = 0;
  const load = async () => {
    loads++;
    await pass(4_000);
    return 'slow';
  };
  const first = cache.getOrSet('key', load, { ttl: '1m' });
  await eventually(() => expect(loads).toBe(1));
  expect(await Promise.all([first, other.getOrSet('key', load, { ttl: '1m' })])).toEqual(['slow', 'slow']);
  expect(loads).toBe(1);
}, 15_000);

test('when a load fails, one of those who wait in other processes tries next, one at a time', async () => {
  const caches = await group(3);
  let running = 0;
  let most = 0;
  let loads = 0;
  const load = async () => {
    most = Math.max(most, ++running);
    await pass(30);
    running--;
    if (++loads < 3) throw new TypeError(`failure ${loads}`);
    return 'third';
  };
  const outcomes = await Promise.allSettled(caches.map((cache) => cache.getOrSet('key', load, { ttl: '1m' })));
  expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected', 'rejected']);
  expect([loads, most]).toEqual([3, 1]);
});

test('who waits for a load of another process gives up at the hard timeout', async () => {
  const [cache, other] = await group(2);
  const value = gate<string>();
  const first = cache.getOrSet('key', () => value.opened, { ttl: '1m' });
  await eventually(() => expect(cache.stats().loads).toBe(1));
  const error = await failureOf(
    other.getOrSet('key', () => 'mine', { ttl: '1m', hard: '200ms' }),
    'CACHE_LOAD_TIMEOUT',
  );
  expect(error.message).toContain('by another process');
  value.open('theirs');
  expect(await first).toBe('theirs');
});

test.each([
  ['it hears nothing, and does not know', () => startRedis()],
  ['it is not subscribed', () => startRedis().then(async (silent) => (await silent.kill(), silent))],
])('who waits finds the value although no message comes: %s', async (_how, start) => {
  const elsewhere = own(await start());
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  const { cache: deaf } = await cacheOf({
    redis: { url: server.url },
    subscriber: { url: elsewhere.url },
    prefix,
    live: false,
  });
  const value = gate<string>();
  const first = cache.getOrSet('key', () => value.opened, { ttl: '1m', hard: '1s' });
  await eventually(() => expect(cache.stats().loads).toBe(1));
  const second = deaf.getOrSet('key', () => 'mine', { ttl: '1m' });
  await eventually(() => expect(deaf.stats().waits).toBeGreaterThan(0));
  value.open('theirs');
  expect(await Promise.all([first, second])).toEqual(['theirs', 'theirs']);
});

test('no name of a namespace is that of the keys in none', async () => {
  const [cache] = await group(1);
  const spaces = [cache, ...['main', 'main/main', 'main/a', 'a'].map((name) => cache.namespace(name))];
  await Promise.all(spaces.map((space, index) => space.set('key', index, { ttl: '1m' })));
  expect(await Promise.all(spaces.map((space) => space.get('key')))).toEqual([0, 1, 2, 3, 4]);
  await cache.namespace('main').clear();
  expect(await cache.namespace('main').get('key')).toBe(undefined);
  expect(await cache.get('key')).toBe(0);
  expect(await cache.namespace('main').namespace('a').get('key')).toBe(3);
});

test('the key of one namespace is not that of another', async () => {
  const [cache] = await group(1);
  const values = await Promise.all([
    cache.getOrSet('key', () => 'root', { ttl: '1m' }),
    cache.namespace('a').getOrSet('key', () => 'a', { ttl: '1m' }),
    cache
      .namespace('a')
      .namespace('b')
      .getOrSet('key', () => 'a/b', { ttl: '1m' }),
  ]);
  expect(values).toEqual(['root', 'a', 'a/b']);
});
