/** Projections: documents that follow the events, each event once, made anew beside those that are read. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../../src/clock.ts';
import { createMetrics } from '../../../src/metrics/registry.ts';
import type { EventStore } from '../../../src/streams/event-store/event-store.ts';
import { project, type Projection } from '../../../src/streams/event-store/projection.ts';
import { startChild } from '../../support/child.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { gate } from '../../support/gate.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { accounts, balances, deposited, opened } from './accounts.ts';
import { all, ownedStores, type OwnedStore } from './own-stores.ts';

type Events = (typeof accounts)['events'];

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const storeOf = ownedStores();
const own = ownedByTest();
let lastPrefix = 0;
const open = (options: object = {}, prefix = `projections-${++lastPrefix}`): OwnedStore<Events> =>
  storeOf({ url: server.url }, accounts, { prefix, ...options });
const fresh = (): EventStore<Events> => open().store;
const samePrefix = (): EventStore<Events> => open({}, `projections-${lastPrefix}`).store;

/** One that sums up what it is told to. */
const counter = (on: Parameters<typeof project<Events, z.ZodNumber>>[1]['on'], more: object = {}): Projection<number> =>
  project(accounts, { name: 'counter', document: z.number(), on, lease: '1s', ...more });

describe('documents', () => {
  test('follow the events as they come, and are removed by them', async () => {
    const store = fresh();
    await store.append('a', [opened(), deposited(5)]);
    const running = await store.run(balances);
    const projection = store.projection(balances);
    await eventually(async () => expect(await projection.get('a')).toEqual({ balance: 5, deposits: 1 }));
    const { position } = (await store.append('b', [deposited(1), deposited(2)])) as { position: number };
    expect(await projection.waitFor(position)).toBe(true);
    expect(await projection.getMany(['a', 'b', 'c'])).toEqual(
      new Map([
        ['a', { balance: 5, deposits: 1 }],
        ['b', { balance: 3, deposits: 2 }],
      ]),
    );
    await store.append('a', [{ type: 'closed', data: {} }]);
    await eventually(async () => expect(await projection.get('a')).toBeUndefined());
    expect(await all(projection.entries())).toEqual([['b', { balance: 3, deposits: 2 }]]);
    expect(await projection.count()).toBe(1);
    expect(await projection.progress()).toEqual({ position: 5, top: 5, behind: 0, rebuilding: undefined });
    expect(running.ready()).toBeUndefined();
    await running.stop(1_000);
    await running.stop(1_000);
  });

  test('are there at once for who catches up itself', async () => {
    const store = fresh();
    expect(await store.projection(balances).get('a')).toBeUndefined();
    await store.append(
      'a',
      Array.from({ length: 500 }, () => deposited(1)),
    );
    await store.append(
      'a',
      Array.from({ length: 300 }, () => deposited(1)),
    );
    expect(await store.projection(balances).catchUp()).toBe(800);
    expect(await store.projection(balances).catchUp()).toBe(800);
    expect(await store.projection(balances).get('a')).toEqual({ balance: 800, deposits: 800 });
  });

  test('are waited for no longer than allowed', async () => {
    const store = fresh();
    await store.append('a', [deposited(1)]);
    expect(await store.projection(balances).waitFor(1, { within: 50 })).toBe(false);
    await failureOf(store.projection(balances).waitFor(1, { withn: 5 } as object), 'OPTIONS_INVALID');
  });

  test('may be many for one event, and one for many', async () => {
    const store = fresh();
    const fanOut = counter({
      opened: async (view) => {
        for (let index = 0; index < 900; index++) await view.set(`d${index}`, ((await view.get(`d${index}`)) ?? 0) + 1);
      },
    });
    await store.append(
      'a',
      Array.from({ length: 12 }, () => opened()),
    );
    await store.projection(fanOut).catchUp();
    const entries = await all(store.projection(fanOut).entries());
    expect(entries).toHaveLength(900);
    expect(new Set(entries.map(([, count]) => count))).toEqual(new Set([12]));
    const tooMany = counter(
      {
        opened: async (view) =>
          void (await Promise.all(Array.from({ length: 1_001 }, (_, key) => view.set(`${key}`, 1)))),
      },
      { name: 'too-many' },
    );
    await failureOf(store.projection(tooMany).catchUp(), 'PAYLOAD_TOO_LARGE');
  });

  test('see what events before them in the same batch have done, also what was not awaited', async () => {
    const store = fresh();
    const seen: Array<number | undefined> = [];
    const sum = counter({
      deposited: async (view, { data }) => {
        const before = await view.get('sum');
        seen.push(before);
        void view.set('sum', (before ?? 0) + data.amount);
      },
      closed: (view) => view.delete('sum'),
    });
    await store.append('a', [deposited(1), deposited(2), { type: 'closed', data: {} }, deposited(4)]);
    await store.projection(sum).catchUp();
    expect(seen).toEqual([undefined, 1, undefined]);
    expect(await store.projection(sum).get('sum')).toBe(4);
  });

  test('that do not match their schema are refused, and the checkpoint stays before the event', async () => {
    const { log, all: lines } = collectLog();
    const { store } = open({ log });
    const bad = counter({
      deposited: (view, { data }) => void view.set('a', (data.amount === 3 ? 'three' : data.amount) as number),
    });
    await store.append('a', [deposited(1), deposited(2), deposited(3), deposited(4)]);
    const { message } = await failureOf(store.projection(bad).catchUp(), 'INPUT_INVALID');
    expect(message).toContain('a document of accounts/counter a does not match its schema');
    expect(await store.projection(bad).progress()).toMatchObject({ position: 2, behind: 2 });
    expect(await store.projection(bad).get('a')).toBe(2);
    expect(lines().some(({ position, msg }) => position === 3 && msg.includes('cannot be handled'))).toBe(true);
  });

  test('options that make no sense are refused', async () => {
    const document = z.number();
    expect(() => project(accounts, { name: 'x', document, on: {} })).toThrow('on: expected a handler');
    expect(() => project(accounts, { name: 'x y', document, on: { nothing: () => 1 } } as never)).toThrow(
      /name: .*on/s,
    );
    expect(() => project(accounts, { name: 'x', document, on: { opened: 5 } } as never)).toThrow('expected a function');
    const store = fresh();
    expect(() => store.projection({} as never)).toThrow('expected a projection of accounts');
    await failureOf(store.projection(balances).get(''), 'KEY_INVALID');
  });
});

describe('each event counts once', () => {
  test('though three processes race and are killed between their steps', async () => {
    const alone = own(await startRedis());
    const { store } = storeOf({ url: alone.url }, accounts);
    const perRound = 40;
    const rounds = 3;
    for (let round = 0; round < rounds; round++) {
      const children = [0, 1, 2].map(() =>
        own(startChild('event-store-process', [alone.url, 'catch-up', '-', '1000000'])),
      );
      await Promise.all(children.map((child) => child.says('ready', 60_000)));
      const appending = (async () => {
        for (let index = 0; index < perRound; index++)
          await store.append(`s${index % 4}`, [deposited(1), opened(), deposited(2)]);
      })();
      await systemClock.sleep(Math.random() * 40);
      for (const child of children) {
        await systemClock.sleep(Math.random() * 10);
        child.signal('SIGKILL');
      }
      await appending;
      await Promise.all(children.map((child) => child.ended));
    }
    await store.projection(balances).catchUp();
    const each = (perRound * rounds) / 4;
    const should = [0, 1, 2, 3].map((index) => [`s${index}`, { balance: each * 3, deposits: each * 2 }] as const);
    expect(new Map(await all(store.projection(balances).entries()))).toEqual(new Map(should));
  }, 180_000);

  test('though answers of Redis are lost', async () => {
    const proxy = own(await startProxy(server.port));
    const prefix = `projections-${++lastPrefix}`;
    const { store } = storeOf({ url: proxy.url, commandTimeout: 1_000 }, accounts, { prefix });
    const projection = store.projection(balances);
    await eventually(() => projection.catchUp());
    for (let round = 1; round <= 5; round++) {
      const others = samePrefix();
      await others.append(
        'a',
        Array.from({ length: 200 }, () => deposited(1)),
      );
      proxy.slowDown(5);
      const catchingUp = projection.catchUp().then(
        () => 'done',
        () => 'failed',
      );
      await systemClock.sleep(round * 7);
      proxy.loseAnswers();
      await catchingUp;
      proxy.slowDown(0);
      proxy.restore();
      proxy.cut();
      await eventually(() => projection.catchUp());
      expect(await projection.get('a')).toEqual({ balance: round * 200, deposits: round * 200 });
    }
  });

  test('though ten race in one process', async () => {
    const store = fresh();
    const others = samePrefix();
    await store.append(
      'a',
      Array.from({ length: 200 }, () => deposited(1)),
    );
    await Promise.all(
      Array.from({ length: 10 }, (_, index) => (index % 2 === 0 ? store : others).projection(balances).catchUp()),
    );
    expect(await store.projection(balances).get('a')).toEqual({ balance: 200, deposits: 200 });
  });

  test('though a handler fails in the middle of a batch, and others go on after it', async () => {
    const { log } = collectLog();
    const metrics = createMetrics();
    const { store } = open({ log, metrics });
    let failing = true;
    const flaky = counter({
      deposited: async (view, { data }) => {
        const sum = ((await view.get('sum')) ?? 0) + data.amount;
        await view.set('sum', sum);
        if (data.amount === 3 && failing) throw new TypeError('not yet');
      },
    });
    await store.append('a', [deposited(1), deposited(2), deposited(3), deposited(4)]);
    const running = await store.run(flaky);
    const projection = store.projection(flaky);
    await eventually(async () => expect(await projection.get('sum')).toBe(3));
    await eventually(async () =>
      expect(await metrics.render()).toMatch(/events_failures_total\{store="accounts",follower="counter"\} [1-9]/),
    );
    expect(running.ready()).toBeUndefined();
    failing = false;
    await eventually(async () => expect(await projection.get('sum')).toBe(10));
    const text = await metrics.render();
    expect(text).toContain('millrace_events_handled_total{store="accounts",follower="counter"} 4');
    await eventually(async () =>
      expect(await metrics.render()).toContain('millrace_events_lag{store="accounts",follower="counter"} 0'),
    );
  });

  test('one process follows, and another takes its place when it stops or dies', async () => {
    const alone = own(await startRedis());
    const { store } = storeOf({ url: alone.url }, accounts);
    const projection = store.projection(balances);
    const child = own(startChild('event-store-process', [alone.url, 'project']));
    await child.says('running');
    await store.append('a', [deposited(1)]);
    await eventually(async () => expect(await projection.get('a')).toMatchObject({ balance: 1 }));
    const running = await store.run(balances);
    child.signal('SIGKILL');
    await store.append('a', [deposited(1)]);
    await eventually(async () => expect(await projection.get('a')).toMatchObject({ balance: 2 }));
    await running.stop(1_000);
    expect(await alone.ask((redis) => redis.exists('millrace:events:{accounts}:projection:balances:leader'))).toBe(0);
  });
});

describe('a rebuild', () => {
  test('makes all documents anew while events come in, and readers never see time go back', async () => {
    const store = fresh();
    const others = samePrefix();
    for (let index = 0; index < 5; index++)
      await store.append(
        'a',
        Array.from({ length: 300 }, () => deposited(1)),
      );
    await store.projection(balances).catchUp();
    const running = await others.run(balances);
    const state = { isOver: false };
    let appended = 1_500;
    const appending = (async () => {
      while (!state.isOver) {
        await others.append('a', [deposited(1), deposited(1)]);
        appended += 2;
      }
    })();
    const seen: number[] = [];
    const reading = (async () => {
      while (!state.isOver) seen.push((await others.projection(balances).get('a'))?.deposits ?? -1);
    })();
    for (let round = 0; round < 3; round++) await store.projection(balances).rebuild();
    state.isOver = true;
    await Promise.all([appending, reading]);
    expect(seen).toEqual(seen.toSorted((left, right) => left - right));
    expect(seen[0]).toBeGreaterThanOrEqual(1_500);
    expect(await store.projection(balances).waitFor(await store.position())).toBe(true);
    expect(await store.projection(balances).get('a')).toEqual({ balance: appended, deposits: appended });
    await running.stop(1_000);
    const prefix = `projections-${lastPrefix}:events:{accounts}:projection:balances:`;
    expect(await server.ask((redis) => redis.hgetall(`${prefix}builds`))).toMatchObject({ live: '4', last: '4' });
    const left = await server.ask((redis) => redis.pttl(`${prefix}documents:3`));
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(60_000);
  });

  test('uses the code of who asks for it', async () => {
    const store = fresh();
    await store.append('a', [deposited(1), deposited(2)]);
    const sum = counter({
      deposited: async (view, { data }) => view.set('a', ((await view.get('a')) ?? 0) + data.amount),
    });
    const count = counter({ deposited: async (view) => view.set('a', ((await view.get('a')) ?? 0) + 1) });
    await store.projection(sum).catchUp();
    expect(await store.projection(sum).get('a')).toBe(3);
    expect(await store.projection(count).rebuild()).toBe(2);
    expect(await store.projection(sum).get('a')).toBe(2);
  });

  test('that was broken off is gone on with by the same code, and begun anew by other code', async () => {
    const store = fresh();
    const others = samePrefix();
    const controller = new AbortController();
    const { opened: reached, open: reach } = gate();
    let handled = 0;
    const breaking = counter({
      deposited: async (view) => {
        handled++;
        if (handled === 300) {
          reach();
          controller.abort(new TypeError('killed'));
        }
        await view.set('n', ((await view.get('n')) ?? 0) + 1);
      },
    });
    await store.append(
      'a',
      Array.from({ length: 500 }, () => deposited(1)),
    );
    await expect(store.projection(breaking).rebuild({ signal: controller.signal })).rejects.toThrow('killed');
    await reached;
    expect(await store.projection(breaking).progress()).toMatchObject({ position: 0, rebuilding: 250 });
    handled = 1_000;
    expect(await others.projection(breaking).rebuild()).toBe(500);
    expect(handled).toBe(1_250);
    expect(await store.projection(breaking).get('n')).toBe(500);

    handled = 0;
    const again = new AbortController();
    const stopsEarly = counter({
      deposited: (view) => {
        if (++handled === 260) again.abort(new TypeError('killed'));
        return view.set('n', -1);
      },
    });
    await expect(store.projection(stopsEarly).rebuild({ signal: again.signal })).rejects.toThrow('killed');
    expect(await others.projection(breaking).rebuild()).toBe(500);
    expect(await store.projection(breaking).get('n')).toBe(500);
    const keys = await server.ask((redis) =>
      redis.hgetall(`projections-${lastPrefix}:events:{accounts}:projection:counter:builds`),
    );
    expect(keys).toEqual({ live: '4', last: '4', 'at:4': '500' });
  });

  test('is shared by those who ask for it at once', async () => {
    const stores = [fresh(), samePrefix(), samePrefix()];
    await stores[0]!.append(
      'a',
      Array.from({ length: 500 }, () => deposited(1)),
    );
    await stores[0]!.append(
      'a',
      Array.from({ length: 500 }, () => deposited(1)),
    );
    await Promise.all(stores.map((store) => store.projection(balances).rebuild()));
    expect(await stores[0]!.projection(balances).get('a')).toEqual({ balance: 1_000, deposits: 1_000 });
  });
});

test('erased events are passed over, also by a rebuild', async () => {
  const store = fresh();
  await store.append('a', [deposited(1)]);
  await store.append('b', [deposited(2)]);
  await store.erase('a');
  await store.append('a', [{ type: 'closed', data: {} }]);
  await store.projection(balances).rebuild();
  expect(await all(store.projection(balances).entries())).toEqual([['b', { balance: 2, deposits: 1 }]]);
  expect(await store.projection(balances).progress()).toMatchObject({ position: 3, behind: 0 });
});
