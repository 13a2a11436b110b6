/** Stores that refuse, hang or are down: retries, isolation, and what is done when nothing helps. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BehindStore } from '../../../src/cache/stores/store.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { untilAborted } from '../../support/gate.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { behindOf, MemoryStore } from './scene.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();

const many = (count: number): Array<readonly [string, number]> =>
  Array.from({ length: count }, (_, n) => [`k${n}`, n] as const);

describe('a save that fails', () => {
  test('is tried again, and counts its attempts', async () => {
    const store = new MemoryStore<number>();
    const attempts: number[] = [];
    store.refuse = (_key, attempt) => {
      attempts.push(attempt);
      if (attempt < 4) throw new Error('503');
    };
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.bulk());
    numbers.start();
    await numbers.set('a', 1);
    await numbers.flush();
    expect(attempts).toEqual([1, 2, 3, 4]);
    expect(store.values.get('a')).toBe(1);
  });

  test('does not hold up others for longer than a moment', async () => {
    const store = new MemoryStore<number>();
    store.refuse = (key) => {
      if (key === 'bad') throw new Error('no');
    };
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.single(), { retry: { delay: '50ms', max: '10s', jitter: 0 } });
    numbers.start();
    await numbers.set('bad', 1);
    await eventually(async () => expect(await numbers.pending()).toMatchObject({ retrying: 1 }));
    await numbers.setMany(many(50));
    await eventually(() => expect(store.values.size).toBe(50), 3_000);
    expect(await numbers.pending()).toMatchObject({ pending: 1, deadLetters: 0 });
  });

  test('is of no matter any more once a newer change of its key has come', async () => {
    const store = new MemoryStore<string>();
    const { behind } = behindOf(own, { url: server.url });
    const texts = behind(
      {
        ...store.bulk(),
        async saveMany(changes) {
          for (const { key, value } of changes) {
            if (value === 'bad') throw new Error('no');
            store.values.set(key, value ?? '');
          }
        },
      },
      { retry: { delay: '1h', max: '1h' } },
    );
    texts.start();
    await texts.set('a', 'bad');
    await eventually(async () => expect(await texts.pending()).toMatchObject({ retrying: 1 }));
    await texts.set('a', 'good');
    await texts.stop();
    expect(store.values.get('a')).toBe('good');
  });

  test('of a bulk does not take its neighbours with it', async () => {
    const store = new MemoryStore<number>();
    store.refuse = (key) => {
      if (key === 'k7') throw new TypeError('no such column');
    };
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.bulk(), { attempts: 4 });
    await numbers.setMany(many(100));
    numbers.start();
    await numbers.flush();
    expect(store.values.size).toBe(99);
    const { letters } = await numbers.deadLetters.list();
    expect(letters).toMatchObject([{ key: 'k7', value: 7, attempts: 4, error: { name: 'TypeError' } }]);
  });

  test('of a bulk that says which ones is their failure alone', async () => {
    const saved: string[] = [];
    const store: BehindStore<number> = {
      name: 'partial',
      async saveMany(changes) {
        const bad = changes.filter(({ value }) => value === 3);
        saved.push(...changes.filter((change) => !bad.includes(change)).map(({ key }) => key));
        return bad.map(({ key }) => ({ key, error: new Error('odd') }));
      },
    };
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store, { attempts: 2 });
    await numbers.setMany(many(10));
    numbers.start();
    await numbers.flush();
    expect(saved.toSorted()).toEqual(
      many(10)
        .map(([key]) => key)
        .filter((key) => key !== 'k3')
        .toSorted(),
    );
    expect((await numbers.deadLetters.list()).letters).toMatchObject([{ key: 'k3', attempts: 2 }]);
  });

  test('because it takes too long has its signal aborted', async () => {
    const store = new MemoryStore<number>();
    let aborts = 0;
    store.hold = (signal) => untilAborted(signal).finally(() => aborts++);
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.single(), { saveTimeout: '50ms', attempts: 2 });
    numbers.start();
    await numbers.set('a', 1);
    await numbers.flush();
    expect(aborts).toBe(2);
    const { letters } = await numbers.deadLetters.list();
    expect(letters).toMatchObject([{ error: { name: 'MillraceError', code: 'CACHE_SAVE_TIMEOUT' } }]);
  });
});

describe('a store that is down', () => {
  test('is asked with one call at a time, and catches up when it is back', async () => {
    const store = new MemoryStore<number>();
    let [calls, isDown] = [0, true];
    store.refuse = () => {
      calls++;
      if (isDown) throw new Error('ECONNREFUSED');
    };
    const { log, told, warnings } = collectLog();
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.single(), { attempts: 1_000, batchSize: 20, concurrency: 5 }, { log });
    await numbers.setMany(many(200));
    numbers.start();
    await eventually(() => expect(calls).toBeGreaterThan(25));
    // The first batch met the outage; from then on each call was a probe.
    expect(calls).toBeLessThan(60);
    isDown = false;
    await numbers.flush();
    expect(store.values.size).toBe(200);
    expect((await numbers.pending()).deadLetters).toBe(0);
    expect(warnings()).toHaveLength(1);
    expect(told().map(({ msg }) => msg)).toContain('changes of a store are saved again');
  });
});

describe('when dead letters are full', () => {
  test('changes stay pending, and die when there is room', async () => {
    const store = new MemoryStore<number>();
    store.refuse = () => {
      throw new Error('no');
    };
    const { behind } = behindOf(own, { url: server.url });
    const numbers = behind(store.single(), { attempts: 1, maxDeadLetters: 2 });
    await numbers.setMany(many(3));
    numbers.start();
    await eventually(async () => expect(await numbers.pending()).toMatchObject({ pending: 1, deadLetters: 2 }));
    expect(await numbers.deadLetters.discard({}, { limit: 1 })).toEqual({ discarded: 1 });
    await eventually(async () => expect(await numbers.pending()).toMatchObject({ pending: 0, deadLetters: 2 }));
  });
});

test('options and stores that make no sense are refused, and say why', async () => {
  const { behind } = behindOf(own, { url: server.url });
  const store = new MemoryStore<number>();
  const refused = async (...args: Parameters<typeof behind<number>>): Promise<string> =>
    (await failureOf((async () => behind(...args))(), 'OPTIONS_INVALID')).message;
  expect(await refused(store.bulk(), { flushAfer: '1s' } as object)).toContain('did you mean flushAfter?');
  expect(await refused(store.bulk(), { batchSize: 1_001 })).toContain('batchSize: expected at most 1000');
  expect(await refused(store.bulk(), { ttl: 0 })).toContain('ttl');
  expect(await refused({ name: 'a b', saveMany: async () => undefined })).toContain("the store's name");
  expect(await refused({ name: 'ab' })).toContain('expected a function save or saveMany()');
  const fixed = behind<number>({ name: 'ab', save: async () => undefined });
  await failureOf(fixed.delete('a'), 'OPTIONS_INVALID');
});
