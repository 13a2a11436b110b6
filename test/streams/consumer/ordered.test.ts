/** Entries in the order of their keys, over all processes. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { consume, type ConsumerDefinition } from '../../../src/streams/consumer/consume.ts';
import { defineStream } from '../../../src/streams/contract.ts';
import { postpone } from '../../../src/jobs/handler.ts';
import { systemClock } from '../../../src/clock.ts';
import { eventually } from '../../support/eventually.ts';
import { gate } from '../../support/gate.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { inherit, noteAttempts } from '../../../src/streams/consumer/scripts.ts';
import { add, groupKeys, ownedProcesses, pending, processOn, QUICK, type Keys } from './scene.ts';

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

interface Step {
  key: string;
  n: number;
}
const stream = defineStream({ name: 's', schema: z.object({ key: z.string(), n: z.number() }) });
const ORDERED = { ...QUICK, orderBy: ({ key }: Step) => key };

function steps(keys: number, each: number): Step[] {
  return Array.from({ length: keys * each }, (_, at) => ({ key: `k${at % keys}`, n: Math.floor(at / keys) }));
}

/** What was seen of each key. */
function byKey(seen: readonly Step[]): Record<string, number[]> {
  const all: Record<string, number[]> = {};
  for (const { key, n } of seen) (all[key] ??= []).push(n);
  return all;
}

const UP_TO = (each: number) => Array.from({ length: each }, (_, n) => n);

test('entries of one key run one after the other, in order, and those of several side by side', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: Step[] = [];
  const running = new Set<string>();
  let most = 0;
  const run = async (step: Step): Promise<void> => {
    if (running.has(step.key)) throw new Error('two of one key at once');
    running.add(step.key);
    most = Math.max(most, running.size);
    await systemClock.sleep(Math.random() * 3);
    running.delete(step.key);
    seen.push(step);
  };
  await add(redis, on.keys, ...steps(8, 25));
  await start([consume(stream, { ...ORDERED, concurrency: 5 }, run)], on);
  await eventually(() => expect(seen).toHaveLength(200));
  for (const order of Object.values(byKey(seen))) expect(order).toEqual(UP_TO(25));
  expect(most).toBe(5);
  await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
});

test('an entry that fails holds up its key only, and its attempts are noted', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: Array<Step & { attempt: number }> = [];
  const definition = consume(stream, { ...ORDERED, backoff: '150ms' }, (step, { entry: { attempt } }) => {
    seen.push({ ...step, attempt });
    if (step.key === 'k0' && step.n === 0 && attempt < 3) throw new Error('no');
    if (step.key === 'k1' && step.n === 0 && attempt === 1 && seen.filter(({ key }) => key === 'k1').length < 3)
      throw postpone(20);
  });
  await add(redis, on.keys, ...steps(3, 3));
  await start([definition], on);
  await eventually(async () => expect(await redis.hgetall(on.keys.attempts)).not.toEqual({}));
  await eventually(() => expect(seen).toHaveLength(13));
  const { k0, k1, k2 } = byKey(seen);
  expect([k0, k1, k2]).toEqual([
    [0, 0, 0, 1, 2],
    [0, 0, 0, 1, 2],
    [0, 1, 2],
  ]);
  expect(seen.slice(-3).every(({ key }) => key === 'k0')).toBe(true);
  expect(seen.filter(({ key, n }) => key === 'k1' && n === 0).map(({ attempt }) => attempt)).toEqual([1, 1, 1]);
  await eventually(async () => {
    expect(await pending(redis, on.keys)).toEqual({});
    expect(await redis.exists(on.keys.attempts)).toBe(0);
  });
});

test('a dead letter lets the next of its key run; what has no key is one at once', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: Step[] = [];
  const definition = consume(stream, { ...ORDERED, attempts: 2, backoff: 5 }, (step) => {
    if (step.n === 1) throw new Error('no');
    seen.push(step);
  });
  await add(redis, on.keys, ...steps(2, 3), { key: 5 }, 'x');
  await start([definition], on);
  await eventually(async () => expect(await redis.xlen(on.keys.dead)).toBe(4));
  await eventually(() => expect(byKey(seen)).toEqual({ k0: [0, 2], k1: [0, 2] }));
});

test('one process works while the other stands by, and takes over in order when the first stops or dies', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: Array<Step & { who: string }> = [];
  const hold = gate();
  const of = (who: string) =>
    consume(stream, ORDERED, async (step) => {
      seen.push({ ...step, who });
      if (who === 'a' && step.n === 5) await hold.opened;
    });
  const { consumer: first } = await start([of('a')], on);
  const { consumer: second } = await start([of('b')], on);
  await add(redis, on.keys, ...steps(4, 10));
  await eventually(() => expect(seen.filter(({ n }) => n === 5)).toHaveLength(4));
  expect(second.ready()).toBeUndefined();
  expect(new Set(seen.map(({ who }) => who))).toEqual(new Set(['a']));
  const stopping = first.stop(300);
  await eventually(() => expect(seen.filter(({ who }) => who === 'b')).toHaveLength(20));
  await stopping;
  hold.open();
  const ofB = byKey(seen.filter(({ who }) => who === 'b'));
  for (const order of Object.values(ofB)) expect(order).toEqual([5, 6, 7, 8, 9]);
  await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
});

test('a process that is paused past its lease loses its place, and the order holds', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: Step[] = [];
  const hold = gate();
  let runs = 0;
  let isLost: unknown;
  const { lines } = await start(
    [
      consume(stream, ORDERED, async (step, { signal }) => {
        if (++runs > 1) return void seen.push(step); // It may have the place again before the other one has it.
        await hold.opened;
        isLost = (signal.reason as { code?: string } | undefined)?.code;
        throw new Error('late');
      }),
    ],
    on,
  );
  await add(redis, on.keys, ...steps(1, 5));
  await eventually(async () => expect(Object.values(await pending(redis, on.keys)).flat()).toHaveLength(5));
  // As if it had been paused: its lease is over in Redis, and the place is another's.
  await redis.zadd(on.keys.members, 'XX', 1, String((await redis.zrange(on.keys.members, '0', '0'))[0]));
  await redis.del(on.keys.leader);
  await start([consume(stream, ORDERED, (step) => void seen.push(step))], on);
  await eventually(() => expect(lines.warnings().some(({ msg }) => msg.includes('lost its lease'))).toBe(true));
  hold.open();
  await eventually(() => expect(isLost).toBe('LEASE_LOST'));
  await eventually(() => expect(byKey(seen)).toEqual({ k0: [0, 1, 2, 3, 4] }));
  await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
});

test('what one key holds up is bounded', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const hold = gate();
  const { consumer } = await start([consume(stream, { ...ORDERED, prefetch: 20 }, () => hold.opened)], on);
  await add(redis, on.keys, ...steps(1, 200));
  await eventually(() => expect(consumer.inFlight).toBeGreaterThan(30));
  await systemClock.sleep(100);
  expect(consumer.inFlight).toBeLessThanOrEqual(60);
  hold.open();
  await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
});

/** Starts a consumer; whatever it sends of one script goes through `pass`, which may come before it, or lose its answer. */
async function tampered(
  keys: Keys,
  definition: ConsumerDefinition,
  script: typeof inherit | typeof noteAttempts,
  pass: (call: number, send: () => Promise<unknown>) => Promise<unknown>,
) {
  const nothing = { group: 'g', consumer: 'nobody', after: '', count: 1, own: 0, items: [] };
  await Promise.all([inherit(redis, groupKeys(), nothing), noteAttempts(redis, groupKeys(), nothing)]); // The server knows them.
  const process = processOn({ url: server.url }, keys.prefix);
  own(process.connections);
  const commands = process.connections.commands();
  const send = commands.evalsha.bind(commands) as (...args: unknown[]) => Promise<unknown>;
  let calls = 0;
  const evalsha = (...args: unknown[]): Promise<unknown> =>
    args[0] === script.sha ? pass(++calls, () => send(...args)) : send(...args);
  Object.assign(commands, { evalsha });
  const consumer = await definition.start(process.host);
  own({ stop: () => consumer.stop(500) });
  return consumer;
}

describe('when a call of its leader goes wrong', () => {
  test('one that is refused is made again, and it works', async () => {
    const keys = groupKeys();
    const seen: Step[] = [];
    const definition = consume(stream, ORDERED, (step) => void seen.push(step));
    await tampered(keys, definition, inherit, (call, send) =>
      call === 1 ? Promise.reject(new Error('Connection is closed.')) : send(),
    );
    await add(redis, keys, ...steps(2, 2));
    await eventually(() => expect(byKey(seen)).toEqual({ k0: [0, 1], k1: [0, 1] }));
  });

  test.each([1, 2])('one that took entries, page %i, loses its answer, and the order holds', async (page) => {
    const keys = groupKeys();
    const seen: Step[] = [];
    await redis.xgroup('CREATE', keys.entries, 'g', '0', 'MKSTREAM');
    await add(redis, keys, ...steps(1, 250));
    await redis.xreadgroup('GROUP', 'g', 'dead', 'COUNT', 250, 'STREAMS', keys.entries, '>');
    const definition = consume(stream, ORDERED, (step) => void seen.push(step));
    await tampered(keys, definition, inherit, async (call, send) => {
      const answer = await send();
      if (call === page) throw new Error('Connection is closed.');
      return answer;
    });
    await add(redis, keys, { key: 'k0', n: 250 });
    await eventually(() => expect(seen.length).toBeGreaterThanOrEqual(251));
    expect(byKey(seen)).toEqual({ k0: UP_TO(251) });
    await eventually(async () => expect(await pending(redis, keys)).toEqual({}));
  });

  test.each(['is acknowledged by another', 'cannot be noted'])('an entry that %s holds up nobody', async (what) => {
    const keys = groupKeys();
    const seen: Step[] = [];
    await redis.xgroup('CREATE', keys.entries, 'g', '0', 'MKSTREAM');
    const [first = ''] = await add(redis, keys, ...steps(2, 2));
    await redis.xreadgroup('GROUP', 'g', 'dead', 'COUNT', 10, 'STREAMS', keys.entries, '>');
    const definition = consume(stream, { ...ORDERED, concurrency: 1 }, (step) => void seen.push(step));
    await tampered(keys, definition, noteAttempts, async (call, send) => {
      if (call === 1 && what === 'is acknowledged by another') await redis.xack(keys.entries, 'g', first);
      if (call === 1 && what === 'cannot be noted') throw new Error('Connection is closed.');
      return send();
    });
    const all = what === 'cannot be noted' ? [0, 1] : [1];
    await eventually(() => expect(byKey(seen)).toEqual({ k0: all, k1: [0, 1] }));
    await eventually(async () => expect(await pending(redis, keys)).toEqual({}));
  });
});

test('processes that stop are no deaths: however often, an entry keeps its attempts', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const attempts: number[] = [];
  await add(redis, on.keys, ...steps(1, 2));
  for (let at = 1; at <= 6; at++) {
    const { consumer } = await start(
      [
        consume(stream, { ...ORDERED, grace: '10ms' }, async (_step, { entry }) => {
          attempts.push(entry.attempt);
          await gate().opened;
        }),
      ],
      on,
    );
    await eventually(() => expect(attempts).toHaveLength(at));
    await consumer.stop(60);
    expect(Object.values(await redis.hgetall(on.keys.attempts)).filter((record) => record.endsWith(' 1'))).toEqual([]);
  }
  expect(attempts).toEqual([1, 1, 1, 1, 1, 1]);
  expect(await redis.xlen(on.keys.dead)).toBe(0);
});

test('a paused process gives up its place once nothing of it is in flight, and does not compete until it is resumed', async () => {
  const on = { redis: { url: server.url }, keys: groupKeys() };
  const seen: Array<Step & { who: string }> = [];
  const of = (who: string) => consume(stream, ORDERED, (step) => void seen.push({ ...step, who }));
  const { consumer: first } = await start([of('a')], on);
  await add(redis, on.keys, ...steps(1, 1));
  await eventually(() => expect(seen).toHaveLength(1));
  const { consumer: second } = await start([of('b')], on);
  first.pause();
  await eventually(async () => {
    await add(redis, on.keys, { key: 'k0', n: 1 });
    expect(seen.some(({ who }) => who === 'b')).toBe(true);
  });
  first.resume();
  second.pause();
  const count = seen.length;
  await eventually(async () => {
    await add(redis, on.keys, { key: 'k0', n: 2 });
    expect(seen.slice(count).some(({ who }) => who === 'a')).toBe(true);
  });
  await eventually(async () => expect(await pending(redis, on.keys)).toEqual({}));
});

/** When the first entry is due again, in ms. */
async function dueIn({ entries, retries }: Keys): Promise<number> {
  const [first] = await redis.xrange(entries, '-', '+', 'COUNT', 1);
  const [seconds] = await redis.time();
  return Number((await redis.zscore(retries, first?.[0] ?? '')) ?? 0) - Number(seconds) * 1_000;
}

describe('an entry that waits for its next attempt while its process stops', () => {
  test.each([
    ['before', false],
    ['by the end of its handler', true],
  ])('waits on, and so does its key, when it was put off %s', async (_when, whileItStops) => {
    const on = { redis: { url: server.url }, keys: groupKeys() };
    const seen: string[] = [];
    const hold = gate();
    const of = (who: string) =>
      consume(stream, ORDERED, async ({ key, n }) => {
        seen.push(`${who} ${key} ${n}`);
        if (who === 'b' || n > 0 || key !== 'k0') return;
        if (whileItStops) await hold.opened;
        throw postpone('1h');
      });
    await add(redis, on.keys, ...steps(2, 1));
    const { consumer: first } = await start([of('a')], on);
    await eventually(() => expect(seen.toSorted()).toEqual(['a k0 0', 'a k1 0']));
    await add(redis, on.keys, { key: 'k0', n: 1 });
    const stopping = first.stop(5_000);
    hold.open();
    await stopping;
    expect(await dueIn(on.keys)).toBeGreaterThan(3_500_000);
    await start([of('b')], on);
    await add(redis, on.keys, { key: 'k1', n: 1 });
    await eventually(() => expect(seen).toContain('b k1 1'));
    expect(seen.filter((line) => line.startsWith('b'))).toEqual(['b k1 1']);
  });
});
