/** Rate limits while servers freeze, restart and fail over. */
import { systemClock } from '../../src/clock.ts';
import { describe, expect, test } from 'vitest';
import { startForFile } from '../contract/topologies.ts';
import { ownedLimits } from '../rate-limit/limits-of-test.ts';
import { eventually } from '../support/eventually.ts';
import { timed } from '../support/failures.ts';

const ROUNDS = process.env['FAULTS'] === 'long' ? 5 : 1;
const POLICIES = [
  { name: 'hour', algorithm: 'fixed-window', limit: 20, per: '1h' },
  { name: 'burst', limit: 20, per: '2h' },
] as const;

describe('one server with an append-only file', () => {
  const running = startForFile('standalone');
  const limitsOf = ownedLimits();

  test('frozen past a policy span: answers in time, and what ran out meanwhile is free again', async () => {
    const [server] = running().servers;
    const { limits } = limitsOf(running().redis, { deadline: 300, onError: 'deny' });
    const limiter = limits.limiter('frozen', { policies: [{ algorithm: 'sliding-log', limit: 3, per: '500ms' }] });
    for (let round = 0; round < ROUNDS; round++) {
      await eventually(async () => expect(await limiter.consume('k', { cost: 3 })).toMatchObject({ allowed: true }));
      server?.freeze();
      try {
        const { value, ms } = await timed(limiter.consume('other'));
        expect(value).toMatchObject({ allowed: false, source: 'outage' });
        expect(ms).toBeLessThan(1_000);
        await systemClock.sleep(600);
      } finally {
        server?.thaw();
      }
      await eventually(async () => expect((await limiter.peek('k')).remaining).toBe(3));
    }
  });

  test('restarted: nobody gets more than the limit over it', async () => {
    const { limits } = limitsOf(running().redis, { onError: 'deny' });
    const limiter = limits.limiter('restarted', { policies: POLICIES });
    for (let round = 0; round < ROUNDS; round++) {
      const key = `k${round}`;
      let allowed = 0;
      const consume = async (): Promise<void> => {
        const result = await limiter.consume(key);
        if (result.allowed) allowed++;
      };
      for (let call = 0; call < 15; call++) await consume();
      await running().servers[0]?.restart();
      await eventually(async () => expect((await limiter.peek(key)).source).toBe('redis'), 20_000);
      for (let call = 0; call < 30; call++) await consume();
      expect(allowed).toBe(20);
    }
  });
});

describe('a Cluster', () => {
  const running = startForFile('cluster');
  const limitsOf = ownedLimits();

  test('whose master is killed: calls are answered all the while, and the limit holds again', async () => {
    const { limits } = limitsOf(running().redis, { deadline: 500, onError: 'local' });
    const limiter = limits.limiter('moved', { policies: POLICIES });
    for (let round = 0; round < ROUNDS; round++) {
      const key = `k${round}`;
      await eventually(async () => expect((await limiter.consume(key)).source).toBe('redis'), 20_000);
      const over = running().failOver(`millrace:rate:{moved/${key}}`);
      const failover = { isOver: false };
      const asking = (async () => {
        do {
          const { ms } = await timed(limiter.consume('others'));
          expect(ms).toBeLessThan(2_500);
          await systemClock.sleep(20);
        } while (!failover.isOver);
      })();
      await over.finally(() => (failover.isOver = true));
      await asking;
      // Replication is asynchronous: a failover may lose the last calls, but never makes a key that refuses for ever.
      await eventually(async () => expect((await limiter.consume(key)).source).toMatch(/redis|deny-cache/), 20_000);
      for (let call = 0; call < 25; call++) await limiter.consume(key);
      expect((await limiter.consume(key)).allowed).toBe(false);
    }
  });
});
