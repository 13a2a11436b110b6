/** What autoscalers are told, asked over a real socket while jobs wait, run and end. */
import { randomUUID } from 'node:crypto';
import express from 'express';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createDashboard } from '../../dashboard/index.ts';
import { systemClock } from '../../src/clock.ts';
import {
  autoscaleRouter,
  listen,
  type AutoscaleAnswer,
  type AutoscaleOptions,
  type QueueFigures,
} from '../../src/http/index.ts';
import { figuresOf, handsOf, type Hands } from '../../src/http/autoscale-figures.ts';
import type { QueueWork } from '../../src/http/autoscale-look.ts';
import { defineJob } from '../../src/jobs/contract.ts';
import type { WorkerInfo } from '../../src/jobs/fleet/report.ts';
import { handle } from '../../src/jobs/handler.ts';
import { createJobKeys } from '../../src/jobs/queue-names.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform, type Platform } from '../../src/platform.ts';
import type { Topology } from '../../src/redis/address.ts';
import { startForFile } from '../contract/topologies.ts';
import { eventually } from '../support/eventually.ts';
import { valueIn } from '../support/exposition.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
const job = defineJob({ name: 'mail.send', input: z.object({ ms: z.number().default(0) }), attempts: 2 });

async function platformOn(
  redis: Parameters<typeof createPlatform>[0] extends infer O ? NonNullable<O> : never,
): Promise<Platform> {
  const platform = createPlatform({ prefix: `t-${randomUUID()}`, log: silentLogger, ...redis });
  own({ stop: () => platform.stop() });
  await platform.start();
  return platform;
}

/** What the endpoint answers: of one queue, of all, or why not. */
type Answer = QueueFigures & AutoscaleAnswer & { error: string; code: string };

async function asker(platform: Platform, options?: AutoscaleOptions) {
  const listener = own(await listen(express().use(autoscaleRouter(platform, options)), { host: '127.0.0.1', port: 0 }));
  return async (path: string): Promise<{ status: number; body: Answer }> => {
    const response = await fetch(`${listener.url}/autoscale${path}`, { headers: { connection: 'close' } });
    return { status: response.status, body: (await response.json()) as Answer };
  };
}

describe.each<Topology>(['standalone', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);

  test('tells depth, drain time and workers of a queue, from before its first worker to its end', async () => {
    const { redis } = topologyOf();
    const platform = await platformOn({ redis });
    const ask = await asker(platform);
    const other = defineJob({ name: 'report.build', input: z.object({}) });
    await platform.jobs.enqueue(other, {});
    await platform.jobs.enqueueMany(
      job,
      Array.from({ length: 30 }, () => ({})),
    );
    await platform.jobs.enqueue(job, {}, { priority: 3 });
    await platform.jobs.enqueue(job, {}, { delay: '1h' });
    await platform.jobs.enqueue(job, {}, { delay: 1 });
    // No worker is there to move the delayed job whose time has come; it counts all the same.
    await eventually(async () =>
      expect((await ask('/mail')).body).toMatchObject({
        queue: 'mail',
        depth: 32,
        active: 0,
        isPaused: false,
        ratePerSecond: 0,
        workers: 0,
        concurrency: 0,
        drainSeconds: null,
        desiredWorkers: 1,
      }),
    );
    const { opened, open } = gate();
    const worker = await platform.work({
      handlers: [handle(job, () => opened)],
      concurrency: 4,
    });
    await eventually(async () =>
      expect((await ask('/mail')).body).toMatchObject({ depth: 28, active: 4, workers: 1, concurrency: 4 }),
    );
    open();
    await eventually(async () => expect(await platform.jobs.counts('mail')).toMatchObject({ completed: 32 }));
    await worker.stop(); // What was counted is written then.
    await eventually(async () =>
      expect((await ask('/mail')).body).toMatchObject({
        depth: 0,
        active: 0,
        workers: 0,
        drainSeconds: 0,
        desiredWorkers: 0,
      }),
    );
    const { body: all } = await ask('');
    expect(all).toMatchObject({ targetSeconds: 60, desiredWorkers: 1, isWhole: true });
    expect(all.queues.map(({ queue, depth }) => [queue, depth])).toEqual([
      ['mail', 0],
      ['report', 1],
    ]);
    expect(all.queues[0]?.ratePerSecond).toBeGreaterThan(0.2); // 32 jobs in at most two minutes.
    const metrics = await platform.metrics.render();
    expect(valueIn(metrics, 'millrace_queue_desired_workers', { queue: 'report' })).toBe(1);
    expect(valueIn(metrics, 'millrace_queue_drain_seconds', { queue: 'mail' })).toBe(0);
    expect(valueIn(metrics, 'millrace_queue_drain_seconds', { queue: 'report' })).toBeUndefined();
    expect(valueIn(metrics, 'millrace_queue_workers', { queue: 'report' })).toBe(0);
    expect(valueIn(metrics, 'millrace_queue_slots', { queue: 'report' })).toBe(0);
  });
});

describe('the endpoint', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  test('takes the target and the slots of the request, and refuses what it does not know', async () => {
    const platform = await platformOn({ redis: { url: server.url } });
    const ask = await asker(platform, { target: '2m' });
    await platform.jobs.enqueue(job, {});
    expect((await ask('')).body.targetSeconds).toBe(120);
    expect((await ask('?target=30s&concurrency=5')).body.targetSeconds).toBe(30);
    expect((await ask('/mail?target=90s')).body.targetSeconds).toBe(90);
    for (const [path, text] of [
      ['?target=fast', 'target: expected a duration from 1s to 1d, such as 30s'],
      ['?target=10ms', 'target: expected a duration from 1s to 1d, such as 30s'],
      ['/mail?concurrency=0', 'concurrency: expected a whole number from 1 to 100000'],
      ['?targt=1m', 'expected target or concurrency, got targt'],
    ] as const)
      expect(await ask(path), path).toEqual({ status: 400, body: { error: text } });
    const unknown = await ask('/mial');
    expect([unknown.status, unknown.body.error]).toEqual([404, expect.stringContaining('queue "mial"')]);
    expect(() => autoscaleRouter(platform, { target: '1ms' })).toThrow('autoscaleRouter');
  });

  test('asks Redis once a second, however often it is asked', async () => {
    const platform = await platformOn({ redis: { url: server.url } });
    const ask = await asker(platform);
    await platform.jobs.enqueue(job, {});
    await ask('');
    const calls = async (): Promise<number> => {
      const { fields } = await server.ask(async (redis) => ({ fields: await redis.info('commandstats') }));
      return Number(/cmdstat_evalsha:calls=(\d+)/.exec(fields)?.[1] ?? 0);
    };
    await systemClock.sleep(1_100); // The look that was kept is over.
    const before = await calls();
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask('')));
    expect(new Set(answers.map(({ body }) => body.at)).size).toBeLessThanOrEqual(2);
    expect((await calls()) - before).toBeLessThanOrEqual(4); // A queue and the fleet; twice where a second went by.
  });

  test('a paused queue asks for the workers of what runs, and nobody knows when it is done', async () => {
    const platform = await platformOn({ redis: { url: server.url } });
    const ask = await asker(platform);
    await platform.jobs.enqueueMany(job, [{}, {}]);
    await platform.jobs.pause('mail');
    expect((await ask('/mail')).body).toMatchObject({
      depth: 2,
      isPaused: true,
      drainSeconds: null,
      desiredWorkers: 0,
    });
  });

  test('the dashboard has it behind the token of /metrics, and without one not at all', async () => {
    const platform = await platformOn({ redis: { url: server.url } });
    await platform.jobs.enqueue(job, {});
    const token = 'a-token-of-this-test';
    const statusOf = async (metricsToken: string | undefined, authorization: string): Promise<number[]> => {
      const dashboard = createDashboard(platform, { metricsToken });
      own({ stop: () => dashboard.stop() });
      const listener = own(await listen(dashboard.router, { host: '127.0.0.1', port: 0 }));
      const ask = async (path: string): Promise<number> =>
        (await fetch(listener.url + path, { headers: { authorization, connection: 'close' } })).status;
      return Promise.all(['/autoscale', '/autoscale/mail', '/metrics'].map(ask));
    };
    expect(await statusOf(token, `Bearer ${token}`)).toEqual([200, 200, 200]);
    expect(await statusOf(token, 'Bearer another')).toEqual([401, 401, 401]);
    expect(await statusOf(undefined, `Bearer ${token}`)).toEqual([404, 404, 404]);
  });

  test('without Redis it is 503 with the reason, which leaves autoscalers as they are', async () => {
    const lost = own(await startRedis());
    const platform = await platformOn({ redis: { url: lost.url, commandTimeout: 500 } });
    const ask = await asker(platform);
    await lost.kill();
    const { status, body } = await ask('');
    expect([status, body.code]).toEqual([503, expect.stringMatching(/^REDIS_/)]);
  });

  test('before the platform has started it is 503', async () => {
    const platform = createPlatform({ redis: { url: server.url }, log: silentLogger });
    expect(await (await asker(platform))('')).toMatchObject({ status: 503, body: { code: 'CLOSED' } });
  });

  test('what ran in the day before tells the cost where nothing ran of late', async () => {
    const platform = await platformOn({ redis: { url: server.url } });
    const ask = await asker(platform);
    const work = { handlers: [handle(job, ({ ms }) => systemClock.sleep(ms))], concurrency: 2 };
    const worker = await platform.work(work);
    await platform.jobs.enqueueMany(
      job,
      Array.from({ length: 4 }, () => ({ ms: 100 })),
    );
    await eventually(async () => expect(await platform.jobs.counts('mail')).toMatchObject({ completed: 4 }));
    await worker.stop();
    await platform.jobs.enqueueMany(
      job,
      Array.from({ length: 3_000 }, () => ({ ms: 100 })),
    );
    // 3 000 jobs of about 100 ms on two slots: 150 s, for which it takes 3 workers to have it done within 60 s, more on a busy machine.
    const { body: known } = await ask('/mail?concurrency=2');
    expect(known.desiredWorkers).toBeGreaterThanOrEqual(3);
    const minutes = createJobKeys(platform.prefix)
      .ledger('mail', 'history', 'mail', 'minutes', 'HOUR')
      .replace('HOUR', '*');
    await server.ask(async (redis) => {
      const keys = await redis.keys(minutes);
      expect(keys.length).toBeGreaterThan(0);
      await redis.del(keys);
    });
    await platform.history.sample(); // As a dashboard does, which leaves a record in which nothing ran.
    const { body } = await ask('/mail?concurrency=2');
    expect(body).toMatchObject({ depth: 3_000, drainSeconds: null, desiredWorkers: known.desiredWorkers });
  });
});

const work = (given: Partial<QueueWork> = {}): QueueWork => ({
  queue: 'q',
  atMs: 1_000_000,
  depth: 100,
  active: 10,
  isPaused: false,
  oldestMs: 1_000,
  lately: { jobs: 600, attempts: 600, busyMs: 600_000 },
  isSteady: true,
  latelyMs: 60_000,
  usual: { jobs: 1_000, attempts: 1_000, busyMs: 1_000_000 },
  ...given,
});
const ten: Hands = { workers: 1, slots: 10, slotsEach: 10, since: [{ slots: 10, atMs: 0 }] };
const twenty: Hands = { workers: 2, slots: 20, slotsEach: 10, since: [{ slots: 20, atMs: 0 }] };
const target = { targetMs: 60_000, concurrency: 10 };
const figures = (given: Partial<QueueWork>, hands = ten, options = target): QueueFigures =>
  figuresOf(work(given), hands, options);

const worker = (state: WorkerInfo['state'], concurrency: number): WorkerInfo =>
  ({ state, startedAt: 7, queues: [{ name: 'q', concurrency, active: 0 }] }) as WorkerInfo;

describe('figures', () => {
  test('a backlog drains at slots / cost, and its last job still runs', () => {
    expect(figures({})).toMatchObject({ ratePerSecond: 10, drainSeconds: 11, desiredWorkers: 1 });
    expect(figures({}, twenty).drainSeconds).toBe(6);
  });

  test('attempts that fail on the way make a job dearer', () => {
    const { drainSeconds } = figures({ usual: { jobs: 500, attempts: 1_000, busyMs: 1_000_000 } });
    expect(drainSeconds).toBe(21);
  });

  test('wants as many workers as drain within the target, and no more than there are jobs for', () => {
    expect(figures({ depth: 6_000 }).desiredWorkers).toBe(10);
    expect(figures({ depth: 6_001 }).desiredWorkers).toBe(11);
    expect(figures({ depth: 6_000 }, ten, { ...target, targetMs: 600_000 }).desiredWorkers).toBe(1);
    const long = { jobs: 10, attempts: 10, busyMs: 10 * 3_600_000 };
    expect(figures({ depth: 15, active: 5, usual: long }).desiredWorkers).toBe(2);
  });

  test('does not take away what runs, nor keep what does not', () => {
    expect(figures({ depth: 0, active: 25 }, { ...ten, workers: 5, slots: 50 }).desiredWorkers).toBe(3);
    expect(figures({ depth: 0, active: 0 })).toMatchObject({ drainSeconds: 0, desiredWorkers: 0 });
  });

  test('a queue that was never empty for a minute is told by what it has really done', () => {
    // 10 slots were full for a minute and did 300 jobs of 1 s, though they could have done 600: fetching them took as long again.
    const full = { oldestMs: 61_000, lately: { jobs: 300, attempts: 300, busyMs: 300_000 } };
    expect(figures(full).drainSeconds).toBe(21);
    expect(figures({ ...full, oldestMs: 59_000 }).drainSeconds).toBe(11);
    expect(figures({ ...full, active: 9 }).drainSeconds).toBe(11);
    expect(figures({ ...full, isSteady: false }).drainSeconds).toBe(11);
  });

  test('workers that have just come do not make what was done before them look dear', () => {
    const busy = { depth: 6_000, active: 50, oldestMs: 61_000 };
    const since = [
      { slots: 10, atMs: 0 },
      { slots: 40, atMs: 1_000_000 },
    ];
    // What ten slots did in the minute: a job a second each. So 6 000 take 10 workers, whether 4 of them are there yet or not.
    expect(figures({ ...busy, active: 10 }).desiredWorkers).toBe(10);
    const hands: Hands = { workers: 5, slots: 50, slotsEach: 10, since };
    expect(figures(busy, hands)).toMatchObject({ desiredWorkers: 10, drainSeconds: 121 });
    // Half a minute later they have done their part of it.
    const later = { ...busy, atMs: 1_030_000, lately: { jobs: 1_800, attempts: 1_800, busyMs: 1_800_000 } };
    expect(figures(later, hands)).toMatchObject({ desiredWorkers: 10, drainSeconds: 121 });
  });

  test('without history nobody can tell, and one worker finds out', () => {
    const nothing = { jobs: 0, attempts: 0, busyMs: 0 };
    expect(figures({ active: 0, usual: nothing })).toMatchObject({ drainSeconds: null, desiredWorkers: 1 });
    expect(figures({ active: 10, usual: nothing })).toMatchObject({ drainSeconds: null, desiredWorkers: 1 });
  });

  test('workers that drain or are silent do not count, but tell how many slots the next one will have', () => {
    const hands = handsOf([worker('running', 5), worker('running', 5), worker('draining', 20), worker('silent', 4)]);
    const since = [
      { slots: 5, atMs: 7 },
      { slots: 5, atMs: 7 },
    ];
    expect(hands('q')).toEqual({ workers: 2, slots: 10, slotsEach: 4, since });
    expect(hands('other')).toEqual({ workers: 0, slots: 0, slotsEach: undefined, since: [] });
  });
});
