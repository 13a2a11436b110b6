/** The memory of a process: its limit, its index by tags, and how callers are kept apart. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FirstLevel, Shelf, type KeptFacts } from '../../src/cache/first-level.ts';
import { RecentInvalidations } from '../../src/cache/recent-invalidations.ts';
import { ownedCaches } from '../support/caches.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

function attempt(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return error;
  }
}

const facts = (key: string, sizeBytes: number, tags: string[] = []): KeptFacts => ({
  key,
  value: key,
  sizeBytes,
  tags,
  freshUntilMs: 1_000,
  staleUntilMs: 1_000,
  deltaMs: 0,
  beta: 1,
  id: '',
  isChecked: false,
});

const load = () => ({ list: [1] });
const loadBytes = () => Buffer.from('bytes');

test('the bytes of all namespaces together are limited, and the least recently used goes first', () => {
  const level = new FirstLevel({ maxBytes: 10_000, isolation: 'frozen' });
  const [left, right] = [new Shelf(level), new Shelf(level)];
  for (const key of ['a', 'b', 'c']) left.set(facts(key, 2_000));
  const used = left.get('a');
  if (used) left.use(used, 0);
  right.set(facts('d', 2_000));
  right.set(facts('e', 2_000));
  expect(left.get('a')).toBeDefined();
  expect(left.get('b')).toBe(undefined);
  expect(level.evictions).toBe(1);
  expect(level.bytes).toBeLessThanOrEqual(10_000);
  right.set(facts('huge', 20_000));
  expect(right.get('huge')).toBe(undefined);
  expect(right.get('d')).toBeDefined();
});

test.each(['frozen', 'cloned', 'shared'] as const)(
  'bytes are a Buffer for every caller, where values are %s',
  async (isolation) => {
    const { cache, prefix } = await cacheOf({ redis: { url: server.url }, firstLevel: { isolation } });
    const { cache: other } = await cacheOf({ redis: { url: server.url }, firstLevel: { isolation }, prefix });
    const first = await cache.getOrSet('key', loadBytes, { ttl: '1m' });
    const all = [
      first,
      await cache.getOrSet('key', loadBytes, { ttl: '1m' }),
      cache.peek('key'),
      await other.get('key'),
    ];
    expect(all.map((bytes) => (Buffer.isBuffer(bytes) ? bytes.toString() : bytes))).toEqual(Array(4).fill('bytes'));
    // Bytes cannot be frozen.
    first[0] = 66;
    expect((await cache.getOrSet('key', loadBytes, { ttl: '1m' })).toString()).toBe(
      isolation === 'cloned' ? 'bytes' : 'Bytes',
    );
  },
);

test.each([
  ['a namespace', { ttl: '1m', firstLevel: false }, {}],
  ['a tier', {}, { ttl: 'asked' }],
  ['the tier of a namespace', { ttl: 'asked' }, {}],
] as const)(
  '%s that keeps values out of memory takes none that others have put there',
  async (_what, defaults, options) => {
    const tiers = { asked: { ttl: '1m', firstLevel: false } } as const;
    const { cache } = await cacheOf({ redis: { url: server.url }, tiers });
    const plain = cache.namespace('space');
    const asking = cache.namespace('space', defaults);
    await plain.getOrSet('key', () => 'old', { ttl: '1m' });
    await plain.getOrSet('memory', () => 'there', { ttl: '1m' });
    expect(plain.peek('key')).toBe('old');
    const before = cache.stats();
    expect(await asking.getOrSet('key', () => 'wrong', options)).toBe('old');
    expect(cache.stats()).toMatchObject({ hits: before.hits, secondLevelHits: before.secondLevelHits + 1 });
    // The call's own word comes first.
    expect(await asking.getOrSet('memory', () => 'wrong', { ...options, firstLevel: true })).toBe('there');
    expect(cache.stats().hits).toBe(before.hits + 1);
  },
);

test('get() of a namespace that keeps values out of memory takes none that others have put there', async () => {
  const { cache } = await cacheOf({ redis: { url: server.url } });
  await cache.namespace('space').getOrSet('key', () => 'there', { ttl: '1m' });
  expect(await cache.namespace('space', { firstLevel: false }).get('key')).toBe('there');
  expect(cache.stats()).toMatchObject({ hits: 0, secondLevelHits: 1 });
});

test('an evicted or replaced value is gone from the index by tags, too', () => {
  const level = new FirstLevel({ maxBytes: 5_000, isolation: 'frozen' });
  const shelf = new Shelf(level);
  for (let index = 0; index < 100; index++) shelf.set(facts(`${index}`, 1_000, ['tag', `tag ${index}`]));
  expect(level.size).toBeLessThan(5);
  shelf.set(facts('99', 1_000, ['other']));
  shelf.deleteTag('tag');
  expect(shelf.get('99')).toBeDefined();
  expect(shelf.get('98')).toBe(undefined);
  shelf.clear();
  expect([shelf.isEmpty, level.size, level.bytes]).toEqual([true, 0, 0]);
});

test.each(['frozen', 'cloned', 'shared'] as const)('values are %s', async (isolation) => {
  const { cache } = await cacheOf({ redis: { url: server.url }, firstLevel: { isolation } });
  const [first, joined] = await Promise.all([
    cache.getOrSet('key', load, { ttl: '1m' }),
    cache.getOrSet('key', load, { ttl: '1m' }),
  ]);
  const hit = await cache.getOrSet('key', load, { ttl: '1m' });
  const peeked = cache.peek<{ list: number[] }>('key');
  const pushed = attempt(() => first.list.push(2));
  expect(pushed instanceof TypeError).toBe(isolation === 'frozen');
  const seen = isolation === 'shared' ? [1, 2] : [1];
  expect([joined.list, hit.list, peeked?.list]).toEqual([seen, seen, seen]);
  expect((await cache.getOrSet('key', load, { ttl: '1m' })).list).toEqual(seen);
});

test('without a first level every read asks Redis, and still joins the others of its time', async () => {
  const { cache } = await cacheOf({ redis: { url: server.url }, firstLevel: false });
  await cache.getOrSet('key', () => 1, { ttl: '1m' });
  const values = await Promise.all(
    Array.from({ length: 10 }, () => cache.getOrSet('key', () => 2, { ttl: '1m', beta: 0 })),
  );
  expect(values).toEqual(Array.from({ length: 10 }, () => 1));
  expect(cache.peek('key')).toBe(undefined);
  expect(cache.stats()).toMatchObject({ hits: 0, secondLevelHits: 1, firstLevel: { entries: 0 } });
});

test('bytes are kept as bytes', async () => {
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
  const bytes = Buffer.from([0, 255, 128, 10]);
  expect(await cache.getOrSet('key', () => bytes, { ttl: '1m' })).toEqual(bytes);
  expect(await other.get('key')).toEqual(bytes);
});

test('what was invalidated is remembered within a limit, beyond which everything counts as invalidated', () => {
  const recent = new RecentInvalidations();
  const begun = recent.now;
  recent.noteKey('a');
  recent.noteTag('t');
  expect([
    recent.concerned(begun, 'a', []),
    recent.concerned(begun, 'b', ['t']),
    recent.concerned(begun, 'b', []),
  ]).toEqual([true, true, false]);
  expect(recent.concerned(recent.now, 'a', ['t'])).toBe(false);
  for (let index = 0; index < 10_001; index++) recent.noteKey(`key ${index}`);
  for (let index = 0; index < 10_001; index++) recent.noteTag(`tag ${index}`);
  expect(recent.size).toBeLessThanOrEqual(4_000); // There may be a namespace for each tenant.
  expect(recent.concerned(begun, 'b', [])).toBe(true);
  expect(recent.concerned(recent.now, 'b', [])).toBe(false);
});
