/** wrap(), batch(), getMany(), setMany(): many keys, and functions that are cached as they are. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { ownedCaches } from '../support/caches.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe('wrap', () => {
  test('a function is called once for each key', async () => {
    const { cache } = await cacheOf({ redis: { url: server.url } });
    const calls: string[] = [];
    const greet = cache.wrap(
      (name: string, times: number) => {
        calls.push(name);
        return `${name} `.repeat(times).trim();
      },
      { key: (name, times) => `${name}:${times}`, ttl: '1m', tags: ['greetings'] },
    );
    expect(await Promise.all([greet('ada', 2), greet('ada', 2), greet('bob', 1)])).toEqual([
      'ada ada',
      'ada ada',
      'bob',
    ]);
    expect(calls).toEqual(['ada', 'bob']);
    await cache.invalidateTags('greetings');
    await greet('ada', 2);
    expect(calls).toHaveLength(3);
  });

  test('a key that cannot be made rejects', async () => {
    const { cache } = await cacheOf({ redis: { url: server.url }, live: false });
    const size = cache.wrap((list: string[]) => list.length, { key: (list) => list.join('+'), ttl: '1m' });
    await expect(size(undefined as never)).rejects.toThrow(TypeError);
  });

  test('wrong options are refused at once', async () => {
    const { cache } = await cacheOf({ redis: { url: server.url }, live: false });
    expect(() => cache.wrap(() => 1, { key: () => 'key' })).toThrow(/ttl is required/);
    expect(() => cache.wrap(() => 1, { ttl: '1m' } as never)).toThrow(/key: expected a function/);
  });
});

describe('batch', () => {
  test('misses that come together are one call, each key once, and hits are none', async () => {
    const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
    const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
    const calls: Array<readonly string[]> = [];
    const loadMany = (keys: readonly string[]) => {
      calls.push(keys);
      return new Map(keys.filter((key) => key !== 'none').map((key) => [key, key.length]));
    };
    const options = { ttl: '1m', negativeTtl: '1m' } as const;
    const lengths = cache.batch(loadMany, options);
    expect(await Promise.all([lengths.get('a'), lengths.getMany(['bb', 'a', 'none', 'ccc'])])).toEqual([
      1,
      [2, 1, null, 3],
    ]);
    expect(calls.map((keys) => keys.toSorted())).toEqual([['a', 'bb', 'ccc', 'none']]);
    expect(await other.batch(loadMany, options).getMany(['a', 'bb', 'dddd'])).toEqual([1, 2, 4]);
    expect(calls[1]).toEqual(['dddd']);
    expect(await cache.get('bb')).toBe(2);
  });

  test('values that are served stale are loaded anew with one call', async () => {
    const { cache } = await cacheOf({ redis: { url: server.url } });
    const calls: Array<readonly string[]> = [];
    const batch = cache.batch(
      (keys) => {
        calls.push(keys);
        return new Map(keys.map((key) => [key, calls.length]));
      },
      { ttl: 50, grace: '1m', jitter: 0, beta: 0 },
    );
    await batch.getMany(['a', 'b', 'c']);
    await systemClock.sleep(60);
    expect(await batch.getMany(['a', 'b', 'c'])).toEqual([1, 1, 1]);
    await eventually(() =>
      expect(calls.map((keys) => keys.toSorted())).toEqual([calls[0], calls[0]].map(() => ['a', 'b', 'c'])),
    );
  });

  test('a list is in the order of the keys; an Error in it fails its key alone', async () => {
    const { cache } = await cacheOf({ redis: { url: server.url } });
    const numbers = cache.batch<string>(
      (keys) => keys.map((key) => (key === 'b' ? new TypeError('no b') : key.toUpperCase())),
      {
        ttl: '1m',
      },
    );
    const outcomes = await Promise.allSettled([numbers.get('a'), numbers.get('b'), numbers.get('c')]);
    expect(outcomes).toMatchObject([{ value: 'A' }, { reason: { message: 'no b' } }, { value: 'C' }]);
  });

  test('more than maxKeys are several calls; a list of another length fails them', async () => {
    const { cache } = await cacheOf({ redis: { url: server.url } });
    const sizes: number[] = [];
    const batch = cache.batch(
      (keys) => {
        sizes.push(keys.length);
        return new Map(keys.map((key) => [key, 1]));
      },
      { ttl: '1m', maxKeys: 10 },
    );
    await batch.getMany(Array.from({ length: 25 }, (_, index) => `${index}`));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(10);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(25);
    const short = cache.batch<number>(() => [1], { ttl: '1m' });
    const error = await failureOf(short.getMany(['x', 'y']), 'CACHE_VALUE_INVALID');
    expect(error.message).toContain('2 values in the order of the keys, got 1 values');
    expect(() => cache.batch(() => [], { ttl: '1m', maxKeys: 0 })).toThrow(/maxKeys/);
  });
});

describe('getMany and setMany', () => {
  test('values come in the order of the keys, from memory and from Redis', async () => {
    const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
    const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
    expect(
      await cache.setMany(Object.entries({ a: 1, b: null, c: 'x'.repeat(50) }), { ttl: '1m', maxBytes: 40 }),
    ).toEqual([true, true, false]);
    expect(await other.getMany(['c', 'b', 'a', 'd'])).toEqual([undefined, null, 1, undefined]);
    expect(await cache.getMany([])).toEqual([]);
    await cache.setMany(
      [
        ['a', 'first'],
        ['a', 'second'],
      ],
      { ttl: '1m' },
    );
    expect(await cache.get('a')).toBe('second');
    expect(await cache.delete('a', 'b', 'nowhere')).toBe(2);
    expect(await cache.delete()).toBe(0);
  });
});
