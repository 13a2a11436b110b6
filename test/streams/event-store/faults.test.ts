/** What must hold though servers and processes are killed and clocks differ: a stream and the list of all events never part. */
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { startChild } from '../../support/child.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis } from '../../support/servers.ts';
import { accounts, balances, deposited, wholeHistory } from './accounts.ts';
import { all, ownedStores } from './own-stores.ts';

const own = ownedByTest();
const storeOf = ownedStores();

describe('what was answered is there, whole, in its stream and among all events', () => {
  test('though the server is killed again and again', async () => {
    const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
    const answered: string[] = [];
    for (let round = 0; round < 4; round++) {
      const stores = [0, 1, 2].map(() => storeOf({ url: server.url, commandTimeout: 1_000 }, accounts).store);
      const state = { isOver: false };
      const writing = stores.map(async (store, writer) => {
        for (let index = 0; !state.isOver; index++) {
          const ids = [0, 1, 2].map((part) => `${round}-${writer}-${index}-${part}`);
          const events = ids.map((id) => deposited(1, id));
          const result = await store.append(`s${writer}`, events).catch(() => undefined);
          if (result) answered.push(...ids);
          else await systemClock.sleep(20);
        }
      });
      const before = answered.length;
      await eventually(() => expect(answered.length).toBeGreaterThan(before + 30), 30_000);
      await systemClock.sleep(Math.random() * 100);
      await server.kill();
      state.isOver = true;
      await Promise.all(writing);
      await server.startAgain();
    }
    const { ids } = await server.ask((redis) => wholeHistory(redis));
    expect(answered.length).toBeGreaterThan(50);
    expect(answered.filter((id) => !ids.includes(id))).toEqual([]);
    expect(new Set(ids).size).toBe(ids.length);
    // An append is whole: of each, all three events are there or none.
    const parts = ids.map((id) => id.slice(0, -2));
    const isWhole = (of: string): boolean => parts.filter((other) => other === of).length === 3;
    expect([...new Set(parts)].filter((of) => !isWhole(of))).toEqual([]);
  }, 180_000);

  test('though the process that appends is killed', async () => {
    const server = own(await startRedis());
    const answered: string[] = [];
    for (let round = 0; round < 3; round++) {
      const child = own(startChild('event-store-process', [server.url, 'append', `s${round % 2}`, '100000']));
      await child.says('appended', 60_000);
      await systemClock.sleep(Math.random() * 100);
      child.signal('SIGKILL');
      await child.ended;
      answered.push(...child.lines().map((line) => line.replace('appended ', '')));
    }
    const { ids } = await server.ask((redis) => wholeHistory(redis));
    expect(answered.filter((id) => !ids.includes(id))).toEqual([]);
    expect(ids.length - answered.length).toBeLessThanOrEqual(3);
  }, 180_000);
});

test('clocks that are an hour apart do not matter', async () => {
  const server = own(await startRedis());
  const clocks = ['0', '3600000', '-3600000'];
  const children = clocks.map((ahead) =>
    own(startChild('event-store-process', [server.url, 'contend', 'shared', '40', ahead])),
  );
  await Promise.all(children.map((child) => child.says('won', 60_000)));
  await Promise.all(children.map((child) => child.ended));
  const { refs } = await server.ask((redis) => wholeHistory(redis));
  expect(refs).toHaveLength(3 * 40 * 2);
  const { store } = storeOf({ url: server.url }, accounts);
  const times = (await all(store.read('shared'))).map(({ at }) => at.getTime());
  expect(times).toEqual(times.toSorted((left, right) => left - right));
  expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeLessThan(60_000);
}, 90_000);

test('a rebuild whose process is killed is finished by another', async () => {
  const server = own(await startRedis({ persistent: true }));
  const { store } = storeOf({ url: server.url }, accounts);
  for (let index = 0; index < 4; index++)
    await store.append(
      'a',
      Array.from({ length: 500 }, () => deposited(1)),
    );
  const child = own(startChild('event-store-process', [server.url, 'rebuild']));
  await child.says('ready', 60_000);
  const builds = 'millrace:events:{accounts}:projection:balances:builds';
  await eventually(async () => expect(await server.ask((redis) => redis.hexists(builds, 'next'))).toBe(1));
  child.signal('SIGKILL');
  await child.ended;
  await store.projection(balances).rebuild();
  expect(await store.projection(balances).get('a')).toEqual({ balance: 2_000, deposits: 2_000 });
  expect(await server.ask((redis) => redis.hexists(builds, 'next'))).toBe(0);
}, 90_000);
