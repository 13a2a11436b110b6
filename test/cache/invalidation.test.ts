/** What was invalidated is not read again: not from memory, not by a load or a read that was under way, not by who joins late. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Cache } from '../../src/cache/cache.ts';
import { ownedCaches, pass } from '../support/caches.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
const own = ownedByTest();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

async function pair() {
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
  return { cache, other, prefix };
}

/** The message of the value's own store may come after it was read, and drops it once more. */
async function inMemory(cache: Cache, value: unknown): Promise<void> {
  await eventually(async () => {
    expect(await cache.get('key')).toBe(value);
    expect(cache.peek('key')).toBe(value);
  });
}

type Invalidation = [name: string, invalidate: (cache: Cache) => Promise<unknown>];
const INVALIDATIONS: Invalidation[] = [
  ['a delete', (cache) => cache.delete('key')],
  ['a tag', (cache) => cache.invalidateTags('tag')],
  ['a clear', (cache) => cache.clear()],
];
const options = { ttl: '1m', tags: ['tag'] } as const;

describe.each(INVALIDATIONS)('%s', (_name, invalidate) => {
  test.each(['here', 'elsewhere'])('drops the value from the memory of every process, done %s', async (where) => {
    const { cache, other } = await pair();
    await cache.getOrSet('key', () => 'old', options);
    await inMemory(other, 'old');
    expect(cache.peek('key')).toBe('old');
    await invalidate(where === 'here' ? cache : other);
    expect((where === 'here' ? cache : other).peek('key')).toBe(undefined);
    await eventually(() => expect([cache.peek('key'), other.peek('key')]).toEqual([undefined, undefined]));
    expect(await cache.get('key')).toBe(undefined);
    expect(await other.getOrSet('key', () => 'new', options)).toBe('new');
  });

  test.each(['here', 'elsewhere'])('wins over a load that is under way, done %s', async (where) => {
    const { cache, other } = await pair();
    const old = gate<string>();
    const before = cache.getOrSet('key', () => old.opened, options);
    await eventually(() => expect(cache.stats().loads).toBe(1));
    await invalidate(where === 'here' ? cache : other);
    const heard = where === 'here' ? 0 : 1;
    await eventually(() => expect(cache.stats().heard).toBeGreaterThanOrEqual(heard));

    // Who asks from now on does not join the load, and does not wait for its end.
    expect(await cache.getOrSet('key', () => 'new', options)).toBe('new');
    old.open('old');
    expect(await before).toBe('old');
    expect(await cache.getOrSet('key', () => 'wrong', options)).toBe('new');
    expect(await other.getOrSet('key', () => 'wrong', options)).toBe('new');
    expect(await cache.get('key')).toBe('new');
  });

  test('leaves nothing of a load that ends after it', async () => {
    const { cache, other } = await pair();
    const old = gate<string>();
    const before = cache.getOrSet('key', () => old.opened, options);
    await eventually(() => expect(cache.stats().loads).toBe(1));
    await invalidate(other);
    old.open('old');
    expect(await before).toBe('old');
    expect([cache.peek('key'), await cache.get('key'), await other.get('key')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(cache.stats().superseded).toBe(1);
  });
});

test('a set wins over a load that is under way', async () => {
  const { cache, other } = await pair();
  const old = gate<string>();
  const before = cache.getOrSet('key', () => old.opened, options);
  await eventually(() => expect(cache.stats().loads).toBe(1));
  expect(await other.set('key', 'set', options)).toBe(true);
  old.open('loaded');
  expect(await before).toBe('loaded');
  await eventually(async () => expect(await cache.get('key')).toBe('set'));
  expect(await cache.getOrSet('key', () => 'wrong', options)).toBe('set');
});

test('a set is seen by the other process, and by this one at once', async () => {
  const { cache, other } = await pair();
  await cache.set('key', 1, options);
  expect([await cache.get('key'), await other.get('key')]).toEqual([1, 1]);
  await cache.set('key', 2, options);
  expect(await cache.get('key')).toBe(2);
  await eventually(async () => expect(await other.get('key')).toBe(2));
  expect(await cache.set('key', 'x'.repeat(100), { ...options, maxBytes: 10 })).toBe(false);
  expect(await cache.get('key')).toBe(undefined);
});

test('other tags, keys and namespaces stay', async () => {
  const { cache, other } = await pair();
  const inside = cache.namespace('inside');
  await cache.setMany(
    [
      ['a', 1],
      ['b', 2],
    ],
    { ttl: '1m', tags: ['kept'] },
  );
  await inside.set('a', 3, { ttl: '1m', tags: ['tag'] });
  await cache.invalidateTags('tag');
  await cache.delete('c');
  await cache.namespace('elsewhere').clear();
  expect(await other.getMany(['a', 'b', 'c'])).toEqual([1, 2, undefined]);
  expect(await other.namespace('inside').get('a')).toBe(3);
  await inside.clear();
  await eventually(async () => expect(await other.namespace('inside').get('a')).toBe(undefined));
  expect(await other.getMany(['a', 'b'])).toEqual([1, 2]);
});

const calls = async () =>
  server.ask(async (redis) => Number(/total_commands_processed:(\d+)/.exec(await redis.info('stats'))?.[1]));

test('clear takes as many commands for a thousand values as for one', async () => {
  const { cache } = await pair();
  const many = Array.from({ length: 1_000 }, (_, index) => [`key ${index}`, index] as const);
  await cache.setMany(many, { ttl: '1m', firstLevel: false });
  const before = await calls();
  await cache.clear();
  expect((await calls()) - before).toBeLessThan(120);
  expect(await cache.getMany(many.map(([key]) => key))).toEqual(many.map(() => undefined));
});

test('values whose versions were evicted are misses, and come back never', async () => {
  const { cache, other, prefix } = await pair();
  await cache.set('key', 'old', options);
  await server.ask(async (redis) => {
    const versions = (await redis.keys(`${prefix}:*`)).filter((key) => !key.includes(':v:'));
    expect(versions.length).toBeGreaterThan(0);
    await redis.del(...versions);
  });
  expect(await other.get('key')).toBe(undefined);
  await other.set('another', 1, options); // Makes versions anew.
  expect(await other.get('key')).toBe(undefined);
  expect(await other.getOrSet('key', () => 'new', options)).toBe('new');
});

describe('the memory of a process', () => {
  test('holds a value read from Redis for what is left of its time, not for its whole TTL again', async () => {
    const { cache, other } = await pair();
    await cache.set('key', 'old', { ttl: '1s', jitter: 0 });
    await pass(600);
    expect(await other.getOrSet('key', () => 'late', { ttl: '1s', beta: 0 })).toBe('old');
    await pass(450);
    expect(other.peek('key')).toBe(undefined);
    expect(await other.get('key')).toBe(undefined);
  });

  test('is dropped when messages may have been missed, and when they come again', async () => {
    const proxy = own(await startProxy(server.port));
    const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
    const { cache: other } = await cacheOf({
      redis: { url: server.url },
      subscriber: { url: proxy.url, connectTimeout: '500ms' },
      prefix,
    });
    await cache.set('key', 'old', options);
    await inMemory(other, 'old');

    proxy.leadTo(1); // Nobody listens there: it stays deaf for a while.
    proxy.cut();
    await eventually(() => expect(other.stats().isLive).toBe(false));
    expect(other.peek('key')).toBe(undefined);
    // While it is deaf, it keeps values for a moment only.
    expect(await other.get('key')).toBe('old');
    await cache.set('key', 'new', options);
    await eventually(async () => expect(await other.get('key')).toBe('new'), 1_500);

    const flushed = other.stats().flushes;
    proxy.leadTo(server.port);
    await eventually(() => expect(other.stats()).toMatchObject({ isLive: true, flushes: flushed + 1 }));
    expect(other.peek('key')).toBe(undefined);
  });

  test('is not filled by a read that an invalidation has overtaken', async () => {
    const proxy = own(await startProxy(server.port));
    const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
    const { cache: slow } = await cacheOf({
      redis: { url: proxy.url },
      subscriber: { url: server.url },
      prefix,
      outage: { deadline: '5s' },
    });
    await cache.set('key', 'old', options);
    await slow.get('warm');
    await eventually(() => expect(slow.stats().heard).toBe(1));
    proxy.slowDown(300);
    const reading = slow.getOrSet('key', () => 'wrong', options);
    await pass(100); // The read has been answered by the server, and the answer is on its way.
    await cache.invalidateTags('tag');
    await eventually(() => expect(slow.stats().heard).toBe(2));
    expect(await reading).toBe('old'); // It was asked before.
    proxy.slowDown(0);
    expect(slow.peek('key')).toBe(undefined);
    expect(await slow.getOrSet('key', () => 'new', options)).toBe('new');
  });
});
