/** Batches: what is in one, and what becomes of the entries of one that fails. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { consumeBatch } from '../../../src/streams/consumer/consume.ts';
import { defineStream } from '../../../src/streams/contract.ts';
import { eventually } from '../../support/eventually.ts';
import { gate, untilAborted } from '../../support/gate.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { add, groupKeys, ownedProcesses, pending, QUICK } from './scene.ts';

const own = ownedByTest();
const start = ownedProcesses(own);
let server: TestServer;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

const stream = defineStream({ name: 's', schema: z.number() });
const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

test('a batch is full, or as large as it is when its time is over', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const sizes: number[] = [];
  const seen: number[] = [];
  await add(redis, on.keys, ...numbers(25));
  const options = { ...QUICK, batch: { size: 10, within: '80ms' } } as const;
  await start(
    [
      consumeBatch(stream, options, async (entries, { log, signal }) => {
        sizes.push(entries.length);
        for (const { data } of entries) seen.push(data);
        log.debug({ aborted: signal.aborted }, 'batch');
      }),
    ],
    on,
  );
  await eventually(() => expect(sizes).toEqual([10, 10, 5]));
  expect(seen).toEqual(numbers(25));
  await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
});

test('those that are told of have failed, the others are done; what failed is tried again alone', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const batches: number[][] = [];
  await add(redis, on.keys, ...numbers(6));
  const options = { ...QUICK, attempts: 3, batch: { size: 6 } } as const;
  await start(
    [
      consumeBatch(stream, options, (entries) => {
        batches.push(entries.map(({ data }) => data));
        for (const entry of entries)
          if (entry.data === 1 || (entry.data === 2 && entry.entry.attempt === 1)) entry.fail(new Error('no'));
      }),
    ],
    on,
  );
  await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
  expect(batches[0]).toEqual(numbers(6));
  expect(batches.slice(1).toSorted(([left = 0], [right = 0]) => left - right)).toEqual([[1], [1], [2]]);
  await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
});

test('a batch that throws has failed as a whole, and one bad entry costs the others one attempt', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const done: number[] = [];
  await add(redis, on.keys, ...numbers(5));
  const options = { ...QUICK, attempts: 3, batch: { size: 5 } } as const;
  await start(
    [
      consumeBatch(stream, options, (entries) => {
        if (entries.some(({ data }) => data === 3)) throw new Error('a bad one');
        for (const { data } of entries) done.push(data);
      }),
    ],
    on,
  );
  await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
  await eventually(() => expect(done.toSorted((left, right) => left - right)).toEqual([0, 1, 2, 4]));
});

test('data that does not match is a dead letter, and not in the batch', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: number[] = [];
  await add(redis, on.keys, 1, 'x', 2);
  await start(
    [
      consumeBatch(
        stream,
        { ...QUICK, batch: { size: 2 } },
        (entries) => void seen.push(...entries.map(({ data }) => data)),
      ),
    ],
    on,
  );
  await eventually(() => expect(seen).toEqual([1, 2]));
  await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
});

test('a batch that takes too long is told, and its entries are tried again', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const reasons: string[] = [];
  const seen: number[] = [];
  await add(redis, on.keys, 1, 2);
  const options = { ...QUICK, timeout: '50ms', batch: { size: 2 } } as const;
  await start(
    [
      consumeBatch(stream, options, async (entries, { signal }) => {
        if (entries.length === 2)
          await untilAborted(signal).catch((error: unknown) => {
            reasons.push((error as { code: string }).code);
            throw error;
          });
        for (const { data } of entries) seen.push(data);
      }),
    ],
    on,
  );
  await eventually(() => expect(seen.toSorted((left, right) => left - right)).toEqual([1, 2]));
  expect(reasons).toEqual(['JOB_TIMEOUT']);
});

test('one that stops gives back what it had not begun', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const hold = gate();
  await add(redis, on.keys, ...numbers(30));
  const options = { ...QUICK, batch: { size: 10 } } as const;
  const { consumer } = await start([consumeBatch(stream, options, () => hold.opened)], on);
  await eventually(() => expect(consumer.active).toBe(1));
  const stopping = consumer.stop(2_000);
  hold.open();
  await stopping;
  const seen: number[] = [];
  await start([consumeBatch(stream, options, (entries) => void seen.push(...entries.map(({ data }) => data)))], on);
  await eventually(() => expect(seen.toSorted((a, b) => a - b)).toEqual(numbers(30).slice(10)));
});
