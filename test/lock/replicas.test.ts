import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Renew } from '../../src/lock/replicas.ts';
import { Replicas } from '../../src/lock/replicas.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startCluster, startRedis, type TestCluster, type TestServer } from '../support/servers.ts';

const own = ownedByTest();

/** Writes to the lock if it is there, as the renewal of a lease does. */
const renewalOf = (key: string): Renew => {
  return async (client) => (await client.set(key, 'held', 'XX')) === 'OK';
};

const questionsOf = (connections: Connections): Replicas => {
  const replicas = new Replicas(connections);
  own({ stop: async () => replicas.close() });
  return replicas;
};

describe('on a master with two replicas', () => {
  let master: TestServer;
  let followers: [TestServer, TestServer];
  beforeAll(async () => {
    master = await startRedis();
    const config = { replicaof: `127.0.0.1 ${master.port}` };
    followers = await Promise.all([startRedis({ config }), startRedis({ config })]);
    await eventually(async () => {
      const { fields } = await master.info();
      if (fields.get('connected_slaves') !== '2') throw new Error('not both follow yet');
      for (const follower of followers) {
        const { fields: its } = await follower.info();
        if (its.get('master_link_status') !== 'up') throw new Error('a replica does not follow yet');
      }
    });
  });
  afterEach(() => {
    for (const server of [master, ...followers]) server.thaw();
  });
  afterAll(() => Promise.all([master, ...followers].map((server) => server.stop())));

  const asked = async (): Promise<{ connections: Connections; replicas: Replicas; renew: Renew }> => {
    const connections = own(createConnections({ url: master.url, commandTimeout: 1_000 }));
    await connections.commands().set('lock', 'held');
    return { connections, replicas: questionsOf(connections), renew: renewalOf('lock') };
  };

  test('a lock is there when the replicas have it', async () => {
    const { replicas, renew } = await asked();
    await replicas.mustHave('lock', { count: 2, withinMs: 5_000 }, renew);
    for (const follower of followers) expect(await follower.ask((redis) => redis.get('lock'))).toBe('held');
  });

  test('more replicas than there are do not have it', async () => {
    const { replicas, renew } = await asked();
    const error = await failureOf(
      replicas.mustHave('lock', { count: 3, withinMs: 200 }, renew),
      'LOCK_REPLICAS_MISSING',
    );
    expect(error.message).toBe('lock: 2 of 3 replicas had the lock within 200 ms');
    expect(error.facts).toMatchObject({ wanted: 3, acknowledged: 2, withinMs: 200 });
  });

  test('a replica that hangs is missed in time, and holds up nothing but the question', async () => {
    const { connections, replicas, renew } = await asked();
    await replicas.mustHave('lock', { count: 2, withinMs: 5_000 }, renew);
    followers[0].freeze();
    const missed = timed(
      failureOf(replicas.mustHave('lock', { count: 2, withinMs: 600 }, renew), 'LOCK_REPLICAS_MISSING'),
    );
    const other = await timed(connections.commands().ping());
    expect(other.ms).toBeLessThan(300);
    const { value: error, ms } = await missed;
    expect(error.facts).toMatchObject({ wanted: 2, acknowledged: 1 });
    expect(ms).toBeGreaterThan(500);
    expect(ms).toBeLessThan(1_600);
  });

  test('who wants one replica does not wait for him who wants more', async () => {
    const { replicas, renew } = await asked();
    followers[1].freeze();
    const first = timed(replicas.mustHave('lock', { count: 1, withinMs: 2_000 }, renew));
    const greedy = Array.from({ length: 5 }, () =>
      timed(failureOf(replicas.mustHave('lock', { count: 2, withinMs: 500 }, renew), 'LOCK_REPLICAS_MISSING')),
    );
    const modest = timed(replicas.mustHave('lock', { count: 1, withinMs: 2_000 }, renew));
    expect((await first).ms).toBeLessThan(400);
    expect((await modest).ms).toBeLessThan(400);
    // They share one round; one after the other they would take 2.5 s.
    for (const each of await Promise.all(greedy)) expect(each.ms).toBeLessThan(1_500);
  });

  test('a lock that is no longer there is had by none, however well they follow', async () => {
    const { connections, replicas, renew } = await asked();
    await connections.commands().del('lock');
    const error = await failureOf(
      replicas.mustHave('lock', { count: 1, withinMs: 1_000 }, renew),
      'LOCK_REPLICAS_MISSING',
    );
    expect(error.facts).toMatchObject({ acknowledged: 0 });
  });

  test('a frozen master is given up on within the time, and asked again once it answers', async () => {
    const { replicas, renew } = await asked();
    await replicas.mustHave('lock', { count: 1, withinMs: 1_000 }, renew);
    master.freeze();
    const { value, ms } = await timed(
      failureOf(replicas.mustHave('lock', { count: 1, withinMs: 200 }, renew), 'LOCK_REPLICAS_MISSING'),
    );
    expect(value).toMatchObject({ cause: { code: 'REDIS_TIMEOUT' } });
    expect(ms).toBeLessThan(1_500);
    master.thaw();
    await eventually(() => replicas.mustHave('lock', { count: 1, withinMs: 1_000 }, renew));
  });

  test('a question that is given up on closes no connection but its own', async () => {
    const { replicas, renew } = await asked();
    await replicas.mustHave('lock', { count: 1, withinMs: 1_000 }, renew);
    master.freeze();
    const missing = (withinMs: number): Promise<unknown> =>
      failureOf(replicas.mustHave('lock', { count: 1, withinMs }, renew), 'LOCK_REPLICAS_MISSING');
    const [first, second] = [missing(100), missing(150)];
    await first;
    // By a new connection, while the second question still hangs on the old one.
    const third = replicas.mustHave('lock', { count: 1, withinMs: 5_000 }, renew);
    await second;
    master.thaw();
    await third;
  });

  test('a patient question outlasts an impatient one that came with it', async () => {
    const { replicas, renew } = await asked();
    await replicas.mustHave('lock', { count: 2, withinMs: 5_000 }, renew);
    followers[0].freeze();
    const patient = replicas.mustHave('lock', { count: 2, withinMs: 8_000 }, renew);
    const impatient = replicas.mustHave('lock', { count: 2, withinMs: 100 }, renew);
    await failureOf(impatient, 'LOCK_REPLICAS_MISSING');
    followers[0].thaw();
    await patient;
  });
});

describe('on a Cluster', () => {
  let cluster: TestCluster;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterAll(() => cluster.stop());

  test("each lock is asked of its own master's replica, also after the master has changed", async () => {
    const connections = own(createConnections({ cluster: cluster.addresses, commandTimeout: 2_000 }));
    const replicas = questionsOf(connections);
    const locks = ['{a}:lock', '{b}:lock', '{c}:lock', '{d}:lock'];
    const haveAll = (): Promise<unknown> =>
      Promise.all(
        locks.map(async (lock) => {
          await connections.commands().set(lock, 'held');
          await replicas.mustHave(lock, { count: 1, withinMs: 3_000 }, renewalOf(lock));
        }),
      );
    await haveAll();
    const error = await failureOf(
      replicas.mustHave('{a}:lock', { count: 2, withinMs: 100 }, renewalOf('{a}:lock')),
      'LOCK_REPLICAS_MISSING',
    );
    expect(error.facts).toMatchObject({ acknowledged: 1 });

    for (const node of cluster.nodes.slice(3)) await node.ask((redis) => redis.call('CLUSTER', 'FAILOVER'));
    await eventually(async () => {
      for (const node of cluster.nodes.slice(0, 3)) {
        expect((await node.info()).fields.get('master_link_status')).toBe('up');
      }
    });
    await haveAll();
  });
});
