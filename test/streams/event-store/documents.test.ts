/** Who reads documents meets a rebuild, and who asks wrongly is told so. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../../src/clock.ts';
import { project } from '../../../src/streams/event-store/projection.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { accounts, balances, deposited } from './accounts.ts';
import { ownedStores } from './own-stores.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const storeOf = ownedStores();
let lastPrefix = 0;
const fresh = () => storeOf({ url: server.url }, accounts, { prefix: `documents-${++lastPrefix}` }).store;

test('entries are all there though a rebuild is swapped in and the old documents go', async () => {
  const store = fresh();
  const keys = Array.from({ length: 1_500 }, (_, index) => `d${index}`);
  const fanOut = project(accounts, {
    name: 'many',
    document: z.number(),
    on: {
      deposited: async (view, { data }) => {
        await Promise.all(keys.slice(data.amount, data.amount + 500).map((key) => view.set(key, 1)));
      },
    },
  });
  await store.append('a', [deposited(0), deposited(500), deposited(1_000)]);
  const projection = store.projection(fanOut);
  await projection.catchUp();
  const seen: string[] = [];
  for await (const [key] of projection.entries()) {
    seen.push(key);
    if (seen.length !== 10) continue;
    await projection.rebuild({ keepOld: 1 });
    const old = `documents-${lastPrefix}:events:{accounts}:projection:many:documents:1`;
    await eventually(async () => expect(await server.ask((redis) => redis.exists(old))).toBe(0));
  }
  expect(seen.toSorted()).toEqual(keys.toSorted());
});

test('a position that is none is refused, and not waited for', async () => {
  const projection = fresh().projection(balances);
  const before = systemClock.monotonicMs();
  for (const position of [undefined, Number.NaN, -1, '5'] as number[])
    await failureOf(projection.waitFor(position), 'OPTIONS_INVALID');
  expect(systemClock.monotonicMs() - before).toBeLessThan(2_000);
  expect(await projection.waitFor(0)).toBe(true);
});

test('an event whose keys cannot be told fails, and those before it count', async () => {
  const store = fresh();
  const sum = project(accounts, {
    name: 'sum',
    document: z.number(),
    on: { deposited: async (view, { data }) => view.set('sum', ((await view.get('sum')) ?? 0) + data.amount) },
    keysOf: ({ version }) => {
      if (version === 3) throw new TypeError('no keys');
      return ['sum'];
    },
  });
  await store.append('a', [deposited(1), deposited(2), deposited(3)]);
  await expect(store.projection(sum).catchUp()).rejects.toThrow('no keys');
  expect(await store.projection(sum).progress()).toMatchObject({ position: 2 });
  expect(await store.projection(sum).get('sum')).toBe(3);
});
