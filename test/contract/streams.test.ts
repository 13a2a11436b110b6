/** Consumers on each topology: what they are given, what becomes of what fails, and a failover under load. */
import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { silentLogger } from '../../src/log.ts';
import type { Topology } from '../../src/redis/address.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { consume, consumeBatch, type ConsumerDefinition } from '../../src/streams/consumer/consume.ts';
import type { StreamModules } from '../../src/streams/context.ts';
import { defineStream } from '../../src/streams/contract.ts';
import { createStreamKeys } from '../../src/streams/keys.ts';
import { createStreams } from '../../src/streams/streams.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { openAll, startForFile } from './topologies.ts';

const stream = defineStream({ name: 'steps', schema: z.object({ n: z.number(), key: z.string() }) });
const steps = (from: number, count: number) =>
  Array.from({ length: count }, (_, at) => ({ n: from + at, key: `k${at % 5}` }));

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const own = ownedByTest();

  /** One process: it publishes, and runs what it is given. */
  async function processOf(prefix = `c-${randomUUID()}`) {
    const connections = own(createConnections({ commandTimeout: 2_000, ...topologyOf().redis }));
    await openAll(connections.commands());
    const host = { connections, prefix, log: silentLogger, clock: systemClock, modules: {} as StreamModules };
    const keys = createStreamKeys(prefix)(stream.name);
    const start = async (definition: ConsumerDefinition): Promise<void> => {
      const consumer = await definition.start(host);
      own({ stop: () => consumer.stop(2_000) });
    };
    const isSettled = async (group: string): Promise<void> => {
      const [count] = (await connections.commands().xpending(keys.entries, group)) as [number];
      expect(count).toBe(0);
    };
    return { prefix, connections, keys, start, isSettled, streams: createStreams(connections, { prefix }) };
  }

  test('each group is given every entry, one by one, in batches, and in the order of keys', async () => {
    const { streams, start, isSettled } = await processOf();
    await streams.publishMany(stream, steps(0, 300));
    const single: number[] = [];
    const batched: number[] = [];
    const ordered: number[] = [];
    await start(consume(stream, { group: 'single' }, ({ n }) => void single.push(n)));
    await start(
      consumeBatch(stream, { group: 'batched' }, (entries) => void batched.push(...entries.map(({ data }) => data.n))),
    );
    await start(
      consume(stream, { group: 'ordered', orderBy: ({ key }) => key }, async ({ n }) => void ordered.push(n)),
    );
    await eventually(() => expect([single.length, batched.length, ordered.length]).toEqual([300, 300, 300]));
    for (let key = 0; key < 5; key++) {
      const ofKey = ordered.filter((n) => n % 5 === key);
      expect(ofKey).toEqual(ofKey.toSorted((left, right) => left - right));
    }
    for (const group of ['single', 'batched', 'ordered']) await eventually(() => isSettled(group));
  });

  test('what fails is tried again by any process, and is a dead letter in the end', async () => {
    const first = await processOf();
    const second = await processOf(first.prefix);
    const attempts: number[] = [];
    const options = { group: 'g', attempts: 4, backoff: 10, concurrency: 1 } as const;
    const definition = consume(stream, options, ({ n }, { entry }) => {
      if (n !== 3) return;
      attempts.push(entry.attempt);
      throw new Error('no');
    });
    await first.start(definition);
    await second.start(definition);
    await first.streams.publishMany(stream, steps(0, 20));
    await eventually(async () => expect(await first.connections.commands().xlen(first.keys.group('g').dead)).toBe(1));
    expect(attempts).toEqual([1, 2, 3, 4]);
    await eventually(() => first.isSettled('g'));
  });

  test(
    'it goes on after a failover: what Redis kept is worked on, what it forgot to be done is done again',
    { timeout: 120_000 },
    async () => {
      const { streams, start, isSettled, keys, connections } = await processOf();
      const seen = new Map<number, number>();
      await start(
        consume(stream, { group: 'g', lease: '20s' }, async ({ n }) => {
          await systemClock.sleep(1);
          seen.set(n, (seen.get(n) ?? 0) + 1);
        }),
      );
      let n = 0;
      const over = new AbortController();
      const publishing = (async (): Promise<void> => {
        for (; !over.signal.aborted; n += 5) {
          await streams.publishMany(stream, steps(n, 5)).catch(() => undefined); // Whether it is there is looked up at the end.
          await systemClock.sleep(5);
        }
      })();
      await eventually(() => expect(seen.size).toBeGreaterThan(50));
      await topologyOf().failOver(keys.entries);
      const before = seen.size;
      await eventually(() => expect(seen.size).toBeGreaterThan(before + 50), 40_000);
      over.abort();
      await publishing;
      await eventually(() => isSettled('g'), 40_000);
      await eventually(async () => {
        const entries = await connections.commands().xrange(keys.entries, '-', '+');
        const kept = entries.map(([, fields]) => (JSON.parse(fields[1] ?? '') as { n: number }).n);
        expect(kept.filter((one) => !seen.has(one))).toEqual([]);
      }, 20_000);
      const again = [...seen.values()].filter((times) => times > 1).length;
      expect(again).toBeLessThan(seen.size / 2);
    },
  );
});
