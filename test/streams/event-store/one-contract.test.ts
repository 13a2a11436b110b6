/** One name is one contract in a process; what another process says of the same name is found out where Redis knows of it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { silentLogger } from '../../../src/log.ts';
import { defineEvents } from '../../../src/streams/event-store/contract.ts';
import { createEventStore } from '../../../src/streams/event-store/event-store.ts';
import { project } from '../../../src/streams/event-store/projection.ts';
import { subscribeTo } from '../../../src/streams/event-store/subscription.ts';
import { failureOf } from '../../support/failures.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { createScene } from '../scene.ts';
import { ownedStores } from './own-stores.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const storeOf = ownedStores();

/** The same name, types and events; but what is read of an event differs. */
const inUnits = defineEvents({ name: 'orders', events: { placed: z.object({ total: z.number() }) } });
const inCents = defineEvents({
  name: 'orders',
  events: { placed: z.object({ total: z.number().transform((total) => total * 100) }) },
});
const totals = project(inUnits, {
  name: 'totals',
  document: z.number(),
  on: { placed: (view, { streamId, data }) => view.set(streamId, data.total) },
});

describe('a second contract of one name in a process', () => {
  test('is refused as a store, whoever asks for it', async () => {
    const { streams, connections, prefix } = createScene(own, { url: server.url });
    const store = streams.events(inUnits);
    expect(streams.events(inUnits)).toBe(store);
    expect(() => streams.events(inCents)).toThrow(
      'the events of orders are defined twice in this process, with other schemas of placed; share one contract',
    );
    expect(() => createEventStore(connections, inCents, { prefix })).toThrow('defined twice');
    expect(() => createEventStore(connections, inUnits, { prefix })).not.toThrow();
    expect(() => createEventStore(connections, inCents, { prefix: `${prefix}-other` })).not.toThrow();
  });

  test('is refused as a projection or subscription, so that none works on what it would read otherwise', async () => {
    const { streams } = createScene(own, { url: server.url });
    const store = streams.events(inCents);
    await store.append('o1', [{ type: 'placed', data: { total: 5 } }]);
    expect(() => store.projection(totals)).toThrow('got one with other schemas of placed in orders');
    const mailer = subscribeTo(inUnits, { name: 'mailer' }, () => undefined);
    for (const member of [totals, mailer]) {
      const failure = await failureOf(streams.run([member]), 'OPTIONS_INVALID');
      expect(failure.message).toContain('defined twice');
      expect(failure.facts).toEqual({ store: 'orders', difference: 'schemas of placed' });
    }
    expect(streams.ready()).toBeUndefined();
  });
});

describe('a copy of a contract', () => {
  const base = { name: 'orders', events: inUnits.events };
  const upcasters = { placed: [({ sum }: { sum: number }) => ({ total: sum })] };

  test('that reads events in the same way is the same contract', async () => {
    const { streams } = createScene(own, { url: server.url });
    const store = streams.events(inUnits);
    const copy = defineEvents(base);
    expect(streams.events(copy)).toBe(store);
    await streams.events(copy).append('o1', [{ type: 'placed', data: { total: 5 } }]);
    const projection = store.projection(project(copy, { name: 'copy', document: z.number(), on: totals.checked.on }));
    await projection.catchUp();
    expect(await projection.get('o1')).toBe(5);
  });

  test.each([
    ['types of events', { ...base, events: { ...base.events, shipped: z.object({}) } }],
    ['upcasters of placed', { ...base, upcasters }],
    ['maxBytes', { ...base, maxBytes: 1_000 }],
  ])('with other %s is refused', (what, options) => {
    const { streams } = createScene(own, { url: server.url });
    streams.events(inUnits);
    expect(() => streams.events(defineEvents(options))).toThrow(`with other ${what}`);
  });
});

/** Whose schema fills in what a rate is. */
const accountsAt = (rate: number) =>
  defineEvents({
    name: 'accounts',
    events: { paid: z.object({ amount: z.number(), rate: z.number().default(rate) }) },
  });

describe('a second contract of one name in another process', () => {
  test('makes its own snapshots where its schemas have other defaults', async () => {
    const prefix = 'defaults';
    const balanceOf = async (rate: number): Promise<number> => {
      const { store } = storeOf({ url: server.url }, accountsAt(rate), { prefix, log: silentLogger });
      const balance = store.aggregate({
        name: 'balance',
        initial: () => 0,
        apply: (sum, { data }) => sum + data.amount * data.rate,
        snapshotEvery: 2,
      });
      return (await balance.load('a')).state;
    };
    const { store } = storeOf({ url: server.url }, accountsAt(1), { prefix });
    await store.append('a', [
      { type: 'paid', data: { amount: 1 } },
      { type: 'paid', data: { amount: 1 } },
    ]);
    expect([await balanceOf(1), await balanceOf(2), await balanceOf(1)]).toEqual([2, 4, 2]);
  });

  test('goes on from its snapshots where a default is made anew each time, such as a time or an id', async () => {
    const prefix = 'made';
    let applied = 0;
    const process = () => {
      const contract = defineEvents({
        name: 'notes',
        events: {
          noted: z.object({
            n: z.number(),
            at: z.string().default(() => new Date().toISOString()),
            by: z.string().default(() => crypto.randomUUID()),
          }),
        },
      });
      const { store } = storeOf({ url: server.url }, contract, { prefix });
      const sum = store.aggregate({
        name: 'sum',
        initial: () => 0,
        apply: (before, { data }) => {
          applied++;
          return before + data.n;
        },
        snapshotEvery: 2,
      });
      return { store, sum };
    };
    const { store, sum } = process();
    await store.append('a', [
      { type: 'noted', data: { n: 1 } },
      { type: 'noted', data: { n: 2 } },
    ]);
    expect((await sum.load('a')).state).toBe(3);
    expect((await process().sum.load('a')).state).toBe(3);
    expect(applied).toBe(2);
  });
});
