/** Stores behind the real cache, on each topology, with two processes' worth of caches. */
import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createCache } from '../../src/cache/create-cache.ts';
import type { WriteBehindOptions } from '../../src/cache/stores/options.ts';
import type { BehindStore, ThroughStore } from '../../src/cache/stores/store.ts';
import { createWriteBehind, type WriteBehind } from '../../src/cache/stores/write-behind.ts';
import { createWriteThrough, type WriteThrough } from '../../src/cache/stores/write-through.ts';
import { createMetrics, type Metrics } from '../../src/metrics/registry.ts';
import type { Topology } from '../../src/redis/address.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { MemoryStore, QUICK } from '../cache/stores/scene.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { openAll, startForFile } from './topologies.ts';

interface Row {
  n: number;
}

describe.each<Topology>(['standalone', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const own = ownedByTest();

  /** As many processes as asked for, each with connections and a cache of its own. */
  async function processes(count: number) {
    const prefix = `c-${randomUUID()}`;
    return {
      prefix,
      all: await Promise.all(
        Array.from({ length: count }, async () => {
          const connections = own(createConnections({ commandTimeout: 3_000, ...topologyOf().redis }));
          await openAll(connections.commands());
          const cache = own(createCache(connections, { prefix }));
          await cache.ready();
          const metrics: Metrics = createMetrics();
          const parts = { connections, cache: cache.namespace('rows'), prefix, metrics };
          return {
            metrics,
            behind: (store: BehindStore<Row>, options?: WriteBehindOptions): WriteBehind<Row> =>
              own(createWriteBehind(parts, store, { ...QUICK, ...options })),
            through: (store: ThroughStore<Row>): WriteThrough<Row> => own(createWriteThrough(parts, store)),
          };
        }),
      ),
    };
  }

  test('a change is seen in every process before it is saved, and is saved once', async () => {
    const store = new MemoryStore<Row>('rows');
    const { all } = await processes(2);
    const [writer, reader] = all.map(({ behind }) => behind(store.bulk()));
    expect(await reader?.get('a')).toBeUndefined();
    await writer?.set('a', { n: 1 });
    await writer?.setMany(Array.from({ length: 50 }, (_, n) => [`k${n}`, { n }] as const));
    await eventually(async () => expect(await reader?.get('a')).toEqual({ n: 1 }));
    expect((await reader?.getMany(Array.from({ length: 50 }, (_, n) => `k${n}`)))?.size).toBe(50);
    expect(store.loaded).toEqual(['a']);
    reader?.start();
    await writer?.flush();
    expect(store.asked).toHaveLength(51);
    expect(await writer?.pending()).toMatchObject({ pending: 0, hasFlusher: true });
    expect(await writer?.get('a')).toEqual({ n: 1 });
    expect(store.loaded).toEqual(['a']);
  });

  test('readers and writers of one key at once never see it go back', async () => {
    const store = new MemoryStore<Row>('rows');
    const { all } = await processes(2);
    const [writer, reader] = all.map(({ behind }) => behind(store.bulk(), { flushAfter: 5 }));
    reader?.start();
    const writingEnds = new AbortController();
    let accepted = 0;
    const faults: string[] = [];
    const read = async (who: WriteBehind<Row> | undefined, isWriter: boolean): Promise<void> => {
      let last = 0;
      while (!writingEnds.signal.aborted) {
        const floor = isWriter ? accepted : last;
        const n = (await who?.get('a'))?.n ?? 0;
        if (n < floor) faults.push(`${isWriter ? 'the writer' : 'a reader'} saw ${n} after ${floor}`);
        last = n;
        await new Promise(setImmediate);
      }
    };
    const readers = [read(writer, true), read(reader, false), read(reader, false)];
    for (let n = 1; n <= 150; n++) {
      await writer?.set('a', { n });
      accepted = n;
    }
    writingEnds.abort();
    await Promise.all(readers);
    await writer?.flush();
    expect(faults).toEqual([]);
    expect(store.values.get('a')).toEqual({ n: 150 });
    expect(await reader?.get('a')).toEqual({ n: 150 });
  });

  test('dead letters are sent back, and the gauges tell of them', async () => {
    const store = new MemoryStore<Row>('rows');
    let isBroken = true;
    store.refuse = () => {
      if (isBroken) throw new Error('no');
    };
    const { all } = await processes(1);
    const [here] = all;
    const rows = here?.behind(store.single(), { attempts: 2 });
    rows?.start();
    await rows?.set('a', { n: 1 });
    await rows?.delete('b');
    await rows?.flush();
    const text = await here?.metrics.render();
    expect(text).toContain('millrace_cache_store_dead_letters{store="rows"} 2');
    expect(text).toContain('millrace_cache_store_pending{store="rows"} 0');
    expect(text).toContain('millrace_cache_store_changes_total{store="rows",outcome="dead"} 2');
    isBroken = false;
    expect(await rows?.deadLetters.redrive({})).toEqual({ redriven: 2, isFull: false });
    await rows?.flush();
    expect(store.asked.map(({ key, kind }) => `${kind} ${key}`).toSorted()).toEqual(['remove b', 'set a']);
  });

  test('the next process saves when the first one stops', async () => {
    const store = new MemoryStore<Row>('rows');
    const { all } = await processes(2);
    const [first, second] = all.map(({ behind }) => behind(store.bulk(), { flushAfter: '1h' }));
    first?.start();
    await first?.set('a', { n: 1 });
    await eventually(async () => expect(await first?.pending()).toMatchObject({ hasFlusher: true }));
    second?.start();
    await first?.stop();
    expect(store.values.get('a')).toEqual({ n: 1 });
    await second?.set('b', { n: 2 });
    await second?.flush();
    expect(store.values.get('b')).toEqual({ n: 2 });
  });

  test('write-through is seen in every process, and wins over a load', async () => {
    const values = new Map<string, Row>([['a', { n: 0 }]]);
    const { opened, open } = gate();
    const loading = gate();
    let isHeld = true;
    const store: ThroughStore<Row> = {
      name: 'rows',
      async load(key) {
        const value = values.get(key);
        loading.open();
        if (isHeld) await opened;
        return value;
      },
      save: async (key, value) => void values.set(key, value),
      remove: async (key) => void values.delete(key),
    };
    const { all } = await processes(2);
    const [writer, reader] = all.map(({ through }) => through(store));
    const reading = reader?.get('a');
    await loading.opened;
    isHeld = false;
    await writer?.set('a', { n: 1 });
    open();
    await reading;
    await eventually(async () => expect(await reader?.get('a')).toEqual({ n: 1 }));
    expect(await writer?.get('a')).toEqual({ n: 1 });
    await writer?.delete('a');
    expect(await writer?.get('a')).toBeUndefined();
    await eventually(async () => expect(await reader?.get('a')).toBeUndefined());
  });

  test('it goes on after a failover', { timeout: 90_000 }, async () => {
    const store = new MemoryStore<Row>('rows');
    const { all, prefix } = await processes(1);
    const rows = all[0]?.behind(store.bulk());
    rows?.start();
    await rows?.set('before', { n: 1 });
    await rows?.flush();
    await topologyOf().failOver(`${prefix}:cache:{store/rows}:changes`);
    await eventually(async () => rows?.set('after', { n: 2 }), 30_000);
    await eventually(() => expect(store.values.get('after')).toEqual({ n: 2 }), 30_000);
  });
});
