/** Rate limits in handlers of a real worker: a refusal puts the job back until the limit lets it pass. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { createLimits } from '../../../src/rate-limit/limits.ts';
import { contractOf } from '../../support/contracts.ts';
import { ends, ownedJobs } from '../../support/jobs.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

test('jobs of two workers run at the rate of the limit, with one attempt each, and none is lost', async () => {
  const one = jobsOf({ redis: { url: server.url } });
  const two = jobsOf({ redis: { url: server.url }, prefix: one.prefix });
  const contract = contractOf('paced.call', { attempts: 1 });
  const passed: number[] = [];
  let refusals = 0;
  for (const all of [one, two]) {
    await all.connections.subscriber().ping();
    const limits = own(createLimits(all.connections, { prefix: one.prefix, deadline: '2s' }));
    const limiter = limits.limiter('calls', { policies: [{ limit: 20, per: '1s', burst: 1 }] });
    all.work({
      concurrency: 4,
      handlers: [
        handle(contract, async () => {
          await limiter.require('provider');
          passed.push(performance.now());
        }),
      ],
    });
  }
  const enqueued = await one.jobs.enqueueMany(
    contract,
    Array.from({ length: 20 }, () => ({})),
  );
  for (const { id } of enqueued) {
    const { history } = await ends(one, id, 'completed', 20_000);
    for (const { outcome } of history) {
      expect(outcome).toBe('postponed');
      refusals++;
    }
  }
  expect(passed).toHaveLength(20);
  expect(refusals).toBeGreaterThan(0);
  const [first = 0, ...rest] = passed.toSorted((a, b) => a - b);
  // 19 intervals of 50 ms, but for what an answer takes to arrive.
  expect((rest.at(-1) ?? 0) - first).toBeGreaterThan(850);
  expect([...one.dead, ...two.dead]).toEqual([]);
});

test('a call that costs more than the limit fails its job, and does not come back for ever', async () => {
  const all = jobsOf({ redis: { url: server.url } });
  await all.connections.subscriber().ping();
  const limits = own(createLimits(all.connections, { prefix: all.prefix, deadline: '2s' }));
  const limiter = limits.limiter('small', { policies: [{ limit: 3, per: '1s' }] });
  const contract = contractOf('never.fits', { attempts: 1 });
  all.work({ handlers: [handle(contract, () => limiter.require('key', { cost: 4 }))] });
  const { id } = await all.jobs.enqueue(contract, {});
  const { history } = await ends(all, id, 'failed');
  expect(history).toMatchObject([{ outcome: 'failed', reason: 'attempts', error: { code: 'RATE_LIMITED' } }]);
});

test('jobs of one key run as many at once as a concurrency limit says', async () => {
  const all = jobsOf({ redis: { url: server.url } });
  await all.connections.subscriber().ping();
  const limits = own(createLimits(all.connections, { prefix: all.prefix, deadline: '2s' }));
  const exports = limits.concurrency('exports', { max: 2, retryAfter: '30ms' });
  const contract = contractOf('export.write', { attempts: 1 });
  let running = 0;
  let most = 0;
  all.work({
    concurrency: 10,
    handlers: [
      handle(contract, async () => {
        await using slot = await exports.require('user:7');
        most = Math.max(most, slot.inUse, ++running);
        await new Promise((resolve) => setTimeout(resolve, 20));
        running--;
      }),
    ],
  });
  const enqueued = await all.jobs.enqueueMany(
    contract,
    Array.from({ length: 12 }, () => ({})),
  );
  for (const { id } of enqueued) await ends(all, id, 'completed', 20_000);
  expect(most).toBe(2);
});
