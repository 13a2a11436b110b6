/** A failover that loses the newest events: those that take their positions are given to whoever follows. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../../src/clock.ts';
import { project } from '../../../src/streams/event-store/projection.ts';
import { eventually } from '../../support/eventually.ts';
import { gate } from '../../support/gate.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { accounts, deposited } from './accounts.ts';
import { ownedStores } from './own-stores.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const storeOf = ownedStores();
const keyOf = (prefix: string, rest: string): string => `${prefix}:events:{accounts}:${rest}`;

/** Puts the history back to where it is now, as a replica has it that was promoted too early. */
async function rememberHistory(prefix: string, more: readonly string[]): Promise<() => Promise<void>> {
  const keys = ['versions', 'all', 'stream:a', ...more].map((rest) => keyOf(prefix, rest));
  const dumps = await server.ask((redis) => Promise.all(keys.map((key) => redis.dumpBuffer(key))));
  return async () => {
    await server.ask(async (redis) => {
      for (const [index, key] of keys.entries()) await redis.restore(key, 0, dumps[index]!, 'REPLACE');
    });
  };
}

test.each([
  ['at once', 0],
  // Longer than a position may go unnoted.
  ['late', 1_100],
])('a named subscription whose handler ends %s is given the event that took the place of its own', async (how, ms) => {
  const prefix = `lost-${how.replace(' ', '-')}`;
  const { store } = storeOf({ url: server.url }, accounts, { prefix });
  const { opened: mayEnd, open: end } = gate();
  const { opened: isHeld, open: hold } = gate();
  const seen: string[] = [];
  await store.append('a', [deposited(1), deposited(2)]);
  await store.subscribe({ name: 'mailer', types: ['deposited'] }, async ({ position, data }) => {
    if (data.amount === 3) {
      hold();
      await mayEnd;
    }
    seen.push(`${position}: ${data.amount}`);
  });
  await eventually(() => expect(seen).toEqual(['1: 1', '2: 2']));
  const lose = await rememberHistory(prefix, ['subscription:mailer:checkpoint']);
  await store.append('a', [deposited(3)]);
  await isHeld;
  await systemClock.sleep(ms);
  await lose();
  await store.append('b', [deposited(30)]);
  end();
  await store.append('b', [deposited(40)]);
  await eventually(() => expect(seen.slice(-2)).toEqual(['3: 30', '4: 40']));
  expect(seen.slice(0, 3)).toEqual(['1: 1', '2: 2', '3: 3']);
});

test('a projection does not count an event that was lost while it was at it', async () => {
  const prefix = 'lost-projection';
  const { store } = storeOf({ url: server.url }, accounts, { prefix });
  const { opened: mayEnd, open: end } = gate();
  const { opened: isHeld, open: hold } = gate();
  const sum = project(accounts, {
    name: 'sum',
    document: z.number(),
    on: {
      deposited: async (view, { data }) => {
        if (data.amount === 3) {
          hold();
          await mayEnd;
        }
        await view.set('sum', ((await view.get('sum')) ?? 0) + data.amount);
      },
    },
  });
  const projection = store.projection(sum);
  await store.append('a', [deposited(1), deposited(2)]);
  await projection.catchUp();
  const lose = await rememberHistory(prefix, []);
  await store.append('a', [deposited(3)]);
  const catchingUp = projection.catchUp();
  await isHeld;
  await lose();
  await store.append('b', [deposited(30)]);
  end();
  expect(await catchingUp).toBe(3);
  expect(await projection.get('sum')).toBe(33);
});

test('a checkpoint beyond the last event goes back to it', async () => {
  const prefix = 'lost-top';
  const { store } = storeOf({ url: server.url }, accounts, { prefix });
  const seen: number[] = [];
  const count = project(accounts, {
    name: 'count',
    document: z.number(),
    on: { deposited: (view, { position }) => view.set(`at ${position}`, position) },
  });
  await store.append('a', [deposited(1), deposited(2)]);
  await store.projection(count).catchUp();
  await server.ask(async (redis) => {
    await redis.hset(keyOf(prefix, 'projection:count:builds'), 'at:1', 9);
    await redis.set(keyOf(prefix, 'subscription:mailer:checkpoint'), 9);
  });
  await store.subscribe({ name: 'mailer' }, ({ position }) => void seen.push(position));
  expect(await store.projection(count).progress()).toMatchObject({ position: 2 });
  await store.append('a', [deposited(3)]);
  await eventually(() => expect(seen).toEqual([3]));
  expect(await store.projection(count).catchUp()).toBe(3);
  expect(await store.projection(count).get('at 3')).toBe(3);
});

test('references of older versions, which have no mark, are followed as ever', async () => {
  const prefix = 'lost-older';
  const { store } = storeOf({ url: server.url }, accounts, { prefix });
  await store.append('a', [deposited(1), deposited(2)]);
  await server.ask(async (redis) => {
    const all = keyOf(prefix, 'all');
    await redis.del(all);
    for (const at of ['1', '2']) await redis.xadd(all, `${at}-0`, 'stream', 'a', 'version', at, 'type', 'deposited');
  });
  const seen: number[] = [];
  await store.subscribe({ name: 'mailer' }, ({ position }) => void seen.push(position));
  await eventually(() => expect(seen).toEqual([1, 2]));
  const checkpoint = keyOf(prefix, 'subscription:mailer:checkpoint');
  await eventually(async () => expect(await server.ask((redis) => redis.get(checkpoint))).toBe('2'));
  await store.append('a', [deposited(3)]);
  await eventually(() => expect(seen).toEqual([1, 2, 3]));
});
