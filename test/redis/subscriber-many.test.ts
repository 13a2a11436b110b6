/** Many channels on one connection: few commands, one listener for all, and one that is forbidden spoils no other. */
import { expect, test } from 'vitest';
import { silentLogger } from '../../src/log.ts';
import { Broadcast } from '../../src/redis/broadcast.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();

function listen(connections: Connections, name: string, heard: string[], log = silentLogger): Broadcast {
  return new Broadcast(name, connections, log, { onMessage: (text) => heard.push(`${name} ${text}`) });
}

test('thousands are listened to with a few commands, again after the connection was lost, and each hears its own', async () => {
  const server = own(await startRedis());
  const connections = own(createConnections({ url: server.url }));
  const heard: string[] = [];
  const all = Array.from({ length: 2_000 }, (_, index) => listen(connections, `c${index}`, heard));
  await Promise.all(all.map((broadcast) => broadcast.open()));
  await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
  await eventually(() => expect(all.some(({ isLive }) => isLive)).toBe(false));
  await eventually(() => expect(all.every(({ isLive }) => isLive)).toBe(true));
  for (const name of ['c0', 'c1999', 'c2000']) await connections.commands().publish(name, 'x');
  await eventually(() => expect(heard).toEqual(['c0 x', 'c1999 x']));
  expect(connections.subscriber().listenerCount('message')).toBe(1);
  const stats = await server.ask((redis) => redis.info('commandstats'));
  expect(Number(/cmdstat_subscribe:calls=(\d+)/.exec(stats)?.[1])).toBeLessThan(20);
  for (const broadcast of all) broadcast.close();
  await eventually(async () => expect(await server.ask((redis) => redis.pubsub('CHANNELS'))).toEqual([]));
});

test('a channel that is left while the connection is away is not heard again', async () => {
  const server = own(await startRedis());
  const connections = own(createConnections({ url: server.url }));
  const [left, stays] = ['left', 'stays'].map((name) => listen(connections, name, []));
  await Promise.all([left?.open(), stays?.open()]);
  await server.kill();
  await eventually(() => expect(stays?.isLive).toBe(false));
  left?.close();
  await server.startAgain();
  await eventually(() => expect(stays?.isLive).toBe(true));
  await eventually(async () => expect(await server.ask((redis) => redis.pubsub('CHANNELS'))).toEqual(['stays']));
});

test('one that the ACL forbids is told of, and the others that were asked for with it are heard', async () => {
  const server = own(await startRedis());
  await server.ask((redis) => redis.acl('SETUSER', 'some', 'on', '>long-enough', '~*', '&open*', '+@all'));
  const connections = own(createConnections({ url: `redis://some:long-enough@127.0.0.1:${server.port}` }));
  const heard: string[] = [];
  const lines = collectLog();
  const [one, forbidden, two] = ['open1', 'closed', 'open2'].map((name) => listen(connections, name, heard, lines.log));
  void forbidden?.open();
  await Promise.all([one?.open(), two?.open()]);
  await server.ask((redis) => redis.publish('open2', 'x'));
  await eventually(() => expect(heard).toEqual(['open2 x']));
  expect(forbidden?.isLive).toBe(false);
  expect(lines.warnings().map(({ channel }) => channel)).toEqual(['closed']);
});
