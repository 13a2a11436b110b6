/** The concurrency limit on a real server: slots, leases, what happens to those of the dead, and to all when Redis is away. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { silentLogger, type Logger } from '../../src/log.ts';
import { ConcurrencyLimit, type ConcurrencyOptions, type NoSlot, type Slot } from '../../src/rate-limit/concurrency.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { Guard } from '../../src/redis/guard.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { gate } from '../support/gate.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

let prefixes = 0;

interface Made {
  limit: ConcurrencyLimit;
  connections: Connections;
  prefix: string;
  outcomes: string[];
}

/** A limit, as one process has it, on a connection that is open. */
async function limitOf(
  options: ConcurrencyOptions,
  {
    url = server.url,
    prefix = `t-slots-${prefixes++}`,
    instances = 1,
    log = silentLogger,
    deadlineMs = 2_000,
  }: { url?: string; prefix?: string; instances?: number; log?: Logger; deadlineMs?: number } = {},
): Promise<Made> {
  const connections = own(createConnections({ url }));
  await connections.commands().ping();
  const guard = new Guard({ deadlineMs, label: connections.label });
  const outcomes: string[] = [];
  const limit = new ConcurrencyLimit('exports', options, {
    connections,
    prefix,
    guard,
    clock: systemClock,
    log,
    onError: 'allow',
    instances,
    onOutcome: (outcome) => outcomes.push(outcome),
  });
  own({
    stop: async () => {
      limit.stop();
      guard.close();
    },
  });
  return { limit, connections, prefix, outcomes };
}

const taken = async (answer: Promise<Slot | NoSlot>): Promise<Slot> => {
  const slot = await answer;
  if (!slot.allowed) throw new Error('no slot was free');
  return slot;
};

const failing = (): never => {
  throw new Error('boom');
};

/** Lets real time pass, which is what leases are about. */
const pass = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const keysOf = (prefix: string): Promise<string[]> => server.ask((redis) => redis.keys(`${prefix}:*`));

describe('the slots', () => {
  test('are as many as the limit, for each key, and a released one is free at once', async () => {
    const { limit, prefix, outcomes } = await limitOf({ max: 2 });
    const [one, two] = [await taken(limit.acquire('a')), await taken(limit.acquire('a'))];
    expect([one, two].map(({ inUse, source }) => ({ inUse, source }))).toEqual([
      { inUse: 1, source: 'redis' },
      { inUse: 2, source: 'redis' },
    ]);
    expect(await limit.acquire('a')).toEqual({
      allowed: false,
      limit: 2,
      inUse: 2,
      retryAfterMs: 1_000,
      source: 'redis',
    });
    const other = await taken(limit.acquire('b'));
    expect(await limit.inUse('a')).toBe(2);
    await one.release();
    await one.release();
    expect(await limit.inUse('a')).toBe(1);
    const three = await taken(limit.acquire('a'));
    for (const slot of [two, three, other]) await slot.release();
    expect(await keysOf(prefix)).toEqual([]);
    expect(outcomes).toEqual(['allowed', 'allowed', 'refused', 'allowed', 'allowed']);
  });

  test('are never more than the limit, however many ask at once in two processes', async () => {
    const { limit, prefix } = await limitOf({ max: 7 });
    const { limit: other } = await limitOf({ max: 7 }, { prefix });
    let running = 0;
    let most = 0;
    const run = async (): Promise<void> => {
      most = Math.max(most, ++running);
      await pass(1);
      running--;
    };
    const asked = Array.from({ length: 300 }, (_, index) => (index % 2 ? limit : other).using('a', run));
    const results = await Promise.all(asked);
    expect(most).toBeLessThanOrEqual(7);
    expect(results.filter(({ allowed }) => allowed).length).toBeGreaterThanOrEqual(7);
    expect(await limit.inUse('a')).toBe(0);
  });

  test('are counted against the limit of the call, where it names one', async () => {
    const { limit } = await limitOf({ max: 1 });
    const slots = [await taken(limit.acquire('a')), await taken(limit.acquire('a', { max: 3 }))];
    expect(await limit.acquire('a')).toMatchObject({ allowed: false, limit: 1, inUse: 2 });
    slots.push(await taken(limit.acquire('a', { max: 3 })));
    await Promise.all(slots.map((slot) => slot.release()));
  });

  test('tell when to ask again: a second, or less where a lease would end sooner', async () => {
    const { limit } = await limitOf({ max: 1, ttl: 400 });
    const slot = await taken(limit.acquire('a'));
    const refused = (await limit.acquire('a')) as NoSlot;
    expect(refused.retryAfterMs).toBeGreaterThan(0);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(400);
    await slot.release();
  });
});

describe('using()', () => {
  test('gives what the function returned, and the slot back', async () => {
    const { limit } = await limitOf({ max: 1 });
    expect(await limit.using('a', () => 'done')).toEqual({ allowed: true, value: 'done' });
    expect(await limit.inUse('a')).toBe(0);
  });

  test('does not run the function without a slot', async () => {
    const { limit } = await limitOf({ max: 1 });
    const { opened, open } = gate();
    const first = limit.using('a', () => opened);
    await eventually(async () => expect(await limit.inUse('a')).toBe(1));
    let ran = false;
    expect(await limit.using('a', () => (ran = true))).toMatchObject({ allowed: false, inUse: 1 });
    expect(ran).toBe(false);
    open();
    await first;
  });

  test('throws what the function threw, and gives the slot back', async () => {
    const { limit } = await limitOf({ max: 1 });
    await expect(limit.using('a', failing)).rejects.toThrow('boom');
    expect(await limit.inUse('a')).toBe(0);
  });
});

test('require() throws RATE_LIMITED with what a job needs to be postponed', async () => {
  const { limit } = await limitOf({ max: 1 });
  {
    await using slot = await limit.require('a');
    expect(slot.allowed).toBe(true);
    const error = await failureOf(limit.require('a'), 'RATE_LIMITED');
    expect(error.facts).toEqual({ limiter: 'exports', limit: 1, inUse: 1, retryAfterMs: 1_000 });
  }
  expect(await limit.inUse('a')).toBe(0);
});

describe('a lease', () => {
  test('is renewed for as long as the slot is held, and ends with its process', async () => {
    const { limit, prefix } = await limitOf({ max: 1, ttl: 900 });
    const other = await limitOf({ max: 1, ttl: 900 }, { prefix });
    const slot = await taken(limit.acquire('a'));
    await pass(2_000);
    expect(await other.limit.acquire('a')).toMatchObject({ allowed: false, inUse: 1 });
    limit.stop(); // As a process that died: nothing is renewed and nothing given back.
    const next = await eventually(() => taken(other.limit.acquire('a')), 5_000);
    await next.release();
    await slot.release();
    expect(await keysOf(prefix)).toEqual([]);
  });

  test('that nobody renews leaves no key behind', async () => {
    const { limit, prefix } = await limitOf({ max: 5, ttl: 200 });
    await taken(limit.acquire('a'));
    limit.stop();
    await eventually(async () => expect(await keysOf(prefix)).toEqual([]), 5_000);
  });

  test('is not shortened by another release with a shorter one', async () => {
    const { limit, prefix } = await limitOf({ max: 2, ttl: '1m' });
    const short = await limitOf({ max: 2, ttl: 100 }, { prefix });
    const slots = [await taken(limit.acquire('a')), await taken(short.limit.acquire('a'))];
    const [key = ''] = await keysOf(prefix);
    expect(await server.ask((redis) => redis.pttl(key))).toBeGreaterThan(50_000);
    await Promise.all(slots.map((slot) => slot.release()));
  });

  test('that a server forgot is taken anew while a slot is free, also by many at once', async () => {
    const { limit, prefix } = await limitOf({ max: 1_200, ttl: 900 });
    const slots = await Promise.all(Array.from({ length: 1_200 }, () => taken(limit.acquire('a'))));
    const [key = ''] = await keysOf(prefix);
    await server.ask((redis) => redis.del(key));
    await server.ask((redis) => redis.script('FLUSH'));
    await eventually(async () => expect(await limit.inUse('a')).toBe(1_200), 8_000);
    await Promise.all(slots.map((slot) => slot.release()));
    expect(await limit.inUse('a')).toBe(0);
  });

  test('that others have taken is told once in the log, and the work goes on', async () => {
    const lines = collectLog();
    const { limit, prefix, outcomes } = await limitOf({ max: 1, ttl: 900 }, { log: lines.log });
    const slot = await taken(limit.acquire('a'));
    const [key = ''] = await keysOf(prefix);
    const thief = await limitOf({ max: 1, ttl: '1m' }, { prefix });
    await server.ask((redis) => redis.del(key));
    const stolen = await taken(thief.limit.acquire('a'));
    await eventually(() => expect(outcomes).toEqual(['allowed', 'lost']), 8_000);
    await pass(700);
    expect(outcomes).toEqual(['allowed', 'lost']);
    expect(lines.warnings()).toHaveLength(1);
    await slot.release();
    expect(await thief.limit.inUse('a')).toBe(1);
    await stolen.release();
  });
});

describe('while Redis does not answer', () => {
  test.each([
    ['allow', true, 'outage'],
    ['deny', false, 'outage'],
  ] as const)('%s: every call is told so within the deadline', async (onError, allowed, source) => {
    const proxy = own(await startProxy(server.port));
    const { limit } = await limitOf({ max: 1, onError }, { url: proxy.url, deadlineMs: 200 });
    proxy.freeze();
    for (let round = 0; round < 8; round++) {
      const { value, ms } = await timed(limit.acquire('a'));
      expect(value).toMatchObject({ allowed, source, limit: 1 });
      expect(ms).toBeLessThan(3_000);
    }
    proxy.restore();
    proxy.cut();
  });

  test('local: each process takes its share of the limit', async () => {
    const proxy = own(await startProxy(server.port));
    const { limit } = await limitOf({ max: 6, onError: 'local' }, { url: proxy.url, deadlineMs: 200, instances: 3 });
    proxy.freeze();
    const answers: Array<Slot | NoSlot> = [];
    for (let round = 0; round < 4; round++) answers.push(await limit.acquire('a'));
    expect(answers.map(({ allowed }) => allowed)).toEqual([true, true, false, false]);
    expect(answers.map(({ source }) => source)).toEqual(['local', 'local', 'local', 'local']);
    proxy.restore();
    proxy.cut();
  });

  test('what was let through takes its slot once Redis is back', async () => {
    const proxy = own(await startProxy(server.port));
    const { limit, prefix } = await limitOf({ max: 2, ttl: 900 }, { url: proxy.url, deadlineMs: 200 });
    const watcher = await limitOf({ max: 2, ttl: 900 }, { prefix });
    proxy.freeze();
    const slot = await taken(limit.acquire('a'));
    expect(slot.source).toBe('outage');
    proxy.restore();
    proxy.cut();
    await eventually(async () => expect(await watcher.limit.inUse('a')).toBe(1), 8_000);
    await slot.release();
    await eventually(async () => expect(await watcher.limit.inUse('a')).toBe(0), 8_000);
  });

  test.each<[string, number, (proxy: Proxy, isTaken: () => Promise<void>) => Promise<void>]>([
    ['was lost', 200, async () => undefined],
    [
      'was lost with the connection',
      5_000,
      async (proxy, isTaken) => {
        await isTaken();
        proxy.restore();
        proxy.cut();
      },
    ],
  ])('a refused call whose answer %s keeps no slot', async (_how, deadlineMs, meanwhile) => {
    const proxy = own(await startProxy(server.port));
    const { limit, prefix } = await limitOf({ max: 1, onError: 'deny', ttl: '1m' }, { url: proxy.url, deadlineMs });
    const watcher = await limitOf({ max: 1 }, { prefix });
    const isInUse = (count: number): Promise<void> =>
      eventually(async () => expect(await watcher.limit.inUse('a')).toBe(count), 8_000);
    await limit.using('a', () => undefined); // The server knows the script.
    proxy.loseAnswers();
    const refused = limit.acquire('a');
    await meanwhile(proxy, () => isInUse(1));
    expect(await refused).toMatchObject({ allowed: false, source: 'outage' });
    await isInUse(0);
    proxy.restore();
    proxy.cut();
  });
});

describe('the options', () => {
  test.each([
    [{}, 'max: expected number'],
    [{ max: 0 }, 'max: expected at least 1'],
    [{ max: 1.5 }, 'max: expected a whole number'],
    [{ max: 1, ttl: 10 }, 'ttl: expected at least 100 ms'],
    [{ max: 1, tll: '1s' }, 'unknown option tll, did you mean ttl?'],
    [{ max: 1, onError: 'open' }, 'onError: expected allow or deny or local'],
  ])('%j are refused', async (options, message) => {
    await expect(limitOf(options as ConcurrencyOptions)).rejects.toThrow(message);
  });

  test('of a call are checked too, and after stop() it is CLOSED', async () => {
    const { limit } = await limitOf({ max: 1 });
    await failureOf(limit.acquire('a', { max: 0 }), 'OPTIONS_INVALID');
    await failureOf(limit.acquire(''), 'KEY_INVALID');
    limit.stop();
    limit.stop();
    await failureOf(limit.acquire('a'), 'CLOSED');
  });
});
