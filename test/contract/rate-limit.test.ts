/** Rate limits on each topology. */
import { describe, expect, test } from 'vitest';
import type { Policy } from '../../src/rate-limit/policies.ts';
import type { Topology } from '../../src/redis/address.ts';
import { ownedLimits } from '../rate-limit/limits-of-test.ts';
import { eventually } from '../support/eventually.ts';
import { startForFile } from './topologies.ts';

const POLICIES: readonly Policy[] = [
  { name: 'bucket', limit: 10, per: '1h' },
  { name: 'window', algorithm: 'fixed-window', limit: 10, per: '1h' },
  { name: 'counter', algorithm: 'sliding-window', limit: 10, per: '1h' },
  { name: 'log', algorithm: 'sliding-log', limit: 10, per: '1h' },
];

describe.each<Topology>(['standalone', 'cluster'])('on %s', (topology) => {
  const running = startForFile(topology);
  const limitsOf = ownedLimits();

  test('many keys are each let in up to the limit, by all policies at once', async () => {
    const limiter = limitsOf(running().redis).limits.limiter('many', { policies: POLICIES });
    const keys = Array.from({ length: 30 }, (_, index) => `user:${index}`);
    const results = await Promise.all(
      keys.flatMap((key) => Array.from({ length: 12 }, async () => (await limiter.consume(key)).allowed)),
    );
    expect(results.filter(Boolean)).toHaveLength(300);
  });

  test('the only policy of a limiter is kept in one key', async () => {
    const limiter = limitsOf(running().redis).limits.limiter('one', { policies: [{ limit: 10, per: '1h' }] });
    const results = await Promise.all(Array.from({ length: 15 }, () => limiter.consume('k')));
    expect(results.filter(({ allowed }) => allowed)).toHaveLength(10);
  });

  test('peek, refund, reset, block and unblock', async () => {
    const limiter = limitsOf(running().redis).limits.limiter('all', { policies: POLICIES });
    await limiter.consume('k', { cost: 6 });
    await limiter.refund('k', 2);
    expect(await limiter.peek('k')).toMatchObject({ remaining: 6 });
    await limiter.block('k', '1h');
    expect(await limiter.consume('k')).toMatchObject({ allowed: false, policy: 'block' });
    await limiter.unblock('k');
    expect(await limiter.consume('k')).toMatchObject({ remaining: 5 });
    await limiter.reset('k');
    expect(await limiter.peek('k')).toMatchObject({ remaining: 10 });
  });

  test('a refusal that another process knows ends with a reset, and with a changed policy', async () => {
    const here = limitsOf(running().redis).limits.limiter('both', { policies: POLICIES });
    const there = limitsOf(running().redis).limits.limiter('both', { policies: POLICIES });
    const mustKnow = async (): Promise<void> => {
      await here.consume('k', { cost: 10 });
      await eventually(async () => expect((await there.consume('k')).source).toBe('deny-cache'));
    };
    await mustKnow();
    await here.reset('k');
    await eventually(async () => expect((await there.consume('k')).allowed).toBe(true));
    await mustKnow();
    for (const { name } of POLICIES.slice(1)) await here.setPolicy(name ?? '', { limit: 40 });
    await here.setPolicy('bucket', { burst: 40 });
    await eventually(async () => expect((await there.consume('k', { cost: 9 })).allowed).toBe(true));
  });

  test('calls go on after SCRIPT FLUSH', async () => {
    const { limits } = limitsOf(running().redis);
    const several = limits.limiter('flushed', { policies: POLICIES });
    const one = limits.limiter('flushed-one', { policies: [{ limit: 10, per: '1h' }] });
    await Promise.all([several.consume('k'), one.consume('k')]);
    for (const server of running().servers) await server.ask((redis) => redis.script('FLUSH'));
    expect(await several.consume('k')).toMatchObject({ allowed: true, remaining: 8, source: 'redis' });
    expect(await one.consume('k')).toMatchObject({ allowed: true, remaining: 8, source: 'redis' });
  });
});
