/** Past the TTL: grace, stale-while-revalidate, soft timeouts, back-off, and early refresh before it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { drawRandom, earlyWindowMs, isDueEarly } from '../../src/cache/early-refresh.ts';
import { ownedCaches, pass } from '../support/caches.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { gate, never } from '../support/gate.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const cacheOf = ownedCaches();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const fails = (): Promise<string> => Promise.reject(new TypeError('down'));

const TTL_MS = 100;
const options = { ttl: TTL_MS, grace: '1m', jitter: 0 } as const;

/** Two processes, and a value of both that is past its TTL. */
async function stale({ firstLevel = true } = {}) {
  const own = { redis: { url: server.url }, defaults: { firstLevel } };
  const { cache, prefix } = await cacheOf(own);
  const { cache: other } = await cacheOf({ ...own, prefix });
  await cache.getOrSet('key', () => 'old', options);
  await pass(TTL_MS + 10);
  return { cache, other, prefix };
}

describe.each([true, false])('a value past its TTL (in memory: %s)', (firstLevel) => {
  test('is served at once while one process loads the new one', async () => {
    const { cache, other } = await stale({ firstLevel });
    const fresh = gate<string>();
    let loads = 0;
    const load = () => {
      loads++;
      return fresh.opened;
    };
    for (let round = 0; round < 3; round++) {
      expect(await cache.getOrSet('key', load, options)).toBe('old');
      expect(await other.getOrSet('key', load, options)).toBe('old');
    }
    await eventually(() => expect(loads).toBe(1));
    fresh.open('new');
    await eventually(async () => {
      expect(await cache.getOrSet('key', load, { ...options, ttl: '1m' })).toBe('new');
      expect(await other.getOrSet('key', load, { ...options, ttl: '1m' })).toBe('new');
    });
  });

  test('with swr off, callers wait for the new one, which is loaded once', async () => {
    const { cache, other } = await stale({ firstLevel });
    let loads = 0;
    const load = async () => {
      loads++;
      await pass(50);
      return 'new';
    };
    const all = [cache, other].flatMap((one) =>
      [1, 2, 3].map(() => one.getOrSet('key', load, { ...options, ttl: '1m', swr: false })),
    );
    expect(new Set(await Promise.all(all))).toEqual(new Set(['new']));
    expect(loads).toBe(1);
  });

  test('the soft timeout serves it, and the load goes on', async () => {
    const { cache, other } = await stale({ firstLevel });
    const fresh = gate<string>();
    const soft = { ...options, swr: false, soft: '50ms', ttl: '1m' } as const;
    const waiting = [1, 2].map(() => timed(cache.getOrSet('key', () => fresh.opened, soft)));
    for (const { value, ms } of await Promise.all(waiting)) {
      expect(value).toBe('old');
      expect(ms).toBeGreaterThanOrEqual(45);
    }
    fresh.open('new');
    await eventually(async () => expect(await other.get('key')).toBe('new'));
  });

  test('the soft timeout of each caller is its own', async () => {
    const { cache } = await stale({ firstLevel });
    const fresh = gate<string>();
    const soft = { ...options, swr: false, ttl: '1m' } as const;
    const patient = cache.getOrSet('key', () => fresh.opened, { ...soft, soft: '20s' });
    expect(await cache.getOrSet('key', () => fresh.opened, { ...soft, soft: '20ms' })).toBe('old');
    fresh.open('new');
    expect(await patient).toBe('new');
  });

  test('is served when the load fails, and nobody loads again before the back-off is over', async () => {
    const { cache, other } = await stale({ firstLevel });
    let loads = 0;
    const load = (): string => {
      loads++;
      throw new TypeError('down');
    };
    const failing = { ...options, swr: false, backoff: '2s' } as const;
    for (let round = 0; round < 5; round++) {
      expect(await cache.getOrSet('key', load, failing)).toBe('old');
      expect(await other.getOrSet('key', load, failing)).toBe('old');
    }
    expect(loads).toBe(1);
    await pass(2_050);
    expect(await other.getOrSet('key', () => 'new', { ...failing, ttl: '1m' })).toBe('new');
  });

  test('with onError throw, the error is thrown', async () => {
    const { cache } = await stale({ firstLevel });
    await expect(cache.getOrSet('key', fails, { ...options, swr: false, onError: 'throw' })).rejects.toThrow('down');
  });

  test('is served when the load hangs until the hard timeout', async () => {
    const { cache } = await stale({ firstLevel });
    const { value, ms } = await timed(cache.getOrSet('key', never, { ...options, swr: false, hard: '80ms' }));
    expect(value).toBe('old');
    expect(ms).toBeGreaterThanOrEqual(75);
  });
});

test('past its grace a value is gone, and a grace shorter than the TTL does not shorten it', async () => {
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  await cache.getOrSet('key', () => 'old', { ttl: '10s', grace: '2s', jitter: 0 });
  const leftMs = await server.ask(async (redis) => {
    const [key] = (await redis.keys(`${prefix}:*`)).filter((name) => name.includes(':v:'));
    return redis.pttl(key ?? '');
  });
  expect(leftMs).toBeGreaterThan(11_000);
  await cache.getOrSet('short', () => 'old', { ttl: 50, grace: 50, jitter: 0 });
  await pass(110);
  await failureOf(cache.getOrSet('short', never, { ttl: 50, grace: 50, hard: '50ms' }), 'CACHE_LOAD_TIMEOUT');
});

test('processes whose clocks are an hour apart agree on what is fresh', async () => {
  const ahead = {
    ...systemClock,
    wallMs: () => systemClock.wallMs() + 3_600_000,
    monotonicMs: () => systemClock.monotonicMs() + 1e9,
  };
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix, clock: ahead });
  const short = { ttl: '1s', grace: '1m', jitter: 0, beta: 0, swr: false } as const;
  expect(await cache.getOrSet('key', () => 'old', short)).toBe('old');
  await other.ready();
  await eventually(async () => {
    // The message of the store may come after the first read, and drop what that kept.
    expect(await other.getOrSet('key', () => 'wrong', short)).toBe('old');
    expect(other.peek('key')).toBe('old');
  }, 900);
  await pass(1_050);
  expect(await other.getOrSet('key', () => 'new', short)).toBe('new');
  await eventually(async () => expect(await cache.getOrSet('key', () => 'wrong', short)).toBe('new'), 900);
});

test('jitter only shortens a TTL, and values that were set together end apart', async () => {
  const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
  await cache.setMany(
    Array.from({ length: 200 }, (_, index) => [`${index}`, index] as const),
    { ttl: '100s', jitter: 0.2 },
  );
  const left = await server.ask(async (redis) => {
    const keys = (await redis.keys(`${prefix}:*`)).filter((name) => name.includes(':v:'));
    return Promise.all(keys.map((key) => redis.pttl(key)));
  });
  expect(left).toHaveLength(200);
  expect(Math.max(...left)).toBeLessThanOrEqual(100_000);
  expect(Math.min(...left)).toBeGreaterThan(79_000);
  expect(Math.max(...left) - Math.min(...left)).toBeGreaterThan(2_000);
});

describe('early refresh', () => {
  test('comes true as often as the paper says: e^(-gap / (beta * delta))', () => {
    for (const [gap, delta, beta] of [
      [300, 300, 1],
      [600, 300, 1],
      [300, 300, 2],
      [30, 300, 1],
    ] as const) {
      const draws = 100_000;
      let early = 0;
      for (let draw = 0; draw < draws; draw++) if (isDueEarly(gap, delta, beta, drawRandom())) early++;
      expect(early / draws).toBeCloseTo(Math.exp(-gap / (beta * delta)), 1);
    }
  });

  test('never comes before the window in which it can, nor with beta 0', () => {
    expect(isDueEarly(earlyWindowMs(300, 1) + 1, 300, 1, 2 ** -53)).toBe(false);
    expect(isDueEarly(1, 300, 0, 2 ** -53)).toBe(false);
    expect(isDueEarly(0, 300, 1, 1)).toBe(true);
  });

  test.each([true, false])('is one load in the background among all processes (in memory: %s)', async (firstLevel) => {
    const own = { redis: { url: server.url }, defaults: { firstLevel } };
    const { cache, prefix } = await cacheOf(own);
    const { cache: other } = await cacheOf({ ...own, prefix });
    let loads = 0;
    const second = gate<string>();
    const load = async () => {
      if (++loads > 1) return second.opened;
      await pass(5);
      return 'value 1';
    };
    // With so great a beta every read is early.
    const eager = { ttl: '10s', jitter: 0, beta: 1e9 } as const;
    expect(await cache.getOrSet('key', load, eager)).toBe('value 1');
    const reads = [cache, other].flatMap((one) => Array.from({ length: 50 }, () => one.getOrSet('key', load, eager)));
    expect(new Set(await Promise.all(reads))).toEqual(new Set(['value 1']));
    second.open('value 2');
    await eventually(async () => expect(await other.get('key')).toBe('value 2'));
    expect(loads).toBe(2);
  });

  test('that fails leaves the value that is there', async () => {
    const { cache } = await cacheOf({ redis: { url: server.url } });
    const eager = { ttl: '10s', jitter: 0, beta: 1e9 } as const;
    await cache.getOrSet('key', () => pass(5).then(() => 'value'), eager);
    for (let round = 0; round < 5; round++) expect(await cache.getOrSet('key', fails, eager)).toBe('value');
    await eventually(() => expect(cache.stats().loadFailures).toBeGreaterThan(0));
    expect(await cache.getOrSet('key', fails, eager)).toBe('value');
  });
});
