/** Streams as operators see them: which there are, and how each stands, by its name alone. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { RedisOptions } from '../../src/redis/address.ts';
import { consume } from '../../src/streams/consumer/consume.ts';
import { defineEvents } from '../../src/streams/event-store/contract.ts';
import { project } from '../../src/streams/event-store/projection.ts';
import type { StreamContract } from '../../src/streams/contract.ts';
import type { StreamGroupInfo, StreamInfo } from '../../src/streams/inspect.ts';
import { silentLogger } from '../../src/log.ts';
import { KnownStreams } from '../../src/streams/known.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startCluster, startRedis, type TestCluster, type TestServer } from '../support/servers.ts';
import { createScene, failureOf, many, notes, read, type Note, type Scene } from './scene.ts';

let server: TestServer;
let cluster: TestCluster;
beforeAll(async () => {
  [server, cluster] = await Promise.all([startRedis(), startCluster({ replicas: false })]);
});
afterAll(() => Promise.all([server.stop(), cluster.stop()]));
const own = ownedByTest();
const scene = (prefix?: string): Scene => createScene(own, { url: server.url }, prefix === undefined ? {} : { prefix });

async function seen({ streams }: Scene, { name }: { name: string }): Promise<StreamInfo> {
  const info = await streams.inspect(name);
  if (!info) throw new Error(`no stream ${name}`);
  return info;
}

async function groupOf(it: Scene, contract: { name: string }, group: string): Promise<StreamGroupInfo> {
  const found = (await seen(it, contract)).groups.find(({ name }) => name === group);
  if (!found) throw new Error(`no group ${group}`);
  return found;
}

/** A busy machine loses no lease. */
const CALM = { lease: '20s', grace: '200ms' } as const;
const orderEvents = defineEvents({ name: 'orders', events: { placed: z.object({ total: z.number() }) } });

describe.each<[string, () => RedisOptions]>([
  ['a single server', () => ({ url: server.url })],
  ['a Cluster', () => ({ cluster: cluster.addresses })],
])('on %s', (_what, redis) => {
  test('whoever publishes or consumes tells of a stream, which is then known to all by its name', async () => {
    const mine = createScene(own, redis());
    const operator = createScene(own, redis(), { prefix: mine.prefix });
    const [published, consumed] = [
      notes({ groups: ['billing'], keep: { count: 7 }, secrets: ['card.number', 'tokens.*'] }),
      notes(),
    ];
    expect(await operator.streams.known()).toEqual([]);
    expect(await operator.streams.inspect(published.name)).toBeUndefined();

    await mine.streams.publishMany(published, many(3));
    await mine.streams.run([consume(consumed, { group: 'search', ...CALM }, () => undefined)]);
    const store = mine.streams.events(orderEvents);
    await store.append('order-1', [{ type: 'placed', data: { total: 1 } }]);
    const names = ['events:orders', published.name, consumed.name].toSorted();
    await eventually(async () => expect(await operator.streams.known()).toEqual(names));

    expect(await seen(operator, published)).toMatchObject({
      name: published.name,
      kind: 'stream',
      length: 3,
      groups: [],
      missing: ['billing'],
      keep: { count: 7, ageMs: 604_800_000, heldBy: undefined },
      secrets: ['card.number', 'tokens.*'],
    });
    const { groups, secrets } = await seen(operator, consumed);
    expect(secrets).toEqual([]);
    expect(groups).toMatchObject([{ name: 'search', lag: 0, consumers: [{ isGone: false }], isPaused: false }]);
    expect(await seen(operator, { name: 'events:orders' })).toMatchObject({
      kind: 'events',
      length: 1,
      firstId: '1-0',
      oldestAt: undefined,
      groups: [],
      keep: undefined,
      secrets: [],
    });
  });
});

test('a projection tells of its event store', async () => {
  const it = scene();
  const total = project(orderEvents, {
    name: 'total',
    document: z.number(),
    on: { placed: (view, { data }) => view.set('all', data.total) },
  });
  await it.streams.run([total]);
  await eventually(async () => expect(await it.streams.known()).toEqual(['events:orders']));
});

test('a server that has lost its data is told again, in one command for all streams', async () => {
  const { connections, client, prefix } = scene();
  const known = new KnownStreams(connections, prefix, silentLogger, 50);
  own({ stop: async () => known.stop() });
  const contracts = [notes(), notes()];
  for (const contract of [...contracts, ...contracts]) known.add(contract);
  const names = contracts.map(({ name }) => name).toSorted();
  await eventually(async () => expect(await known.names()).toEqual(names));
  await client.del(known.key);
  await eventually(async () => expect(await known.names()).toEqual(names));
});

test('a group is told of with its lag, what is pending and for how long, its consumers and dead letters', async () => {
  const it = scene();
  const contract = notes();
  const keys = it.keysOf(contract);
  const { entries } = keys;
  const published = (await it.streams.publishMany(contract, many(40))).map(({ id }) => id);
  await it.streams.createGroup(contract, 'billing');
  await it.streams.createGroup(contract, 'search', { startAt: published[9] });
  await read(it.client, entries, 'billing', 25);
  await it.client.xack(entries, 'billing', ...published.slice(3, 25));
  await it.client.xadd(keys.group('billing').dead, '*', 'id', published[0]!, 'data', '{"n":0}');

  const info = await seen(it, contract);
  expect(info).toMatchObject({ length: 40, firstId: published[0], lastId: published[39] });
  expect(info.oldestAt).toBe(Number.parseInt(published[0]!, 10));
  expect(info.bytes).toBeGreaterThan(40);
  const [billing, search] = info.groups as [StreamGroupInfo, StreamGroupInfo];
  expect(billing).toMatchObject({
    name: 'billing',
    lag: 15,
    isEstimate: false,
    pending: 3,
    retrying: 0,
    deadLetters: 1,
    consumerCount: 1,
    consumers: [{ name: 'me', pending: 3, isGone: true, isPaused: false }],
  });
  expect(billing.oldestPendingMs).toBeLessThan(60_000);
  expect(billing.consumers[0]!.idleMs).toBeLessThan(60_000);
  expect(search).toMatchObject({ isEstimate: true, pending: 0, oldestPendingMs: undefined, consumers: [] });

  const letters = it.streams.deadLettersOf(contract.name, 'billing');
  expect((await letters.list()).letters).toMatchObject([{ entryId: published[0], data: { n: 0 } }]);
  expect(await letters.redrive({})).toMatchObject({ redriven: 1 });
  expect(await it.streams.deadLettersOf(contract.name, 'billing').count()).toBe(0);
});

test('a paused consumer is told of until it goes on; a group is paused when all of its consumers are', async () => {
  const it = scene();
  const contract = notes();
  const second = scene(it.prefix);
  const run = ({ streams }: Scene) => streams.run([consume(contract, { group: 'g', ...CALM }, () => undefined)]);
  const [mine, theirs] = [await run(it), await run(second)];
  mine.pause();
  await eventually(async () => {
    const { isPaused, consumers } = await groupOf(it, contract, 'g');
    expect([isPaused, consumers.length, consumers.filter((one) => one.isPaused).length]).toEqual([false, 2, 1]);
  });
  theirs.pause();
  await eventually(async () => expect(await groupOf(it, contract, 'g')).toMatchObject({ isPaused: true }));
  theirs.resume();
  await eventually(async () => expect(await groupOf(it, contract, 'g')).toMatchObject({ isPaused: false }));
  await mine.stop();
  await theirs.stop();
  expect(await groupOf(it, contract, 'g')).toMatchObject({ isPaused: false, consumers: [] });
  expect(Object.keys(await it.client.hgetall(it.keysOf(contract).group('g').tokens))).toEqual(['~last']);
});

const orderBy = ({ n }: Note): string => `lane-${n % 3}`;

test('a group with lanes is told of like any other, with those who stand by', async () => {
  const it = scene();
  const contract: StreamContract<Note> = notes();
  const held = gate();
  const options = { group: 'lanes', orderBy, concurrency: 3, prefetch: 10, ...CALM };
  await it.streams.run([consume(contract, options, () => held.opened)]);
  await scene(it.prefix).streams.run([consume(contract, options, () => held.opened)]);
  await it.streams.publishMany(contract, many(9));
  await eventually(async () =>
    expect(await groupOf(it, contract, 'lanes')).toMatchObject({
      pending: 9,
      lag: 0,
      consumers: [
        { pending: 9, isGone: false },
        { pending: 0, isGone: false, idleMs: undefined },
      ],
    }),
  );
  held.open();
  await eventually(async () => expect(await groupOf(it, contract, 'lanes')).toMatchObject({ pending: 0 }));
});

test('what keeps the trim back is the same that a trim tells', async () => {
  const it = scene();
  const contract = notes({ groups: ['billing', 'search'], keep: { count: 5, age: false } });
  const { entries } = it.keysOf(contract);
  const agree = async () => {
    const { heldBy } = await it.streams.trim(contract);
    expect((await seen(it, contract)).keep).toEqual({ count: 5, ageMs: undefined, heldBy });
    return heldBy;
  };
  await it.streams.publishMany(contract, many(5));
  expect(await agree()).toBeUndefined();
  await it.streams.publishMany(contract, many(300));
  await it.streams.createGroup(contract, 'billing');
  expect(await agree()).toMatchObject({ group: 'search', why: 'absent' });
  await it.streams.createGroup(contract, 'search', { startAt: '$' });
  expect(await agree()).toMatchObject({ group: 'billing', why: 'unread' });
  const ids = await read(it.client, entries, 'billing', 305);
  expect(await agree()).toMatchObject({ group: 'billing', why: 'pending', id: ids[0] });
  await it.client.xack(entries, 'billing', ...ids);
  expect(await agree()).toBeUndefined();
});

test('of a group with very many consumers a hundred are told of, those first for which most is pending', async () => {
  const it = scene();
  const contract = notes();
  const { entries } = it.keysOf(contract);
  await it.streams.createGroup(contract, 'g');
  await it.streams.publish(contract, { n: 1 });
  for (let at = 0; at < 150; at++) await it.client.xgroup('CREATECONSUMER', entries, 'g', `c-${at}`);
  await it.client.xreadgroup('GROUP', 'g', 'zz-busy', 'COUNT', 1, 'STREAMS', entries, '>');
  const { consumers, consumerCount } = await groupOf(it, contract, 'g');
  expect([consumers.length, consumerCount, consumers[0]!.name]).toEqual([100, 151, 'zz-busy']);
});

test('names that none can have are refused, and what is no stream is told', async () => {
  const it = scene();
  const contract = notes();
  expect((await failureOf(it.streams.inspect('a b'))).code).toBe('OPTIONS_INVALID');
  expect(() => it.streams.deadLettersOf('a b', 'g')).toThrow('deadLettersOf');
  expect(() => it.streams.deadLettersOf('a', '')).toThrow('group');
  await it.client.set(it.keysOf(contract).entries, 'no stream');
  expect((await failureOf(it.streams.inspect(contract.name))).code).toBe('REDIS_FAILED');
  await it.streams.stop();
  expect((await failureOf(it.streams.known())).code).toBe('CLOSED');
});
