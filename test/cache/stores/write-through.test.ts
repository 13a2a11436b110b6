/** What write-through promises. */
import { expect, test } from 'vitest';
import { createMetrics } from '../../../src/metrics/registry.ts';
import { createWriteThrough, type WriteThrough } from '../../../src/cache/stores/write-through.ts';
import type { ThroughStore } from '../../../src/cache/stores/store.ts';
import type { WriteThroughOptions } from '../../../src/cache/stores/options.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { gate, never } from '../../support/gate.ts';
import { ownedByTest } from '../../support/owned.ts';
import { MemoryCache } from './scene.ts';

const own = ownedByTest();

/** A table in memory; a row can be held back or refused. */
class Table implements ThroughStore<string> {
  readonly name = 'table';
  readonly rows = new Map<string, string>();
  loads = 0;
  before: (key: string, value: string | undefined, signal: AbortSignal) => unknown = () => undefined;
  after: (key: string, value: string | undefined) => unknown = () => undefined;

  load(key: string): string | undefined {
    this.loads++;
    return this.rows.get(key);
  }

  async save(key: string, value: string, { signal }: { signal: AbortSignal }): Promise<void> {
    await this.before(key, value, signal);
    this.rows.set(key, value);
    await this.after(key, value);
  }

  async remove(key: string, { signal }: { signal: AbortSignal }): Promise<void> {
    await this.before(key, undefined, signal);
    this.rows.delete(key);
  }
}

function through(
  table: Table,
  options?: WriteThroughOptions,
  cache = new MemoryCache(),
): WriteThrough<string> & { cache: MemoryCache } {
  return Object.assign(own(createWriteThrough({ cache }, table, options)), { cache });
}

test('a value is loaded once, and again after it was written', async () => {
  const table = new Table();
  const texts = through(table);
  expect(await texts.get('a')).toBeUndefined();
  await texts.set('a', 'one');
  expect(await Promise.all([texts.get('a'), texts.get('a'), texts.get('a')])).toEqual(['one', 'one', 'one']);
  expect(table.loads).toBe(2);
  await texts.set('a', 'two');
  expect(await texts.getMany(['a', 'b'])).toEqual(new Map([['a', 'two']]));
  await texts.delete('a');
  expect(await texts.get('a')).toBeUndefined();
});

test('a write wins over a load that is under way', async () => {
  const table = new Table();
  table.rows.set('a', 'old');
  const { opened, open } = gate();
  const texts = through(table);
  const load = table.load.bind(table);
  table.load = ((key: string) => {
    const value = load(key);
    return opened.then(() => value);
  }) as never;
  const reading = texts.get('a');
  await texts.set('a', 'new');
  open();
  expect(await reading).toBe('old');
  expect(await texts.get('a')).toBe('new');
});

test('of two writes at once, whichever the store took last is what readers see', async () => {
  const table = new Table();
  const [first, second] = [gate(), gate()];
  table.after = (_key, value) => (value === 'first' ? first.opened : second.opened);
  const cache = new MemoryCache();
  const [left, right] = [through(table, {}, cache), through(table, {}, cache)];
  const one = left.set('a', 'first');
  await eventually(() => expect(table.rows.get('a')).toBe('first'));
  const two = right.set('a', 'second');
  await eventually(() => expect(table.rows.get('a')).toBe('second'));
  second.open();
  await two;
  expect(await right.get('a')).toBe('second');
  first.open(); // The earlier write is the last to tell the cache.
  await one;
  expect([await left.get('a'), await right.get('a')]).toEqual(['second', 'second']);
});

test('a save that fails throws its own error, and the cache shows what the store has', async () => {
  const table = new Table();
  const texts = through(table);
  await texts.set('a', 'one');
  await texts.get('a');
  const refused = new TypeError('no such column');
  table.before = () => {
    throw refused;
  };
  await expect(texts.set('a', 'two')).rejects.toBe(refused);
  expect(await texts.get('a')).toBe('one');
  // It may have been taken before the failure.
  table.before = () => undefined;
  table.after = () => {
    throw new Error('connection lost');
  };
  await expect(texts.set('a', 'three')).rejects.toThrow('connection lost');
  expect(await texts.get('a')).toBe('three');
});

test('a save that takes too long, or whose caller gives up, is told and not waited for', async () => {
  const table = new Table();
  const signals: AbortSignal[] = [];
  table.before = (_key, _value, signal) => {
    signals.push(signal);
    return never();
  };
  const texts = through(table, { saveTimeout: '30ms' });
  await failureOf(texts.set('a', 'x'), 'CACHE_SAVE_TIMEOUT');
  const controller = new AbortController();
  const patient = through(table);
  const saving = patient.set('a', 'x', { signal: controller.signal });
  await eventually(() => expect(signals).toHaveLength(2));
  controller.abort(new Error('enough'));
  await expect(saving).rejects.toThrow('enough');
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
});

test('a cache that is down does not stop a write, and is told when it is back', async () => {
  const table = new Table();
  const texts = through(table);
  await texts.set('a', 'one');
  expect(await texts.get('a')).toBe('one');
  texts.cache.broken = new Error('Redis is down');
  await texts.set('a', 'two');
  expect(table.rows.get('a')).toBe('two');
  expect(await texts.get('a')).toBe('one');
  texts.cache.broken = undefined;
  await eventually(async () => expect(await texts.get('a')).toBe('two'));
});

test('a store without remove() refuses a delete, options and keys are checked, and the end is final', async () => {
  const cache = new MemoryCache();
  const texts = own(createWriteThrough({ cache }, { name: 'fixed', load: () => 'x', save: async () => undefined }));
  await failureOf(texts.delete('a'), 'OPTIONS_INVALID');
  await failureOf(texts.get(''), 'KEY_INVALID');
  expect(() => createWriteThrough({ cache }, { name: 'fixed', load: () => 'x' } as never)).toThrow(
    'expected a function save()',
  );
  expect(() => createWriteThrough({ cache }, new Table(), { tttl: '1s' } as never)).toThrow('unknown option tttl');
  await texts.stop();
  await failureOf(texts.set('a', 'x'), 'CLOSED');
});

test('writes are counted', async () => {
  const metrics = createMetrics();
  const table = new Table();
  const texts = own(createWriteThrough({ cache: new MemoryCache(), metrics }, table));
  await texts.set('a', 'one');
  table.before = () => {
    throw new Error('no');
  };
  await expect(texts.set('a', 'two')).rejects.toThrow('no');
  const text = await metrics.render();
  expect(text).toContain('millrace_cache_store_changes_total{store="table",outcome="saved"} 1');
  expect(text).toContain('millrace_cache_store_changes_total{store="table",outcome="failed"} 1');
});
