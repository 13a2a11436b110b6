import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Policy } from '../../src/rate-limit/policies.ts';
import type { Limiter } from '../../src/rate-limit/limiter.ts';
import { systemClock, type Clock } from '../../src/clock.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { gate } from '../support/gate.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLimits } from './limits-of-test.ts';

let server: TestServer;
let nameCount = 0;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const limitsOf = ownedLimits();

/** A limiter that no other test has. */
function limiterOf(...policies: readonly Policy[]): Limiter {
  return limitsOf({ url: server.url }).limits.limiter(`l${nameCount++}`, { policies });
}

const ONE_EACH: readonly Policy[] = [
  { algorithm: 'gcra', limit: 10, per: '1h' },
  { algorithm: 'token-bucket', limit: 10, per: '1h' },
  { algorithm: 'fixed-window', limit: 10, per: '1h' },
  { algorithm: 'fixed-window', limit: 10, per: '1h', align: 'utc' },
  { algorithm: 'sliding-window', limit: 10, per: '1h' },
  { algorithm: 'sliding-log', limit: 10, per: '1h' },
];
/** As ONE_EACH, but soon over. */
const SHORT = ONE_EACH.map((policy): Policy => ({ ...policy, per: '100ms' }));

describe.each(ONE_EACH)('a limiter by $algorithm ($align)', (policy) => {
  test('lets the limit in, and no more', async () => {
    const limiter = limiterOf(policy);
    const results = await Promise.all(Array.from({ length: 25 }, () => limiter.consume('user:1')));
    expect(results.filter(({ allowed }) => allowed)).toHaveLength(10);
    expect(results[3]).toMatchObject({ allowed: true, limit: 10, remaining: 6, retryAfterMs: 0, source: 'redis' });
    expect((await limiter.consume('user:1')).retryAfterMs).toBeGreaterThan(0);
    expect(await limiter.consume('user:2')).toMatchObject({ allowed: true, remaining: 9 });
  });

  test('a refused call takes nothing, also one that costs more than is left', async () => {
    const limiter = limiterOf(policy);
    expect(await limiter.consume('k', { cost: 9 })).toMatchObject({ allowed: true, remaining: 1 });
    for (let round = 0; round < 5; round++)
      expect(await limiter.consume('k', { cost: 5 })).toMatchObject({ allowed: false });
    expect(await limiter.consume('k', { cost: 1 })).toMatchObject({ allowed: true, remaining: 0 });
  });

  test('a cost above the limit is never let in, and says so', async () => {
    const limiter = limiterOf(policy);
    expect(await limiter.consume('k', { cost: 11 })).toMatchObject({ allowed: false, retryAfterMs: Infinity });
    expect(await limiter.wait('k', { cost: 11 })).toMatchObject({ allowed: false, retryAfterMs: Infinity });
    expect(await limiter.consume('k', { cost: 10 })).toMatchObject({ allowed: true });
  });

  test('peek takes nothing, refund gives back, reset forgets', async () => {
    const limiter = limiterOf(policy);
    expect(await limiter.peek('k')).toMatchObject({ allowed: true, remaining: 10 });
    await limiter.consume('k', { cost: 8 });
    expect(await limiter.peek('k', { cost: 3 })).toMatchObject({ allowed: false, remaining: 2 });
    await limiter.refund('k', 5);
    expect(await limiter.peek('k')).toMatchObject({ remaining: 7 });
    await limiter.refund('k', 100);
    expect(await limiter.peek('k')).toMatchObject({ remaining: 10 });
    await limiter.refund('unknown', 3);
    expect(await server.ask((redis) => redis.keys(`*${limiter.name}/unknown*`))).toEqual([]);
    await limiter.consume('k', { cost: 10 });
    await limiter.reset('k');
    expect(await server.ask((redis) => redis.keys(`*${limiter.name}/k*`))).toEqual([]);
    expect(await limiter.consume('k', { cost: 10 })).toMatchObject({ allowed: true });
  });

  test('a refund of far more than was ever taken leaves the key as if unused', async () => {
    for (const per of ['100ms', '90d'] as const) {
      const limiter = limiterOf({ ...policy, per }, { ...policy, per, name: 'second' });
      for (const cost of [10, 11, 100, 1_500, 12_345_678, Number.MAX_SAFE_INTEGER]) {
        await limiter.consume('k', { cost: 10 });
        await limiter.refund('k', cost);
        expect(await limiter.peek('k')).toMatchObject({ allowed: true, remaining: 10 });
      }
      expect(await limiter.consume('k', { cost: 10 })).toMatchObject({ allowed: true, remaining: 0 });
    }
  });

  test('a block refuses all, counts nothing, and ends by itself or by unblock and reset', async () => {
    const limiter = limiterOf(policy);
    await limiter.consume('k', { cost: 4 });
    await limiter.block('k', '1h');
    const refused = await limiter.consume('k');
    expect(refused).toMatchObject({ allowed: false, policy: 'block', remaining: 0 });
    expect(refused.retryAfterMs).toBeGreaterThan(3_590_000);
    expect(await limiter.peek('k')).toMatchObject({ allowed: false, policy: 'block' });
    await limiter.unblock('k');
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, remaining: 5 });
    await limiter.block('k', '1h');
    await limiter.reset('k');
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, remaining: 9 });
    await limiter.block('k', 100);
    expect(await limiter.wait('k', { max: '20s' })).toMatchObject({ allowed: true });
  });

  test('a block of at least so long ends no longer one', async () => {
    const limiter = limiterOf(policy);
    const blockedMs = async (): Promise<number> => (await limiter.peek('k')).retryAfterMs;
    await limiter.block('k', '1h', { atLeast: true });
    await limiter.block('k', '1s', { atLeast: true });
    expect(await blockedMs()).toBeGreaterThan(3_500_000);
    await limiter.block('k', '2h', { atLeast: true });
    expect(await blockedMs()).toBeGreaterThan(7_100_000);
    await limiter.block('k', '1s');
    expect(await blockedMs()).toBeLessThanOrEqual(1_000);
    const block = `millrace:rate:{${limiter.name}/k}:block`;
    await server.ask((redis) => redis.set(block, '1'));
    await limiter.block('k', '1h', { atLeast: true });
    expect(await server.ask((redis) => redis.pttl(block))).toBe(-1);
  });

  test('a block without an end, or at its very end, lets no call in for nothing', async () => {
    const limiter = limiterOf(policy);
    await limiter.consume('k');
    await server.ask((redis) => redis.set(`millrace:rate:{${limiter.name}/k}:block`, '1'));
    for (let round = 0; round < 3; round++) {
      expect(await limiter.consume('k')).toMatchObject({ allowed: false, policy: 'block', retryAfterMs: 1 });
      expect(await limiter.peek('k')).toMatchObject({ allowed: false, policy: 'block', retryAfterMs: 1 });
    }
    await limiter.unblock('k');
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, remaining: 8 });
  });

  test('a key that lost its expiry bans nobody for ever', async () => {
    const limiter = limiterOf({ ...policy, per: 100 });
    await limiter.consume('k', { cost: 10 });
    await server.ask(async (redis) => {
      for (const key of await redis.keys(`*${limiter.name}/k*`)) await redis.persist(key);
    });
    await systemClock.sleep(250);
    expect(await limiter.consume('k', { cost: 10 })).toMatchObject({ allowed: true });
    expect(await expiries(limiter.name)).not.toContain(-1);
  });
});

async function expiries(name: string): Promise<number[]> {
  return server.ask(async (redis) => Promise.all((await redis.keys(`*{${name}/*`)).map((key) => redis.pttl(key))));
}

describe('a limiter', () => {
  test.each(SHORT)('keeps nothing of a window below a second once it is over: $algorithm ($align)', async (policy) => {
    const limiter = limiterOf(policy);
    for (let round = 0; round < 20; round++) await limiter.consume('k');
    await eventually(async () => expect(await expiries(limiter.name)).toEqual([]), 2_000);
  });

  test('counts every call of one moment, in the exact log too', async () => {
    const limiter = limiterOf({ algorithm: 'sliding-log', limit: 1_000, per: '1h' });
    await Promise.all(Array.from({ length: 300 }, () => limiter.consume('k')));
    expect(await limiter.peek('k')).toMatchObject({ remaining: 700 });
    await limiter.consume('k', { cost: 700 });
    expect(await limiter.peek('k')).toMatchObject({ remaining: 0 });
    const [key = ''] = await server.ask((redis) => redis.keys(`*{${limiter.name}/*`));
    expect(await server.ask((redis) => redis.zcard(key))).toBe(1_000);
  });

  test('does not extend a refusal by being asked again', async () => {
    const limiter = limiterOf({ algorithm: 'sliding-log', limit: 1, per: '300ms' });
    const start = performance.now();
    await limiter.consume('k');
    while (!(await limiter.consume('k')).allowed) await systemClock.sleep(10);
    expect(performance.now() - start).toBeLessThan(1_500);
  });

  test('with several policies takes from all or from none, in one round trip, and tells the strictest', async () => {
    const limiter = limiterOf(
      { name: 'burst', limit: 100, per: '1h' },
      { name: 'hour', algorithm: 'fixed-window', limit: 3, per: '1h' },
      { name: 'day', algorithm: 'sliding-window', limit: 50, per: '1d' },
    );
    await limiter.peek('k');
    const before = await commandCount([server], 'evalsha', 'eval');
    const result = await limiter.consume('k', { cost: 2 });
    expect((await commandCount([server], 'evalsha', 'eval')) - before).toBe(1);
    expect(result).toMatchObject({ allowed: true, policy: 'hour', limit: 3, remaining: 1 });
    const refused = await limiter.consume('k', { cost: 2 });
    expect(refused).toMatchObject({ allowed: false, policy: 'hour', remaining: 1 });
    expect(refused.policies.map(({ policy, allowed, remaining }) => [policy, allowed, remaining])).toEqual([
      ['burst', true, 98],
      ['hour', false, 1],
      ['day', true, 48],
    ]);
  });

  test('counts refused calls too where it is told to: whoever goes on guessing stays out', async () => {
    const limiter = limiterOf({ algorithm: 'sliding-log', limit: 2, per: '400ms', countDenied: true });
    await limiter.consume('k', { cost: 2 });
    const until = performance.now() + 800;
    while (performance.now() < until) {
      expect(await limiter.consume('k')).toMatchObject({ allowed: false });
      await systemClock.sleep(20);
    }
    await systemClock.sleep(450);
    expect(await limiter.consume('k')).toMatchObject({ allowed: true });
  });

  test('only watches with a shadow policy', async () => {
    const limiter = limiterOf(
      { name: 'new', algorithm: 'fixed-window', limit: 1, per: '1h', shadow: true },
      { name: 'old', algorithm: 'fixed-window', limit: 3, per: '1h' },
    );
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, shadow: false, policy: 'old' });
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, shadow: true, policy: 'old', remaining: 1 });
  });

  test('shares a limit between processes whose clocks are an hour apart', async () => {
    const policies: Policy[] = [
      { name: 'a', limit: 10, per: '1h' },
      { name: 'b', algorithm: 'sliding-window', limit: 10, per: '1h' },
      { name: 'c', algorithm: 'fixed-window', limit: 10, per: '1h', align: 'utc' },
    ];
    const processes = [-3_600_000, 0, 3_600_000].map((offMs) => {
      const clock = {
        wallMs: () => systemClock.wallMs() + offMs,
        monotonicMs: () => systemClock.monotonicMs() + Math.abs(offMs),
        sleep: (ms: number, options?: { signal?: AbortSignal | undefined }) => systemClock.sleep(ms, options),
      };
      return limitsOf({ url: server.url }, { clock }).limits.limiter('apart', { policies });
    });
    let allowed = 0;
    for (let round = 0; round < 8; round++)
      for (const limiter of processes) if ((await limiter.consume('k')).allowed) allowed++;
    expect(allowed).toBe(10);
  });

  test('takes 80 bytes at most for an idle key of GCRA, whatever its limit', async () => {
    const { limits } = limitsOf({ url: server.url });
    const bytes: number[] = [];
    for (const [index, limit] of [10, 10_000, 1_000_000].entries()) {
      await limits
        .limiter(['api', 'web', 'own'][index] ?? '', { policies: [{ limit, per: '1h' }] })
        .consume('user:4711');
    }
    await server.ask(async (redis) => {
      for (const name of ['api', 'web', 'own'])
        bytes.push(Number(await redis.call('MEMORY', 'USAGE', `millrace:rate:{${name}/user:4711}`)));
    });
    for (const size of bytes) expect(size).toBeLessThanOrEqual(80);
  });

  test('throws the refusal where it is asked to', async () => {
    const limiter = limiterOf({ name: 'hourly', algorithm: 'fixed-window', limit: 1, per: '1h' });
    expect(await limiter.require('k')).toMatchObject({ allowed: true });
    const { facts } = await failureOf(limiter.require('k'), 'RATE_LIMITED');
    expect(facts).toMatchObject({ limiter: limiter.name, policy: 'hourly', limit: 1, remaining: 0 });
    expect(facts['retryAfterMs']).toBeGreaterThan(3_500_000);
  });

  test('waits until it may, and not at all when that would take too long', async () => {
    const limiter = limiterOf({ limit: 10, per: '1s', burst: 1 });
    const start = performance.now();
    for (let round = 0; round < 4; round++) expect((await limiter.wait('k')).allowed).toBe(true);
    expect(performance.now() - start).toBeGreaterThan(280);
    await limiter.block('k', '1h');
    const refused = performance.now();
    expect(await limiter.wait('k', { max: '5s' })).toMatchObject({ allowed: false });
    expect(performance.now() - refused).toBeLessThan(2_000);
    const abort = AbortSignal.abort(new Error('gone'));
    await expect(limiter.wait('k', { signal: abort })).rejects.toThrow('gone');
  });

  test('keeps unlike keys apart, whatever is in them', async () => {
    const limiter = limiterOf({ algorithm: 'fixed-window', limit: 5, per: '1h' });
    const keys = ['a', 'a}', '{a', 'a/b', 'a:block', 'a:f', 'ü', 'a b', '%7B', 'x'.repeat(512)];
    for (const key of keys) expect(await limiter.consume(key)).toMatchObject({ allowed: true, remaining: 4 });
  });

  test('refuses keys and costs that are none', async () => {
    const limiter = limiterOf({ limit: 5, per: '1h' });
    await failureOf(limiter.consume(''), 'KEY_INVALID');
    await failureOf(limiter.consume(7 as never), 'KEY_INVALID');
    await failureOf(limiter.consume('x'.repeat(513)), 'KEY_INVALID');
    for (const cost of [0, -1, 1.5, Number.NaN, Infinity, '1' as never])
      await failureOf(limiter.consume('k', { cost }), 'OPTIONS_INVALID');
    await failureOf(limiter.refund('k', -1), 'OPTIONS_INVALID');
    await failureOf(limiter.block('k', 0), 'OPTIONS_INVALID');
  });

  test('is closed after stop, and whoever waits is told', async () => {
    const asleep = gate();
    const sleep = (...how: Parameters<Clock['sleep']>): Promise<void> => {
      asleep.open();
      return systemClock.sleep(...how);
    };
    const { limits } = limitsOf({ url: server.url }, { clock: { ...systemClock, sleep } });
    const limiter = limits.limiter('stopped', { policies: [{ limit: 1, per: '1h' }] });
    await limiter.consume('k');
    await limiter.block('b', '5s');
    const waiting = limiter.wait('b', { max: '20s' });
    await asleep.opened;
    await limits.stop();
    await limits.stop();
    await failureOf(waiting, 'CLOSED');
    await failureOf(limiter.consume('k'), 'CLOSED');
    await failureOf(limiter.reset('k'), 'CLOSED');
    expect(() => limits.limiter('other', { policies: [{ limit: 1, per: '1h' }] })).toThrow('stopped');
  });
});
