/** How full the queues are said to be, and how long the oldest job has waited. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.ts';
import { readDepths } from '../../src/jobs/queue-depths.ts';
import { contractOf } from '../support/contracts.ts';
import { ownedJobs, type TestJobs } from '../support/jobs.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const SLACK_MS = 5_000;
const HOUR_MS = 3_600_000;

/** How long the oldest job of the queue will have waited by then. */
async function oldestIn({ jobs }: TestJobs, queue: string, afterMs: number): Promise<number | undefined> {
  const later: Clock = { ...systemClock, wallMs: () => systemClock.wallMs() + afterMs };
  const depths = await readDepths(jobs.core.queues, later);
  return depths.find((depth) => depth.queue === queue)?.oldestWaitingMs;
}

test('where nothing waits, no time is told', async () => {
  const all = jobsOf({ redis: { url: server.url } });
  await all.jobs.enqueue(contractOf('depth.later'), {}, { delay: '1h' });
  expect(await oldestIn(all, 'depth', HOUR_MS)).toBeUndefined();
});

test('prioritized jobs wait too, the oldest of a late priority longest', async () => {
  const all = jobsOf({ redis: { url: server.url } });
  const contract = contractOf('depth.prior');
  const clock = { ...systemClock, wallMs: () => systemClock.wallMs() - HOUR_MS };
  const earlier = jobsOf({ redis: { url: server.url }, prefix: all.prefix, clock });
  await all.jobs.enqueue(contract, {}, { priority: 1 });
  const alone = await oldestIn(all, 'depth', 60_000);
  expect(alone).toBeGreaterThanOrEqual(60_000);
  expect(alone).toBeLessThan(60_000 + SLACK_MS);
  await earlier.jobs.enqueue(contract, {}, { priority: 7 });
  await all.jobs.enqueue(contract, {}, { priority: 7 });
  expect(await oldestIn(all, 'depth', 0)).toBeGreaterThanOrEqual(HOUR_MS);
});

test('the delay of a job is not counted', async () => {
  const all = jobsOf({ redis: { url: server.url } });
  const { id } = await all.jobs.enqueue(contractOf('depth.delayed'), {}, { delay: '1h' });
  await all.jobs.core.queues.get('depth').backend.promote(id);
  const waited = await oldestIn(all, 'depth', HOUR_MS + 60_000);
  expect(waited).toBeGreaterThanOrEqual(60_000);
  expect(waited).toBeLessThan(60_000 + SLACK_MS);
});

test('a queue that cannot be asked hides itself only', async () => {
  const all = jobsOf({ redis: { url: server.url } });
  const half = await halfBlind(all);
  await all.jobs.enqueue(contractOf('broken.job'), {});
  const { id } = await all.jobs.enqueue(contractOf('fine.job'), {});
  const depths = await readDepths(half.jobs.core.queues, systemClock);
  expect(depths.map(({ queue }) => queue)).toEqual(['fine']);
  expect(await half.jobs.get(id)).toMatchObject({ id, state: 'waiting' });
  await expect(half.jobs.get('nobody')).rejects.toMatchObject({ name: 'MillraceError' });
  expect(await half.jobs.cancel(id)).toEqual({ status: 'cancelled' });
  expect(await half.jobs.cancel(id)).toEqual({ status: 'cancelled' });
});

/** A client of the same prefix that may not touch the keys of the queue `broken`. */
async function halfBlind({ prefix }: TestJobs): Promise<TestJobs> {
  await server.ask((redis) =>
    redis.call('ACL', 'SETUSER', 'half', 'on', '>secret', '+@all', '&*', '~*queues*', '~*{fine}*'),
  );
  const url = server.url.replace('redis://', 'redis://half:secret@');
  return jobsOf({ redis: { url }, prefix });
}
