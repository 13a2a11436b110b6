/** Reading: pages, directions, types, what was erased, and events of older and newer forms. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineEvents } from '../../../src/streams/event-store/contract.ts';
import type { EventStore } from '../../../src/streams/event-store/event-store.ts';
import { failureOf } from '../../support/failures.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { accounts, deposited, opened } from './accounts.ts';
import { all, ownedStores } from './own-stores.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const storeOf = ownedStores();
let lastPrefix = 0;
/** Under a prefix of its own, so that positions begin at 1. */
const fresh = (): EventStore<(typeof accounts)['events']> =>
  storeOf({ url: server.url }, accounts, { prefix: `reading-${++lastPrefix}` }).store;

async function fill(store: EventStore<(typeof accounts)['events']>, stream: string, count: number): Promise<void> {
  for (let done = 0; done < count; done += 500) {
    const some = Math.min(500, count - done);
    await store.append(
      stream,
      Array.from({ length: some }, (_, index) => deposited(done + index + 1)),
    );
  }
}

describe('one stream', () => {
  test('is read from any version, forwards and backwards, as many as wanted', async () => {
    const store = fresh();
    await fill(store, 'long', 1_100);
    const versions = async (options?: object): Promise<number[]> =>
      (await all(store.read('long', options))).map(({ version }) => version);
    const to1100 = Array.from({ length: 1_100 }, (_, index) => index + 1);
    expect(await versions()).toEqual(to1100);
    expect(await versions({ backwards: true })).toEqual(to1100.toReversed());
    expect(await versions({ from: 1_098 })).toEqual([1_098, 1_099, 1_100]);
    expect(await versions({ from: 2, limit: 2 })).toEqual([2, 3]);
    expect(await versions({ from: 3, backwards: true })).toEqual([3, 2, 1]);
    expect(await versions({ backwards: true, limit: 300 })).toEqual(to1100.slice(-300).toReversed());
    expect(await versions({ from: 2_000 })).toEqual([]);
    expect(await all(store.read('nobody'))).toEqual([]);
  });

  test('is read in pages that say where to go on', async () => {
    const store = fresh();
    await fill(store, 'paged', 5);
    const first = await store.readPage('paged', { limit: 3 });
    expect(first).toMatchObject({ next: 4, isEnd: false });
    expect(await store.readPage('paged', { limit: 3, from: first.next })).toMatchObject({ next: 6, isEnd: true });
    expect(await store.readPage('paged', { from: 6 })).toEqual({ events: [], next: 6, isEnd: true });
    const last = await store.readPage('paged', { limit: 3, backwards: true });
    expect(last.events.map(({ version }) => version)).toEqual([5, 4, 3]);
    expect(await store.readPage('paged', { backwards: true, from: last.next })).toMatchObject({ next: 0, isEnd: true });
  });

  test('has events with all that is known of them', async () => {
    const store = fresh();
    await store.append('other', [opened()]);
    const before = Date.now();
    const metadata = { by: 'ada', request: { id: 7 } };
    await store.append('facts', [{ ...deposited(5, 'my id'), metadata }]);
    const [event] = await all(store.read('facts'));
    expect(event).toMatchObject({
      type: 'deposited',
      data: { amount: 5 },
      id: 'my id',
      streamId: 'facts',
      version: 1,
      position: 2,
      metadata,
    });
    expect(Math.abs((event?.at.getTime() ?? 0) - before)).toBeLessThan(5_000);
    const [unnamed] = await all(store.read('other'));
    expect(unnamed?.id).toMatch(/^[\da-f-]{36}$/);
    expect(unnamed?.metadata).toEqual({});
  });

  test('is read no further once its signal aborts', async () => {
    const store = fresh();
    await fill(store, 'aborted', 10);
    const controller = new AbortController();
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { version } of store.read('aborted', { signal: controller.signal })) {
        seen.push(version);
        if (version === 3) controller.abort(new TypeError('enough'));
      }
    })();
    await expect(reading).rejects.toThrow('enough');
    expect(seen).toEqual([1, 2, 3]);
  });
});

describe('all events', () => {
  test('come in the order in which they were appended, whatever their streams', async () => {
    const store = fresh();
    const expected: string[] = [];
    for (let index = 0; index < 600; index++) {
      const stream = `s${index % 7}`;
      await store.append(stream, index % 5 === 0 ? [opened(), deposited()] : [deposited(index)]);
    }
    for await (const { position, streamId, version } of store.all()) {
      expected.push(`${streamId}/${version}`);
      expect(position).toBe(expected.length);
    }
    expect(expected).toHaveLength(720);
    expect(new Set(expected).size).toBe(720);
    expect(await store.position()).toBe(720);
    const types = await all(store.all({ types: ['opened'], from: 10, limit: 3 }));
    expect(types.map(({ type }) => type)).toEqual(['opened', 'opened', 'opened']);
    expect(types[0]?.position).toBeGreaterThanOrEqual(10);
    const page = await store.allPage({ limit: 10, types: ['deposited'] });
    expect(page).toMatchObject({ next: 11, isEnd: false });
    expect(page.events.every(({ position, type }) => position <= 10 && type === 'deposited')).toBe(true);
    expect(await store.allPage({ from: 721 })).toEqual({ events: [], next: 721, isEnd: true });
  });

  test('cannot be asked for what makes no sense', async () => {
    const store = fresh();
    expect(() => store.all({ types: ['nothing' as 'opened'] })).toThrow(
      'types[0]: expected opened or deposited or closed',
    );
    expect(() => store.all({ from: 0 })).toThrow('from: expected at least 1');
    expect(() => store.read('x', { limit: 0 })).toThrow('limit: expected at least 1');
    expect(() => store.read('x', { limits: 2 } as object)).toThrow('did you mean limit?');
    expect(() => store.read('')).toThrow('stream id: expected a text');
  });
});

/** All that is in Redis under the prefix of the last store, as bytes. */
const dump = (): Promise<string> =>
  server.ask(async (redis) => {
    const parts: string[] = [];
    for await (const keys of redis.scanStream({ match: `reading-${lastPrefix}:*` })) {
      for (const key of keys as string[]) parts.push(((await redis.dumpBuffer(key)) ?? Buffer.of()).toString('latin1'));
    }
    return parts.join();
  });

describe('an erased stream', () => {
  test('is read as if it were empty, and its versions and positions go on', async () => {
    const store = fresh();
    await store.append('customer', [opened('Ada Lovelace'), deposited(5)]);
    await store.append('other', [opened()]);
    expect(await store.erase('customer')).toBe(2);
    expect(await store.erase('customer')).toBe(0);
    expect(await all(store.read('customer'))).toEqual([]);
    expect((await all(store.all())).map(({ position }) => position)).toEqual([3]);
    expect(await store.version('customer')).toBe(2);
    expect(await store.append('customer', [opened()], { expected: 'none' })).toEqual({ status: 'conflict', actual: 2 });
    expect(await store.append('customer', [opened('somebody')], { expected: 2 })).toEqual({
      status: 'appended',
      version: 3,
      position: 4,
    });
    expect((await all(store.read('customer'))).map(({ version }) => version)).toEqual([3]);
    expect((await all(store.read('customer', { backwards: true }))).map(({ version }) => version)).toEqual([3]);
  });

  test('leaves nothing of its data anywhere in Redis', async () => {
    const store = fresh();
    const secret = 'Ada Lovelace, 1815';
    await store.append('gone', [opened(secret)]);
    await store.append('gone', [{ ...deposited(1, `id of ${secret}`), metadata: { secret } }]);
    const orders = store.aggregate({
      name: 'owner',
      initial: () => ({ owner: '' }),
      apply: (state, event) => (event.type === 'opened' ? { owner: event.data.owner } : state),
      snapshotEvery: 1,
    });
    await orders.load('gone');
    expect(await dump()).toContain(secret);
    await store.erase('gone');
    expect(await dump()).not.toContain(secret);
    expect(await orders.load('gone')).toEqual({ state: { owner: '' }, version: 2 });
  });
});

describe('events of another form', () => {
  const base = { name: 'orders', events: { placed: z.object({ total: z.number() }) } } as const;
  const second = defineEvents({
    name: 'orders',
    events: { placed: z.object({ totalCents: z.number().int() }) },
    upcasters: { placed: [({ total }: { total: number }) => ({ totalCents: total * 100 })] },
  });
  const third = defineEvents({
    name: 'orders',
    events: {
      placed: z.object({ cents: z.number().int(), currency: z.string().default('EUR') }),
      cancelled: z.object({}),
    },
    upcasters: {
      placed: [
        ({ total }: { total: number }) => ({ totalCents: total * 100 }),
        ({ totalCents }: { totalCents: number }) => ({ cents: totalCents }),
      ],
    },
  });

  test('are brought to the newest by upcasters, each from where it stands, and then parsed', async () => {
    const prefix = 'upcast';
    const open = { url: server.url };
    await storeOf(open, defineEvents(base), { prefix }).store.append('o1', [{ type: 'placed', data: { total: 12 } }]);
    await storeOf(open, second, { prefix }).store.append('o1', [{ type: 'placed', data: { totalCents: 1_300 } }]);
    const { store } = storeOf(open, third, { prefix });
    await store.append('o1', [{ type: 'placed', data: { cents: 1_400, currency: 'USD' } }]);
    expect((await all(store.read('o1'))).map(({ data }) => data)).toEqual([
      { cents: 1_200, currency: 'EUR' },
      { cents: 1_300, currency: 'EUR' },
      { cents: 1_400, currency: 'USD' },
    ]);
  });

  test('that are newer, of an unknown type, or do not match, stop the reader and say where', async () => {
    const prefix = 'newer';
    const open = { url: server.url };
    const { store } = storeOf(open, third, { prefix });
    await store.append('o1', [
      { type: 'placed', data: { cents: 1 } },
      { type: 'cancelled', data: {} },
    ]);
    const old = storeOf(open, second, { prefix }).store;
    const newer = await failureOf(all(old.read('o1')), 'EVENT_UNREADABLE');
    expect(newer.message).toContain(
      'event 1 of o1 (placed) in orders cannot be read: it is of form 3, this process knows 2',
    );
    expect(newer.facts).toMatchObject({ store: 'orders', streamId: 'o1', version: 1, position: 1, type: 'placed' });
    const unknown = await failureOf(all(old.read('o1', { from: 2 })), 'EVENT_UNREADABLE');
    expect(unknown.message).toContain('there are no events of type cancelled');
    const forgot = defineEvents({
      name: 'orders',
      events: { placed: z.object({ cents: z.string() }), cancelled: z.object({}) },
      upcasters: third.upcasters,
    });
    const misfit = await failureOf(all(storeOf(open, forgot, { prefix }).store.all()), 'EVENT_UNREADABLE');
    expect(misfit.message).toContain('cents:');
    expect(misfit.cause).toMatchObject({ code: 'INPUT_INVALID' });
  });

  test('an upcaster that throws is told of', async () => {
    const prefix = 'throwing';
    await storeOf({ url: server.url }, defineEvents(base), { prefix }).store.append('o1', [
      { type: 'placed', data: { total: 1 } },
    ]);
    const broken = defineEvents({
      ...base,
      upcasters: {
        placed: [
          () => {
            throw new TypeError('no such currency');
          },
        ],
      },
    });
    const { message } = await failureOf(
      all(storeOf({ url: server.url }, broken, { prefix }).store.all()),
      'EVENT_UNREADABLE',
    );
    expect(message).toContain('no such currency');
  });

  test('a contract that makes no sense is refused', () => {
    expect(() => defineEvents({ name: 'x y', events: {} })).toThrow(
      /name: expected letters.*events: expected at least one/s,
    );
    expect(() => defineEvents({ ...base, upcasters: { shipped: [] } as object })).toThrow(
      'upcasters.shipped: there are no events of this type',
    );
    expect(() => defineEvents({ ...base, upcasters: { placed: ['no'] } } as never)).toThrow('expected a function');
    expect(() => defineEvents({ name: 'orders', events: { placed: {} } } as never)).toThrow('expected a schema');
  });
});
