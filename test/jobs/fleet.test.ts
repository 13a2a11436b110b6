/** What is known of all worker processes. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { consume, createPlatform, defineStream, readEnv } from '../../src/index.ts';
import { createFleetKeys, type Fleet } from '../../src/jobs/fleet/fleet.ts';
import type { WorkerInfo } from '../../src/jobs/fleet/report.ts';
import { handle } from '../../src/jobs/handler.ts';
import { schedule } from '../../src/jobs/schedules/schedule.ts';
import type { Topology } from '../../src/redis/address.ts';
import { startForFile } from '../contract/topologies.ts';
import { startChild } from '../support/child.ts';
import { contractOf } from '../support/contracts.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { ownedRuntimes } from '../support/runtimes.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const HOUR_MS = 3_600_000;
const job = contractOf('fleet.job', { attempts: 1 });
const idle = handle(contractOf('fleet.child'), () => undefined);

/** The only worker, once it is as it should be. */
function only(fleet: Fleet, expected: Partial<WorkerInfo>): Promise<WorkerInfo> {
  return eventually(async () => {
    const workers = await fleet.workers();
    expect(workers).toMatchObject([expected]);
    return workers[0] as WorkerInfo;
  });
}

describe.each<Topology>(['standalone', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const runtimeOf = ownedRuntimes();

  test('a worker is seen with what it does, told of at once when it drains, and gone when it has stopped', async () => {
    const { runtime } = runtimeOf(topologyOf().redis, { appVersion: 'app-1', heartbeatMs: 50 });
    const { fleet, jobs } = runtime;
    expect(await fleet.workers()).toEqual([]);
    const { opened, open } = gate();
    const other = handle(contractOf('idle.job'), () => undefined);
    await runtime.work({
      handlers: [handle(job, () => opened), other],
      queues: { idle: { concurrency: 3 } },
      schedules: [schedule(job, {}, { id: 'fleet.sweep', every: '1d' })],
    });
    // What a newer revision has declared is not this process's.
    await runtime.schedules.reconcile([], { owner: 'other', revision: 2 });
    const refused = [schedule(job, {}, { id: 'fleet.old', every: '1d' })];
    await runtime.schedules.reconcile(refused, { owner: 'other', revision: 1 });
    const { id } = await jobs.enqueue(job, {});
    const seen = await only(fleet, { state: 'running', running: [expect.objectContaining({ id })] });
    expect(seen).toMatchObject({
      host: hostname(),
      pid: process.pid,
      millrace: 'test',
      node: process.version,
      appVersion: 'app-1',
      queues: [
        { name: 'fleet', concurrency: 10, active: 1 },
        { name: 'idle', concurrency: 3, active: 0 },
      ],
      consumers: [],
      schedules: ['fleet.sweep'],
      running: [{ id, name: 'fleet.job', queue: 'fleet', attempt: 1 }],
    });
    expect(seen.rssBytes).toBeGreaterThan(1_000_000);
    expect(seen.startedAt).toBeLessThan(seen.seenAt);
    expect(seen.seenAt - (seen.queues[0]?.lastTakenAt ?? 0)).toBeLessThan(60_000);
    expect(seen.queues[1]).not.toHaveProperty('lastTakenAt');
    expect(seen.seenAt - (seen.running[0]?.startedAt ?? 0)).toBeLessThan(60_000);
    const closed = runtime.close();
    await only(fleet, { state: 'draining' });
    open();
    await closed;
    expect(await fleet.workers()).toEqual([]);
  });
});

describe('a fleet', () => {
  const own = ownedByTest();
  const runtimeOf = ownedRuntimes();
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  test('shows a process that was killed as silent, and forgets it after an hour', async () => {
    const { runtime, prefix } = runtimeOf({ url: server.url });
    const { fleet } = runtime;
    const child = own(startChild('fleet-process', [server.url, prefix]));
    await child.says('ready');
    const { id } = await only(fleet, { pid: child.pid, state: 'running', appVersion: 'child-1' });
    child.signal('SIGKILL');
    await only(fleet, { id, state: 'silent' });
    const { seen, workers } = createFleetKeys(prefix);
    await server.ask(async (redis) => redis.zincrby(seen, -HOUR_MS, id));
    expect(await fleet.workers()).toEqual([]);
    const worker = await runtime.work({ handlers: [idle] });
    await only(fleet, { pid: process.pid });
    expect(await server.ask((redis) => redis.hexists(workers, id))).toBe(0);
    await worker.stop();
  });

  test('has no more processes than 1 000, those heard of last', async () => {
    const { runtime, prefix } = runtimeOf({ url: server.url });
    const { seen, workers } = createFleetKeys(prefix);
    const now = systemClock.wallMs();
    await server.ask(async (redis) => {
      const pipeline = redis.pipeline();
      for (let n = 0; n < 1_100; n++) pipeline.zadd(seen, now - n * 100, `p${n}`).hset(workers, `p${n}`, '{}');
      await pipeline.exec();
    });
    await runtime.work({ handlers: [idle] });
    await eventually(async () => expect(await runtime.fleet.workers()).toHaveLength(1_000));
    const ids = (await runtime.fleet.workers()).map(({ id }) => id);
    expect(ids).toContain('p998');
    expect(ids).not.toContain('p999');
    const hashed = await server.ask((redis) => Promise.all([redis.hlen(workers), redis.pttl(workers)]));
    expect(hashed[0]).toBe(1_000);
    expect(hashed[1]).toBeGreaterThan(HOUR_MS - 60_000);
  });

  test('leaves out what it cannot read, and takes what another version does not tell as not told', async () => {
    const { runtime, prefix } = runtimeOf({ url: server.url });
    const { seen, workers } = createFleetKeys(prefix);
    const now = systemClock.wallMs();
    await server.ask(async (redis) => {
      await redis.zadd(seen, now, 'broken', now, 'older', now, 'reportless');
      await redis.hset(workers, { broken: '{"ho', older: '{"host":"h","queues":[{"name":"q"}],"running":7}' });
    });
    expect(await runtime.fleet.workers()).toMatchObject([
      { id: 'older', host: 'h', queues: [{ name: 'q', concurrency: 0 }], running: [], state: 'running' },
    ]);
  });

  test('of a process with several workers it says draining once all of them drain', async () => {
    const { runtime } = runtimeOf({ url: server.url }, { heartbeatMs: 50 });
    const { opened, open } = gate();
    const first = await runtime.work({ handlers: [handle(job, () => opened)], version: '7' });
    await runtime.work({ handlers: [handle(contractOf('idle.job'), () => undefined)] });
    await runtime.jobs.enqueue(job, {});
    await only(runtime.fleet, { appVersion: '7', queues: [expect.objectContaining({ active: 1 }), expect.anything()] });
    const stopped = first.stop();
    const { seenAt } = await only(runtime.fleet, { state: 'running' });
    await eventually(async () => expect((await runtime.fleet.workers())[0]?.seenAt).toBeGreaterThan(seenAt));
    await only(runtime.fleet, { state: 'running' });
    open();
    await stopped;
    await only(runtime.fleet, { state: 'running', queues: [expect.objectContaining({ name: 'idle' })] });
  });

  test('tells of the consumers of streams, also where no jobs are run', async () => {
    const platform = own(
      createPlatform({
        redis: { url: server.url },
        log: { level: 'silent' },
        prefix: randomUUID(),
        appVersion: readEnv({ MILLRACE_APP_VERSION: 'app-2' }).platform.appVersion,
      }),
    );
    await platform.start();
    const { opened, open } = gate();
    const stream = defineStream({ name: 'fleet.entries', schema: z.object({}) });
    const worker = await platform.work({ consumers: [consume(stream, { group: 'g', concurrency: 2 }, () => opened)] });
    const told: Partial<WorkerInfo> = { queues: [], running: [], appVersion: 'app-2', state: 'running' };
    await only(platform.fleet, {
      ...told,
      consumers: [{ stream: 'fleet.entries', group: 'g', concurrency: 2, active: 0 }],
    });
    open();
    await worker.stop();
    expect(await platform.fleet.workers()).toEqual([]);
  });

  test('is told of a blocked event loop', async () => {
    const { runtime } = runtimeOf({ url: server.url }, { heartbeatMs: 200 });
    await runtime.work({ handlers: [idle] });
    await only(runtime.fleet, { state: 'running' });
    const until = systemClock.monotonicMs() + 400;
    while (systemClock.monotonicMs() < until);
    await eventually(async () => expect((await runtime.fleet.workers())[0]?.eventLoopLagMs).toBeGreaterThan(200));
  });

  test('without Redis is told nothing; the worker works on, says so once, and is told of again when it is back', async () => {
    const lost = own(await startRedis());
    const { log, warnings } = collectLog();
    const { runtime } = runtimeOf({ url: lost.url, commandTimeout: '300ms' }, { log, heartbeatMs: 50 });
    await runtime.work({ handlers: [idle], drainFor: '1s' });
    const { id } = await only(runtime.fleet, { state: 'running' });
    await lost.kill();
    const lines = (): unknown[] => warnings().filter(({ msg }) => msg.startsWith('the fleet'));
    await eventually(() => expect(lines()).toHaveLength(1));
    await expect(runtime.fleet.workers()).rejects.toMatchObject({ name: 'MillraceError' });
    await lost.startAgain();
    await eventually(async () => only(runtime.fleet, { id, state: 'running' }));
    expect(lines()).toHaveLength(1);
  });
});
