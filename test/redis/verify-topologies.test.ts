import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createConnections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { expectNoSecret, failureOf } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import {
  freePort,
  startCluster,
  startRedis,
  startSentinelSet,
  type TestCluster,
  type TestSentinelSet,
} from '../support/servers.ts';

const SECRET = 'wr0ng-passw0rd';

describe('a Sentinel set', () => {
  let set: TestSentinelSet;
  beforeAll(async () => {
    set = await startSentinelSet();
  });
  afterAll(() => set.stop());

  test('is entered through its master, silently', async () => {
    const lines = collectLog();
    const connections = createConnections({ sentinels: set.addresses, masterName: set.masterName }, lines.log);
    const master = await set.master();
    expect(await connections.verify()).toMatchObject({ role: 'master', processId: (await master.info()).processId });
    expect(lines.all()).toEqual([]);
  });

  test('does not know the name of another master', async () => {
    const connections = createConnections({ sentinels: set.addresses, masterName: 'mymistress' });
    const error = await failureOf(connections.verify(), 'REDIS_UNREACHABLE');
    expect(error.message).toContain('the Sentinels watch no master named "mymistress". Check REDIS_MASTER_NAME');
  });

  test('works while one of three Sentinels is down, and warns of it', async () => {
    const lines = collectLog();
    const [first, second] = set.addresses as [string, string];
    const gone = `127.0.0.1:${await freePort()}`;
    for (const sentinels of [
      [gone, first, second],
      [first, second, gone],
    ]) {
      const connections = createConnections({ sentinels, masterName: set.masterName }, lines.log);
      expect((await connections.verify()).role).toBe('master');
    }
    expect(lines.all().map(({ level, msg }) => [level, msg])).toEqual(
      Array.from({ length: 2 }, () => [40, expect.stringContaining(`${gone}: nothing listens there`)]),
    );
  });

  test('with no Sentinel that answers is one error', async () => {
    const lines = collectLog();
    const sentinels = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
    const connections = createConnections({ sentinels, masterName: set.masterName }, lines.log);
    const error = await failureOf(connections.verify(), 'REDIS_UNREACHABLE');
    expect(error.message).toContain('nothing listens there');
    expect(lines.all()).toEqual([]);
  });

  test('refuses a wrong password, even where another Sentinel is down', async () => {
    const locked = await startRedis({ isSentinel: true, config: { requirepass: 'r1ght-passw0rd' } });
    try {
      const sentinels = [`127.0.0.1:${await freePort()}`, locked.address];
      const options = { sentinels, masterName: set.masterName, sentinelPassword: SECRET };
      const error = await failureOf(createConnections(options).verify(), 'REDIS_AUTH_FAILED');
      expect(error.message).toContain(locked.address);
      expectNoSecret(SECRET, error, error.cause);
    } finally {
      await locked.stop();
    }
  });

  test('whose Sentinels still name a replica is told as a failover under way', async () => {
    const replica = set.servers[1] as (typeof set.servers)[number];
    const sentinel = await startRedis({
      isSentinel: true,
      config: { sentinel: [`monitor stale 127.0.0.1 ${replica.port} 2`] },
    });
    try {
      const connections = createConnections({ sentinels: [sentinel.address], masterName: 'stale' });
      const error = await failureOf(connections.verify(), 'REDIS_WRITES_REFUSED');
      expect(error.message).toContain('a failover is under way');
    } finally {
      await sentinel.stop();
    }
  });
});

describe('a Cluster without replicas', () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await startCluster({ replicas: false });
  });
  afterAll(() => cluster.stop());

  test('is entered through any node, silently', async () => {
    const lines = collectLog();
    const connections = createConnections({ cluster: cluster.addresses.slice(1) }, lines.log);
    expect(await connections.verify()).toMatchObject({ mode: 'cluster' });
    expect(lines.all()).toEqual([]);
  });

  test('works while a startup node is down, and warns of it', async () => {
    const lines = collectLog();
    const gone = `127.0.0.1:${await freePort()}`;
    const connections = createConnections({ cluster: [gone, ...cluster.addresses] }, lines.log);
    expect((await connections.verify()).mode).toBe('cluster');
    expect(lines.all()).toHaveLength(1);
    expect(lines.all()[0]?.msg).toContain(`${gone}: nothing listens there`);
  });

  test('refuses a wrong password with one error, not one a node', async () => {
    const lines = collectLog();
    const options = { cluster: cluster.addresses, username: 'nobody', password: SECRET };
    const error = await failureOf(createConnections(options, lines.log).verify(), 'REDIS_AUTH_FAILED');
    expectNoSecret(SECRET, error, error.cause);
    expect(lines.all()).toEqual([]);
  });

  test('that lost a master is down, and says how many slots are served', async () => {
    await cluster.nodes[2]?.kill();
    const connections = createConnections({ cluster: cluster.addresses });
    const error = await eventually(() => failureOf(connections.verify(), 'REDIS_CLUSTER_DOWN'));
    expect(error.facts['slotsServed']).toBe(10_923);
    expect(error.message).toContain('10923 of 16384 slots are served');
    expect(error.message).toContain('see CLUSTER NODES');
  });
});
