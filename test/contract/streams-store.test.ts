/** What streams keep, on each topology and over the loss of a master. */
import { describe, expect, test } from 'vitest';
import type { Topology } from '../../src/redis/address.ts';
import { consume } from '../../src/streams/consumer/consume.ts';
import { decodeEntry } from '../../src/streams/entry.ts';
import { createScene, failureOf, idsOf, many, notes, read } from '../streams/scene.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { openAll, startForFile } from './topologies.ts';

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const own = ownedByTest();
  const scene = async (prefix?: string) => {
    const it = createScene(
      own,
      { commandTimeout: 3_000, ...topologyOf().redis },
      prefix === undefined ? {} : { prefix },
    );
    await openAll(it.client);
    return it;
  };

  test('entries of many streams are published one by one and together, each in its order', async () => {
    const { streams, client, keysOf } = await scene();
    const all = many(6).map(() => notes());
    await Promise.all(
      all.map(async (contract) => {
        const one = await streams.publish(contract, { n: -1 }, { headers: { from: 'test' } });
        const rest = await streams.publishMany(contract, many(1_500));
        const entries = await client.xrange(keysOf(contract).entries, '-', '+');
        expect(entries.map(([id]) => id)).toEqual([one, ...rest].map(({ id }) => id));
        expect(entries.map(([id, fields]) => decodeEntry(id, fields).data)).toEqual(
          many(1_501, -1).map((note) => JSON.stringify(note)),
        );
      }),
    );
  });

  test('a key raced by publishers of several processes is one entry', async () => {
    const first = await scene();
    const others = await Promise.all(many(3).map(() => scene(first.prefix)));
    const contract = notes();
    const published = await Promise.all(
      many(20).map(async (note) => [first, ...others][note.n % 4]?.streams.publish(contract, note, { key: 'k' })),
    );
    expect(new Set(published.map((one) => one?.id)).size).toBe(1);
    expect(published.filter((one) => one?.status === 'added')).toHaveLength(1);
  });

  test('groups, lag, trim and removal agree', async () => {
    const { streams, client, keysOf } = await scene();
    const contract = notes({ groups: ['billing', 'search'], keep: { count: 0 } });
    const { entries } = keysOf(contract);
    await streams.createGroup(contract, 'billing');
    await streams.publishMany(contract, many(50));
    expect(await streams.trim(contract)).toMatchObject({ removed: 0, heldBy: { group: 'search', why: 'absent' } });
    await streams.createGroup(contract, 'search');
    for (const [group, count] of [
      ['billing', 50],
      ['search', 20],
    ] as const)
      await client.xack(entries, group, ...(await read(client, entries, group, count)));
    expect(await streams.lag(contract, 'search')).toMatchObject({ entries: 30, isExact: true, pending: 0 });
    expect(await streams.trim(contract)).toMatchObject({ removed: 20, heldBy: { group: 'search', why: 'unread' } });
    expect(await streams.groups(contract)).toMatchObject([{ lag: { entries: 0 } }, { lag: { entries: 30 } }]);
    expect(await streams.removeGroup(contract, 'search')).toMatchObject({ status: 'kept', unread: 30 });
    expect(await streams.removeGroup(contract, 'search', { force: true })).toMatchObject({ status: 'removed' });
    expect(await streams.trim(contract, { force: true })).toEqual({ removed: 30, heldBy: undefined });
  });

  test('dead letters are redriven once by those who do it at once', async () => {
    const first = await scene();
    const second = await scene(first.prefix);
    const contract = notes();
    const { entries, ...keys } = first.keysOf(contract);
    await first.streams.createGroup(contract, 'billing');
    for (const { n } of many(70))
      await first.client.xadd(keys.group('billing').dead, '*', 'id', `${n + 1}-0`, 'data', JSON.stringify({ n }));
    const results = await Promise.all(
      [first, second].map(({ streams }) => streams.deadLetters(contract, 'billing').redrive({})),
    );
    expect(results.reduce((sum, { redriven }) => sum + redriven, 0)).toBe(70);
    const redriven = (await first.client.xrange(entries, '-', '+')).map(([id, fields]) => decodeEntry(id, fields));
    expect(new Set(redriven.map(({ originId }) => originId)).size).toBe(70);
    expect(redriven).toHaveLength(70);
  });

  test('dead letters beyond their bound are dropped, however many processes see to it', async () => {
    const first = await scene();
    const contract = notes({ deadLetters: { count: 20 } });
    const { dead } = first.keysOf(contract).group('billing');
    for (const { n } of many(300)) await first.client.xadd(dead, '*', 'id', `${n + 1}-0`, 'data', `{"n":${n}}`);
    const kept = (await idsOf(first.client, dead)).slice(-20);
    const others = [first, await scene(first.prefix), await scene(first.prefix)];
    const consumer = consume(contract, { group: 'billing', lease: '20s' }, () => undefined);
    await Promise.all(others.map(({ streams }) => streams.run([consumer])));
    await eventually(async () => expect(await idsOf(first.client, dead)).toEqual(kept));
  });

  test('what was acknowledged before its master was lost is there after it, and a publish by key is repeated without harm', async () => {
    const it = await scene();
    const { streams, client, keysOf } = it;
    const contract = notes();
    const { entries } = keysOf(contract);
    const before = await streams.publishMany(contract, many(200));
    await streams.createGroup(contract, 'billing');
    const first = await streams.publish(contract, { n: 1_000 }, { key: 'k' });
    const master = await topologyOf().masterOf(entries);
    const copies = await master.ask(async (redis) => {
      await redis.set(`${entries}:mark`, 1); // A replica that has it has all that was written before.
      return redis.wait(1, topology === 'standalone' ? 1 : 5_000);
    });
    expect(copies).toBeGreaterThanOrEqual(topology === 'standalone' ? 0 : 1);
    await topologyOf().failOver(entries);
    const again = await eventually(() => streams.publish(contract, { n: 1_000 }, { key: 'k' }), 20_000);
    expect(again).toEqual({ id: first.id, status: 'duplicate' });
    expect(await idsOf(client, entries)).toEqual([...before, first].map(({ id }) => id));
    expect(await streams.lag(contract, 'billing')).toMatchObject({ entries: 201, isExact: true });
    const { id } = await streams.publish(contract, { n: 1_001 });
    expect((await idsOf(client, entries)).at(-1)).toBe(id);
  });

  test('while its server is frozen a publish fails in time', async () => {
    const it = createScene(own, { ...topologyOf().redis, commandTimeout: 500 });
    const contract = notes();
    await it.streams.publish(contract, { n: 1 });
    const master = await topologyOf().masterOf(it.keysOf(contract).entries);
    master.freeze();
    try {
      expect((await failureOf(it.streams.publish(contract, { n: 2 }))).code).toMatch(
        /^REDIS_(?:TIMEOUT|UNREACHABLE|CLUSTER_DOWN|WRITES_REFUSED)$/,
      );
    } finally {
      master.thaw();
    }
    await eventually(() => it.streams.publish(contract, { n: 3 }), 20_000);
  });
});
