/** The event store on a single server and on a Cluster, through a failover. */
import { describe, expect, test } from 'vitest';
import type { Topology } from '../../src/redis/address.ts';
import type { EventStore } from '../../src/streams/event-store/event-store.ts';
import { accounts, balances, deposited, opened } from '../streams/event-store/accounts.ts';
import { all, ownedStores } from '../streams/event-store/own-stores.ts';
import { eventually } from '../support/eventually.ts';
import { openAll, startForFile } from './topologies.ts';

type Events = (typeof accounts)['events'];

describe.each<Topology>(['standalone', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const storeOf = ownedStores();
  let lastPrefix = 0;
  const prefix = (): string => `contract-${lastPrefix}`;
  const fresh = async (): Promise<EventStore<Events>> => {
    const { store, connections } = storeOf({ ...topologyOf().redis, commandTimeout: 2_000 }, accounts, {
      prefix: prefix(),
    });
    await openAll(connections.commands());
    return store;
  };

  test('events are appended, refused, read, erased', async () => {
    lastPrefix++;
    const store = await fresh();
    expect(await store.append('a', [opened(), deposited(5, 'd1')].slice(1), { expected: 'none' })).toMatchObject({
      version: 1,
    });
    expect(await store.append('a', [deposited(5, 'd1')])).toMatchObject({ status: 'duplicate' });
    expect(await store.append('a', [deposited()], { expected: 0 })).toEqual({ status: 'conflict', actual: 1 });
    await Promise.all(
      Array.from({ length: 50 }, (_, index) => store.append(`s${index % 9}`, [opened(), deposited(index)])),
    );
    expect((await all(store.all())).map(({ position }) => position)).toEqual(
      Array.from({ length: 101 }, (_, at) => at + 1),
    );
    expect(await store.erase('a')).toBe(1);
    expect(await store.append('a', [opened()], { expected: 1 })).toMatchObject({ version: 2, position: 102 });
    expect((await all(store.all())).map(({ streamId }) => streamId).filter((id) => id === 'a')).toHaveLength(1);
  });

  test('aggregates, projections, rebuilds and subscriptions work', async () => {
    lastPrefix++;
    const [store, others] = [await fresh(), await fresh()];
    const count = store.aggregate({ name: 'count', initial: () => 0, apply: (state) => state + 1, snapshotEvery: 10 });
    const seen: number[] = [];
    await others.subscribe({ name: 'noted' }, ({ position }) => void seen.push(position));
    const running = await others.run(balances);
    for (let index = 0; index < 30; index++) await count.update('a', () => [deposited(1)]);
    expect(await count.load('a')).toEqual({ state: 30, version: 30 });
    expect(await store.projection(balances).waitFor(30)).toBe(true);
    expect(await store.projection(balances).rebuild()).toBe(30);
    expect(await store.projection(balances).get('a')).toEqual({ balance: 30, deposits: 30 });
    await eventually(() => expect(seen).toEqual(Array.from({ length: 30 }, (_, at) => at + 1)));
    expect(running.ready()).toBeUndefined();
  });

  test('after a failover followers go on, and each event counts once', async () => {
    lastPrefix++;
    const [store, others] = [await fresh(), await fresh()];
    const seen: number[] = [];
    await others.subscribe({ name: 'noted' }, ({ position }) => void seen.push(position));
    await others.run(balances);
    await store.append('a', [deposited(1), deposited(1)]);
    await eventually(async () => expect((await store.projection(balances).get('a'))?.deposits).toBe(2));
    // A write that the replica has not yet would be lost with its master.
    const key = `${prefix()}:events:{accounts}:all`;
    const master = await topologyOf().masterOf(key);
    await master.ask((redis) => redis.wait(1, topology === 'standalone' ? 1 : 5_000));
    await topologyOf().failOver(key);
    await eventually(() => store.append('a', [deposited(1, 'after')]), 20_000);
    const top = await store.position();
    await eventually(async () => {
      expect((await store.projection(balances).get('a'))?.deposits).toBe(top);
      expect(new Set(seen)).toEqual(new Set(Array.from({ length: top }, (_, at) => at + 1)));
    }, 20_000);
  }, 60_000);
});
