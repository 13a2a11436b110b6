/** waitFor(), when many wait at once: what it costs. */
import { setMaxListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedJobs } from '../support/jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { apart, heardBy, noTime, turns, warmUp } from '../support/waits.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();

const double = defineJob({ name: 'sum.double', input: z.number(), output: z.number(), attempts: 1 });

describe('1,000 who wait at once', () => {
  const COUNT = 1_000;
  const numbers = Array.from({ length: COUNT }, (_, index) => index);

  test('cost a look each when they begin and when they end, and one message for all', async () => {
    const server = own(await startRedis());
    const both = apart(jobsOf, server, { clock: noTime });
    const { worker, waiter } = both;
    worker.work({ handlers: [handle(double, (input) => input * 2)], concurrency: 50 });
    await warmUp(both);
    await worker.jobs.pause('sum');
    const ids = (await worker.jobs.enqueueMany(double, numbers)).map(({ id }) => id);
    const looked = () => commandCount([server], 'evalsha', 'eval');
    const told = () => commandCount([server], 'publish');
    const [looksBefore, toldBefore] = [await looked(), await told()];
    const waits = Promise.all(ids.map((id) => waiter.jobs.waitFor(id, { contract: double })));
    await heardBy(worker, ...ids);
    await eventually(async () => expect((await looked()) - looksBefore).toBeGreaterThanOrEqual(COUNT));
    expect((await looked()) - looksBefore).toBeLessThan(1.05 * COUNT); // An idle worker looks now and then, too.
    expect((await told()) - toldBefore).toBe(1);
    const looksHalfway = await looked();
    await worker.jobs.resume('sum');
    expect(await waits).toEqual(numbers.map((number) => number * 2));
    // One of the worker's and one look, for each job.
    expect((await looked()) - looksHalfway).toBeLessThan(2.1 * COUNT);
    expect((await told()) - toldBefore).toBe(1 + COUNT);
    expect(waiter.jobs.waits.size).toBe(0);
  });

  test('for one job share its looks', async () => {
    const server = own(await startRedis());
    const both = apart(jobsOf, server, { clock: noTime });
    const { worker, waiter } = both;
    await warmUp(both);
    const { id } = await worker.jobs.enqueue(double, 1);
    const before = await commandCount([server], 'evalsha', 'eval');
    const waits = numbers.map(() => failureOf(waiter.jobs.waitFor(id, { contract: double }), 'JOB_CANCELLED'));
    await eventually(async () => {
      expect(await commandCount([server], 'evalsha', 'eval')).toBeGreaterThan(before);
    });
    await worker.jobs.cancel(id);
    await Promise.all(waits);
    expect((await commandCount([server], 'evalsha', 'eval')) - before).toBeLessThan(10); // Those of the cancellation among them.
  });

  test('are looked at in turn meanwhile, not all in each round', async () => {
    const server = own(await startRedis());
    const rounds = turns();
    const { worker, waiter } = apart(jobsOf, server, { clock: rounds.clock });
    await worker.jobs.pause('sum');
    const ids = (await worker.jobs.enqueueMany(double, numbers)).map(({ id }) => id);
    const stop = new AbortController();
    setMaxListeners(COUNT, stop.signal);
    const looked = () => commandCount([server], 'evalsha', 'eval');
    const waits = ids.map((id) => waiter.jobs.waitFor(id, { contract: double, signal: stop.signal }).catch(() => id));
    // When it began, and some again once the channel was heard for the first time.
    await eventually(async () => expect(await looked()).toBeGreaterThanOrEqual(COUNT));
    const counts: number[] = [];
    for (let round = 0; round < 12; round++) {
      const before = await looked();
      await rounds.next();
      counts.push((await looked()) - before);
    }
    stop.abort();
    await Promise.all(waits);
    expect(Math.max(...counts)).toBeLessThanOrEqual(200);
    expect(counts.reduce((sum, count) => sum + count)).toBeGreaterThan(2 * COUNT);
  });
});
