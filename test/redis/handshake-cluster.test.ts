/** On a Cluster and with Sentinels too, no client waits for ever for the handshake of a node, a master or a Sentinel. */
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/log.ts';
import { Broadcast } from '../../src/redis/broadcast.ts';
import type { RedisClient, SearchClient } from '../../src/redis/clients.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { startCluster, startRedis, type TestCluster, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
const opened: Broadcast[] = [];
afterEach(() => {
  for (const broadcast of opened.splice(0)) broadcast.close();
});

function listen(connections: Connections, isSharded = false): { broadcast: Broadcast; heard: string[] } {
  const heard: string[] = [];
  const listener = {
    onMessage: (text: string) => heard.push(text),
    onLive: () => heard.push('live'),
    onLost: () => heard.push('lost'),
  };
  const broadcast = new Broadcast('news', connections, silentLogger, listener, { sharded: isSharded });
  opened.push(broadcast);
  return { broadcast, heard };
}

/** What BullMQ makes of the `queue` client for its blocking reads. */
function doubled(connections: Connections): RedisClient {
  const client = (connections.queue() as Redis).duplicate();
  client.on('error', () => undefined);
  own({ close: async () => client.disconnect() });
  return client;
}

type ClientOf = (connections: Connections) => RedisClient;

const CLIENTS: readonly [string, ClientOf][] = [
  ['queue', (connections) => connections.queue()],
  ['queue, doubled by BullMQ,', doubled],
  ['commands', (connections) => connections.commands()],
  ['blocking', (connections) => connections.blocking('loop')],
];

/** Resolves once a connection was given up because of its handshake. */
function givenUp(client: RedisClient): Promise<void> {
  return new Promise((resolve) => {
    const hear = (error: Error): void => void (error.message.includes('no answer to the handshake') && resolve());
    client.on('error', hear).on('node error', hear);
  });
}

/** Keys of each of the three masters. */
const KEYS = ['{a}', '{b}', '{c}', '{d}', '{e}', '{f}'];
/** Asks the node that serves the key. */
const ask = (search: SearchClient, key: string): Promise<unknown> =>
  (search as unknown as { get: (key: string) => Promise<unknown> }).get(key);

/** A Sentinel that leads to this port, and never to another one. */
async function startSentinel(port: number): Promise<TestServer> {
  const sentinel = [`monitor mymaster 127.0.0.1 ${port} 1`, 'down-after-milliseconds mymaster 600000'];
  return own(await startRedis({ isSentinel: true, config: { sentinel } }));
}

/** Passes what a client asks before it knows the nodes, and ends within what a node tells of itself. */
const WITHIN_INFO = 2_000;

describe('a Cluster', () => {
  let cluster: TestCluster;
  let proxies: Proxy[];
  beforeAll(async () => {
    cluster = await startCluster({ replicas: false });
    proxies = await Promise.all(cluster.nodes.map(({ port }) => startProxy(port)));
    const ports = new Set(proxies.map(({ port }) => port));
    for (const [index, node] of cluster.nodes.entries())
      await node.ask((redis) => redis.config('SET', 'cluster-announce-port', (proxies[index] as Proxy).port));
    for (const node of cluster.nodes) {
      await eventually(async () => {
        const ranges = await node.ask((redis) => redis.cluster('SLOTS'));
        if (!ranges.every(([, , master]) => ports.has(Number(master?.[1]))))
          throw new Error('not all ports are told yet');
      });
    }
  });
  afterEach(() => restore());
  afterAll(async () => {
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    await cluster.stop();
  });

  const fallSilent = (): void => proxies.forEach((proxy) => proxy.fallSilentAfter(WITHIN_INFO));
  const restore = (): void => proxies.forEach((proxy) => proxy.restore());

  function connect(): Connections {
    const nodes = proxies.map(({ port }) => `127.0.0.1:${port}`);
    return own(createConnections({ cluster: nodes, connectTimeout: '250ms' }));
  }

  test.each(CLIENTS)(
    'whose nodes stop in the handshake is given up by the client %s and asked again',
    async (_role, clientOf) => {
      fallSilent();
      const client = clientOf(connect());
      const silence = givenUp(client);
      const first = client.incr('key').catch(() => undefined); // Of `commands` it fails within its deadline.
      await silence;
      restore();
      expect(await eventually(() => client.incr('key'))).toBeGreaterThan(0);
      await first;
    },
  );

  test.each([false, true])('whose nodes stop in it is subscribed to again; sharded: %s', async (isSharded) => {
    const connections = connect();
    const { broadcast, heard } = listen(connections, isSharded);
    await broadcast.open();
    const warnings: string[] = [];
    const warn = (warning: Error): void => void warnings.push(warning.message);
    process.on('warning', warn);
    own({ close: async () => void process.off('warning', warn) });
    fallSilent();
    for (const proxy of proxies) proxy.cut();
    await eventually(() => expect(heard).toEqual(['live', 'lost']));
    const before = accepted();
    await eventually(() => expect(accepted()).toBeGreaterThan(before + 10)); // Where nothing ends, nothing begins anew.
    restore();
    await eventually(() => expect(broadcast.isLive).toBe(true));
    await eventually(() =>
      isSharded ? connections.commands().spublish('news', 'hello') : connections.commands().publish('news', 'hello'),
    );
    await eventually(() => expect(heard.at(-1)).toBe('hello'));
    expect(warnings.filter((message) => message.includes('[Socket]'))).toEqual([]); // Nothing grows with the attempts.
  });

  test('whose nodes stop in it when the search client comes back is searched again', async () => {
    const nodes = proxies.map(({ port }) => `127.0.0.1:${port}`);
    const connections = own(createConnections({ cluster: nodes, connectTimeout: 250, commandTimeout: 250 }));
    const search = await eventually(() => connections.search());
    for (const key of KEYS) await eventually(() => ask(search, key));
    for (const proxy of proxies) proxy.fallSilentAfter(20);
    for (const proxy of proxies) proxy.cut();
    const before = accepted();
    await eventually(() => expect(accepted()).toBeGreaterThan(before + 10));
    restore();
    for (const key of KEYS) expect(await eventually(() => ask(search, key))).toBeNull();
  });

  const accepted = (): number => proxies.reduce((sum, proxy) => sum + proxy.accepted, 0);
});

describe('behind Sentinels', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  const clients = [...CLIENTS, ['subscriber', (connections: Connections) => connections.subscriber()] as const];

  test.each(clients)('a master that stops in the handshake is given up by the client %s', async (_role, clientOf) => {
    const proxy = own(await startProxy(server.port));
    const sentinel = await startSentinel(proxy.port);
    proxy.fallSilentAfter(20);
    const options = { sentinels: [sentinel.address], masterName: 'mymaster', connectTimeout: 250 };
    const client = clientOf(own(createConnections(options)));
    const silence = givenUp(client);
    const first = client.ping().catch(() => undefined);
    await silence;
    proxy.restore();
    await eventually(() => expect(client.status).toBe('ready'));
    expect(await client.ping()).toBe('PONG');
    await first;
  });

  test('a master that stops in the handshake when the search client comes back is given up', async () => {
    const proxy = own(await startProxy(server.port));
    const sentinel = await startSentinel(proxy.port);
    const options = { sentinels: [sentinel.address], masterName: 'mymaster', connectTimeout: 250, commandTimeout: 250 };
    const connections = own(createConnections(options));
    const search = await eventually(() => connections.search());
    proxy.fallSilentAfter(20);
    proxy.cut();
    const before = proxy.accepted;
    await eventually(() => expect(proxy.accepted).toBeGreaterThan(before + 5));
    proxy.restore();
    expect(await eventually(() => search.ping())).toBe('PONG');
  });

  test.each([0, 20])('a Sentinel that stops after %i bytes of its answers is passed by', async (bytes) => {
    const [silent, answers] = [await startSentinel(server.port), await startSentinel(server.port)];
    const proxy = own(await startProxy(silent.port));
    proxy.fallSilentAfter(bytes);
    const sentinels = [`127.0.0.1:${proxy.port}`, answers.address];
    const connections = own(createConnections({ sentinels, masterName: 'mymaster', connectTimeout: '250ms' }));
    for (const [, clientOf] of clients) expect(await eventually(() => clientOf(connections).ping())).toBe('PONG');
  });
});
