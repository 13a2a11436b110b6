/** Jobs run again, and queues that are looked at. */
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { handle } from '../../src/jobs/handler.ts';
import { contractOf } from '../support/contracts.ts';
import { eventually } from '../support/eventually.ts';
import { ends, ownedJobs } from '../support/jobs.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe('a retry', () => {
  const once = contractOf('again.job', { attempts: 1 });

  test('runs a completed job again, and a failed one with all its attempts', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    let runs = 0;
    let isBroken = true;
    const twice = contractOf('again.twice', { attempts: 2 });
    all.work({
      handlers: [
        handle(once, async () => ++runs),
        handle(twice, async () => {
          if (isBroken) throw new Error('broken');
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(once, {});
    await ends(all, id, 'completed');
    expect(await all.jobs.retry(id)).toEqual({ status: 'retried' });
    await eventually(async () => expect(await all.jobs.get(id)).toMatchObject({ state: 'completed', result: 2 }));
    const { id: failing } = await all.jobs.enqueue(twice, {});
    await ends(all, failing, 'failed');
    expect(await all.jobs.retry(failing)).toEqual({ status: 'retried' });
    const again = await eventually(async () => {
      const info = await all.jobs.get(failing);
      expect(info?.history.filter(({ outcome }) => outcome === 'failed')).toHaveLength(4);
      return info;
    });
    expect(again?.attemptsMade).toBeLessThanOrEqual(2);
    isBroken = false;
    await ends(all, failing, 'failed');
    await all.jobs.retry(failing);
    await ends(all, failing, 'completed');
  });

  test('is not cancelled by an order that came too late for the run before', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    let runs = 0;
    all.work({ handlers: [handle(once, async () => ++runs)] });
    const { id } = await all.jobs.enqueue(once, {});
    await ends(all, id, 'completed');
    const { keys, client } = all.jobs.core.queues;
    await client.hset(keys.cancels('again'), id, 'as of cancel(), when the job ended in that moment');
    expect(await all.jobs.retry(id)).toEqual({ status: 'retried' });
    await eventually(async () => expect(await all.jobs.get(id)).toMatchObject({ state: 'completed', result: 2 }));
  });

  test('runs a delayed job now', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const { id } = await all.jobs.enqueue(once, {}, { delay: '1h' });
    expect(await all.jobs.retry(id)).toEqual({ status: 'promoted' });
    expect(await all.jobs.get(id)).toMatchObject({ state: 'waiting' });
    expect(await all.jobs.retry(id)).toEqual({ status: 'not-possible' });
  });

  test('knows no job that is not there, or was cancelled', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    expect(await all.jobs.retry('nobody')).toEqual({ status: 'not-found' });
    const { id } = await all.jobs.enqueue(once, {});
    await all.jobs.cancel(id);
    expect(await all.jobs.retry(id)).toEqual({ status: 'not-found' });
  });
});

test('a queue tells whether it is paused, and is there as BullMQ knows it', async () => {
  const all = jobsOf({ redis: { url: server.url } });
  await all.jobs.enqueue(contractOf('find.small'), {});
  expect(await all.jobs.isPaused('find')).toBe(false);
  await all.jobs.pause('find');
  expect(await all.jobs.isPaused('find')).toBe(true);
  await all.jobs.resume('find');
  expect(await all.jobs.isPaused('find')).toBe(false);
  const { queue, dead } = all.jobs.bullmq('find');
  expect([queue instanceof Queue, queue.name, dead.name]).toEqual([true, 'find', 'find.dead']);
  expect(await queue.getWaitingCount()).toBe(1);
});
