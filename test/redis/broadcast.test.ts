import { afterEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/log.ts';
import type { RedisOptions, Topology } from '../../src/redis/address.ts';
import { Broadcast } from '../../src/redis/broadcast.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { startForFile } from '../contract/topologies.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();
const opened: Broadcast[] = [];
afterEach(() => {
  for (const broadcast of opened.splice(0)) broadcast.close();
});

/** A channel, and all that it told. */
function listen(connections: Connections, name = 'news'): { broadcast: Broadcast; heard: string[] } {
  const heard: string[] = [];
  const broadcast = new Broadcast(name, connections, silentLogger, {
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

test('a connection that is silent without being closed is given up', async () => {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const { broadcast, heard } = listen(connect({ url: proxy.url }));
  await broadcast.open();
  proxy.freeze();
  await eventually(() => expect(heard).toEqual(['live', 'lost']));
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
