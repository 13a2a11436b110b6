/** Channels that SPUBLISH reaches: they stay on one shard, follow their slot, and say when they were not heard. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { silentLogger } from '../../src/log.ts';
import { Broadcast, publishVerb } from '../../src/redis/broadcast.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { clientsOf } from '../support/client-list.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startCluster, type TestCluster, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster();
});
afterAll(() => cluster.stop());

const opened: Broadcast[] = [];
afterEach(() => {
  for (const broadcast of opened.splice(0)) broadcast.close();
});

function connect(): Connections {
  return own(createConnections({ cluster: cluster.addresses }));
}

function listen(connections: Connections, name: string): { broadcast: Broadcast; heard: string[] } {
  const heard: string[] = [];
  const listener = {
    onMessage: (text: string) => heard.push(text),
    onLive: () => heard.push('live'),
    onLost: () => heard.push('lost'),
  };
  const broadcast = new Broadcast(name, connections, silentLogger, listener, { sharded: true });
  opened.push(broadcast);
  return { broadcast, heard };
}

const say = async (connections: Connections, name: string, text: string): Promise<number> =>
  Number(await connections.commands().spublish(name, text));

async function slotOf(name: string): Promise<number> {
  return (cluster.nodes[0] as TestServer).ask((redis) => redis.cluster('KEYSLOT', name));
}

/** How many masters the process listens to. */
async function linksOf(connections: Connections): Promise<number> {
  const mine = (await connections.commands().client('GETNAME')) ?? '';
  const all = await Promise.all(cluster.nodes.map(clientsOf));
  return all.flat().filter(({ name, protocol }) => protocol === '3' && name === mine.replace('commands', 'subscriber'))
    .length;
}

test('a message stays on the shard of its channel, and is heard there over one connection', async () => {
  const connections = connect();
  expect(publishVerb(connections)).toBe('SPUBLISH');
  const names = ['{a}:one', '{a}:two', '{a}:three'];
  const all = names.map((name) => listen(connections, name));
  await Promise.all(all.map(({ broadcast }) => broadcast.open()));
  for (const name of names) expect(await say(connections, name, `to ${name}`)).toBe(1);
  await eventually(() => expect(all.map(({ heard }) => heard)).toEqual(names.map((name) => ['live', `to ${name}`])));
  const master = await cluster.masterOf(await slotOf('{a}'));
  for (const node of cluster.nodes) {
    const channels = await node.ask((redis) => redis.call('PUBSUB', 'SHARDCHANNELS'));
    expect(channels).toHaveLength(node === master ? 3 : 0);
  }
  expect(await linksOf(connections)).toBe(1);
});

test('who listens last lets go of the channel, and the connection goes with the last channel of its shard', async () => {
  const connections = connect();
  const [one, other, third] = [
    listen(connections, '{b}:1'),
    listen(connections, '{b}:1'),
    listen(connections, '{b}:2'),
  ];
  await Promise.all([one, other, third].map(({ broadcast }) => broadcast.open()));
  const receivers = (name: string): Promise<number> => say(connections, name, 'x');
  one.broadcast.close();
  expect(await receivers('{b}:1')).toBe(1);
  other.broadcast.close();
  await eventually(async () => expect(await receivers('{b}:1')).toBe(0));
  expect(await linksOf(connections)).toBe(1);
  third.broadcast.close();
  await eventually(async () => expect(await linksOf(connections)).toBe(0));
  const again = listen(connections, '{b}:2');
  await again.broadcast.open();
  expect(await receivers('{b}:2')).toBe(1);
});

test('a channel follows its slot to another master, and says that it was away; others of the shard stay', async () => {
  const connections = connect();
  const slot = await slotOf('{moving}');
  const from = await cluster.masterOf(slot);
  const to = cluster.nodes.slice(0, 3).find((node) => node !== from) as TestServer;
  let neighbour = 0;
  while ((await slotOf(`n${neighbour}`)) === slot || (await cluster.masterOf(await slotOf(`n${neighbour}`))) !== from) {
    neighbour++;
  }
  const moving = listen(connections, '{moving}:x');
  const staying = listen(connections, `n${neighbour}`);
  await Promise.all([moving.broadcast.open(), staying.broadcast.open()]);
  const setSlot = (node: TestServer, ...how: string[]): Promise<unknown> =>
    node.ask((redis) => redis.call('CLUSTER', 'SETSLOT', slot, ...how));
  const [fromId, toId] = await Promise.all(
    [from, to].map((node) => node.ask((redis) => redis.call('CLUSTER', 'MYID') as Promise<string>)),
  );
  await setSlot(to, 'IMPORTING', fromId ?? '');
  await setSlot(from, 'MIGRATING', toId ?? '');
  for (const node of [to, from]) await setSlot(node, 'NODE', toId ?? '');
  // Twice, if the first node that it asks has not heard of it yet.
  await eventually(() => expect(moving.heard.join()).toMatch(/^live(,lost,live)+$/));
  await say(connections, '{moving}:x', 'after');
  await eventually(() => expect(moving.heard.at(-1)).toBe('after'));
  expect(staying.heard).toEqual(['live']);
});

test(
  'a channel comes back after its connection is cut, and after its master is lost',
  { timeout: 60_000 },
  async () => {
    const connections = connect();
    const { broadcast, heard } = listen(connections, '{c}:x');
    await broadcast.open();
    const master = await cluster.masterOf(await slotOf('{c}'));
    await master.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
    await eventually(() => expect(heard).toEqual(['live', 'lost', 'live']));
    await master.kill();
    await eventually(() => expect(heard.slice(3)[0]).toBe('lost'));
    await eventually(() => expect(broadcast.isLive).toBe(true), 20_000);
    await eventually(async () => expect(await say(connections, '{c}:x', 'after')).toBe(1), 20_000);
    await eventually(() => expect(heard.at(-1)).toBe('after'));
    await master.startAgain();
  },
);

test('closing the connections ends those to the shards', async () => {
  const connections = connect();
  const { broadcast, heard } = listen(connections, '{d}:x');
  await broadcast.open();
  const late = listen(connections, '{e}:x');
  void late.broadcast.open();
  await connections.close();
  await eventually(() => expect(heard).toEqual(['live', 'lost']));
  expect(broadcast.isLive).toBe(false);
});
