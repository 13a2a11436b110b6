/** Dead letters of a store: seen, sent back, discarded, and never in the way of a newer change. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { behindOf, MemoryStore } from './scene.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();

/** A store that takes nothing until it is mended, and a letter for each key. */
async function graveyard(keys: readonly string[], attempts = 2) {
  const store = new MemoryStore<number>();
  let isBroken = true;
  store.refuse = (key) => {
    if (isBroken) throw Object.assign(new Error(`no ${key}`), { code: 'E42' });
  };
  const { behind, connections, prefix } = behindOf(own, { url: server.url });
  const numbers = behind(store.single(), { attempts, maxPending: 100, retry: { delay: '5ms', max: '10ms' } });
  numbers.start();
  for (const [at, key] of keys.entries()) await numbers.set(key, at);
  await numbers.flush();
  expect((await numbers.pending()).deadLetters).toBe(keys.length);
  return { store, numbers, connections, prefix, mend: () => void (isBroken = false) };
}

test('a letter tells what there is to know', async () => {
  const { numbers } = await graveyard(['a']);
  const { letters, cursor } = await numbers.deadLetters.list();
  expect(cursor).toBeUndefined();
  expect(letters).toMatchObject([
    {
      key: 'a',
      kind: 'set',
      value: 0,
      attempts: 2,
      redriven: 0,
      error: { name: 'Error', message: 'no a', code: 'E42' },
    },
  ]);
  const [letter] = letters;
  expect(letter?.error.stack).toContain('Error: no a');
  expect(letter?.diedAt.getTime()).toBeGreaterThanOrEqual(letter?.acceptedAt.getTime() ?? Number.NaN);
  expect(Math.abs(Date.now() - (letter?.acceptedAt.getTime() ?? 0))).toBeLessThan(60_000);
});

test('readers see what the store has, once a change is a dead letter', async () => {
  const { numbers, store } = await graveyard(['a']);
  store.values.set('a', 41);
  expect(await numbers.get('a')).toBe(41);
});

test('letters are listed in pages, by key and by time', async () => {
  const keys = Array.from({ length: 25 }, (_, n) => `k${n}`);
  const { numbers } = await graveyard(keys, 1);
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await numbers.deadLetters.list({ limit: 10, cursor });
    seen.push(...page.letters.map(({ key }) => key));
    cursor = page.cursor;
  } while (cursor !== undefined);
  expect(seen.toSorted()).toEqual(keys.toSorted());
  expect((await numbers.deadLetters.list({ key: 'k7', limit: 3 })).letters).toMatchObject([{ key: 'k7' }]);
  expect((await numbers.deadLetters.list({ to: new Date(0) })).letters).toEqual([]);
  expect((await numbers.deadLetters.list({ from: new Date(0) })).letters).toHaveLength(25);
  await failureOf(numbers.deadLetters.list({ limit: 0 }), 'OPTIONS_INVALID');
});

test('a letter that is sent back is saved, with a version above all before, and is seen by readers at once', async () => {
  const { numbers, store, mend } = await graveyard(['a', 'b']);
  const [letter] = (await numbers.deadLetters.list({ key: 'a' })).letters;
  expect(await numbers.get('a')).toBeUndefined();
  mend();
  expect(await numbers.deadLetters.redrive(letter?.id ?? '')).toEqual({ redriven: 1, isFull: false });
  expect(await numbers.get('a')).toBe(0);
  await numbers.flush();
  expect(store.asked).toMatchObject([{ key: 'a', value: 0 }]);
  expect(store.asked[0]?.version).toBeGreaterThan(letter?.version ?? Number.NaN);
  expect(await numbers.pending()).toMatchObject({ pending: 0, deadLetters: 1 });
});

test('sent back by several at once, each letter goes once', async () => {
  const { numbers, store, mend } = await graveyard(
    Array.from({ length: 40 }, (_, n) => `k${n}`),
    1,
  );
  mend();
  const results = await Promise.all(Array.from({ length: 4 }, () => numbers.deadLetters.redrive({})));
  expect(results.reduce((sum, { redriven }) => sum + redriven, 0)).toBe(40);
  await numbers.flush();
  expect(store.asked).toHaveLength(40);
});

test('a letter that dies again keeps its story', async () => {
  const { numbers } = await graveyard(['a']);
  const [first] = (await numbers.deadLetters.list()).letters;
  await numbers.deadLetters.redrive({ key: 'a' });
  const again = await eventually(async () => {
    const { letters } = await numbers.deadLetters.list();
    expect(letters).toHaveLength(1);
    return letters[0];
  });
  expect(again).toMatchObject({ redriven: 1, attempts: 2, acceptedAt: first?.acceptedAt });
  expect(again?.id).not.toBe(first?.id);
});

test('a newer change of the key takes the place of its letter', async () => {
  const { numbers, store, mend } = await graveyard(['a']);
  const [letter] = (await numbers.deadLetters.list()).letters;
  mend();
  await numbers.set('a', 7);
  expect((await numbers.pending()).deadLetters).toBe(0);
  expect(await numbers.deadLetters.redrive(letter?.id ?? '')).toEqual({ redriven: 0, isFull: false });
  await numbers.flush();
  expect(store.asked.map(({ value }) => value)).toEqual([7]);
});

test('a redrive stops where the store is full, and loses nothing', async () => {
  const { numbers, connections, prefix } = await graveyard(['a', 'b', 'c']);
  await numbers.stop();
  const { behind } = behindOf(own, { url: server.url });
  const small = behind(new MemoryStore<number>().single(), { maxPending: 2 }, { connections, prefix });
  expect(await small.deadLetters.redrive({})).toEqual({ redriven: 2, isFull: true });
  expect(await small.pending()).toMatchObject({ pending: 2, deadLetters: 1 });
});

test('a discarded letter is gone', async () => {
  const { numbers } = await graveyard(['a', 'b', 'c']);
  const [oldest, letter, newest] = (await numbers.deadLetters.list()).letters;
  expect(await numbers.deadLetters.discard(letter?.id ?? '')).toEqual({ discarded: 1 });
  expect(await numbers.deadLetters.discard(letter?.id ?? '')).toEqual({ discarded: 0 });
  expect(await numbers.deadLetters.discard({}, { limit: 1 })).toEqual({ discarded: 1 });
  const { letters } = await numbers.deadLetters.list();
  expect(letters.map(({ key }) => key)).toEqual([newest?.key]);
  expect(letters[0]?.key).not.toBe(oldest?.key);
});
