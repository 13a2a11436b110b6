import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createBatch } from '../../src/redis/batch.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { explainRedisError } from '../../src/redis/explain.ts';
import { clientsOf } from '../support/client-list.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { startCluster, type TestCluster } from '../support/servers.ts';

const own = ownedByTest();
let cluster: TestCluster;
let proxies: Proxy[];

beforeAll(async () => {
  cluster = await startCluster({ replicas: false });
  proxies = await Promise.all(cluster.nodes.map(({ port }) => startProxy(port)));
  // The nodes tell clients the ports of the proxies, so that a test can come between.
  for (const [index, node] of cluster.nodes.entries())
    await node.ask((redis) => redis.config('SET', 'cluster-announce-port', (proxies[index] as Proxy).port));
  const ports = new Set(proxies.map(({ port }) => port));
  for (const node of cluster.nodes) {
    await eventually(async () => {
      const ranges = await node.ask((redis) => redis.cluster('SLOTS'));
      if (!ranges.every(([, , master]) => ports.has(Number(master?.[1]))))
        throw new Error('not all ports are told yet');
    }, 20_000);
  }
});
afterEach(() => proxies.forEach((proxy) => proxy.restore()));
afterAll(async () => {
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  await cluster.stop();
});

const startupNodes = (): string[] => proxies.map(({ port }) => `127.0.0.1:${port}`);

describe('a Cluster', () => {
  test('is asked through one named connection a node and role', async () => {
    const connections = own(createConnections({ cluster: startupNodes() }));
    for (const key of ['a', 'b', 'c', 'd', 'e']) await connections.commands().incr(key);
    const names = await Promise.all(cluster.nodes.map(async (node) => (await clientsOf(node)).map(({ name }) => name)));
    for (const ofNode of names)
      expect(ofNode.filter((name) => name.startsWith('millrace:commands:')).length).toBeLessThanOrEqual(1);
    expect(names.flat().every((name) => name.includes('millrace:commands:'))).toBe(true);
  });

  test('serves the search role', async () => {
    const connections = own(createConnections({ cluster: startupNodes() }));
    expect(await (await connections.search()).ping()).toBe('PONG');
  });

  test('that answers too late has run the command once', async () => {
    const connections = own(createConnections({ cluster: startupNodes(), commandTimeout: 300 }));
    const commands = connections.commands();
    await commands.set('slow', 0);
    for (const proxy of proxies) proxy.loseAnswers();
    await expect(commands.incr('slow')).rejects.toThrow('Command timed out');
    for (const proxy of proxies) proxy.restore();
    for (const proxy of proxies) proxy.cut();
    expect(await eventually(() => commands.get('slow'))).toBe('1');
  });

  test('that is lost before its answer has run the command once, alone or in a batch', async () => {
    const connections = own(createConnections({ cluster: startupNodes() }));
    const commands = connections.commands();
    await commands.mset('{lost}:a', 0, '{lost}:b', 0);
    for (const proxy of proxies) proxy.loseAnswers();
    const batch = createBatch(commands);
    const inBatch = batch.command('INCR', '{lost}:b');
    const outcomes = Promise.all([
      failureOf(
        commands.incr('{lost}:a').catch((error: unknown) => {
          throw explainRedisError(error, 'the test');
        }),
        'REDIS_UNREACHABLE',
      ),
      failureOf(inBatch, 'REDIS_UNREACHABLE'),
      batch.send(),
    ]);
    await eventually(async () => {
      // Two of three nodes say MOVED; the answer of the third counts.
      const answers = cluster.nodes.map((node) => node.ask((redis) => redis.mget('{lost}:a', '{lost}:b')));
      expect(await Promise.any(answers)).toEqual(['1', '1']);
    });
    for (const proxy of proxies) proxy.restore();
    for (const proxy of proxies) proxy.cut();
    await outcomes;
    expect(await eventually(() => commands.mget('{lost}:a', '{lost}:b'))).toEqual(['1', '1']);
  });
});

describe('a Cluster of which every node is killed', () => {
  test('fails commands within their deadline, ends attempts on close, and is used again when it is back', async () => {
    const lines = collectLog();
    const options = { cluster: startupNodes(), commandTimeout: 300 };
    const connections = own(createConnections(options, lines.log));
    const closedMeanwhile = createConnections(options);
    const commands = connections.commands();
    await commands.set('key', 'value');
    const queue = closedMeanwhile.queue();
    await queue.ping();
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    for (const proxy of proxies) proxy.cut();
    await eventually(async () => {
      expect((await timed(commands.incr('count').then(String, String))).ms).toBeLessThan(1_000);
      expect(connections.outage()).toMatchObject({ code: 'REDIS_UNREACHABLE' });
    });

    const waiting = queue.ping().then(String, String);
    await eventually(() => expect(queue.status).toBe('reconnecting'));
    expect((await timed(closedMeanwhile.close())).ms).toBeLessThan(1_500);
    expect(await waiting).toMatch(/Cluster is ended|None of startup nodes/);

    await Promise.all(cluster.nodes.map((node) => node.startAgain()));
    await eventually(() => commands.ping(), 20_000);
    let tries = 0;
    const count = await eventually(() => {
      tries++;
      return commands.incr('count');
    }, 20_000);
    expect(count).toBeLessThanOrEqual(tries); // None of those that failed before is sent now; one that is answered late has counted.
    expect(lines.told().map(({ level }) => level)).toEqual([40, 30]);
  });
});
