/** A server may accept a connection and then say nothing, or stop in the middle of the handshake: no client may wait for that for ever. */
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/log.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { Broadcast } from '../../src/redis/broadcast.ts';
import type { RedisClient } from '../../src/redis/clients.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const opened: Broadcast[] = [];
afterEach(() => {
  for (const broadcast of opened.splice(0)) broadcast.close();
});

/** Connections that wait for a handshake, but not for long. */
function connect(redis: RedisOptions): Connections {
  return own(createConnections({ connectTimeout: '250ms', ...redis }));
}

function listen(connections: Connections): { broadcast: Broadcast; heard: string[] } {
  const heard: string[] = [];
  const listener = {
    onMessage: (text: string) => heard.push(text),
    onLive: () => heard.push('live'),
    onLost: () => heard.push('lost'),
  };
  const broadcast = new Broadcast('news', connections, silentLogger, listener);
  opened.push(broadcast);
  return { broadcast, heard };
}

/** How much of a handshake is answered. */
const STOPS = [
  ['says nothing', 0],
  ['stops in its first answers', 20],
  ['stops in what it tells of itself', 600],
] as const;

type ClientOf = (connections: Connections) => RedisClient;

/** What BullMQ makes of the `queue` client for its blocking reads. */
const doubled: ClientOf = (connections) => {
  const client = (connections.queue() as Redis).duplicate();
  client.on('error', () => undefined);
  own({ close: async () => client.disconnect() });
  return client;
};

const CLIENTS: readonly [string, ClientOf][] = [
  ['queue', (connections) => connections.queue()],
  ['queue, doubled by BullMQ,', doubled],
  ['commands', (connections) => connections.commands()],
  ['subscriber', (connections) => connections.subscriber()],
  ['blocking', (connections) => connections.blocking('loop')],
];

/** Resolves once the proxy has seen connections that were given up: the next one is under way. */
async function givenUp(proxy: Proxy): Promise<void> {
  const before = proxy.accepted;
  await eventually(() => expect(proxy.accepted).toBeGreaterThan(before + 1), 10_000);
}

describe.each(STOPS)('a server that %s', (_what, bytes) => {
  test.each(CLIENTS)('is given up by the client %s and asked again', async (_role, clientOf) => {
    const proxy = own(await startProxy(server.port));
    proxy.fallSilentAfter(bytes);
    const client = clientOf(connect({ url: proxy.url }));
    const first = client.ping().catch(() => undefined); // Of `commands` it fails within its deadline.
    await givenUp(proxy);
    proxy.restore();
    await eventually(() => expect(client.status).toBe('ready'));
    expect(await client.ping()).toBe('PONG');
    await first;
  });

  test('when a subscriber comes back is given up, until messages are heard again', async () => {
    const proxy = own(await startProxy(server.port));
    const { broadcast, heard } = listen(connect({ url: proxy.url }));
    await broadcast.open();
    proxy.fallSilentAfter(bytes);
    proxy.cut();
    await givenUp(proxy);
    expect(heard).toEqual(['live', 'lost']);
    proxy.restore();
    await eventually(() => expect(heard).toEqual(['live', 'lost', 'live']));
    await server.ask((redis) => redis.publish('news', 'hello'));
    await eventually(() => expect(heard).toEqual(['live', 'lost', 'live', 'hello']));
  });

  test('is given up for good by a transaction', async () => {
    const proxy = own(await startProxy(server.port));
    proxy.fallSilentAfter(bytes);
    const client = await connect({ url: proxy.url }).transaction('key');
    await expect(client.ping()).rejects.toThrow(/closed|no answer/);
    await eventually(() => expect(client.status).toBe('end'));
  });
});

test('a handshake of TLS that is not answered is given up, and tried again', async () => {
  const proxy = own(await startProxy(server.port));
  proxy.freeze();
  const connections = connect({ url: `rediss://127.0.0.1:${proxy.port}` });
  for (const [, clientOf] of CLIENTS)
    clientOf(connections)
      .ping()
      .catch(() => undefined);
  await eventually(() => expect(proxy.accepted).toBeGreaterThan(2 * CLIENTS.length), 10_000);
});

test('who waits for a handshake is told why', async () => {
  const proxy = own(await startProxy(server.port));
  proxy.freeze();
  const lines = collectLog();
  const connections = own(createConnections({ url: proxy.url, connectTimeout: '250ms' }, lines.log));
  connections
    .queue()
    .ping()
    .catch(() => undefined);
  await eventually(() => expect(lines.warnings()).not.toHaveLength(0));
  expect(lines.warnings()[0]).toMatchObject({ role: 'queue', code: 'REDIS_UNREACHABLE' });
  expect(lines.warnings()[0]?.msg).toMatch(
    /accepts connections but does not answer.*no answer to the handshake in 250 ms/,
  );
});
