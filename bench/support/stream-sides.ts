/** The ways to consume a stream that are measured side by side. Each parses the JSON of every entry and acknowledges it. */
import { randomUUID } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import type * as ClockModule from '../../src/clock.ts';
import type * as LogModule from '../../src/log.ts';
import type * as ConnectModule from '../../src/redis/connect.ts';
import type * as ConsumeModule from '../../src/streams/consumer/consume.ts';
import type * as ContractModule from '../../src/streams/contract.ts';
import type * as KeysModule from '../../src/streams/keys.ts';
import type * as StreamsModule from '../../src/streams/streams.ts';
import { clientOn } from './clients.ts';
import { importCompiled } from './compiled.ts';

const { systemClock } = await importCompiled<typeof ClockModule>('clock.ts');
const { silentLogger } = await importCompiled<typeof LogModule>('log.ts');
const { createConnections } = await importCompiled<typeof ConnectModule>('redis/connect.ts');
const { consume } = await importCompiled<typeof ConsumeModule>('streams/consumer/consume.ts');
const { defineStream } = await importCompiled<typeof ContractModule>('streams/contract.ts');
const { createStreamKeys } = await importCompiled<typeof KeysModule>('streams/keys.ts');
const { createStreams } = await importCompiled<typeof StreamsModule>('streams/streams.ts');

/** One side. */
export interface ConsumingSide {
  /** The stream of a round. */
  keyOf(round: number): string;
  /** Reads and acknowledges all of it; gives the milliseconds. */
  consume(round: number, count: number): Promise<number>;
  close(): Promise<void>;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const GROUP = 'bench';

/** About 200 bytes. */
export function entryOf(n: number): { id: number; customer: string; total: number; note: string; at: string } {
  return {
    id: n,
    customer: `customer-${n % 1_000}`,
    total: 129.5 + n,
    note: 'x'.repeat(100),
    at: '2026-11-21T12:00:00.000Z',
  };
}

/** The type of each side's entries; ours also checks it. */
const schema = z.object({ id: z.number(), customer: z.string(), total: z.number(), note: z.string(), at: z.string() });

/** Puts entries into a stream, and makes its group. */
export async function fill(redis: Redis, key: string, count: number, from = 0): Promise<void> {
  for (let at = 0; at < count; at += 1_000) {
    const pipeline = redis.pipeline();
    for (let n = at; n < Math.min(at + 1_000, count); n++)
      pipeline.xadd(key, '*', 'data', JSON.stringify(entryOf(from + n)));
    await pipeline.exec();
  }
  await redis.xgroup('CREATE', key, GROUP, '0', 'MKSTREAM').catch(() => undefined); // It is there already.
}

type Reply = Array<[string, Array<[string, string[]]>]> | null;

function read(redis: Redis, key: string, count: number): Promise<Reply> {
  return redis.xreadgroup('GROUP', GROUP, 'one', 'COUNT', count, 'BLOCK', 2_000, 'STREAMS', key, '>') as Promise<Reply>;
}

/** As tutorials show it. */
export function plainOn(url: string): ConsumingSide {
  const redis = clientOn(url);
  const name = randomUUID();
  return {
    keyOf: (round) => `plain-${name}-${round}`,
    async consume(round, count) {
      const key = this.keyOf(round);
      const start = performance.now();
      let sum = 0;
      for (let done = 0; done < count;) {
        for (const [id, fields] of (await read(redis, key, 10))?.[0]?.[1] ?? []) {
          sum += (JSON.parse(fields[1] ?? '') as { id: number }).id;
          await redis.xack(key, GROUP, id);
          done++;
        }
      }
      check(sum, count);
      return performance.now() - start;
    },
    close: async () => redis.disconnect(),
  };
}

/** As fast as the bare client goes. */
export function batchedOn(url: string): ConsumingSide {
  const reader = clientOn(url);
  const acks = clientOn(url);
  const name = randomUUID();
  return {
    keyOf: (round) => `batched-${name}-${round}`,
    async consume(round, count) {
      const key = this.keyOf(round);
      const start = performance.now();
      let sum = 0;
      const under: Array<Promise<unknown>> = [];
      let next = read(reader, key, 500);
      for (let done = 0; done < count;) {
        const entries = (await next)?.[0]?.[1] ?? [];
        if (done + entries.length < count) next = read(reader, key, 500);
        const ids: string[] = [];
        for (const [id, fields] of entries) {
          sum += (JSON.parse(fields[1] ?? '') as { id: number }).id;
          ids.push(id);
        }
        done += entries.length;
        under.push(acks.xack(key, GROUP, ...ids));
      }
      await Promise.all(under);
      check(sum, count);
      return performance.now() - start;
    },
    async close() {
      reader.disconnect();
      acks.disconnect();
    },
  };
}

/** Ours, with a handler that only counts. The clock runs from the first entry that is handed out until all are acknowledged. */
export function oursOn(url: string, kind: string, then: () => unknown = () => undefined): ConsumingSide {
  const connections = createConnections({ url });
  const prefix = `bench-${kind}-${randomUUID()}`;
  const keyOf = (round: number): string => createStreamKeys(prefix)(`s${round}`).entries;
  return {
    keyOf,
    async consume(round, count) {
      let sum = 0;
      let seen = 0;
      let start = 0;
      let ended: (() => void) | undefined;
      const all = new Promise<void>((resolve) => (ended = resolve));
      const contract = defineStream({ name: `s${round}`, schema });
      const definition = consume(contract, { group: GROUP }, ({ id }) => {
        if (seen === 0) start = performance.now();
        sum += id;
        if (++seen === count) ended?.();
        return then();
      });
      const host = { connections, prefix, log: silentLogger, clock: systemClock, modules: {} };
      const consumer = await definition.start(host);
      await all;
      while (consumer.inFlight > 0) await new Promise(setImmediate);
      const ms = performance.now() - start;
      check(sum, count);
      await consumer.stop(1_000);
      return ms;
    },
    close: () => connections.close(),
  };
}

/** Ours, publishing. */
export function publisherOn(url: string): {
  readonly key: string;
  publish(n: number): Promise<unknown>;
  close(): Promise<void>;
} {
  const connections = createConnections({ url });
  const prefix = `bench-publish-${randomUUID()}`;
  const streams = createStreams(connections, { prefix });
  const contract = defineStream({ name: 's', schema });
  return {
    key: createStreamKeys(prefix)('s').entries,
    publish: (n) => streams.publish(contract, entryOf(n)),
    async close() {
      await streams.stop();
      await connections.close();
    },
  };
}

/** By how much the memory of a process grows over so many entries, beyond what the first hundred thousand took; in MB. */
export async function memoryOver(url: string, admin: Redis, count: number): Promise<number> {
  const connections = createConnections({ url });
  const prefix = `bench-memory-${randomUUID()}`;
  const key = createStreamKeys(prefix)('s').entries;
  let seen = 0;
  const definition = consume(defineStream({ name: 's', schema }), { group: GROUP }, () => void seen++);
  const consumer = await definition.start({
    connections,
    prefix,
    log: silentLogger,
    clock: systemClock,
    modules: {},
  });
  const part = 100_000;
  let first = 0;
  let last = 0;
  for (let from = 0; from < count; from += part) {
    await fill(admin, key, part, from);
    const isBehind = (): boolean => seen < from + part || consumer.inFlight > 0;
    while (isBehind()) await new Promise((resolve) => setTimeout(resolve, 5));
    await admin.xtrim(key, 'MAXLEN', 0);
    collectGarbage();
    last = process.memoryUsage().heapUsed / 1e6;
    if (from === 0) first = last;
  }
  await consumer.stop(1_000);
  await connections.close();
  await admin.unlink(key);
  return Math.max(0.1, last - first);
}

function check(sum: number, count: number): void {
  if (sum !== (count * (count - 1)) / 2) throw new Error(`expected each of ${count} entries once`);
}
