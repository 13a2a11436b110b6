/** What a group has still to do: exact where Redis knows it, an estimate that says so where it does not. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createMetrics } from '../../src/metrics/registry.ts';
import type { ServerBinary } from '../../src/redis/embedded/binary.ts';
import { readExposition } from '../support/exposition.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { skipBecause } from '../support/skips.ts';
import { createScene, failureOf, idsOf, many, notes, read } from './scene.ts';

const own = ownedByTest();

describe.each(['main', 'newest', 'valkey'] as const)('on %s', (which) => {
  let server: TestServer | undefined;
  let binary: ServerBinary | string;
  beforeAll(async () => {
    binary = inject('servers')[which];
    if (typeof binary !== 'string') server = await startRedis({ binary });
  });
  afterAll(() => server?.stop());
  const scene = (context: Parameters<typeof skipBecause>[0]) => {
    if (!server) return skipBecause(context, typeof binary === 'string' ? binary : 'it does not run');
    return createScene(own, { url: server.url });
  };

  test('it is exact as a group reads, and pending until it has acknowledged', async (context) => {
    const { streams, client, keysOf } = scene(context);
    const contract = notes();
    const { entries } = keysOf(contract);
    await streams.createGroup(contract, 'billing');
    expect(await streams.lag(contract, 'billing')).toMatchObject({ entries: 0, isExact: true, pending: 0 });
    await streams.publishMany(contract, many(100));
    expect(await streams.lag(contract, 'billing')).toMatchObject({ entries: 100, isExact: true, oldestPendingMs: 0 });
    const ids = await read(client, entries, 'billing', 40);
    expect(await streams.lag(contract, 'billing')).toMatchObject({
      entries: 60,
      isExact: true,
      pending: 40,
      retrying: 0,
      deadLetters: 0,
      consumers: [{ name: 'me', pending: 40, isAlive: false }],
    });
    await client.xack(entries, 'billing', ...ids);
    await read(client, entries, 'billing', 100);
    expect(await streams.lag(contract, 'billing')).toMatchObject({ entries: 0, isExact: true, pending: 60 });
  });

  test('after an XDEL it is an estimate, and exact again at the end of the stream', async (context) => {
    const { streams, client, keysOf } = scene(context);
    const contract = notes();
    const { entries } = keysOf(contract);
    await streams.publishMany(contract, many(100));
    await streams.createGroup(contract, 'billing');
    const ids = await idsOf(client, entries);
    await read(client, entries, 'billing', 10);
    await client.xdel(entries, ids[50] as string);
    const lag = await streams.lag(contract, 'billing');
    expect(lag.isExact).toBe(false);
    expect(lag.entries).toBeGreaterThanOrEqual(89);
    expect(lag.entries).toBeLessThanOrEqual(99);
    await read(client, entries, 'billing', 88);
    expect((await streams.lag(contract, 'billing')).entries).toBeGreaterThanOrEqual(1);
    await read(client, entries, 'billing', 10);
    expect(await streams.lag(contract, 'billing')).toMatchObject({ entries: 0, isExact: true });
  });

  test('of a group that was made in the middle it is an estimate, of one that has read nothing the whole stream', async (context) => {
    const { streams, client, keysOf } = scene(context);
    const contract = notes();
    const { entries } = keysOf(contract);
    for (let at = 1; at <= 100; at++) await client.xadd(entries, `${at * 1_000}-0`, 'data', '{"n":1}');
    await streams.createGroup(contract, 'middle', { startAt: '25000-0' });
    await streams.createGroup(contract, 'late', { startAt: '0' });
    const middle = await streams.lag(contract, 'middle');
    expect(Math.abs(middle.entries - 75)).toBeLessThanOrEqual(middle.isExact ? 0 : 2);
    await client.xtrim(entries, 'MAXLEN', 60);
    expect(await streams.lag(contract, 'late')).toMatchObject({ entries: 60, isExact: true });
    expect(await streams.lag(contract, 'middle')).toMatchObject({ entries: 60, isExact: true });
  });

  test('the age of the oldest pending entry goes by the clock of the server', async (context) => {
    const { streams, client, keysOf } = scene(context);
    const contract = notes();
    const { entries } = keysOf(contract);
    const [seconds] = await client.time();
    await client.xadd(entries, `${(Number(seconds) - 90) * 1_000}-0`, 'data', '{"n":1}');
    await streams.createGroup(contract, 'billing');
    await read(client, entries, 'billing', 1);
    const { oldestPendingMs } = await streams.lag(contract, 'billing');
    expect(oldestPendingMs).toBeGreaterThan(88_000);
    expect(oldestPendingMs).toBeLessThan(100_000);
  });

  test('retries, dead letters and consumers that hold a lease are told; the name that retries wait under is none', async (context) => {
    const { streams, client, keysOf } = scene(context);
    const contract = notes();
    const keys = keysOf(contract);
    const { members, retries, dead } = keys.group('billing');
    await streams.publishMany(contract, many(4));
    await streams.createGroup(contract, 'billing');
    const [first, second] = await read(client, keys.entries, 'billing', 3);
    await client.call('XCLAIM', keys.entries, 'billing', '~retries', 0, String(first), String(second), 'JUSTID');
    await client.zadd(retries, Date.now() + 60_000, String(first), Date.now() + 60_000, String(second));
    await client.xgroup('CREATECONSUMER', keys.entries, 'billing', 'dead');
    await client.zadd(members, Date.now() + 60_000, 'me', Date.now() - 60_000, 'dead');
    await client.xadd(dead, '*', 'id', '1-0', 'data', '{}');
    expect(await streams.lag(contract, 'billing')).toMatchObject({
      entries: 1,
      pending: 3,
      retrying: 2,
      deadLetters: 1,
      consumers: [
        { name: 'dead', pending: 0, isAlive: false },
        { name: 'me', pending: 1, isAlive: true },
      ],
    });
  });
});

describe('on the main server', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  test('of a group that is not there, nothing is told but which there are', async () => {
    const { streams } = createScene(own, { url: server.url });
    const contract = notes();
    expect(await failureOf(streams.lag(contract, 'billing'))).toMatchObject({
      code: 'GROUP_UNKNOWN',
      message: `stream ${contract.name} has no group billing; it has none yet`,
    });
    await streams.createGroup(contract, 'search');
    expect(await failureOf(streams.lag(contract, 'billing'))).toMatchObject({ facts: { known: ['search'] } });
    expect(await failureOf(streams.lag(contract, ''))).toMatchObject({ code: 'OPTIONS_INVALID' });
  });

  test('the gauges tell of each stream that this process knows and of all its groups, until it stops', async () => {
    const metrics = createMetrics();
    const { streams, client, keysOf, prefix } = createScene(own, { url: server.url }, { metrics });
    const [contract, unknown] = [notes({ groups: ['billing', 'absent'] }), notes()];
    await streams.createGroup(unknown, 'billing');
    await streams.publishMany(contract, many(10));
    await streams.createGroup(contract, 'billing');
    await client.xgroup('CREATE', keysOf(contract).entries, "another tool's", '$');
    await read(client, keysOf(contract).entries, 'billing', 4);
    const samples = [...readExposition(await metrics.render()).values()].flatMap(({ lines }) => lines);
    const of = (name: string, group?: string): number | undefined =>
      samples.find(
        (one) => one.name === name && one.labels['stream'] === contract.name && one.labels['group'] === group,
      )?.value;
    expect(of('millrace_streams_length')).toBe(10);
    expect(of('millrace_streams_lag', 'billing')).toBe(6);
    expect(of('millrace_streams_pending', 'billing')).toBe(4);
    expect(of('millrace_streams_oldest_pending_seconds', 'billing')).toBeLessThan(10);
    expect(of('millrace_streams_retrying', 'billing')).toBe(0);
    expect(of('millrace_streams_dead_letters', 'billing')).toBe(0);
    expect(of('millrace_streams_consumers', 'billing')).toBe(0);
    expect(of('millrace_streams_lag', "another tool's")).toBe(0);
    expect(of('millrace_streams_lag', 'absent')).toBeUndefined();
    expect(samples.some(({ labels }) => labels['stream'] === unknown.name)).toBe(false);
    const all = createMetrics();
    const { streams: dashboard } = createScene(own, { url: server.url }, { metrics: all, prefix });
    expect(await all.render()).not.toContain('millrace_streams_length{');
    dashboard.collectKnown();
    const told = readExposition(await all.render());
    const same = (name: string): unknown =>
      told
        .get(name)
        ?.lines.find((one) => one.labels['stream'] === contract.name && one.labels['group'] !== "another tool's")
        ?.value;
    expect([same('millrace_streams_length'), same('millrace_streams_lag'), same('millrace_streams_pending')]).toEqual([
      10, 6, 4,
    ]);
    await streams.stop();
    expect(await metrics.render()).not.toContain(`millrace_streams_lag{stream="${contract.name}"`);
  });

  test('while Redis is down the gauges are missing, and come back', async () => {
    const alone = own(await startRedis());
    const metrics = createMetrics({ collectWithin: 500 });
    const { streams } = createScene(own, { url: alone.url, commandTimeout: 300 }, { metrics });
    const contract = notes();
    await streams.publish(contract, { n: 1 });
    alone.freeze();
    expect(await metrics.render()).not.toContain('millrace_streams_length{');
    alone.thaw();
    await expect.poll(() => metrics.render(), { timeout: 10_000 }).toContain('millrace_streams_length{');
  });
});
