/** What write-behind promises on one server. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { gate } from '../../support/gate.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { behindOf, MemoryStore } from './scene.ts';

interface Thing {
  n: number;
}

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();

describe('a change', () => {
  test('is in Redis before set() resolves, and in the store soon after', async () => {
    const store = new MemoryStore<Thing>();
    const { connections, prefix, behind } = behindOf(own, { url: server.url });
    const things = behind(store.bulk());
    const { version } = await things.set('a', { n: 1 });
    expect(store.values.size).toBe(0);
    const entries = await connections.commands().xrange(`${prefix}:cache:{store/things}:changes`, '-', '+');
    expect(entries).toHaveLength(1);
    expect(entries[0]?.[0]).toBe(`${version}-0`);
    things.start();
    await things.flush();
    expect(store.values.get('a')).toEqual({ n: 1 });
    expect(await things.pending()).toMatchObject({ pending: 0, retrying: 0, deadLetters: 0, oldestMs: 0 });
  });

  test('is seen by readers while the store lacks it, also in a process whose cache knows nothing', async () => {
    const store = new MemoryStore<Thing>();
    store.values.set('a', { n: 0 });
    const { behind } = behindOf(own, { url: server.url });
    const [writer, reader] = [behind(store.bulk()), behind(store.bulk())];
    await writer.set('a', { n: 1 });
    await writer.set('b', { n: 2 });
    expect(await writer.get('a')).toEqual({ n: 1 });
    expect(await reader.getMany(['a', 'b', 'c'])).toEqual(
      new Map([
        ['a', { n: 1 }],
        ['b', { n: 2 }],
      ]),
    );
    await writer.delete('a');
    expect(await writer.get('a')).toBeUndefined();
    expect(store.loaded).toEqual(['c']);
  });

  test('of a load that is under way wins over what the load gives', async () => {
    const store = new MemoryStore<Thing>();
    store.values.set('a', { n: 0 });
    const { opened, open } = gate();
    const { behind } = behindOf(own, { url: server.url });
    const loading = gate();
    const things = behind({
      ...store.bulk(),
      async load(key) {
        const value = await store.load(key);
        loading.open();
        await opened;
        return value;
      },
    });
    const reading = things.get('a');
    await loading.opened;
    await things.set('a', { n: 1 });
    open();
    await reading;
    expect(await things.get('a')).toEqual({ n: 1 });
  });

  test('replaces an older one of its key, so the store sees the latest alone', async () => {
    const store = new MemoryStore<Thing>();
    const { behind } = behindOf(own, { url: server.url });
    const things = behind(store.bulk());
    for (let n = 0; n < 50; n++) await things.set('hot', { n });
    await things.setMany([
      ['cold', { n: 1 }],
      ['cold', { n: 2 }],
    ]);
    expect(await things.pending()).toMatchObject({ pending: 2 });
    things.start();
    await things.flush();
    expect(store.asked.map(({ key, value }) => [key, value?.n])).toEqual([
      ['hot', 49],
      ['cold', 2],
    ]);
  });

  test('carries a version that grows', async () => {
    const store = new MemoryStore<Thing>();
    const { behind } = behindOf(own, { url: server.url });
    const things = behind(store.single(), { batchSize: 1, concurrency: 1 });
    things.start();
    const versions: number[] = [];
    for (let n = 0; n < 20; n++) versions.push((await things.set(`k${n % 3}`, { n })).version);
    await things.delete('k0');
    await things.flush();
    expect(versions.every(Number.isSafeInteger)).toBe(true);
    expect(versions).toEqual(versions.toSorted((left, right) => left - right));
    const seen = store.asked.map(({ version }) => version);
    expect(seen).toEqual(seen.toSorted((left, right) => left - right));
    expect(store.asked.at(-1)).toMatchObject({ key: 'k0', kind: 'remove' });
    expect([...store.values.keys()].toSorted()).toEqual(['k1', 'k2']);
  });

  test('that comes while its key is being saved is saved after it', async () => {
    const store = new MemoryStore<Thing>();
    const { opened, open } = gate();
    const saving = gate();
    store.hold = async () => {
      saving.open();
      await opened;
    };
    const { behind } = behindOf(own, { url: server.url });
    const things = behind(store.bulk());
    things.start();
    await things.set('a', { n: 1 });
    await saving.opened;
    await things.set('a', { n: 2 });
    expect(await things.get('a')).toEqual({ n: 2 });
    open();
    await things.flush();
    expect(store.asked.map(({ value }) => value?.n)).toEqual([1, 2]);
    expect(await things.get('a')).toEqual({ n: 2 });
  });
});

describe('batches', () => {
  test('are full, or wait for their time', async () => {
    const store = new MemoryStore<Thing>();
    const { behind } = behindOf(own, { url: server.url });
    const things = behind(store.bulk(), { batchSize: 10, flushAfter: '1h' });
    things.start();
    await things.setMany(Array.from({ length: 25 }, (_, n) => [`k${n}`, { n }] as const));
    await eventually(() => expect(store.asked).toHaveLength(20));
    expect(store.bulks).toEqual([10, 10]);
    expect(await things.pending()).toMatchObject({ pending: 5, hasFlusher: true });
    await things.flush();
    expect(store.bulks).toEqual([10, 10, 5]);
  });

  test('of a store without saveMany run side by side, as many as it may', async () => {
    const store = new MemoryStore<Thing>();
    let [running, most] = [0, 0];
    const { opened, open } = gate();
    store.hold = async () => {
      most = Math.max(most, ++running);
      if (most === 4) open();
      await opened;
      running--;
    };
    const { behind } = behindOf(own, { url: server.url });
    const things = behind(store.single(), { concurrency: 4 });
    things.start();
    await things.setMany(Array.from({ length: 20 }, (_, n) => [`k${n}`, { n }] as const));
    await things.flush();
    expect(most).toBe(4);
    expect(store.asked).toHaveLength(20);
  });

  test('of large values are cut by their bytes', async () => {
    const store = new MemoryStore<string>();
    const { behind } = behindOf(own, { url: server.url });
    const texts = behind(store.bulk());
    await texts.setMany(Array.from({ length: 12 }, (_, n) => [`k${n}`, 'x'.repeat(1_000_000)] as const));
    texts.start();
    await texts.flush();
    expect(store.asked).toHaveLength(12);
    expect(Math.max(...store.bulks)).toBeLessThanOrEqual(5);
  });
});

describe('back-pressure', () => {
  test('refuses a new key when the store is full, and takes a newer change of a pending one', async () => {
    const store = new MemoryStore<Thing>();
    const { behind } = behindOf(own, { url: server.url });
    const things = behind(store.bulk(), { maxPending: 3 });
    await things.setMany([
      ['a', { n: 1 }],
      ['b', { n: 1 }],
    ]);
    const error = await failureOf(
      things.setMany([
        ['c', { n: 1 }],
        ['d', { n: 1 }],
      ]),
      'CACHE_STORE_FULL',
    );
    expect(error.facts).toMatchObject({ pending: 2, maxPending: 3 });
    expect(await things.get('c')).toBeUndefined();
    await things.set('c', { n: 1 });
    await failureOf(things.set('d', { n: 1 }), 'CACHE_STORE_FULL');
    await things.set('a', { n: 2 });
    things.start();
    await things.flush();
    await things.set('d', { n: 1 });
  });

  test('refuses values that have no JSON form or are too large, and keys that no key can be', async () => {
    const { behind } = behindOf(own, { url: server.url });
    const things = behind(new MemoryStore<unknown>().bulk(), { maxBytes: 100 });
    await failureOf(things.set('a', undefined), 'CACHE_VALUE_INVALID');
    await failureOf(things.set('a', 1n), 'CACHE_VALUE_INVALID');
    expect((await failureOf(things.set('a', 'x'.repeat(99)), 'CACHE_VALUE_INVALID')).message).toContain('101 bytes');
    await failureOf(things.set('', 1), 'KEY_INVALID');
    await failureOf(things.get('half \uD800'), 'KEY_INVALID');
    for (const value of [0, '', false, null]) await things.set('falsy', value);
    expect(await things.pending()).toMatchObject({ pending: 1 });
  });
});

test('nothing is left in Redis of changes that were saved but the last version', async () => {
  const store = new MemoryStore<Thing>();
  const { connections, prefix, behind } = behindOf(own, { url: server.url });
  const things = behind(store.bulk());
  things.start();
  for (let n = 0; n < 30; n++) await things.set(`k${n % 7}`, { n });
  await things.flush();
  await things.stop();
  const [, keys] = await connections.commands().scan(0, 'MATCH', `${prefix}:*`, 'COUNT', 10_000);
  expect(keys.map((key) => key.slice(key.lastIndexOf(':') + 1)).toSorted()).toEqual(['changes', 'hurry', 'version']);
  expect(await connections.commands().xlen(`${prefix}:cache:{store/things}:changes`)).toBe(0);
});
