/** A consumer over its life: start, pause, stop, and who comes after it. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { consume } from '../../../src/streams/consumer/consume.ts';
import type { EntryFacts } from '../../../src/streams/context.ts';
import { eventually } from '../../support/eventually.ts';
import { timed } from '../../support/failures.ts';
import { gate, never, untilAborted } from '../../support/gate.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { add, anyStream, consumers, groupKeys, ownedProcesses, pending, QUICK } from './scene.ts';

const own = ownedByTest();
const start = ownedProcesses(own);
const stream = anyStream();
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
const onServer = (keys = groupKeys()) => ({ redis: { url: server.url }, keys });

describe('pause and stop', () => {
  test('a paused consumer takes nothing new, and what runs goes on', async () => {
    const on = onServer();
    const seen: unknown[] = [];
    const hold = gate();
    const { consumer } = await start(
      [
        consume(stream, { ...QUICK, concurrency: 1 }, async (data) => {
          seen.push(data);
          if (data === 1) await hold.opened;
        }),
      ],
      on,
    );
    await add(redis, on.keys, 1);
    await eventually(() => expect(seen).toEqual([1]));
    consumer.pause();
    hold.open();
    await eventually(() => expect(consumer.inFlight).toBe(0));
    await systemClock.sleep(2_100); // A read that was under way may still bring something; it is over now.
    await add(redis, on.keys, 2);
    await systemClock.sleep(100);
    expect(seen).toEqual([1]);
    expect(await pending(redis, on.keys)).toEqual({});
    consumer.resume();
    await eventually(() => expect(seen).toEqual([1, 2]));
  });

  test('stop waits for what runs, and gives back what had not begun, for which others need not wait', async () => {
    const on = onServer();
    const hold = gate();
    const begun: unknown[] = [];
    const { consumer } = await start(
      [
        consume(stream, { ...QUICK, concurrency: 2 }, async (data) => {
          begun.push(data);
          await hold.opened;
        }),
      ],
      on,
    );
    await add(redis, on.keys, 1, 2, 3, 4, 5, 6);
    await eventually(() => expect(begun).toEqual([1, 2]));
    const seen: Array<[unknown, number]> = [];
    const stopping = consumer.stop(5_000);
    await start([consume(stream, QUICK, (data, { entry }) => void seen.push([data, entry.attempt]))], on);
    await eventually(() =>
      expect(seen.toSorted(([left], [right]) => Number(left) - Number(right))).toEqual([
        [3, 1],
        [4, 1],
        [5, 1],
        [6, 1],
      ]),
    );
    hold.open();
    await stopping;
    expect(begun).toEqual([1, 2]);
    await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
  });

  test('what does not end in time is told, and given back without an attempt', async () => {
    const on = onServer();
    const reasons: unknown[] = [];
    const { consumer } = await start(
      [
        consume(stream, { ...QUICK, lease: '60s' }, async (data, { signal }) => {
          if (data === 'deaf') return never();
          return untilAborted(signal).catch((error: unknown) => {
            reasons.push((error as { code: string }).code);
            throw error;
          });
        }),
      ],
      on,
    );
    await add(redis, on.keys, 'deaf', 'obeys');
    await eventually(() => expect(consumer.active).toBe(2));
    const { ms } = await timed(consumer.stop(1_000));
    expect(ms).toBeLessThan(1_300);
    expect(reasons).toEqual(['JOB_RELEASED']);
    expect(await consumers(redis, on.keys)).toEqual(['~retries']);
    const seen: number[] = [];
    await start([consume(stream, QUICK, (_data, { entry }) => void seen.push(entry.attempt))], on);
    await eventually(() => expect(seen).toEqual([1, 1]));
  });

  test('stop without Redis ends within its time', async () => {
    const lonely = own(await startRedis());
    const on = { redis: { url: lonely.url }, keys: groupKeys() };
    const { consumer } = await start([consume(stream, QUICK, () => undefined)], on);
    lonely.freeze();
    const { ms } = await timed(consumer.stop(800));
    lonely.thaw();
    expect(ms).toBeLessThan(1_200);
  });
});

describe('who comes after', () => {
  test('a process with a lasting name takes what the one before it had, first and at once', async () => {
    const on = onServer();
    await redis.xgroup('CREATE', on.keys.entries, 'g', '0', 'MKSTREAM');
    await add(redis, on.keys, 1, 2, 3);
    await redis.xreadgroup('GROUP', 'g', 'pod-1~before', 'STREAMS', on.keys.entries, '>');
    await redis.zadd(on.keys.members, systemClock.wallMs() + 60_000, 'pod-1~before');
    await redis.hset(on.keys.tokens, 'pod-1', 'pod-1~before');
    await add(redis, on.keys, 4);
    const seen: Array<[data: unknown, attempt: number]> = [];
    const named = { ...QUICK, consumer: 'pod-1', lease: '60s', concurrency: 1 } as const;
    const { consumer } = await start(
      [consume(stream, named, (data, { entry }) => void seen.push([data, entry.attempt]))],
      on,
    );
    await eventually(() =>
      expect(seen).toEqual([
        [1, 2],
        [2, 2],
        [3, 2],
        [4, 1],
      ]),
    );
    expect(consumer.ready()).toBeUndefined();
  });

  test('a process whose name was taken stops, says so, and its failures count for nothing', async () => {
    const on = onServer();
    const named = { ...QUICK, consumer: 'pod-1' } as const;
    let lost: unknown;
    const { consumer, lines } = await start(
      [
        consume(stream, named, async (_data, { signal }) =>
          untilAborted(signal).catch((error: unknown) => {
            lost = (error as { code: string }).code;
            throw error;
          }),
        ),
      ],
      on,
    );
    await add(redis, on.keys, 1);
    await eventually(() => expect(consumer.active).toBe(1));
    const seen: unknown[] = [];
    await start([consume(stream, named, (data) => void seen.push(data))], on);
    await eventually(() => expect(lost).toBe('LEASE_LOST'));
    expect(consumer.ready()).toContain('lasting name');
    expect(lines.warnings().some(({ msg }) => msg.includes('it has stopped'))).toBe(true);
    await eventually(() => expect(seen).toEqual([1]));
    await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
    expect(await redis.exists(on.keys.retries, on.keys.dead)).toBe(0);
  });

  test('a process with a lasting name that was away does not put out the one that has come since', async () => {
    const on = onServer();
    const named = { ...QUICK, consumer: 'pod-1' } as const;
    const proxy = own(await startProxy(server.port));
    const away = { redis: { url: proxy.url, commandTimeout: 300 }, keys: on.keys };
    const { consumer: older, lines } = await start([consume(stream, named, () => undefined)], away);
    proxy.freeze();
    await eventually(() => expect(lines.warnings().some(({ msg }) => msg.includes('lost its lease'))).toBe(true));
    const seen: unknown[] = [];
    const { consumer: newer } = await start([consume(stream, named, (data) => void seen.push(data))], on);
    proxy.restore();
    proxy.cut();
    await eventually(() => expect(older.ready()).toContain('lasting name'));
    await add(redis, on.keys, 1);
    await eventually(() => expect(seen).toEqual([1]));
    expect(newer.ready()).toBeUndefined();
    await newer.stop(500);
    expect(await redis.hexists(on.keys.tokens, 'pod-1')).toBe(0);
  });

  test('a process with a lasting name comes back under it after it lost its lease', async () => {
    const on = onServer();
    const proxy = own(await startProxy(server.port));
    const away = { redis: { url: proxy.url, commandTimeout: 300 }, keys: on.keys };
    const seen: unknown[] = [];
    const named = { ...QUICK, consumer: 'pod-1' } as const;
    const { consumer, lines } = await start([consume(stream, named, (data) => void seen.push(data))], away);
    proxy.freeze();
    await eventually(() => expect(lines.warnings().some(({ msg }) => msg.includes('lost its lease'))).toBe(true));
    proxy.restore();
    proxy.cut();
    await add(redis, on.keys, 1);
    await eventually(() => expect(seen).toEqual([1]));
    await eventually(() => expect(consumer.ready()).toBeUndefined());
  });

  test('what lay with a process that died is taken once its lease is over, and the attempt counts', async () => {
    const on = onServer();
    const { opened, open } = gate<EntryFacts>();
    await redis.xgroup('CREATE', on.keys.entries, 'g', '0', 'MKSTREAM');
    await add(redis, on.keys, 1);
    await redis.xreadgroup('GROUP', 'g', 'gone', 'STREAMS', on.keys.entries, '>');
    await redis.zadd(on.keys.members, 1, 'gone');
    await start([consume(stream, QUICK, (_data, { entry }) => open(entry))], on);
    expect(await opened).toMatchObject({ attempt: 2 });
    await eventually(async () =>
      expect((await consumers(redis, on.keys)).filter((name) => name === 'gone')).toEqual([]),
    );
    expect(await redis.exists(on.keys.attempts)).toBe(0);
  });

  test('what many processes died with is a dead letter, and is not tried again', async () => {
    const on = onServer();
    await redis.xgroup('CREATE', on.keys.entries, 'g', '0', 'MKSTREAM');
    const [bad = ''] = await add(redis, on.keys, 'bad', 'good');
    await redis.xreadgroup('GROUP', 'g', 'gone', 'STREAMS', on.keys.entries, '>');
    await redis.hset(on.keys.attempts, bad, '4 2');
    await redis.zadd(on.keys.members, 1, 'gone');
    const seen: unknown[] = [];
    await start([consume(stream, QUICK, (data) => void seen.push(data))], on);
    await eventually(() => expect(seen).toEqual(['good']));
    await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(1));
    const [[, fields] = ['', []]] = await redis.xrange(on.keys.dead, '-', '+');
    expect(fields[fields.indexOf('reason') + 1]).toBe('poison');
  });
});

describe('what is deleted under it', () => {
  test('a group is made again where it was: nothing is lost, and what is done is not done again', async () => {
    const on = onServer();
    const seen: unknown[] = [];
    const hold = gate();
    const { lines } = await start(
      [
        consume(stream, { ...QUICK, backoff: '300ms', lease: '60s' }, async (data, { entry }) => {
          seen.push(data);
          if (data === 'held') await hold.opened;
          if (data === 'fails' && entry.attempt === 1) throw new Error('no');
        }),
      ],
      on,
    );
    await add(redis, on.keys, 'done', 'held', 'fails');
    await eventually(async () => expect(await redis.zcard(on.keys.retries)).toBe(1));
    await redis.xgroup('DESTROY', on.keys.entries, 'g');
    await add(redis, on.keys, 'next');
    await eventually(() => expect(seen).toEqual(['done', 'held', 'fails', 'next', 'fails']));
    hold.open();
    await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
    expect(seen).toHaveLength(5);
    expect(lines.warnings().some(({ msg }) => msg.includes('it was made again'))).toBe(true);
  });

  test('a stream is made again, and what is published then is worked on', async () => {
    const on = onServer();
    const seen: unknown[] = [];
    await start([consume(stream, QUICK, (data) => void seen.push(data))], on);
    await add(redis, on.keys, 1);
    await eventually(() => expect(seen).toEqual([1]));
    await redis.del(on.keys.entries);
    await add(redis, on.keys, 2);
    await eventually(() => expect(seen).toEqual([1, 2]));
  });

  test('entries that waited for a retry are counted and told, not lost in silence', async () => {
    const on = onServer();
    const { lines } = await start(
      [
        consume(stream, { ...QUICK, backoff: '150ms' }, () => {
          throw new Error('no');
        }),
      ],
      on,
    );
    const [id = ''] = await add(redis, on.keys, 1);
    await eventually(async () => expect(await redis.zcard(on.keys.retries)).toBe(1));
    await redis.xdel(on.keys.entries, id);
    await eventually(() =>
      expect(lines.warnings().some(({ msg }) => msg.includes('were deleted from their stream'))).toBe(true),
    );
    expect(await pending(redis, on.keys)).toEqual({});
    expect(await redis.exists(on.keys.attempts, on.keys.retries)).toBe(0);
  });
});
