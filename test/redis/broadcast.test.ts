import { afterEach, describe, expect, test } from 'vitest';
import { silentLogger, type Logger } from '../../src/log.ts';
import type { RedisOptions, Topology } from '../../src/redis/address.ts';
import { Broadcast } from '../../src/redis/broadcast.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { startForFile } from '../contract/topologies.ts';
import { eventually } from '../support/eventually.ts';
import { collectLog, type LogLine } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();
const opened: Broadcast[] = [];
afterEach(() => {
  for (const broadcast of opened.splice(0)) broadcast.close();
});

/** A channel, and all that it told. */
function listen(
  connections: Connections,
  name = 'news',
  log: Logger = silentLogger,
): { broadcast: Broadcast; heard: string[] } {
  const heard: string[] = [];
  const broadcast = new Broadcast(name, connections, log, {
    onMessage: (text) => heard.push(text),
    onLive: () => heard.push('live'),
    onLost: () => heard.push('lost'),
  });
  opened.push(broadcast);
  return { broadcast, heard };
}

function connect(redis: RedisOptions): Connections {
  return own(createConnections(redis));
}

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);

  test('a channel hears what is said while it is live, and says when it is not', async () => {
    const connections = connect(topologyOf().redis);
    const { broadcast, heard } = listen(connections);
    await broadcast.open();
    expect(broadcast.isLive).toBe(true);
    await connections.commands().publish('news', 'one');
    await connections.commands().publish('other', 'not this one');
    await eventually(() => expect(heard).toEqual(['live', 'one']));
    for (const server of topologyOf().servers)
      await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
    // Of a Cluster's nodes the next one may be cut too.
    await eventually(() => expect(heard.slice(2).join()).toMatch(/^lost,live(,lost,live)*$/));
    await connections.commands().publish('news', 'two');
    await eventually(() => expect(heard.at(-1)).toBe('two'));
  });

  test('a channel outlives the server that its messages come from', async () => {
    const connections = connect(topologyOf().redis);
    const { broadcast, heard } = listen(connections);
    await broadcast.open();
    const isListening = topologyOf().servers.map((server) =>
      server.ask(async (redis) => ((await redis.pubsub('CHANNELS', 'news')) as string[]).length > 0),
    );
    const from = topologyOf().servers[(await Promise.all(isListening)).indexOf(true)];
    await from?.kill();
    await eventually(() => expect(heard).toContain('lost'));
    await from?.startAgain();
    await eventually(() => expect(broadcast.isLive).toBe(true), 20_000);
    await eventually(() => connections.commands().publish('news', 'after'), 20_000);
    await eventually(() => expect(heard.at(-1)).toBe('after'));
  });
});

test('a channel that is opened before the server is there becomes live with it', async () => {
  const server = own(await startRedis());
  const { port } = server;
  await server.kill();
  const { broadcast, heard } = listen(connect({ url: `redis://127.0.0.1:${port}` }));
  const live = broadcast.open();
  expect(broadcast.isLive).toBe(false);
  await server.startAgain();
  await live;
  expect(heard).toEqual(['live']);
});

test('a connection that is silent without being closed is given up, and so are those that come after it', async () => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const { broadcast, heard } = listen(connect({ url: proxy.url, connectTimeout: '250ms' }));
  await broadcast.open();
  proxy.freeze();
  await eventually(() => expect(heard).toEqual(['live', 'lost']));
  await eventually(() => expect(proxy.accepted).toBeGreaterThan(2)); // It has met the silence again.
  proxy.restore();
  await eventually(() => expect(heard).toEqual(['live', 'lost', 'live']));
});

test('a connection on which nothing is said stays', async () => {
  const server = own(await startRedis());
  const { broadcast, heard } = listen(connect({ url: server.url }));
  await broadcast.open();
  await new Promise((resolve) => setTimeout(resolve, 5_000)); // Two questions and more.
  expect(heard).toEqual(['live']);
});

test('a channel that may not be heard is told of once, with the reason, and again only after it was heard', async () => {
  const server = own(await startRedis());
  await server.ask((redis) => redis.acl('SETUSER', 'deaf', 'on', '>long-enough', '~*', '&other', '+@all'));
  const connections = connect({ url: `redis://deaf:long-enough@127.0.0.1:${server.port}` });
  const lines = collectLog();
  const { broadcast, heard } = listen(connections, 'news', lines.log);
  const live = broadcast.open();
  const drop = (): Promise<unknown> =>
    server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
  const refusals = (): LogLine[] => lines.all().filter(({ channel }) => channel === 'news');
  await eventually(() => expect(refusals()).not.toHaveLength(0));
  await drop();
  await eventually(() => expect(refusals().length).toBeGreaterThan(2));
  expect(lines.warnings().filter(({ channel }) => channel === 'news')).toHaveLength(1);
  const [warning] = lines.warnings();
  expect(warning).toMatchObject({ channel: 'news', code: 'REDIS_FORBIDDEN' });
  expect(warning?.msg).toMatch(/messages are not heard.*ACL SETUSER/);
  expect(heard).toEqual([]);

  await server.ask((redis) => redis.acl('SETUSER', 'deaf', '&news'));
  await drop();
  await live;
  expect(heard).toEqual(['live']);
  await server.ask((redis) => redis.acl('SETUSER', 'deaf', 'resetchannels', '&other')); // Which drops the connection.
  await eventually(() => expect(lines.warnings().filter(({ channel }) => channel === 'news')).toHaveLength(2));
  expect(broadcast.isLive).toBe(false);
});

test('of two that listen to one channel on one connection, closing one leaves the other live', async () => {
  const server = own(await startRedis());
  const connections = connect({ url: server.url });
  const [one, other] = [listen(connections), listen(connections)];
  await Promise.all([one.broadcast.open(), other.broadcast.open()]);
  one.broadcast.close();
  await connections.subscriber().ping(); // What closing sends has arrived.
  await connections.commands().publish('news', 'x');
  await eventually(() => expect(other.heard).toEqual(['live', 'x']));
  expect(one.heard).toEqual(['live']);
  other.broadcast.close();
  await eventually(async () => expect(await server.ask((redis) => redis.pubsub('CHANNELS', 'news'))).toEqual([]));
});

test('what is closed hears nothing any more, and others on the same connection still do', async () => {
  const server = own(await startRedis());
  const connections = connect({ url: server.url });
  const [one, other] = [listen(connections, 'one'), listen(connections, 'other')];
  await Promise.all([one.broadcast.open(), other.broadcast.open()]);
  one.broadcast.close();
  one.broadcast.close();
  await connections.commands().publish('one', 'x');
  await connections.commands().publish('other', 'y');
  await eventually(() => expect(other.heard).toEqual(['live', 'y']));
  expect(one.heard).toEqual(['live']);
  expect(one.broadcast.isLive).toBe(false);
});
