/** An enqueue while Redis is down: it fails in time, and nothing of it runs later. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { flow } from '../../src/jobs/flows.ts';
import { handle } from '../../src/jobs/handler.ts';
import type { JobsClient } from '../../src/jobs/jobs.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { ownedJobs } from '../support/jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';
import { startProxy } from '../support/proxy.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();

const mail = defineJob({ name: 'mail.send', input: z.object({ to: z.string() }) });
const report = defineJob({ name: 'mail.report', input: z.object({ month: z.number() }) });
const welcome = defineJob({
  name: 'mail.welcome',
  input: z.object({ to: z.string() }),
  unique: { key: ({ to }) => to },
});

/** How late a deadline may be noticed on a machine that does other work too. */
const SLACK_MS = 1_500;

const ways: ReadonlyArray<[string, (jobs: JobsClient) => Promise<unknown>]> = [
  ['enqueue', (jobs) => jobs.enqueue(mail, { to: 'a' })],
  ['enqueueMany', (jobs) => jobs.enqueueMany(mail, [{ to: 'a' }, { to: 'b' }])],
  ['enqueueFlow', (jobs) => jobs.enqueueFlow(flow(report, { month: 7 }, { children: [flow(mail, { to: 'a' })] }))],
  ['enqueueAndWait', (jobs) => jobs.enqueueAndWait(mail, { to: 'a' })],
];

/** Nothing waits, and nothing comes: a job that is enqueued now is the only one that ever runs. */
async function expectNothingLeft(jobs: JobsClient): Promise<void> {
  const { id } = await eventually(() => jobs.enqueue(mail, { to: 'afterwards' }), 20_000);
  await eventually(async () => {
    expect(await jobs.counts('mail')).toMatchObject({ waiting: 1, delayed: 0, prioritized: 0, 'waiting-children': 0 });
  });
  expect(await jobs.get(id)).toMatchObject({ state: 'waiting' });
}

describe.each(ways)('%s', (_way, enqueue) => {
  test('fails within the deadline where nothing listens, and nothing is left when the server comes', async () => {
    const server = own(await startRedis());
    await server.kill();
    const { jobs } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '600ms' } });
    const { value: error, ms } = await timed(failureOf(enqueue(jobs), 'ENQUEUE_TIMEOUT'));
    expect(ms).toBeLessThan(600 + SLACK_MS);
    expect(error.cause).toMatchObject({ code: 'REDIS_UNREACHABLE' });
    expect(error.message).toContain('nothing listens there');
    await server.startAgain();
    await expectNothingLeft(jobs);
  });

  test('fails within the deadline on a server that is frozen, and nothing is left when that wakes up', async () => {
    const server = own(await startRedis());
    const { jobs } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '600ms' } });
    await jobs.counts('mail');
    server.freeze();
    const { ms } = await timed(failureOf(enqueue(jobs), 'ENQUEUE_TIMEOUT'));
    expect(ms).toBeLessThan(600 + SLACK_MS);
    server.thaw();
    await expectNothingLeft(jobs);
  });

  test('fails within the deadline on a frozen server whose connection was given up meanwhile, and nothing is left', async () => {
    const server = own(await startRedis());
    const redis = { url: server.url, commandTimeout: 300 };
    const { jobs } = jobsOf({ redis, options: { enqueueDeadline: '900ms' } });
    await jobs.counts('mail');
    server.freeze();
    const { ms } = await timed(failureOf(enqueue(jobs), 'ENQUEUE_TIMEOUT'));
    expect(ms).toBeLessThan(900 + SLACK_MS);
    server.thaw();
    await expectNothingLeft(jobs);
  });

  test('fails within the deadline when the server dies after it took the job, and nothing is left when it is back', async () => {
    const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
    const proxy = own(await startProxy(server.port));
    const { jobs } = jobsOf({ redis: { url: proxy.url }, options: { enqueueDeadline: '2s' } });
    await jobs.counts('mail');
    proxy.slowDown(600);
    const failed = failureOf(enqueue(jobs), 'ENQUEUE_TIMEOUT');
    await eventually(async () => expect(await jobKeys(server)).toBeGreaterThan(0));
    await server.kill();
    proxy.cut();
    const { ms } = await timed(failed);
    expect(ms).toBeLessThan(2_000 + SLACK_MS);
    await server.startAgain();
    expect(await jobKeys(server)).toBeGreaterThan(0);
    proxy.slowDown(0);
    await expectNothingLeft(jobs);
  });
});

function jobKeys(server: TestServer): Promise<number> {
  return server.ask(async (redis) => {
    const hashes = await Promise.all((await redis.keys('*:{mail}:mail:*')).map((key) => redis.type(key)));
    return hashes.filter((type) => type === 'hash').length;
  });
}

test('a deadline of the enqueue counts in the place of that of the client', async () => {
  const { jobs } = jobsOf({ redis: { url: `redis://127.0.0.1:${await freePort()}` } });
  const short = await timed(failureOf(jobs.enqueue(mail, { to: 'a' }, { deadline: '200ms' }), 'ENQUEUE_TIMEOUT'));
  expect(short.ms).toBeLessThan(200 + SLACK_MS);
  expect(short.value.facts).toMatchObject({ contract: 'mail.send', queue: 'mail', deadlineMs: 200 });
  const many = jobs.enqueueMany(
    mail,
    Array.from({ length: 5_000 }, () => ({ to: 'a' })),
    { deadline: '200ms' },
  );
  expect((await timed(failureOf(many, 'ENQUEUE_TIMEOUT'))).ms).toBeLessThan(200 + SLACK_MS);
  const usual = await timed(failureOf(jobs.enqueue(mail, { to: 'a' }), 'ENQUEUE_TIMEOUT'));
  expect(usual.ms).toBeGreaterThan(1_900);
  expect(usual.ms).toBeLessThan(2_000 + SLACK_MS);
});

test('no job of a thousand that were given up while the server was down runs when it is back', async () => {
  const server = own(await startRedis());
  const ran: string[] = [];
  const { jobs, work } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '400ms' } });
  work({ handlers: [handle(mail, ({ to }) => void ran.push(to))] });
  await jobs.enqueueAndWait(mail, { to: 'before' }, { deadline: '5s' });
  await server.kill();
  await Promise.all(
    Array.from({ length: 1_000 }, () => failureOf(jobs.enqueue(mail, { to: 'given up' }), 'ENQUEUE_TIMEOUT')),
  );
  await server.startAgain();
  await eventually(() => jobs.enqueueAndWait(mail, { to: 'after' }), 20_000);
  expect(ran.filter((to) => to === 'given up')).toEqual([]);
});

test('an enqueue waits for a server that comes back within the deadline, and is one job', async () => {
  const server = own(await startRedis({ persistent: true }));
  const { jobs } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '20s' } });
  await jobs.counts('mail');
  await server.kill();
  const enqueued = jobs.enqueue(mail, { to: 'a' });
  const flowed = jobs.enqueueFlow(flow(report, { month: 7 }, { children: [flow(mail, { to: 'b' })] }));
  await server.startAgain();
  expect(await enqueued).toMatchObject({ status: 'added' });
  expect((await flowed).children).toHaveLength(1);
  expect(await jobs.counts('mail')).toMatchObject({ waiting: 2, 'waiting-children': 1 });
});

const latest = defineJob({
  name: 'mail.latest',
  input: z.object({ to: z.string() }),
  unique: { key: ({ to }) => to, for: '1m', onConflict: 'debounce' },
});

test.each<[string, (jobs: JobsClient) => Promise<unknown>]>([
  ...ways.filter(([way]) => way !== 'enqueueAndWait'),
  ['enqueue of the latest', (jobs) => jobs.enqueue(latest, { to: 'a' })],
])('%s waits for the new master when the old one was demoted', async (_way, enqueue) => {
  const server = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '30s' } });
  await jobs.counts('mail');
  await server.ask((redis) => redis.replicaof('127.0.0.1', 1));
  const sent = enqueue(jobs);
  sent.catch(() => undefined); // Awaited below.
  await eventually(async () => {
    expect(await server.ask((redis) => redis.info('errorstats'))).toContain('errorstat_READONLY');
  });
  await server.ask((redis) => redis.replicaof('NO', 'ONE'));
  await sent;
});

test('an enqueue on a replica that no one makes a master fails within the deadline, and says why', async () => {
  const server = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '600ms' } });
  await jobs.counts('mail');
  await server.ask((redis) => redis.replicaof('127.0.0.1', 1));
  for (const [, enqueue] of ways) {
    const { value: error, ms } = await timed(failureOf(enqueue(jobs), 'ENQUEUE_TIMEOUT'));
    expect(ms).toBeLessThan(600 + SLACK_MS);
    expect(error.cause).toMatchObject({ code: 'REDIS_WRITES_REFUSED' });
    expect(error.message).toContain('READONLY');
  }
  await server.ask((redis) => redis.replicaof('NO', 'ONE'));
  await expectNothingLeft(jobs);
});

test('a server without memory is told as that, also where the enqueue is a transaction', async () => {
  const server = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: server.url } });
  await jobs.counts('mail');
  await server.ask((redis) => redis.config('SET', 'maxmemory', '1'));
  await failureOf(jobs.enqueue(mail, { to: 'a' }), 'REDIS_WRITES_REFUSED');
  await failureOf(jobs.enqueue(latest, { to: 'a' }), 'REDIS_WRITES_REFUSED');
});

test('a job whose answer was lost with the connection is sent again, and is one job', async () => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const { jobs } = jobsOf({ redis: { url: proxy.url }, options: { enqueueDeadline: '20s' } });
  await jobs.counts('mail');
  proxy.loseAnswers();
  const enqueued = [
    jobs.enqueue(mail, { to: 'a' }),
    jobs.enqueue(welcome, { to: 'b' }),
    jobs.enqueue(mail, { to: 'c' }, { idempotencyKey: 'c' }),
  ];
  await eventually(async () => expect(await jobKeys(server)).toBeGreaterThanOrEqual(3));
  proxy.restore();
  proxy.cut();
  expect(await Promise.all(enqueued)).toMatchObject([{ status: 'added' }, { status: 'added' }, { status: 'added' }]);
  expect(await jobs.counts('mail')).toMatchObject({ waiting: 3 });
});

test('a flow whose answer was lost with the connection is one flow', async () => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const { jobs } = jobsOf({ redis: { url: proxy.url }, options: { enqueueDeadline: '20s' } });
  await jobs.counts('mail');
  proxy.slowDown(600);
  const flowed = jobs.enqueueFlow(flow(report, { month: 7 }, { children: [flow(mail, { to: 'd' })] }));
  await eventually(async () => expect(await jobKeys(server)).toBeGreaterThan(0));
  proxy.slowDown(0);
  proxy.cut();
  const { id, children } = await flowed;
  expect(await jobs.counts('mail')).toMatchObject({ waiting: 1, 'waiting-children': 1 });
  expect(await jobs.get(id)).toMatchObject({ state: 'waiting-children' });
  expect(await jobs.get(children[0]?.id ?? '')).toMatchObject({ state: 'waiting' });
});

test('one with a key that had no answer may be sent again: the error says so, and it is one job', async () => {
  const server = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '300ms' } });
  await jobs.counts('mail');
  server.freeze();
  const error = await failureOf(jobs.enqueue(welcome, { to: 'a' }), 'ENQUEUE_TIMEOUT');
  expect(error.facts).toMatchObject({ mayBeRepeated: true });
  server.thaw();
  const again = await eventually(() => jobs.enqueue(welcome, { to: 'a' }));
  expect(await jobs.counts('mail')).toMatchObject({ waiting: 1 });
  expect(await jobs.get(again.id)).toMatchObject({ state: 'waiting' });
});

test('what must not wait for Redis does not: bad input is refused at once while Redis is down', async () => {
  const { jobs } = jobsOf({ redis: { url: `redis://127.0.0.1:${await freePort()}` } });
  const bad = await timed(failureOf(jobs.enqueue(mail, { to: 1 } as never), 'INPUT_INVALID'));
  expect(bad.ms).toBeLessThan(1_000);
});

test('the scripts are sent again after SCRIPT FLUSH, by every way to enqueue', async () => {
  const server = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: server.url } });
  const newest = defineJob({
    name: 'mail.newest',
    input: z.object({ to: z.string() }),
    unique: { key: ({ to }) => to, onConflict: 'replace' },
  });
  const family = flow(report, { month: 7 }, { children: [flow(mail, { to: 'c' }), flow(mail, { to: 'd' })] });
  const enqueueAll = async (): Promise<unknown[]> => [
    await jobs.enqueue(newest, { to: 'a' }, { delay: '1h' }),
    await jobs.enqueueFlow(family),
    await jobs.enqueue(mail, { to: 'a' }),
    await jobs.enqueueMany(mail, [{ to: 'a' }, { to: 'b' }]),
  ];
  await enqueueAll();
  await server.ask((redis) => redis.script('FLUSH'));
  expect(await enqueueAll()).toMatchObject([
    { status: 'replaced' },
    { children: [{}, {}] },
    { status: 'added' },
    [{ status: 'added' }, { status: 'added' }],
  ]);
  await server.ask((redis) => redis.script('FLUSH'));
  await jobs.enqueue(mail, { to: 'a' }); // Some of the scripts are known again, others are not.
  await jobs.enqueueFlow(family);
  expect(await jobs.counts('mail')).toMatchObject({ waiting: 13, delayed: 1, 'waiting-children': 3 });
});
