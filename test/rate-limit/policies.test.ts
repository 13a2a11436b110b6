import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LimiterOptions } from '../../src/rate-limit/limits.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLimits } from './limits-of-test.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const limitsOf = ownedLimits();

describe('options', () => {
  test.each<[unknown, string]>([
    [{ policies: [] }, 'policies: expected at least 1 item'],
    [{ policies: [{ limit: 0, per: '1s' }] }, 'policies[0].limit: expected more than 0'],
    [{ policies: [{ limit: 1.5, per: '1s' }] }, 'policies[0].limit: expected a whole number'],
    [{ policies: [{ limit: 1 }] }, 'policies[0].per: expected a number of milliseconds'],
    [{ policies: [{ limit: 1, per: 0 }] }, 'policies[0].per: expected a duration from 1 ms to 400 days'],
    [{ policies: [{ limit: 1, per: '1s', brust: 5 }] }, 'unknown option policies[0].brust, did you mean burst?'],
    [{ policies: [{ limit: 1, per: '1s', algorithm: 'fixed' }] }, 'policies[0].algorithm: expected gcra or'],
    [
      { policies: [{ limit: 1, per: '1s', algorithm: 'fixed-window', burst: 2 }] },
      'expected no burst with fixed-window',
    ],
    [{ policies: [{ limit: 1, per: '1s', align: 'utc' }] }, 'policies[0].align: expected no align with gcra'],
    [{ policies: [{ limit: 20_000, per: '1s', algorithm: 'sliding-log' }] }, 'expected at most 10000 with sliding-log'],
    [{ policies: [{ limit: 20_000_000, per: '1s' }] }, 'policies[0].limit: expected at most 10 million a second'],
    [{ policies: [{ limit: 1, per: '365d' }] }, 'policies[0].per: expected a burst that refills within 104 days'],
    [{ policies: [{ limit: 1, per: '1s', name: 'a b' }] }, 'policies[0].name: expected up to 64 letters'],
    [{ policies: [{ limit: 1, per: '1s', name: 'block' }] }, 'policies[0].name: block is what a blocked key'],
    [
      {
        policies: [
          { limit: 1, per: '1s' },
          { limit: 2, per: '1d' },
        ],
      },
      'policies[1].name: expected each name once',
    ],
    [{ policies: [{ limit: 1, per: '1s' }], onError: 'open' }, 'onError: expected allow or deny or local'],
    [{}, 'policies: expected array'],
  ])('%j is refused: %s', (options, message) => {
    const { limits } = limitsOf({ url: server.url });
    expect(() => limits.limiter('bad', options as LimiterOptions)).toThrow(message);
  });

  test('of the limits are checked too', () => {
    expect(() => limitsOf({ url: server.url }, { dedline: 5 } as never)).toThrow('did you mean deadline?');
  });

  test('a name gives the same limiter, and is not given twice', () => {
    const { limits } = limitsOf({ url: server.url });
    const first = limits.limiter('api', { policies: [{ limit: 1, per: '1s' }] });
    expect(limits.limiter('api', { policies: [{ limit: 1, per: 1_000 }] })).toBe(first);
    expect(() => limits.limiter('api', { policies: [{ limit: 2, per: '1s' }] })).toThrow('is there already');
    expect(() => limits.limiter('a/b', { policies: [{ limit: 2, per: '1s' }] })).toThrow('name: expected');
  });

  test('there are a thousand names at most; those that are there can be had all the same', () => {
    const { limits } = limitsOf({ url: server.url });
    const options = { policies: [{ limit: 1, per: '1s' }] } as const;
    const first = limits.limiter('l0', options);
    for (let count = 1; count < 1_000; count++) limits.limiter(`l${count}`, options);
    expect(limits.limiter('l0', options)).toBe(first);
    expect(limits.limiter('l0', { policies: [{ limit: 1, per: 1_000 }] })).toBe(first);
    expect(() => limits.limiter('one-more', options)).toThrow('there are 1000 already');
  });
});

describe('a policy that is changed while it is in use', () => {
  const policies = [
    { name: 'second', limit: 5, per: '1h' },
    { name: 'day', algorithm: 'fixed-window', limit: 100, per: '1d' },
  ] as const;

  test('holds in this process at once, in others soon, in new ones from their first call, until it is taken back', async () => {
    const here = limitsOf({ url: server.url }).limits.limiter('live', { policies });
    const there = limitsOf({ url: server.url }).limits.limiter('live', { policies });
    await there.consume('k', { cost: 5 });
    await here.setPolicy('second', { limit: 50 });
    expect(here.policies[0]).toMatchObject({ name: 'second', limit: 50, burst: 50, perMs: 3_600_000 });
    // An empty bucket stays empty, and fills ten times as fast.
    expect((await here.consume('k')).retryAfterMs).toBeLessThanOrEqual(72_000);
    await eventually(() => expect(there.policies[0]).toMatchObject({ limit: 50 }), 2_000);
    const late = limitsOf({ url: server.url }).limits.limiter('live', { policies });
    expect((await late.consume('new', { cost: 50 })).allowed).toBe(true);
    await here.setPolicy('second', undefined);
    expect(here.policies[0]).toMatchObject({ limit: 5 });
    await eventually(() => expect(late.policies[0]).toMatchObject({ limit: 5 }), 2_000);
  });

  test('keeps what was taken when a limit is raised or lowered', async () => {
    const limiter = limitsOf({ url: server.url }).limits.limiter('kept', { policies });
    await limiter.consume('k', { cost: 4 });
    await limiter.setPolicy('day', { limit: 6 });
    await limiter.setPolicy('second', { burst: 50 });
    expect((await limiter.peek('k')).policies[1]).toMatchObject({ remaining: 2, limit: 6 });
    expect(await limiter.consume('k', { cost: 3 })).toMatchObject({ allowed: false, policy: 'day' });
    await limiter.setPolicy('day', { limit: 3 });
    expect((await limiter.peek('k')).policies[1]).toMatchObject({ remaining: 0 });
  });

  test('begins anew with another algorithm', async () => {
    const limiter = limitsOf({ url: server.url }).limits.limiter('other', { policies });
    await limiter.consume('k', { cost: 5 });
    for (const algorithm of ['sliding-window', 'sliding-log', 'gcra', 'fixed-window'] as const) {
      await limiter.setPolicy('day', { algorithm });
      expect((await limiter.peek('k')).policies[1]?.allowed).toBe(true);
    }
  });

  test('is refused where it makes no sense', async () => {
    const limiter = limitsOf({ url: server.url }).limits.limiter('sense', { policies });
    expect((await failureOf(limiter.setPolicy('dya', { limit: 1 }), 'OPTIONS_INVALID')).message).toContain(
      'second, day',
    );
    await failureOf(limiter.setPolicy('day', { limit: -1 }), 'OPTIONS_INVALID');
    await failureOf(limiter.setPolicy('day', { burst: 5 }), 'OPTIONS_INVALID');
    await failureOf(limiter.setPolicy('day', { name: 'x' } as never), 'OPTIONS_INVALID');
  });

  test('is left out where the code has moved on', async () => {
    await server.ask((redis) => redis.hset('millrace:rate:{moved}:policies', { second: '{"brust":1}', gone: '{}' }));
    const limiter = limitsOf({ url: server.url }).limits.limiter('moved', { policies });
    await limiter.consume('k');
    expect(limiter.policies[0]).toMatchObject({ limit: 5 });
  });
});

test('calls are counted by outcome and by who decided, refusals by policy', async () => {
  const metrics = createMetrics();
  const { limits } = limitsOf({ url: server.url }, { metrics });
  const limiter = limits.limiter('api', {
    policies: [
      { name: 'hour', limit: 2, per: '1h' },
      { name: 'watch', limit: 1, per: '1h', shadow: true },
    ],
  });
  for (let round = 0; round < 3; round++) await limiter.consume('k');
  await limiter.block('b', '1h');
  await limiter.consume('b');
  await limiter.peek('k');
  const text = await metrics.render();
  expect(text).toContain('millrace_rate_limit_calls_total{limiter="api",outcome="allowed",source="redis"} 2');
  expect(text).toContain('millrace_rate_limit_calls_total{limiter="api",outcome="refused",source="redis"} 2');
  expect(text).toContain('millrace_rate_limit_refusals_total{limiter="api",policy="hour"} 1');
  expect(text).toContain('millrace_rate_limit_refusals_total{limiter="api",policy="block"} 1');
  expect(text).toContain('millrace_rate_limit_shadow_refusals_total{limiter="api",policy="watch"} 2');
});
