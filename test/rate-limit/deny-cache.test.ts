import { systemClock } from '../../src/clock.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DenyCache } from '../../src/rate-limit/deny-cache.ts';
import type { ConsumeResult, Limiter } from '../../src/rate-limit/limiter.ts';
import type { Limits, LimitsOptions } from '../../src/rate-limit/limits.ts';
import type { Policy } from '../../src/rate-limit/policies.ts';
import type { Connections } from '../../src/redis/connect.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLimits } from './limits-of-test.ts';

const HOURLY: Policy = { algorithm: 'fixed-window', limit: 10, per: '1h' };

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const limitsOf = ownedLimits();

/** A limiter in a process of its own, which hears of everything. */
async function liveLimiter(
  name: string,
  policies: readonly Policy[],
  options?: LimitsOptions,
): Promise<{ limiter: Limiter; limits: Limits; connections: Connections }> {
  const { limits, connections } = limitsOf({ url: server.url }, options);
  const limiter = limits.limiter(name, { policies });
  await eventually(async () => {
    await limiter.consume('warm-up', { cost: 11 });
    expect((await limiter.consume('warm-up', { cost: 11 })).source).toBe('deny-cache');
  });
  return { limiter, limits, connections };
}

/** What is told of the block itself may come in between, and then a refusal is asked for once more. */
const mustKnowBlock = (limiter: Limiter): Promise<void> =>
  eventually(async () => expect(await limiter.consume('k')).toMatchObject({ policy: 'block', source: 'deny-cache' }));

const evals = (): Promise<number> => commandCount([server], 'evalsha', 'eval');

let name: string;
let nameCount = 0;
beforeEach(() => {
  name = `deny${nameCount++}`;
});

describe('a known refusal', () => {
  test('is answered without a round trip, with the time that is left', async () => {
    const { limiter } = await liveLimiter(name, [HOURLY]);
    await limiter.consume('k', { cost: 10 });
    const refused = await limiter.consume('k');
    const before = await evals();
    await systemClock.sleep(30);
    const known = await limiter.consume('k');
    for (let round = 0; round < 100; round++) await limiter.consume('k');
    expect(await evals()).toBe(before);
    expect(known).toEqual({
      ...refused,
      source: 'deny-cache',
      retryAfterMs: known.retryAfterMs,
      resetMs: known.resetMs,
      policies: [{ ...refused.policies[0], retryAfterMs: known.retryAfterMs, resetMs: known.resetMs }],
    });
    expect(refused.retryAfterMs - known.retryAfterMs).toBeGreaterThanOrEqual(28);
  });

  test('holds for calls that cost as much or more; a cheaper one is asked for', async () => {
    const { limiter } = await liveLimiter(name, [HOURLY]);
    await limiter.consume('k', { cost: 7 });
    expect(await limiter.consume('k', { cost: 5 })).toMatchObject({ allowed: false, source: 'redis' });
    expect(await limiter.consume('k', { cost: 6 })).toMatchObject({ allowed: false, source: 'deny-cache' });
    expect(await limiter.consume('k', { cost: 3 })).toMatchObject({ allowed: true, source: 'redis' });
  });

  test('is over when its time is over', async () => {
    const { limiter } = await liveLimiter(name, [{ ...HOURLY, algorithm: 'gcra', limit: 10, per: '1s' }]);
    await limiter.consume('k', { cost: 10 });
    const start = performance.now();
    let result = await limiter.consume('k');
    const { retryAfterMs } = result;
    while (!result.allowed) {
      await systemClock.sleep(5);
      result = await limiter.consume('k');
    }
    expect(performance.now() - start).toBeLessThan(retryAfterMs + 500);
  });

  test.each<[string, (limiter: Limiter) => Promise<void>]>([
    ['a reset', (limiter) => limiter.reset('k')],
    ['a refund', (limiter) => limiter.refund('k', 1)],
    ['a raised limit', (limiter) => limiter.setPolicy('fixed-window', { limit: 20 })],
  ])('does not outlive %s, here or in another process', async (_what, end) => {
    const here = await liveLimiter(name, [HOURLY]);
    const there = await liveLimiter(name, [HOURLY]);
    await here.limiter.consume('k', { cost: 10 });
    for (const { limiter } of [here, there]) {
      await limiter.consume('k');
      expect((await limiter.consume('k')).source).toBe('deny-cache');
    }
    await end(here.limiter);
    expect((await here.limiter.peek('k')).remaining).toBeGreaterThan(0);
    expect(await here.limiter.consume('k')).toMatchObject({ allowed: true });
    await here.limiter.refund('k', 1);
    await eventually(async () => expect((await there.limiter.consume('k')).allowed).toBe(true), 2_000);
  });

  test('does not outlive a block that was ended', async () => {
    const here = await liveLimiter(name, [HOURLY]);
    const there = await liveLimiter(name, [HOURLY]);
    await here.limiter.block('k', '1h');
    await mustKnowBlock(there.limiter);
    await here.limiter.unblock('k');
    await eventually(async () => expect((await there.limiter.consume('k')).allowed).toBe(true), 2_000);
  });

  test('does not outlive a block that was made shorter, here or in another process', async () => {
    const here = await liveLimiter(name, [HOURLY]);
    const there = await liveLimiter(name, [HOURLY]);
    await here.limiter.block('k', '1h');
    for (const { limiter } of [here, there]) await mustKnowBlock(limiter);
    await here.limiter.block('k', '1s');
    expect((await here.limiter.consume('k')).retryAfterMs).toBeLessThanOrEqual(1_000);
    await eventually(async () => expect((await there.limiter.consume('k')).retryAfterMs).toBeLessThanOrEqual(1_000));
    expect(await there.limiter.wait('k', { max: '20s' })).toMatchObject({ allowed: true });
  });

  test('is not kept while messages are missed, and forgotten when some were', async () => {
    const { limiter, connections } = await liveLimiter(name, [HOURLY]);
    await limiter.consume('k', { cost: 10 });
    await limiter.consume('k');
    expect((await limiter.consume('k')).source).toBe('deny-cache');
    const subscriber = connections.subscriber() as unknown as { stream: { destroy(): void } };
    subscriber.stream.destroy();
    await eventually(async () => expect((await limiter.consume('k')).source).toBe('redis'), 1_000);
    await eventually(async () => expect((await limiter.consume('k')).source).toBe('deny-cache'));
  });

  test('is always asked for where refused calls count', async () => {
    const { limits } = limitsOf({ url: server.url });
    const limiter = limits.limiter(name, { policies: [{ limit: 1, per: '1h', countDenied: true }] });
    await limiter.consume('k');
    for (let round = 0; round < 20; round++) {
      expect((await limiter.consume('k')).source).toBe('redis');
      await systemClock.sleep(5);
    }
  });

  test('is kept no longer than the option says, against what no message tells of', async () => {
    const { limiter } = await liveLimiter(name, [HOURLY], { denyCacheFor: 200 });
    await limiter.consume('k', { cost: 10 });
    await limiter.consume('k');
    await server.ask(async (redis) => redis.del(await redis.keys(`*{${name}/k}*`)));
    expect((await limiter.consume('k')).source).toBe('deny-cache');
    await eventually(async () => expect((await limiter.consume('k')).allowed).toBe(true), 2_000);
  });
});

describe('the cache', () => {
  const refusal: ConsumeResult = {
    allowed: false,
    policy: 'p',
    limit: 1,
    remaining: 0,
    retryAfterMs: 1_000,
    resetMs: 1_000,
    policies: [],
    source: 'redis',
    shadow: false,
  };

  test('is bounded: the oldest refusal goes first', () => {
    const cache = new DenyCache({ size: 3, longestMs: 60_000 });
    cache.setLive(true);
    for (const key of ['a', 'b', 'c', 'a', 'd']) cache.keep(key, 1, refusal, 0, cache.epoch);
    expect(cache.count).toBe(3);
    expect(['a', 'b', 'c', 'd'].filter((key) => cache.find(key, 1, 1))).toEqual(['a', 'c', 'd']);
  });

  test('does not keep a refusal that was under way when something made room', () => {
    const cache = new DenyCache({ size: 3, longestMs: 60_000 });
    cache.setLive(true);
    const { epoch } = cache;
    cache.forget('k');
    cache.keep('k', 1, refusal, 0, epoch);
    expect(cache.find('k', 1, 1)).toBeUndefined();
  });

  test('answers no call whose cost is none', () => {
    const cache = new DenyCache({ size: 3, longestMs: 60_000 });
    cache.setLive(true);
    cache.keep('k', 1, refusal, 0, cache.epoch);
    expect(cache.find('k', Number.NaN, 1)).toBeUndefined();
    expect(cache.find('k', undefined as never, 1)).toBeUndefined();
    expect(cache.find('k', 1, 1)).toBeDefined();
  });

  test('never outlives the moment that the server named, counted from before it was asked', () => {
    const cache = new DenyCache({ size: 3, longestMs: 60_000 });
    cache.setLive(true);
    cache.keep('k', 1, refusal, 5_000, cache.epoch);
    expect(cache.find('k', 1, 5_998)).toMatchObject({ retryAfterMs: 2 });
    expect(cache.find('k', 1, 5_999)).toBeUndefined();
    expect(cache.count).toBe(0);
  });
});
