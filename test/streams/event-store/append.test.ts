/** Appends: what they expect, what they refuse, and that one which is sent again counts once. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createEventStore, type EventStore } from '../../../src/streams/event-store/event-store.ts';
import { createMetrics } from '../../../src/metrics/registry.ts';
import { failureOf } from '../../support/failures.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { accounts, deposited, opened, wholeHistory, type AccountEvent } from './accounts.ts';
import { all, ownedStores } from './own-stores.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const storeOf = ownedStores();
const own = ownedByTest();
const fresh = (): EventStore<(typeof accounts)['events']> => storeOf({ url: server.url }, accounts).store;

describe('an expected version', () => {
  test('of a new stream is none, and then that of its last event', async () => {
    const store = fresh();
    const first = await store.append('expected', [opened(), deposited(5)], { expected: 'none' });
    expect(first).toMatchObject({ status: 'appended', version: 2 });
    expect(await store.append('expected', [opened()], { expected: 'none' })).toEqual({ status: 'conflict', actual: 2 });
    expect(await store.append('expected', [deposited()], { expected: 1 })).toEqual({ status: 'conflict', actual: 2 });
    expect(await store.append('expected', [deposited()], { expected: 3 })).toEqual({ status: 'conflict', actual: 2 });
    expect(await store.append('expected', [deposited()], { expected: 2 })).toMatchObject({ version: 3 });
    expect(await store.append('expected', [deposited()], { expected: 'exists' })).toMatchObject({ version: 4 });
    expect(await store.append('expected', [deposited()])).toMatchObject({ status: 'appended', version: 5 });
    expect(await store.version('expected')).toBe(5);
    expect(await store.version('nobody')).toBe(0);
  });

  test('0 is that of a new stream, and exists refuses one', async () => {
    const store = fresh();
    expect(await store.append('zero', [opened()], { expected: 'exists' })).toEqual({ status: 'conflict', actual: 0 });
    expect(await store.append('zero', [opened()], { expected: 0 })).toMatchObject({ status: 'appended', version: 1 });
  });

  test('lets one of twenty pass who come at once, each time', async () => {
    const stores = [fresh(), fresh(), fresh(), fresh()];
    for (let version = 0; version < 25; version++) {
      const results = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          stores[index % 4]!.append('race', [deposited(index)], { expected: version }),
        ),
      );
      const won = results.filter(({ status }) => status === 'appended');
      expect(won).toMatchObject([{ version: version + 1 }]);
      const lost = results.filter(({ status }) => status === 'conflict');
      expect(new Set(lost.map((result) => JSON.stringify(result)))).toEqual(
        new Set([JSON.stringify({ status: 'conflict', actual: version + 1 })]),
      );
    }
    await server.ask((redis) => wholeHistory(redis));
  });
});

describe('the same append again', () => {
  test('is a duplicate wherever the stream stands by then, and says where its events are', async () => {
    const store = fresh();
    const events = [deposited(1, 'a'), deposited(2, 'b')];
    const first = await store.append('again', events, { expected: 'none' });
    expect(await store.append('again', events, { expected: 'none' })).toEqual({ ...first, status: 'duplicate' });
    await store.append('again', [deposited(3)]);
    expect(await store.append('again', events)).toEqual({ ...first, status: 'duplicate' });
    expect(await store.version('again')).toBe(3);
    expect(await store.append('another', events)).toMatchObject({ status: 'appended', version: 2 });
  });

  test('with other events beside those that are there is refused as a whole', async () => {
    const store = fresh();
    await store.append('mixed', [deposited(1, 'a'), deposited(2, 'b')]);
    for (const ids of [
      ['b', 'a'],
      ['a', 'c'],
      ['c', 'b'],
      ['b', 'c'],
    ]) {
      const events = ids.map((id) => deposited(1, id));
      const { facts } = await failureOf(store.append('mixed', events), 'EVENT_ID_TAKEN');
      expect(facts).toMatchObject({ streamId: 'mixed', version: 2 });
    }
    expect(await store.append('mixed', [deposited(1, 'a')])).toMatchObject({ status: 'duplicate', version: 1 });
    expect(await store.version('mixed')).toBe(2);
  });

  test('after a lost answer counts once', async () => {
    const proxy = own(await startProxy(server.port));
    const { store } = storeOf({ url: proxy.url, commandTimeout: 500 }, accounts);
    await store.append('lost', [opened()]);
    const events = [deposited(5, 'lost-1'), deposited(6, 'lost-2')];
    proxy.loseAnswers();
    const { code } = await store.append('lost', events, { expected: 1 }).then(
      () => ({ code: 'none' }),
      (error: { code: string }) => error,
    );
    expect(['REDIS_TIMEOUT', 'REDIS_UNREACHABLE']).toContain(code);
    proxy.restore();
    proxy.cut();
    expect(await store.append('lost', events, { expected: 1 })).toMatchObject({ status: 'duplicate', version: 3 });
    expect((await all(store.read('lost'))).map(({ version }) => version)).toEqual([1, 2, 3]);
  });

  test('without ids counts again, for nobody could tell', async () => {
    const store = fresh();
    await store.append('unnamed', [deposited()]);
    expect(await store.append('unnamed', [deposited()])).toMatchObject({ status: 'appended', version: 2 });
    expect(await server.ask((redis) => redis.exists('millrace:events:{accounts}:ids:unnamed'))).toBe(0);
  });
});

describe('what makes no sense', () => {
  const refused: Array<[what: string, events: unknown, message: string]> = [
    ['no list', 'deposited', 'events: expected a list of 1 to 500 events, got "deposited"'],
    ['an empty list', [], 'events: expected a list of 1 to 500 events, got 0'],
    ['too many', Array.from({ length: 501 }, () => deposited()), 'got 501'],
    ['no event', [null], 'events[0]: expected { type, data }, got null'],
    [
      'an unknown type',
      [{ type: 'deposit', data: {} }],
      'events[0].type: there are no events of type "deposit"; did you mean deposited?',
    ],
    ['a type of the prototype', [{ type: 'toString', data: {} }], 'expected one of opened, deposited, closed'],
    ['an unknown field', [{ ...deposited(), meta: {} }], 'events[0].meta: unknown'],
    [
      'data that does not match',
      [opened(), { type: 'deposited', data: { amount: '5' } }],
      'events[1] of accounts (deposited) does not match its schema: amount:',
    ],
    [
      'data without a JSON form',
      [{ type: 'deposited', data: { amount: 5n } }],
      'amount: expected a value with a JSON form, got a bigint',
    ],
    ['metadata that is no object', [{ ...deposited(), metadata: 'ada' }], 'the metadata of events[0]'],
    [
      'an id that is no text',
      [{ ...deposited(), id: 7 }],
      'events[0].id: expected a text of 1 to 512 characters, got 7',
    ],
    ['an id of half a character', [deposited(1, '\uD800')], 'events[0].id: expected a text'],
    ['ids that repeat', [deposited(1, 'x'), deposited(2, 'x')], 'events[1].id: the same as that of events[0]'],
    ['ids of some only', [deposited(1, 'x'), deposited(2)], 'events: expected an id with each event or with none'],
  ];
  test.each(refused)('is refused before anything is sent: %s', async (_what, events, message) => {
    const store = fresh();
    const error = await failureOf(store.append('refused', events as AccountEvent[]), 'INPUT_INVALID');
    expect(error.message).toContain(message);
    expect(await store.version('refused')).toBe(0);
  });

  test('is refused: an event or an append that is too large', async () => {
    const store = fresh();
    const owner = 'x'.repeat(300_000);
    const { facts } = await failureOf(store.append('large', [opened(owner)]), 'PAYLOAD_TOO_LARGE');
    expect(facts).toMatchObject({ maxBytes: 262_144 });
    const metadata = { note: 'x'.repeat(200_000) };
    const halves = { ...opened('x'.repeat(200_000)), metadata } as AccountEvent;
    await failureOf(store.append('large', [halves]), 'PAYLOAD_TOO_LARGE');
    const many = Array.from({ length: 50 }, () => opened('x'.repeat(200_000)));
    await failureOf(store.append('large', many), 'PAYLOAD_TOO_LARGE');
    expect(await store.version('large')).toBe(0);
  });

  test.each([-1, 1.5, Number.NaN, 'empty', null, '2'])('is refused: an expected version of %s', async (expected) => {
    const { message } = await failureOf(
      fresh().append('refused', [deposited()], { expected: expected as never }),
      'OPTIONS_INVALID',
    );
    expect(message).toContain("expected: expected 'none', 'exists', 'any' or the version");
  });

  test('is refused: options and streams that are none', async () => {
    const { store, connections } = storeOf({ url: server.url }, accounts);
    await failureOf(store.append('refused', [deposited()], { expectd: 1 } as object), 'OPTIONS_INVALID');
    for (const name of ['', 7, undefined, 'half \uDC00', 'x'.repeat(513)])
      await failureOf(store.append(name as string, [deposited()]), 'KEY_INVALID');
    expect(() => createEventStore(connections, {} as never)).toThrow('expected a contract of defineEvents()');
    expect(() => createEventStore(connections, accounts, { prefx: 'x' } as object)).toThrow('did you mean prefix?');
  });
});

test('any text is the name of a stream, and none is taken for another', async () => {
  const store = fresh();
  const names = ['a:b', 'a%3Ab', 'a{b}', 'ü 🦉', 'a', 'A', ' a', '0', 'ids:a', 'all', 'versions', '__proto__'];
  for (const [index, name] of names.entries()) {
    await store.append(name, [deposited(index)]);
    await store.append(name, [deposited(index)]);
  }
  for (const [index, name] of names.entries()) {
    expect((await all(store.read(name))).map(({ data }) => data)).toEqual([{ amount: index }, { amount: index }]);
  }
});

test('a server that forgets its scripts, or is full, loses nothing', async () => {
  const { store } = storeOf({ url: server.url }, accounts);
  await store.append('scripts', [deposited()]);
  await server.ask((redis) => redis.script('FLUSH'));
  expect(await store.append('scripts', [deposited()], { expected: 1 })).toMatchObject({ version: 2 });
  await server.ask((redis) => redis.config('SET', 'maxmemory', '1'));
  await failureOf(store.append('scripts', [deposited(), deposited()]), 'REDIS_WRITES_REFUSED');
  await server.ask((redis) => redis.config('SET', 'maxmemory', '0'));
  expect(await store.append('scripts', [deposited()], { expected: 2 })).toMatchObject({ version: 3 });
});

test('appends are counted by how they end', async () => {
  const metrics = createMetrics();
  const { store } = storeOf({ url: server.url }, accounts, { metrics });
  await store.append('counted', [deposited(1, 'c1'), deposited(1, 'c2')]);
  await store.append('counted', [deposited(1, 'c1'), deposited(1, 'c2')]);
  await store.append('counted', [deposited()], { expected: 'none' });
  const text = await metrics.render();
  for (const outcome of ['appended', 'duplicate', 'conflict'])
    expect(text).toContain(`millrace_events_appends_total{store="accounts",outcome="${outcome}"} 1`);
  expect(text).toContain('millrace_events_appended_total{store="accounts"} 2');
});

test('after stop nothing is appended', async () => {
  const store = fresh();
  await store.stop();
  await failureOf(store.append('stopped', [deposited()]), 'CLOSED');
});
