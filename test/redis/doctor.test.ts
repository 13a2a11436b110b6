import { rmSync } from 'node:fs';
import { describe, expect, inject, test } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { formatReport } from '../../src/redis/doctor-text.ts';
import { diagnose, type Finding, type Report } from '../../src/redis/doctor.ts';
import { numberIn } from '../../src/redis/server-info.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { temporaryFolder } from '../support/folders.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis } from '../support/servers.ts';
import { skipBecause } from '../support/skips.ts';

const own = ownedByTest();
const { tooOld } = inject('servers');

const HOUR_MS = 3_600_000;

/** What the doctor says, and the ids of what it found; a busy machine's slow round trips aside. */
async function look(options: RedisOptions, clock?: Clock): Promise<{ report: Report; found: string[] }> {
  const connections = own(createConnections(options));
  const report = await diagnose(connections, 'test', clock);
  const findings = report.findings.filter(({ id }) => id !== 'slow-round-trips');
  report.findings = findings;
  report.ok = findings.every(({ severity }) => severity === 'note');
  return { report, found: findings.map(({ id }) => id) };
}

const finding = (report: Report, id: string): Finding => {
  const found = report.findings.find((one) => one.id === id);
  if (!found) throw new Error(`expected the finding ${id}, got ${report.findings.map((one) => one.id).join()}`);
  return found;
};

/** What every server here has, for tests that are about something else. */
const SOUND = { persistent: true, config: { maxmemory: '1gb' } } as const;

describe('a server that is well', () => {
  test('gets a report without a warning', async () => {
    const server = own(await startRedis(SOUND));
    const { report, found } = await look({ url: server.url });
    expect(report).toMatchObject({ ok: true, address: `redis://${server.address}/0`, topology: 'standalone' });
    expect(found.filter((id) => id !== 'vectors-off')).toEqual([]);
    expect(Math.abs(report.clockSkewMs)).toBeLessThan(500);
    expect(report.roundTrip).toMatchObject({ samples: 200, medianMs: expect.any(Number) });
    expect(report.nodes).toEqual([
      {
        address: server.address,
        server: `${inject('servers').main.kind === 'valkey' ? 'Valkey' : 'Redis'} ${inject('servers').main.version}`,
        role: 'master',
        uptimeSeconds: expect.any(Number),
        persistence: { appendOnly: true, snapshots: false, lastWriteOk: true },
        evictionPolicy: 'noeviction',
        memory: { usedBytes: expect.any(Number), limitBytes: 1024 ** 3, machineBytes: expect.any(Number) },
        connections: { used: 1, limit: expect.any(Number) },
        replicas: 0,
      },
    ]);
  });

  test('without a limit of memory gets a note, and is well still', async () => {
    const server = own(await startRedis({ persistent: true }));
    const { report, found } = await look({ url: server.url });
    expect(found).toContain('memory-unlimited');
    expect(report.ok).toBe(true);
  });

  test('is left as it was, but for the key of the probe', async () => {
    const server = own(await startRedis(SOUND));
    await look({ url: server.url });
    const keys = await server.ask((redis) => redis.scan(0));
    expect(keys[1]).toEqual([expect.stringMatching(/^test:health:\{.+\}:probe$/)]);
    expect(await server.ask((redis) => redis.pttl(keys[1][0] ?? ''))).toBeGreaterThan(50_000);
  });
});

describe('what is written to disk', () => {
  test('nothing', async () => {
    const server = own(await startRedis());
    const { report } = await look({ url: server.url });
    expect(report.ok).toBe(false);
    expect(finding(report, 'append-only-off')).toMatchObject({
      severity: 'warning',
      found: expect.stringContaining('nothing is written to disk'),
      means: 'a restart of the server loses all jobs and data',
    });
  });

  test('snapshots alone', async () => {
    const server = own(await startRedis({ config: { save: '3600 1' } }));
    const { report } = await look({ url: server.url });
    expect(finding(report, 'append-only-off')).toMatchObject({
      found: 'the append-only file is off',
      means: 'a crash of the server loses every job since its last snapshot',
    });
  });

  test('snapshots that fail, so that the server refuses writes', async () => {
    const dir = temporaryFolder();
    const server = own(await startRedis({ config: { dir, save: '3600 1', 'shutdown-on-sigterm': 'nosave' } }));
    rmSync(dir, { recursive: true });
    await server.ask((redis) => redis.call('BGSAVE'));
    await eventually(async () => expect((await server.info()).fields.get('rdb_last_bgsave_status')).toBe('err'));
    const { report } = await look({ url: server.url });
    expect(finding(report, 'disk-write-failed').severity).toBe('error');
    expect(finding(report, 'writes-refused')).toMatchObject({
      severity: 'error',
      found: expect.stringContaining('it could not write to its disk'),
    });
    expect(report.nodes[0]?.persistence.lastWriteOk).toBe(false);
  });

  test('is unknown where the user may not ask', async () => {
    const server = own(await startRedis());
    await server.ask((redis) => redis.acl('SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all', '-@admin'));
    const { report } = await look({ url: server.url, username: 'app', password: 'secret' });
    expect(report.nodes[0]?.persistence.snapshots).toBeUndefined();
    expect(finding(report, 'append-only-off').found).toBe('the append-only file is off');
    expect(formatReport(report).join('\n')).toContain('snapshots unknown');
  });
});

describe('what runs short', () => {
  test('memory', async () => {
    const server = own(await startRedis());
    await server.ask((redis) => redis.set('ballast', Buffer.alloc(20 * 1024 ** 2)));
    const used = numberIn(await server.info(), 'used_memory');
    await server.ask((redis) => redis.config('SET', 'maxmemory', Math.round(used / 0.85)));
    const { report } = await look({ url: server.url });
    const { severity, found } = finding(report, 'memory-nearly-full');
    expect(severity).toBe('warning');
    expect(found).toMatch(/^\d\d % of the memory is used$/);
  });

  test('all memory, so that the server refuses writes', async () => {
    const server = own(await startRedis({ persistent: true, config: { maxmemory: 1_000 } }));
    const { report } = await look({ url: server.url });
    expect(finding(report, 'writes-refused').found).toContain('it has reached maxmemory');
    expect(finding(report, 'memory-nearly-full')).toBeDefined();
  });

  test('what may be evicted', async () => {
    const server = own(await startRedis({ config: { 'maxmemory-policy': 'allkeys-lru' } }));
    const { report } = await look({ url: server.url });
    expect(finding(report, 'eviction-on')).toMatchObject({
      severity: 'warning',
      found: 'maxmemory-policy is allkeys-lru',
      means: 'when memory runs short the server may delete jobs, locks and sessions',
    });
  });

  test('connections', async () => {
    const server = own(await startRedis(SOUND));
    const others = own(createConnections({ url: server.url }));
    await Promise.all(Array.from({ length: 8 }, (_, index) => others.blocking(`loop-${index}`).ping()));
    await server.ask((redis) => redis.config('SET', 'maxclients', 10));
    const { report } = await look({ url: server.url });
    expect(finding(report, 'connections-nearly-full').found).toBe('9 of 10 connections are used');
  });

  test('time', async () => {
    const server = own(await startRedis(SOUND));
    const proxy = own(await startProxy(server.port));
    proxy.slowDown(12);
    const connections = own(createConnections({ url: proxy.url }));
    const report = await diagnose(connections, 'test');
    expect(report.ok).toBe(false);
    expect(finding(report, 'slow-round-trips').found).toMatch(/^a round trip takes \S+ ms \(median\)/);
  });
});

describe('the clocks', () => {
  test.each([
    [HOUR_MS, 'behind'],
    [-HOUR_MS, 'ahead of'],
  ])('of the server and of this machine, %i ms ahead', async (offsetMs, word) => {
    const server = own(await startRedis(SOUND));
    const clock: Clock = { ...systemClock, wallMs: () => systemClock.wallMs() + offsetMs };
    const { report } = await look({ url: server.url }, clock);
    expect(Math.abs(report.clockSkewMs + offsetMs)).toBeLessThan(500);
    expect(finding(report, 'clock-skew')).toMatchObject({
      severity: 'warning',
      found: `the server's clock is 1 h ${word} this machine's`,
    });
  });
});

describe('the server itself', () => {
  test('is a replica', async () => {
    const master = own(await startRedis());
    const replica = own(await startRedis({ config: { replicaof: `127.0.0.1 ${master.port}` } }));
    const { report } = await look({ url: replica.url });
    expect(report.nodes[0]?.role).toBe('replica');
    expect(finding(report, 'writes-refused')).toMatchObject({
      severity: 'error',
      found: expect.stringContaining('the server is a replica and takes no writes'),
    });
    await eventually(async () => expect((await look({ url: master.url })).report.nodes[0]?.replicas).toBe(1));
  });

  test('is old', async (context) => {
    if (typeof tooOld === 'string') skipBecause(context, tooOld);
    const server = own(await startRedis({ ...SOUND, binary: tooOld }));
    const { report, found } = await look({ url: server.url });
    expect(found).toEqual(['server-old', 'vectors-off']);
    expect(finding(report, 'server-old').found).toBe(`Redis ${tooOld.version} is older than 7.2`);
  });

  test('is down', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url, commandTimeout: 300 }));
    await connections.commands().ping();
    await server.kill();
    await expect(diagnose(connections, 'test')).rejects.toMatchObject({
      code: expect.stringMatching(/REDIS_(UNREACHABLE|TIMEOUT)/),
    });
  });

  test('is frozen', async () => {
    const server = own(await startRedis());
    const connections = own(createConnections({ url: server.url, commandTimeout: 300 }));
    await connections.commands().ping();
    server.freeze();
    const error = await failureOf(diagnose(connections, 'test'), 'REDIS_TIMEOUT');
    expect(error.message).toContain('no answer within the deadline');
  });
});

describe('the report in words', () => {
  test('has each finding with what it means and how to mend it', async () => {
    const server = own(await startRedis({ config: { 'maxmemory-policy': 'volatile-lru', maxmemory: '64mb' } }));
    const { report } = await look({ url: server.url });
    const lines = formatReport(report);
    const text = lines.join('\n');
    expect(report.findings.length).toBeGreaterThan(1);
    for (const { severity, found, means, mend } of report.findings)
      expect(text).toContain(`${severity}: ${found}\n    means: ${means}\n    mend:  ${mend}`);
    expect(lines[0]).toBe(`standalone at redis://${server.address}/0`);
    for (const part of [
      server.address,
      'append-only file off, snapshots off',
      'volatile-lru',
      'limit 64 MB',
      'clock skew',
    ])
      expect(text).toContain(part);
    expect(text).toMatch(/ {2}can +.*sharded pub\/sub/);
    expect(text).toMatch(/ {2}cannot +.*hybrid|FT\.HYBRID/);
  });

  test('says so when there is nothing to find', async () => {
    const server = own(await startRedis(SOUND));
    const { report } = await look({ url: server.url });
    expect(formatReport({ ...report, findings: [] }).at(-1)).toBe('no findings: all is well');
  });
});
