/** Options are checked, and a mistake names itself. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Cache } from '../../src/cache/cache.ts';
import { createCache, type CreateCacheOptions } from '../../src/cache/create-cache.ts';
import { OptionReader, type LoadOptions } from '../../src/cache/options.ts';
import { MillraceError } from '../../src/errors.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { ownedCaches } from '../support/caches.ts';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
let cache: Cache;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const tiers = { short: { ttl: '10s' }, day: { ttl: '1d', grace: '1h', beta: 2 } } as const;

describe('of a call', () => {
  test.each<[options: unknown, message: RegExp]>([
    [undefined, /getOrSet: ttl is required, so that nothing is kept for ever/],
    [{}, /ttl is required/],
    [{ ttl: undefined }, /ttl is required/],
    [{ ttl: Infinity }, /ttl: expected a number of milliseconds or a string.*, or a tier \(short, day\), got Infinity/],
    [{ ttl: 'shrot' }, /or a tier \(short, day\), got "shrot"/],
    [{ ttl: 0 }, /ttl: expected more than 0/],
    [{ ttl: -1 }, /ttl/],
    [{ ttl: '20000d' }, /ttl: expected at most 10 years/],
    [{ ttl: '1m', gracee: 1 }, /unknown option gracee, did you mean grace\?/],
    [{ ttl: '1m', jitter: 2 }, /jitter: expected at most 1/],
    [{ ttl: '1m', tags: ['a', 1] }, /tags\[1\]: expected string, got 1/],
    [{ ttl: '1m', tags: 'a' }, /tags: expected array/],
    [{ ttl: '1m', schema: {} }, /schema: .*Standard Schema/],
    [{ ttl: '1m', signal: {} }, /signal: .*AbortSignal/],
    [{ ttl: '1m', onError: 'ignore' }, /onError: expected stale or throw/],
    [{ ttl: '1m', hard: 0 }, /hard: expected more than 0/],
  ])('%j is refused', async (options, message) => {
    ({ cache } = await cacheOf({ redis: { url: server.url }, tiers, live: false }));
    const error = await failureOf(
      cache.getOrSet('key', () => 1, options as LoadOptions<number>),
      'OPTIONS_INVALID',
    );
    expect(error.message).toMatch(message);
    expect(cache.stats().loads).toBe(0);
  });

  test('a loader must be a function', async () => {
    ({ cache } = await cacheOf({ redis: { url: server.url }, live: false }));
    const error = await failureOf(cache.getOrSet('key', 5 as never, { ttl: '1m' }), 'OPTIONS_INVALID');
    expect(error.message).toBe('getOrSet: loader: expected a function, got 5');
  });

  test('tags that Redis cannot keep are refused, and are not taken for an outage', async () => {
    ({ cache } = await cacheOf({ redis: { url: server.url } }));
    const tags = ['x'.repeat(10_001)];
    const error = await failureOf(
      cache.getOrSet('key', () => 1, { ttl: '1m', tags }),
      'KEY_INVALID',
    );
    expect(error.message).toContain('at most 10000 characters');
    expect(cache.stats()).toMatchObject({ loads: 0, secondLevelFailures: 0 });
  });

  test('get() goes by the tier that is the default', async () => {
    const { cache: view } = await cacheOf({
      redis: { url: server.url },
      tiers: { live: { ttl: '1m', firstLevel: false } },
      defaults: { ttl: 'live' },
    });
    await view.set('key', 1);
    for (let read = 0; read < 2; read++) expect(await view.get('key')).toBe(1);
    expect(view.stats()).toMatchObject({ hits: 0, secondLevelHits: 2, firstLevel: { entries: 0 } });
  });

  test('a key must be a string that is not empty', async () => {
    ({ cache } = await cacheOf({ redis: { url: server.url }, live: false }));
    for (const key of ['', 7, undefined, null]) {
      await failureOf(
        cache.getOrSet(key as string, () => 1, { ttl: '1m' }),
        'KEY_INVALID',
      );
      await failureOf(cache.get(key as string), 'KEY_INVALID');
      await failureOf(cache.delete(key as string), 'KEY_INVALID');
      await failureOf(cache.set(key as string, 1, { ttl: '1m' }), 'KEY_INVALID');
    }
    await failureOf(cache.set('key', undefined, { ttl: '1m' }), 'CACHE_VALUE_INVALID');
    await failureOf(cache.set('key', 1, { ttl: '1m', beta: 1 } as object), 'OPTIONS_INVALID');
  });

  test('the call comes before the tier, the tier before the namespace, the namespace before the cache', () => {
    const reader = new OptionReader(tiers, { grace: '5s', beta: 3, soft: '1s' });
    expect(reader.forLoad({ ttl: 'short' }, 't').plan).toMatchObject({
      ttlMs: 10_000,
      graceMs: 5_000,
      beta: 3,
      softMs: 1_000,
    });
    expect(reader.forLoad({ ttl: 'day' }, 't').plan).toMatchObject({ ttlMs: 86_400_000, graceMs: 3_600_000, beta: 2 });
    expect(reader.forLoad({ ttl: 'day', grace: 0, beta: undefined }, 't').plan).toMatchObject({ graceMs: 0, beta: 2 });
    expect(new OptionReader(tiers, { ttl: 'short' }).forLoad({}, 't').plan.ttlMs).toBe(10_000);
  });

  test('what was checked once is not checked again, and what differs is', () => {
    const reader = new OptionReader(tiers, {});
    const { plan } = reader.forLoad({ ttl: '1m', tags: ['a'] }, 't');
    expect(reader.forLoad({ ttl: '1m', tags: ['b'], signal: new AbortController().signal }, 't').plan).toBe(plan);
    expect(reader.forLoad({ ttl: '2m' }, 't').plan).not.toBe(plan);
    expect(() => reader.forLoad({ ttl: '1m', tags: [''] }, 't')).toThrow(MillraceError);
    for (let ttl = 1; ttl < 2_000; ttl++) expect(reader.forLoad({ ttl }, 't').plan.ttlMs).toBe(ttl);
  });
});

describe('of the cache', () => {
  test.each<[options: unknown, message: RegExp]>([
    [{ teirs: {} }, /unknown option teirs, did you mean tiers\?/],
    [{ tiers: { short: { grace: '1s' } } }, /tiers\.short\.ttl/],
    [{ tiers: { short: { ttl: '0s' } } }, /tiers\.short\.ttl: expected more than 0/],
    [{ firstLevel: { maxBytes: 0 } }, /firstLevel\.maxBytes/],
    [{ firstLevel: { isolation: 'none' } }, /isolation: expected frozen or cloned or shared/],
    [{ outage: { deadline: 'soon' } }, /outage\.deadline/],
    [{ defaults: { tags: ['a'] } }, /unknown option defaults\.tags/],
    [{ prefix: 'a{b}' }, /prefix/],
  ])('%j is refused', async (options, message) => {
    const connections = createConnections({ url: server.url });
    expect(() => createCache(connections, options as CreateCacheOptions)).toThrow(message);
    await connections.close();
  });

  test('a cache opens no connection before it is used, and none of its own', async () => {
    ({ cache } = await cacheOf({ redis: { url: server.url }, live: false }));
    const clients = () => server.ask(async (redis) => String(await redis.client('LIST')).split('\n').length);
    const before = await clients();
    expect(cache.peek('key')).toBe(undefined);
    expect(await clients()).toBe(before);
  });
});
