/** An enqueue whose answer is lost is sent again; what had arrived runs once all the same. */
import { expect, test } from 'vitest';
import { flow } from '../../src/jobs/flows.ts';
import { handle } from '../../src/jobs/handler.ts';
import type { JobsClient } from '../../src/jobs/jobs.ts';
import { contractOf } from '../support/contracts.ts';
import { eventually } from '../support/eventually.ts';
import { ownedJobs } from '../support/jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { ownedRuntimes } from '../support/runtimes.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
const runtimeOf = ownedRuntimes();

const doomed = contractOf('lost.doomed', { attempts: 1 });
const keyed = contractOf('lost.doomed', { attempts: 1, unique: { key: () => 'one', onConflict: 'replace' } });
const parent = contractOf('lost.parent', { attempts: 1 });

test.each<[string, number, (jobs: JobsClient) => Promise<unknown>]>([
  ['a job', 1, (jobs) => jobs.enqueue(doomed, {})],
  ['a job with a key', 1, (jobs) => jobs.enqueue(keyed, {})],
  ['many jobs', 3, (jobs) => jobs.enqueueMany(doomed, [{}, {}, {}])],
  ['a flow', 2, (jobs) => jobs.enqueueFlow(flow(parent, {}, { children: [flow(doomed, {})] }))],
])('%s that had become a dead letter by then is not added again', async (_what, deaths, enqueue) => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const { jobs, prefix } = jobsOf({ redis: { url: proxy.url }, options: { enqueueDeadline: '10s' } });
  const { runtime } = runtimeOf({ url: server.url }, { prefix });
  const ran: string[] = [];
  const fail = (_input: unknown, { job }: { job: { id: string } }): never => {
    ran.push(job.id);
    throw new Error('always');
  };
  await runtime.work({ handlers: [handle(doomed, fail), handle(parent, fail)] });
  await jobs.counts('lost'); // It has its connection.
  proxy.slowDown(1_500);
  const enqueued = enqueue(jobs);
  await eventually(async () => expect(await runtime.deadLetters.count()).toBe(deaths));
  const runs = ran.length;
  proxy.slowDown(0);
  proxy.cut();
  const answer = await enqueued;
  expect(JSON.stringify(answer)).toContain(ran[0]);
  expect(await jobs.counts('lost')).toMatchObject({ waiting: 0, active: 0, dead: deaths });
  await runtime.jobs.enqueueAndWait(doomed, {}).catch(() => undefined);
  expect(ran).toHaveLength(runs + 1);
});

test('what did not arrive of many jobs is sent again', async () => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const { jobs } = jobsOf({ redis: { url: proxy.url }, options: { enqueueDeadline: '10s' } });
  const lost = jobs.core.queues.get('lost');
  await jobs.counts('lost');
  proxy.loseAnswers();
  const enqueued = jobs.enqueueMany(doomed, [{ n: 1 }, { n: 2 }, { n: 3 }]);
  const ids = await eventually(async () => {
    const found = await server.ask((redis) => redis.lrange(lost.key('wait'), 0, -1));
    expect(found).toHaveLength(3);
    return found.toReversed();
  });
  await server.ask(async (redis) => {
    await redis.lrem(lost.key('wait'), 1, ids[1] ?? '');
    await redis.del(lost.key(ids[1] ?? ''));
  });
  proxy.restore();
  proxy.cut();
  expect(await enqueued).toEqual(ids.map((id) => ({ id, status: 'added' })));
  const waiting = (await lost.queue.getWaiting()).map(({ id }) => id);
  expect(new Set(waiting)).toEqual(new Set(ids));
});

test('many jobs whose connection is lost while they are being built are each added once', async () => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const { jobs } = jobsOf({ redis: { url: proxy.url }, options: { enqueueDeadline: '30s' } });
  const lost = jobs.core.queues.get('lost');
  await jobs.counts('lost');
  let arrivedAtCut = 0;
  const enqueued = jobs.enqueueMany(
    doomed,
    Array.from({ length: 1_000 }, () => ({})),
  );
  await server.ask(async (redis) => {
    while (arrivedAtCut === 0) arrivedAtCut = await redis.llen(lost.key('wait'));
  });
  proxy.cut();
  const ids = (await enqueued).map(({ id }) => id);
  expect(arrivedAtCut).toBeGreaterThan(0);
  expect(new Set(ids).size).toBe(1_000);
  expect(new Set(await server.ask((redis) => redis.lrange(lost.key('wait'), 0, -1)))).toEqual(new Set(ids));
  expect(await jobs.counts('lost')).toMatchObject({ waiting: 1_000 });
});
