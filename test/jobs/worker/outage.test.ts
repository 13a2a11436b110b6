/** Jobs that run while Redis restarts or connections are cut: all of them are done, none is lost. */
import { expect, test } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedJobs, type TestJobs } from '../../support/jobs.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis } from '../../support/servers.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
const contract = contractOf('outage.job', { attempts: 3, retention: { count: 10_000 } });
const COUNT = 300;
const options = { lease: '1s', stalledCheck: '300ms', concurrency: 10 } as const;

const handlers = (ran: Map<string, number>): Array<ReturnType<typeof handle>> => [
  handle(contract, async (_input, { job, once }) => {
    ran.set(job.id, (ran.get(job.id) ?? 0) + 1);
    await once('slow', () => new Promise((resolve) => setTimeout(resolve, 20)));
  }),
];
const inputs = Array.from({ length: COUNT }, (_, index) => ({ index }));
const allDone = ({ jobs }: TestJobs): Promise<void> =>
  eventually(async () => {
    expect(await jobs.counts('outage')).toMatchObject({
      completed: COUNT,
      active: 0,
      waiting: 0,
      delayed: 0,
      failed: 0,
    });
  }, 45_000);

test('a server that restarts with its data', { timeout: 60_000 }, async () => {
  const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
  const all = jobsOf({ redis: { url: server.url } });
  const ran = new Map<string, number>();
  const worker = all.work({ ...options, handlers: handlers(ran) });
  await all.jobs.enqueueMany(contract, inputs);
  await eventually(() => expect(ran.size).toBeGreaterThan(30));
  await server.kill();
  await server.startAgain();
  await allDone(all);
  expect(ran.size).toBe(COUNT);
  await all.connections.subscriber().ping(); // It has subscribed again: ioredis leaves a rejection unhandled when it is closed sooner.
  expect(await worker.alive()).toBeUndefined();
  expect(all.dead).toEqual([]);
});

test('connections that are cut again and again', { timeout: 60_000 }, async () => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const all = jobsOf({ redis: { url: proxy.url } });
  const watcher = jobsOf({ redis: { url: server.url }, prefix: all.prefix });
  const ran = new Map<string, number>();
  all.work({ ...options, handlers: handlers(ran) });
  await watcher.jobs.enqueueMany(contract, inputs);
  for (const after of [20, 60, 120, 180]) {
    await eventually(() => expect(ran.size).toBeGreaterThan(after), 20_000);
    proxy.cut();
  }
  await allDone(watcher);
  expect(ran.size).toBe(COUNT);
  await all.connections.subscriber().ping(); // It has subscribed again: ioredis leaves a rejection unhandled when it is closed sooner.
  expect(all.dead).toEqual([]);
});

test('a worker that is started while Redis is down takes jobs once it is back', { timeout: 60_000 }, async () => {
  const server = own(await startRedis({ persistent: true }));
  await server.kill();
  const all = jobsOf({ redis: { url: server.url } });
  const ran = new Map<string, number>();
  all.work({ ...options, handlers: handlers(ran) });
  await server.startAgain();
  const { id } = await all.jobs.enqueue(contract, {}, { deadline: '20s' });
  await eventually(() => expect([...ran.keys()]).toEqual([id]), 30_000);
  await all.connections.subscriber().ping();
});
