/** Reads that end with what Redis has: they cost little, and promise all that others do. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { structuredCodec } from '../../src/cache/codec.ts';
import type { CreateCacheOptions } from '../../src/cache/create-cache.ts';
import { z } from 'zod';
import { ownedCaches } from '../support/caches.ts';
import { commandCount } from '../support/command-count.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

async function pair(options: CreateCacheOptions = {}) {
  const { cache: writer, prefix } = await cacheOf({ redis: { url: server.url }, ...options });
  const { cache } = await cacheOf({ redis: { url: server.url }, ...options, prefix });
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

/** All objects that a value holds, itself among them. */
function objectsOf(value: unknown, known = new Set<object>()): Set<object> {
  if (typeof value !== 'object' || value === null || known.has(value)) return known;
  known.add(value);
  for (const name of Object.getOwnPropertyNames(value)) objectsOf((value as Record<string, unknown>)[name], known);
  return known;
}

const DEEP = { list: [[{ a: { b: null } }], [], 'text'], object: { empty: {}, ['__proto__']: { own: [1] } } };
const LOOP: Record<string, unknown> = { list: [{ n: 1 }] };
Object.assign(LOOP, { self: LOOP, again: LOOP['list'] });

test.each([
  ['of JSON', DEEP, {}, {}, 10],
  ['of JSON, compressed', { ...DEEP, long: 'x'.repeat(2_000) }, {}, {}, 10],
  ['of a codec that keeps loops', LOOP, { codec: structuredCodec }, {}, 3],
  ['that a schema has made', { list: [{ n: 1 }] }, {}, { schema: z.object({ list: z.array(z.any()) }) }, 3],
])('a value %s is frozen through and through', async (_what, value, options, how, objects) => {
  const { writer, cache } = await pair(options);
  await writer.set('key', value, { ttl: '1m' });
  const read = await cache.getOrSet<unknown>('key', () => 'new', { ttl: '1m', firstLevel: false, ...how });
  const held = [...objectsOf(read)];
  expect(held).toHaveLength(objects);
  for (const object of held) expect(Object.isFrozen(object), JSON.stringify(Object.keys(object))).toBe(true);
});

test("a value is the caller's own where values are cloned", async () => {
  const { writer, cache } = await pair({ firstLevel: { isolation: 'cloned' } });
  await writer.set('key', { list: [1] }, { ttl: '1m' });
  const read = await cache.getOrSet('key', () => ({ list: [0] }), { ttl: '1m', firstLevel: false });
  read.list.push(2);
  expect(read).toEqual({ list: [1, 2] });
});

test('a call that is refused rejects, and does not throw', async () => {
  const { cache } = await pair();
  const refused = [cache.getOrSet('', () => 1, { ttl: '1m' }), cache.getOrSet('key', () => 1)];
  const outcomes = await Promise.allSettled(refused);
  expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
});
