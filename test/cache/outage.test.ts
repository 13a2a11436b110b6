/** Redis is killed, frozen, gone from the start: callers are served by the loader, fast, once a key, and all is well again by itself. */
import { describe, expect, test } from 'vitest';
import type { Cache } from '../../src/cache/cache.ts';
import type { MillraceError } from '../../src/errors.ts';
import { ownedCaches, pass } from '../support/caches.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
const own = ownedByTest();
const OUTAGE = { deadline: '200ms', failures: 3, pause: '500ms', firstLevelTtl: '1s' } as const;
/** On a busy machine; a deadline that is waited for each time would come to more. */
const AT_ONCE_MS = 100;

const failing = (): Promise<string> => Promise.reject(new TypeError('down too'));

type Outage = [name: string, begin: (server: TestServer) => unknown, end: (server: TestServer) => unknown];
const OUTAGES: Outage[] = [
  ['killed', (server) => server.kill(), (server) => server.startAgain()],
  ['frozen', (server) => server.freeze(), (server) => server.thaw()],
];

describe.each(OUTAGES)('while Redis is %s', (_how, begin, end) => {
  test('the loader is called, once a key, and after a few failures nobody waits for Redis', async () => {
    const server = own(await startRedis());
    const { log, all } = collectLog();
    const { cache } = await cacheOf({ redis: { url: server.url }, outage: OUTAGE, log });
    await cache.getOrSet('warm', () => 1, { ttl: '1m' });
    await begin(server);

    for (let round = 0; round < OUTAGE.failures; round++) {
      const { value, ms } = await timed(cache.getOrSet(`first ${round}`, () => round, { ttl: '1m' }));
      expect(value).toBe(round);
      expect(ms).toBeLessThan(1_000);
    }
    await eventually(() => expect(cache.stats().isOutage).toBe(true));

    let loads = 0;
    const load = async () => {
      loads++;
      await pass(20);
      return 'loaded';
    };
    const values = await Promise.all(Array.from({ length: 1_000 }, () => cache.getOrSet('key', load, { ttl: '1m' })));
    expect(new Set(values)).toEqual(new Set(['loaded']));
    expect(loads).toBe(1);
    expect(await cache.getOrSet('key', load, { ttl: '1m' })).toBe('loaded'); // From memory, for a moment.
    expect(loads).toBe(1);

    const times: number[] = [];
    for (let round = 0; round < 20; round++) {
      times.push((await timed(cache.getOrSet(`later ${round}`, () => round, { ttl: '1m' }))).ms);
    }
    expect(times.toSorted((a, b) => a - b)[10]).toBeLessThan(AT_ONCE_MS);
    expect(cache.stats().loadsAlone).toBeGreaterThan(20);
    expect(cache.stats().secondLevelFailures).toBeGreaterThan(20);
    // What reads finds nothing; what changes says that it could not.
    expect(await cache.get('nowhere')).toBe(undefined);
    for (const change of [
      () => cache.set('key', 1, { ttl: '1m' }),
      () => cache.delete('key'),
      () => cache.invalidateTags('tag'),
      () => cache.clear(),
    ]) {
      const { value: code, ms } = await timed(change().then(String, (error: unknown) => (error as MillraceError).code));
      expect(code).toMatch(/^REDIS_/);
      expect(ms).toBeLessThan(1_000);
    }
    expect(cache.peek('key')).toBe(undefined); // A delete that failed is heard here all the same.

    await end(server);
    await eventually(() => cache.set('back', 1, { ttl: '1m' }));
    await eventually(() => expect(cache.stats()).toMatchObject({ isOutage: false, isLive: true }));
    const { cache: other } = await cacheOf({ redis: { url: server.url } });
    expect(await other.get('back')).toBe(undefined); // Another prefix; it just works.
    const told = all().map(({ msg }) => msg);
    expect(told.filter((msg) => msg.startsWith('the cache goes on without Redis'))).toHaveLength(1);
    expect(told.filter((msg) => msg === 'the cache has Redis again')).toHaveLength(1);
  });

  test('a value that was loaded alone stays in memory for a moment only', async () => {
    const server = own(await startRedis());
    const { cache } = await cacheOf({ redis: { url: server.url }, outage: { ...OUTAGE, firstLevelTtl: '300ms' } });
    await cache.get('warm');
    await begin(server);
    let loads = 0;
    const load = () => ++loads;
    expect(await cache.getOrSet('key', load, { ttl: '1m' })).toBe(1);
    await pass(320);
    expect(await cache.getOrSet('key', load, { ttl: '1m' })).toBe(2);
    await end(server);
  });

  test('a loader that fails fails its callers, and one that hangs is given up in time', async () => {
    const server = own(await startRedis());
    const { cache } = await cacheOf({ redis: { url: server.url }, outage: OUTAGE });
    await cache.get('warm');
    await begin(server);
    await expect(cache.getOrSet('key', failing, { ttl: '1m' })).rejects.toThrow('down too');
    await failureOf(
      cache.getOrSet('key', () => new Promise<string>(() => undefined), { ttl: '1m', hard: '100ms' }),
      'CACHE_LOAD_TIMEOUT',
    );
    await end(server);
  });

  test('stop() does not wait for it', async () => {
    const server = own(await startRedis());
    const { cache } = await cacheOf({ redis: { url: server.url }, outage: OUTAGE });
    await cache.get('warm');
    await begin(server);
    const { ms } = await timed(cache.stop());
    expect(ms).toBeLessThan(1_000);
    await end(server);
  });
});

test('a value of long TTL in memory is served on while Redis is frozen', async () => {
  const server = own(await startRedis());
  const { cache } = await cacheOf({ redis: { url: server.url }, outage: OUTAGE });
  await cache.getOrSet('key', () => 'kept', { ttl: '1m' });
  server.freeze();
  const { value, ms } = await timed(cache.getOrSet('key', () => 'wrong', { ttl: '1m' }));
  server.thaw();
  expect(value).toBe('kept');
  expect(ms).toBeLessThan(AT_ONCE_MS);
});

test('what Redis had is still there afterwards: a read that failed deletes nothing', async () => {
  const server = own(await startRedis());
  const { cache } = await cacheOf({ redis: { url: server.url }, outage: OUTAGE, firstLevel: false });
  await cache.set('key', 'kept', { ttl: '1m' });
  server.freeze();
  expect(await cache.getOrSet('key', () => 'alone', { ttl: '1m' })).toBe('alone');
  server.thaw();
  await eventually(async () => expect(await cache.get('key')).toBe('kept'));
});

test('a cache that never had Redis works by its loaders', async () => {
  const server = own(await startRedis());
  await server.kill();
  const { cache } = await cacheOf({ redis: { url: server.url }, outage: OUTAGE, live: false });
  expect(await cache.getOrSet('key', () => 1, { ttl: '1m' })).toBe(1);
  expect(cache.stats()).toMatchObject({ isLive: false, loadsAlone: 1 });
});

test('scripts that the server has forgotten are sent again', async () => {
  const server = own(await startRedis());
  const { cache } = await cacheOf({ redis: { url: server.url } });
  await cache.getOrSet('a', () => 1, { ttl: '1m' });
  await server.ask((redis) => redis.script('FLUSH'));
  await cache.delete('a');
  await server.ask((redis) => redis.script('FLUSH'));
  expect(await cache.getOrSet('a', () => 2, { ttl: '1m' })).toBe(2);
  expect(cache.stats().secondLevelFailures).toBe(0);
});

test.each([
  ['the key was deleted', (cache: Cache) => cache.delete('key')],
  ['its tag was invalidated', (cache: Cache) => cache.invalidateTags('tag')],
  ['all was cleared', (cache: Cache) => cache.clear()],
])('what was loaded while %s is not kept, also when Redis was lost before it could be stored', async (_how, change) => {
  const server = own(await startRedis());
  const outage = { ...OUTAGE, firstLevelTtl: '1m' } as const;
  const { cache } = await cacheOf({ redis: { url: server.url }, outage });
  const load = gate<string>();
  const before = cache.getOrSet('key', () => load.opened, { ttl: '1m', tags: ['tag'] });
  await eventually(() => expect(cache.stats().loads).toBe(1));
  await change(cache);
  server.freeze();
  load.open('old');
  expect(await before).toBe('old');
  expect(cache.peek('key')).toBe(undefined);
  server.thaw();
});
