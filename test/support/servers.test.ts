import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCluster, startRedis, startSentinelSet, type TestCluster, type TestSentinelSet } from './servers.ts';

describe('private servers', () => {
  test('a server answers, is of this test alone, and is gone after stop', async () => {
    const server = await startRedis();
    expect(await server.ask((redis) => redis.dbsize())).toBe(0);
    await server.stop();
    await expect(server.ask((redis) => redis.ping())).rejects.toThrow('Connection is closed');
  });

  test('a persistent server keeps its data over a kill', async () => {
    const server = await startRedis({ persistent: true, config: { appendfsync: 'always' } });
    await server.ask((redis) => redis.set('key', 'kept'));
    await server.kill();
    await server.startAgain();
    expect(await server.ask((redis) => redis.get('key'))).toBe('kept');
    await server.stop();
  });
});

describe('a Cluster', () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterAll(() => cluster.stop());

  test('has 3 masters and 3 replicas', async () => {
    const roles = await Promise.all(cluster.nodes.map(async (node) => (await node.info()).role));
    expect(roles).toEqual(['master', 'master', 'master', 'slave', 'slave', 'slave']);
  });
});

describe('a Sentinel set', () => {
  let set: TestSentinelSet;
  beforeAll(async () => {
    set = await startSentinelSet();
  });
  afterAll(() => set.stop());

  test('has one master and two replicas', async () => {
    const roles = await Promise.all(set.servers.map(async (server) => (await server.info()).role));
    expect(roles).toEqual(['master', 'slave', 'slave']);
    expect((await set.master()).port).toBe(set.servers[0]?.port);
  });
});
