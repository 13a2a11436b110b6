import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LocalShare } from '../../src/rate-limit/local-share.ts';
import { fillIn } from '../../src/rate-limit/policies.ts';
import type { Limiter } from '../../src/rate-limit/limiter.ts';
import type { LimitsOptions } from '../../src/rate-limit/limits.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLimits } from './limits-of-test.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const limitsOf = ownedLimits();
let nameCount = 0;

/** A limiter of 10 an hour that reaches Redis through a proxy. */
async function behindProxy(options: LimitsOptions): Promise<{ proxy: Proxy; limiter: Limiter }> {
  const proxy = own(await startProxy(server.port));
  const { limits } = limitsOf({ url: proxy.url }, { deadline: 300, ...options });
  const limiter = limits.limiter(`out${nameCount++}`, { policies: [{ name: 'hour', limit: 10, per: '1h' }] });
  // The first call opens connections, which may take longer than a deadline.
  await eventually(async () => expect((await limiter.peek('warm-up')).source).toBe('redis'));
  return { proxy, limiter };
}

describe('while Redis does not answer', () => {
  test.each([
    ['allow', true],
    ['deny', false],
  ] as const)(
    '%s answers within the deadline, then at once, and Redis decides again when it is back',
    async (onError, allowed) => {
      const { proxy, limiter } = await behindProxy({ onError });
      proxy.freeze();
      const first = await timed(limiter.consume('k'));
      expect(first.value).toMatchObject({ allowed, source: 'outage', policy: 'hour', limit: 10, remaining: 0 });
      expect(first.ms).toBeLessThan(1_000);
      await Promise.all(Array.from({ length: 10 }, () => limiter.consume('k')));
      const later = await timed(Promise.all(Array.from({ length: 1_000 }, () => limiter.consume('k'))));
      expect(later.ms).toBeLessThan(1_000);
      proxy.restore();
      proxy.cut();
      await eventually(async () => expect((await limiter.consume('again')).source).toBe('redis'));
    },
  );

  test('local lets each process have its share, all policies or none', async () => {
    const { proxy, limiter } = await behindProxy({ onError: 'local', instances: 5 });
    proxy.freeze();
    const results = [];
    for (let round = 0; round < 8; round++) results.push(await limiter.consume('k'));
    expect(results.filter(({ allowed }) => allowed)).toHaveLength(2);
    expect(results[7]).toMatchObject({ allowed: false, source: 'local' });
    expect(results[7]?.retryAfterMs).toBeGreaterThan(1_000_000);
    expect(await limiter.peek('k')).toMatchObject({ allowed: false, source: 'local' });
  });

  test('a process that starts then answers within its deadline too', async () => {
    const proxy = own(await startProxy(server.port));
    proxy.freeze();
    const { limits } = limitsOf({ url: proxy.url }, { deadline: 300 });
    const limiter = limits.limiter(`out${nameCount++}`, { policies: [{ limit: 10, per: '1h' }] });
    const { value, ms } = await timed(limiter.consume('k'));
    expect(value).toMatchObject({ allowed: true, source: 'outage' });
    expect(ms).toBeLessThan(1_000);
  });

  test('what changes something fails, and says why', async () => {
    const { proxy, limiter } = await behindProxy({});
    proxy.freeze();
    await failureOf(limiter.refund('k'), 'REDIS_TIMEOUT');
    await failureOf(limiter.reset('k'), 'REDIS_TIMEOUT');
    await failureOf(limiter.block('k', '1h'), 'REDIS_TIMEOUT');
    await failureOf(limiter.setPolicy('hour', { limit: 5 }), 'REDIS_TIMEOUT');
  });

  test('a limiter may say otherwise than the rest', async () => {
    const proxy = own(await startProxy(server.port));
    proxy.freeze();
    const { limits } = limitsOf({ url: proxy.url }, { deadline: 200, onError: 'allow' });
    const login = limits.limiter('login', { policies: [{ limit: 5, per: '15m' }], onError: 'deny' });
    expect(await login.consume('k')).toMatchObject({ allowed: false, source: 'outage', retryAfterMs: 1_000 });
  });

  test('a limiter may wait longer than the rest', async () => {
    const proxy = own(await startProxy(server.port));
    const { limits } = limitsOf({ url: proxy.url }, { deadline: 50 });
    const policies = [{ limit: 5, per: '15m' }] as const;
    const hasty = limits.limiter(`out${nameCount++}`, { policies });
    const patient = limits.limiter(`out${nameCount++}`, { policies, deadline: '10s' });
    for (const limiter of [hasty, patient])
      await eventually(async () => expect((await limiter.peek('warm-up')).source).toBe('redis'));
    proxy.slowDown(300);
    const asked = patient.consume('k');
    expect((await hasty.consume('k')).source).toBe('outage');
    expect(await asked).toMatchObject({ allowed: true, source: 'redis' });
    expect(() => limits.limiter(patient.name, { policies })).toThrow('with other options');
  });
});

test.each([
  ['for one bucket', 'consume-gcra.lua', [{ limit: 5, per: '1h' }]],
  ['for any policies', 'consume.lua', [{ limit: 5, per: '1h', shadow: true }]],
] as const)('a script that fails is a fault and no outage: the one %s', async (_which, file, policies) => {
  const { limits } = limitsOf({ url: server.url });
  const name = `out${nameCount++}`;
  const limiter = limits.limiter(name, { policies });
  expect((await limiter.consume('first')).source).toBe('redis');
  await server.ask((redis) => redis.set(`millrace:rate:{${name}/k}`, 'no time at all, and a long one'));
  const { message } = await failureOf(limiter.consume('k'), 'SCRIPT_FAILED');
  expect(message).toContain(file);
  await server.ask((redis) => redis.script('FLUSH'));
  await failureOf(limiter.consume('k'), 'SCRIPT_FAILED');
});

test('what is no outage and does not pass by itself is told as a warning, once for each limit', async () => {
  await server.ask((redis) =>
    redis.acl('SETUSER', 'mute', 'on', '>long-enough', '~*', '&*', '+@all', '-evalsha', '-eval'),
  );
  const lines = collectLog();
  const url = `redis://mute:long-enough@127.0.0.1:${server.port}`;
  const { limits } = limitsOf({ url }, { log: lines.log });
  const limiter = limits.limiter(`out${nameCount++}`, { policies: [{ limit: 5, per: '1h' }] });
  const slots = limits.concurrency('mute', { max: 1 });
  for (let round = 0; round < 3; round++) {
    expect(await limiter.consume('k')).toMatchObject({ allowed: true, source: 'outage' });
    expect(await slots.acquire('k')).toMatchObject({ allowed: true, source: 'outage' });
  }
  expect(lines.warnings().map(({ limiter: name, code }) => [name, code])).toEqual([
    [limiter.name, 'REDIS_FORBIDDEN'],
    ['mute', 'REDIS_FORBIDDEN'],
  ]);
});

test('a call whose script the server has forgotten is settled though the connections are closed meanwhile', async () => {
  const { limits, connections } = limitsOf({ url: server.url });
  const limiter = limits.limiter(`out${nameCount++}`, { policies: [{ limit: 5, per: '1h' }] });
  await limiter.consume('first');
  await server.ask((redis) => redis.script('FLUSH'));
  const calls = Array.from({ length: 3 }, () => limiter.consume('k'));
  void connections.close();
  for (const { status } of await Promise.allSettled(calls)) expect(['fulfilled', 'rejected']).toContain(status);
});

describe('a local share', () => {
  const policies = fillIn([
    { name: 'second', limit: 10, per: 1_000 },
    { name: 'minute', algorithm: 'fixed-window', limit: 30, per: 60_000 },
  ]);

  test('refills with time, by the strictest policy', () => {
    const share = new LocalShare(2);
    const allowed = (nowMs: number): number => {
      let count = 0;
      while (share.decide(policies, 'k', 1, nowMs, true).allowed) count++;
      return count;
    };
    expect([allowed(0), allowed(1_000), allowed(2_000), allowed(3_000), allowed(8_000)]).toEqual([5, 5, 5, 0, 2]);
  });

  test('tells what the whole limit would never let in from what it cannot know', () => {
    const share = new LocalShare(2);
    expect(share.decide(policies, 'k', 11, 0, true).retryAfterMs).toBe(Infinity);
    expect(share.decide(policies, 'k', 8, 0, true)).toMatchObject({ allowed: false, retryAfterMs: 1_000 });
  });

  test('is at least 1', () => {
    const share = new LocalShare(1_000);
    expect(share.decide(policies, 'k', 1, 0, true).allowed).toBe(true);
    expect(share.decide(policies, 'k', 1, 1, true).allowed).toBe(false);
  });
});
