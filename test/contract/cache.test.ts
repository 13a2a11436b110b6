/** The cache on each topology. */
import { describe, expect, test } from 'vitest';
import type { Topology } from '../../src/redis/address.ts';
import { ownedCaches, pass } from '../support/caches.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { startForFile } from './topologies.ts';

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const cacheOf = ownedCaches();

  async function pair() {
    const { redis } = topologyOf();
    const { cache, prefix } = await cacheOf({ redis });
    const { cache: other } = await cacheOf({ redis, prefix });
    return { cache, other };
  }

  test('cold keys are loaded once among two processes', async () => {
    const { cache, other } = await pair();
    const loads = new Map<string, number>();
    const keys = Array.from({ length: 50 }, (_, index) => `key ${index}`);
    const ask = (one: typeof cache, key: string) =>
      one.getOrSet(
        key,
        async () => {
          loads.set(key, (loads.get(key) ?? 0) + 1);
          await pass(30);
          return key;
        },
        { ttl: '1m', tags: ['all'] },
      );
    const values = await Promise.all(keys.flatMap((key) => [ask(cache, key), ask(other, key), ask(cache, key)]));
    expect(values).toEqual(keys.flatMap((key) => [key, key, key]));
    expect([...loads.values()]).toEqual(keys.map(() => 1));
  });

  test('many keys are set, read, deleted, and invalidated by a tag and a clear', async () => {
    const { cache, other } = await pair();
    const entries = Array.from({ length: 200 }, (_, index) => [`key ${index}`, { index }] as const);
    const keys = entries.map(([key]) => key);
    const none = keys.map(() => undefined);
    await cache.setMany(entries, { ttl: '1m', tags: ['tag'] });
    expect(await other.getMany(keys)).toEqual(entries.map(([, value]) => value));
    await other.delete('key 0');
    expect(await cache.namespace('inside').set('key 1', 'inside', { ttl: '1m' })).toBe(true);
    await eventually(async () => expect(await cache.get('key 0')).toBe(undefined));
    await cache.invalidateTags('tag');
    expect(await cache.getMany(keys)).toEqual(none);
    await eventually(async () => expect(await other.getMany(keys)).toEqual(none));
    await cache.setMany(entries, { ttl: '1m' });
    await other.clear();
    expect(await other.getMany(keys)).toEqual(none);
    expect(await other.namespace('inside').get('key 1')).toBe('inside');
  });

  test.each(['delete', 'tag', 'clear'])('a %s during a load wins over it', async (how) => {
    const { cache, other } = await pair();
    const old = gate<string>();
    const options = { ttl: '1m', tags: ['tag'] } as const;
    const before = cache.getOrSet('key', () => old.opened, options);
    await eventually(() => expect(cache.stats().loads).toBe(1));
    if (how === 'delete') await other.delete('key');
    else if (how === 'tag') await other.invalidateTags('tag');
    else await other.clear();
    old.open('old');
    expect(await before).toBe('old');
    expect(await other.getOrSet('key', () => 'new', options)).toBe('new');
    await eventually(async () => expect(await cache.getOrSet('key', () => 'wrong', options)).toBe('new'));
  });

  test('after a failover it works again by itself, and meanwhile the loader serves', async () => {
    const topologyNow = topologyOf();
    const { redis } = topologyNow;
    const { cache, prefix } = await cacheOf({ redis, outage: { deadline: '250ms' } });
    await cache.set('key', 1, { ttl: '1m' });
    const failing = topologyNow.failOver(`${prefix}:cache:{main/0}:x`);
    const over = new AbortController();
    void failing.finally(() => over.abort()).catch(() => undefined);
    let asked = 0;
    while (!over.signal.aborted) {
      expect(await cache.getOrSet(`meanwhile ${asked++}`, () => 'loaded', { ttl: '1m' })).toBe('loaded');
      await pass(20);
    }
    await failing;
    await eventually(
      () =>
        cache.setMany(
          Array.from({ length: 64 }, (_, index) => [`${index}`, index] as const),
          { ttl: '1m' },
        ),
      20_000,
    );
    await eventually(() => expect(cache.stats().isLive).toBe(true));
  });
});
