/** Subscriptions: every event, in order, those that were and those that come, whatever fails on the way. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { createConnections } from '../../../src/redis/connect.ts';
import type { EventStore } from '../../../src/streams/event-store/event-store.ts';
import { coreOf } from '../../../src/streams/event-store/core.ts';
import { subscribeTo } from '../../../src/streams/event-store/subscription.ts';
import { startChild } from '../../support/child.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { gate, untilAborted } from '../../support/gate.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { accounts, deposited, opened } from './accounts.ts';
import { ownedStores, type OwnedStore } from './own-stores.ts';

type Events = (typeof accounts)['events'];

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const storeOf = ownedStores();
const own = ownedByTest();
let lastPrefix = 0;
const open = (options: object = {}, prefix = `subscriptions-${++lastPrefix}`): OwnedStore<Events> =>
  storeOf({ url: server.url }, accounts, { prefix, ...options });
const fresh = (): EventStore<Events> => open().store;
const samePrefix = (): EventStore<Events> => open({}, `subscriptions-${lastPrefix}`).store;
const some = (count: number) => Array.from({ length: count }, () => deposited(1));
const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, index) => first + index);

const ROUNDS = 3;
const nothing = (): void => undefined;
const twice = (attempt: number): number | false => attempt < 2 && 1;

describe('a subscription', () => {
  test('is given what was, then what comes, without a gap between the two', async () => {
    const store = fresh();
    const others = samePrefix();
    for (let round = 0; round < 4; round++) await store.append('a', some(200));
    const seen: number[] = [];
    const state = { isOver: false };
    const appending = (async () => {
      while (!state.isOver) await others.append(`s${seen.length % 3}`, [deposited(1)]);
    })();
    const running = await store.subscribe({}, ({ position }) => void seen.push(position));
    await eventually(() => expect(seen.length).toBeGreaterThan(1_000));
    state.isOver = true;
    await appending;
    const top = await store.position();
    await eventually(() => expect(seen.at(-1)).toBe(top));
    expect(seen).toEqual(upTo(top));
    await running.stop(1_000);
    await store.append('a', some(3));
    expect(seen).toHaveLength(top);
  });

  test('from the end misses nothing that is appended once it has begun', async () => {
    const store = fresh();
    await store.append('a', some(10));
    const seen: number[] = [];
    await store.subscribe({ from: 'end', name: 'late' }, ({ position }) => void seen.push(position));
    await store.append('a', some(1));
    await eventually(() => expect(seen).toEqual([11]));
    // Longer than one read waits.
    await systemClock.sleep(2_300);
    await store.append('a', some(2));
    await eventually(() => expect(seen).toEqual([11, 12, 13]));
    const unnamed: number[] = [];
    await store.subscribe({ from: 'end' }, ({ position }) => void unnamed.push(position));
    await store.append('a', some(1));
    await eventually(() => expect(unnamed).toEqual([14]));
  });

  test('is given only the types that it names, from the position that it names', async () => {
    const store = fresh();
    await store.append('a', [opened(), deposited(1), opened('bob'), deposited(2), opened('eve')]);
    const owners: string[] = [];
    await store.subscribe({ from: 2, types: ['opened'] }, ({ data }) => void owners.push(data.owner));
    await eventually(() => expect(owners).toEqual(['bob', 'eve']));
  });

  test.each([undefined, 'named'])(
    'from a position that is yet to come is given nothing before it (%s)',
    async (name) => {
      const store = fresh();
      await store.append('a', some(2));
      const seen: number[] = [];
      await store.subscribe({ name, from: 5 }, ({ position }) => void seen.push(position));
      for (let round = 0; round < 4; round++) await store.append('a', some(1));
      await eventually(() => expect(seen).toEqual([5, 6]));
    },
  );

  test('has its handler called again with an event that failed, and nothing overtakes it', async () => {
    const { log, all: lines } = collectLog();
    const { store } = open({ log });
    const calls: string[] = [];
    await store.append('a', some(3));
    await store.subscribe({ backoff: 1 }, ({ position }, { attempt }) => {
      calls.push(`${position}.${attempt}`);
      if (position === 2 && attempt < 3) throw new TypeError('not yet');
    });
    await eventually(() => expect(calls).toEqual(['1.1', '2.1', '2.2', '2.3', '3.1']));
    const failed = lines().filter(({ position }) => position === 2);
    expect(failed).toMatchObject([{ attempt: 1, streamId: 'a', version: 2 }, { attempt: 2 }]);
  });

  test('passes an event over only where its backoff says so', async () => {
    const { log, all: lines } = collectLog();
    const { store } = open({ log });
    await store.append('a', some(3));
    const seen: number[] = [];
    await store.subscribe({ backoff: twice }, ({ position }) => {
      if (position === 2) throw new TypeError('never');
      seen.push(position);
    });
    await eventually(() => expect(seen).toEqual([1, 3]));
    expect(lines().some(({ msg }) => msg.includes('event 2 of a is passed over'))).toBe(true);
  });

  test('gives up on a handler that hangs, and calls it again', async () => {
    const store = fresh();
    await store.append('a', some(2));
    const reasons: unknown[] = [];
    const seen: number[] = [];
    await store.subscribe({ timeout: 50, backoff: 1 }, async ({ position }, { attempt, signal }) => {
      if (position === 1 && attempt === 1) await untilAborted(signal).catch((reason: unknown) => reasons.push(reason));
      if (position === 1 && attempt === 2) await new Promise(() => undefined);
      seen.push(position);
    });
    await eventually(() => expect(seen.at(-1)).toBe(2));
    expect(reasons).toMatchObject([{ code: 'EVENT_TIMEOUT' }]);
  });

  test('is paused and resumed', async () => {
    const store = fresh();
    const seen: number[] = [];
    const running = await store.subscribe({}, ({ position }) => void seen.push(position));
    await store.append('a', some(1));
    await eventually(() => expect(seen).toEqual([1]));
    running.pause();
    await store.append('a', some(1)); // The read that is under way may still bring it.
    await eventually(() => expect(running.active).toBe(0));
    await store.append('a', some(1));
    await systemClock.sleep(100);
    expect(seen).not.toContain(3);
    running.resume();
    await eventually(() => expect(seen).toEqual([1, 2, 3]));
    running.pause();
    await running.stop(1_000);
  });

  test('options that make no sense are refused', async () => {
    const store = fresh();
    for (const options of [
      { from: 0 },
      { from: 'begin' },
      { types: ['nothing'] },
      { lease: 5 },
      { nam: 'x' },
      { backoff: 'x' },
    ])
      await failureOf(store.subscribe(options as object, nothing), 'OPTIONS_INVALID');
    await failureOf(store.subscribe({}, undefined as never), 'OPTIONS_INVALID');
    expect(() => subscribeTo(accounts, {} as never, nothing)).toThrow('name: expected a name');
  });
});

describe('a named one', () => {
  test('goes on where it stopped', async () => {
    const store = fresh();
    await store.append('a', some(5));
    const seen: number[] = [];
    const note = ({ position }: { position: number }): void => void seen.push(position);
    const first = await store.subscribe({ name: 'kept' }, note);
    await eventually(() => expect(seen).toEqual(upTo(5)));
    await first.stop(1_000);
    await store.append('a', some(5));
    const again = await samePrefix().subscribe({ name: 'kept', from: 'end' }, note);
    await eventually(() => expect(seen).toEqual(upTo(10)));
    await again.stop(1_000);
  });

  test('is followed by one process at a time, and by another once that stops', async () => {
    const stores = [fresh(), samePrefix(), samePrefix()];
    const seen: Array<[number, number]> = [];
    const running = await Promise.all(
      stores.map((store, index) =>
        store.subscribe({ name: 'one' }, ({ position }) => void seen.push([position, index])),
      ),
    );
    await stores[0]!.append('a', some(50));
    await eventually(() => expect(seen).toHaveLength(50));
    const [first] = new Set(seen.map(([, index]) => index));
    expect(new Set(seen.map(([, index]) => index)).size).toBe(1);
    await running[first!]!.stop(1_000);
    await stores[0]!.append('a', some(50));
    await eventually(() => expect(seen).toHaveLength(100));
    expect(seen.map(([position]) => position)).toEqual(upTo(100));
    expect(new Set(seen.slice(50).map(([, index]) => index))).not.toContain(first);
  });

  test('that is killed again and again skips nothing, and repeats at most what was not noted', async () => {
    const alone = own(await startRedis());
    const { store } = storeOf({ url: alone.url }, accounts);
    let total = 0;
    const state = { isOver: false };
    const appending = (async () => {
      while (!state.isOver) {
        await store.append(`s${total % 5}`, [deposited(1)]);
        total++;
        await systemClock.sleep(1);
      }
    })();
    for (let round = 0; round < ROUNDS; round++) {
      const child = own(startChild('event-store-process', [alone.url, 'subscribe', 'handled']));
      await child.says('handled', 60_000);
      await systemClock.sleep(Math.random() * 400);
      child.signal('SIGKILL');
      await child.ended;
    }
    state.isOver = true;
    await appending;
    const last = own(startChild('event-store-process', [alone.url, 'subscribe', 'handled']));
    await last.says(new RegExp(`^handled ${total}$`), 60_000);
    const handled = (await alone.ask((redis) => redis.lrange('handled', 0, -1))).map(Number);
    expect(new Set(handled)).toEqual(new Set(upTo(total)));
    const leaps = handled.filter((position, index) => position > (handled[index - 1] ?? 0) + 1);
    expect(leaps).toEqual([]);
    // A note each hundred events or each second.
    expect(handled.length - total).toBeLessThanOrEqual(ROUNDS * 100);
  }, 180_000);

  test('notes nothing any more once another process has taken its place', async () => {
    const store = fresh();
    const prefix = `subscriptions-${lastPrefix}:events:{accounts}:subscription:stolen`;
    const { opened: mayGoOn, open: goOn } = gate();
    const { opened: isHeld, open: hold } = gate();
    const reasons: unknown[] = [];
    await store.append('a', some(3));
    await store.subscribe({ name: 'stolen', lease: '2s' }, async ({ position }, { signal }) => {
      if (position !== 2 || reasons.length > 0) return;
      signal.addEventListener('abort', () => reasons.push(signal.reason));
      hold();
      await mayGoOn;
    });
    await isHeld;
    await server.ask((redis) => redis.set(`${prefix}:leader`, 'somebody else', 'PX', 2_000));
    await eventually(() => expect(reasons).toMatchObject([{ code: 'LEASE_LOST' }]));
    goOn();
    expect(Number(await server.ask((redis) => redis.get(`${prefix}:checkpoint`)))).toBeLessThanOrEqual(1);
    await eventually(async () => expect(await server.ask((redis) => redis.get(`${prefix}:checkpoint`))).toBe('3'));
  });

  test('is run by a worker as a member, with its modules and a bounded stop', async () => {
    const { store } = open();
    const connections = own(createConnections({ url: server.url }));
    const contexts: object[] = [];
    const member = subscribeTo(accounts, { name: 'member' }, async (_event, context) => {
      contexts.push(context);
      await untilAborted(context.signal);
    });
    expect(member).toMatchObject({ kind: 'subscription', name: 'accounts/member' });
    const { host } = coreOf(accounts, {
      connections,
      prefix: `subscriptions-${lastPrefix}`,
      log: collectLog().log,
      clock: systemClock,
      modules: { cache: 'the cache' } as never,
    });
    const running = await member.start(host);
    await store.append('a', some(1));
    await eventually(() => expect(contexts).toMatchObject([{ attempt: 1, cache: 'the cache' }]));
    expect(running.active).toBe(1);
    const before = systemClock.monotonicMs();
    await running.stop(100);
    expect(systemClock.monotonicMs() - before).toBeLessThan(1_500);
    expect(running.active).toBe(0);
  });
});

describe('while Redis is down', () => {
  test('it is not ready, and goes on without a gap once Redis is back', async () => {
    const alone = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
    const { store } = storeOf({ url: alone.url, commandTimeout: 1_000 }, accounts);
    const seen: number[] = [];
    const running = await store.subscribe({ name: 'down' }, ({ position }) => void seen.push(position));
    await store.append('a', some(3));
    await eventually(() => expect(seen).toEqual([1, 2, 3]));
    await alone.kill();
    await eventually(() => expect(running.ready()).toContain('subscription accounts/down'));
    await alone.startAgain();
    await eventually(() => store.append('a', [deposited(1, 'after')]));
    await eventually(() => expect(seen.at(-1)).toBe(4));
    expect(new Set(seen)).toEqual(new Set([1, 2, 3, 4]));
    await eventually(() => expect(running.ready()).toBeUndefined());
  });

  test('a server that comes back empty is begun with anew, and one that has lost its last events goes on with the next', async () => {
    const alone = own(await startRedis());
    const { log, warnings } = collectLog();
    const { store } = storeOf({ url: alone.url, commandTimeout: 1_000 }, accounts, { log });
    const seen: number[] = [];
    const unnamed: number[] = [];
    await store.subscribe({ name: 'empty' }, ({ position }) => void seen.push(position));
    await store.subscribe({}, ({ position }) => void unnamed.push(position));
    await store.append('a', some(3));
    await eventually(() => expect([seen, unnamed]).toEqual([upTo(3), upTo(3)]));
    await alone.restart();
    await eventually(() => expect(warnings().some(({ msg }) => msg.includes('has lost its last events'))).toBe(true));
    await eventually(() => store.append('a', [deposited(1, 'new')], { expected: 'none' }));
    await eventually(() =>
      expect([seen, unnamed]).toEqual([
        [1, 2, 3, 1],
        [1, 2, 3, 1],
      ]),
    );
  });
});
