/** Locks while Redis is frozen, restarted, forgetful, or its answers are lost. */
import { systemClock } from '../../src/clock.ts';
import { describe, expect, test } from 'vitest';
import type { Locks } from '../../src/lock/locks.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { untilAborted } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy, type Proxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLocks } from './own-locks.ts';

const own = ownedByTest();
const locksOf = ownedLocks();

/** When a timer of that length ends on this machine, as busy as it is; what is in time is measured against it. */
async function afterTimer(ms: number): Promise<number> {
  await systemClock.sleep(ms);
  return performance.now();
}

/** When the signal has aborted. */
async function afterAbort(signal: AbortSignal): Promise<number> {
  await untilAborted(signal).catch(() => undefined);
  return performance.now();
}

describe('a server that is frozen past the lease', () => {
  test('does not keep the signal from aborting in time, and is released from at once', async () => {
    const server = own(await startRedis());
    const { locks } = locksOf({ url: server.url }, { deadline: '300ms' });
    await eventually(() => locks.using('warm', () => undefined));
    const lock = await locks.acquire('frozen', { ttl: '1s' });
    await systemClock.sleep(500); // Past the first extension.
    server.freeze();
    try {
      const [timerAt, abortedAt] = await Promise.all([afterTimer(1_000), afterAbort(lock.signal)]);
      expect(abortedAt).toBeLessThanOrEqual(timerAt + 20);
      expect(lock.signal.reason).toMatchObject({ code: 'LOCK_LOST' });
      const released = await timed(lock.release());
      expect(released.value).toBe('expired');
      expect(released.ms).toBeLessThan(900);
      const refused = await timed(failureOf(locks.acquire('other', { wait: '10s' }), 'LOCK_UNAVAILABLE'));
      expect(refused.ms).toBeLessThan(1_500);
    } finally {
      server.thaw();
    }
    await eventually(() => locks.using('frozen', () => undefined));
  });

  test('and a lease without extension: the signal aborts by its ttl and 20 ms, and not much before', async () => {
    const server = own(await startRedis());
    const { locks } = locksOf({ url: server.url });
    await locks.using('warm', () => undefined);
    const start = performance.now();
    const timer = afterTimer(1_000);
    const lock = await locks.acquire('frozen', { ttl: '1s', autoExtend: false });
    server.freeze();
    try {
      const [timerAt, abortedAt] = await Promise.all([timer, afterAbort(lock.signal)]);
      expect(abortedAt).toBeLessThanOrEqual(timerAt + 20);
      expect(abortedAt - start).toBeGreaterThan(960);
    } finally {
      server.thaw();
    }
  });

  test('thaws: waiters in the queue are served, in order', async () => {
    const server = own(await startRedis());
    const { locks } = locksOf({ url: server.url }, { deadline: '300ms' });
    const { locks: others } = locksOf({ url: server.url }, { deadline: '300ms' });
    await eventually(() => locks.acquire('thaw', { ttl: '500ms', autoExtend: false }));
    const served: number[] = [];
    const waiting: Array<Promise<unknown>> = [];
    for (const [index, of] of [others, others, others].entries()) {
      waiting.push(of.using('thaw', () => served.push(index)));
      await eventually(async () => expect((await locks.inspect('thaw')).waiting).toBe(index + 1));
    }
    server.freeze();
    await systemClock.sleep(800);
    server.thaw();
    await Promise.all(waiting);
    expect(served).toEqual([0, 1, 2]);
  });
});

describe('a server that is restarted', () => {
  test('without its data: the holder is told, waiters queue again, tokens grow on', async () => {
    const server = own(await startRedis());
    const { locks } = locksOf({ url: server.url });
    const { locks: others } = locksOf({ url: server.url });
    const lock = await locks.acquire('restart', { ttl: '900ms' });
    const waiting = [1, 2, 3].map(() => others.using('restart', { wait: '20s' }, ({ token }) => token));
    await eventually(async () => expect((await locks.inspect('restart')).waiting).toBe(3));
    await server.restart();
    const tokens = await Promise.all(waiting);
    expect(new Set([lock.token, ...tokens]).size).toBe(4);
    expect(Math.min(...tokens)).toBeGreaterThan(lock.token);
    await eventually(() => expect(lock.held).toBe(false));
    expect(await lock.release()).toBe('expired');
  });

  test('with its data: the holder goes on, and the waiter comes after it', async () => {
    const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
    const { locks } = locksOf({ url: server.url });
    const lock = await locks.acquire('restart', { ttl: '6s' });
    const waiting = locks.acquire('restart', { wait: '20s' });
    await eventually(async () => expect((await locks.inspect('restart')).waiting).toBe(1));
    await server.restart();
    await eventually(() => locks.inspect('restart'));
    expect(lock.held).toBe(true);
    expect(await lock.release()).toBe('released');
    const next = await waiting;
    expect(next.token).toBeGreaterThan(lock.token);
    await next.release();
  });
});

test('a server that forgets its scripts again and again changes nothing', async () => {
  const server = own(await startRedis());
  const { locks } = locksOf({ url: server.url });
  const { locks: others } = locksOf({ url: server.url });
  const tokens: number[] = [];
  const state = { isOver: false };
  const forget = (async () => {
    while (!state.isOver) {
      await server.ask((redis) => redis.script('FLUSH'));
      await systemClock.sleep(5);
    }
  })();
  const work = async (of: Locks): Promise<void> => {
    for (let round = 0; round < 20; round++) {
      await of.using('forgotten', async ({ token }) => {
        tokens.push(token);
        await systemClock.sleep(1);
      });
    }
  };
  await Promise.all([work(locks), work(locks), work(others), work(others)]);
  state.isOver = true;
  await forget;
  expect(tokens).toHaveLength(80);
  expect(tokens.every((token, at) => at === 0 || token > (tokens[at - 1] ?? 0))).toBe(true);
});

/** The locks behind a proxy, and others that are not. */
async function scene(): Promise<{ server: TestServer; proxy: Proxy; locks: Locks; others: Locks }> {
  const server = own(await startRedis());
  const proxy = own(await startProxy(server.port));
  const { locks } = locksOf({ url: proxy.url });
  const { locks: others } = locksOf({ url: server.url });
  await locks.using('warm', () => undefined);
  await others.using('warm', () => undefined);
  // Both hear messages, so their requests may queue at once.
  const heard = (): Promise<unknown> => server.ask((redis) => redis.call('PUBSUB', 'CHANNELS', '*:lock:wake:*'));
  await eventually(async () => expect(await heard()).toHaveLength(2));
  await locks.using('warm', () => undefined);
  return { server, proxy, locks, others };
}

/** Lets the request pass and loses the answer to it, with the connection. */
async function lose<T>(proxy: Proxy, act: () => Promise<T>, hasRun: () => Promise<void>): Promise<T> {
  proxy.loseAnswers();
  const acting = act();
  await eventually(hasRun);
  proxy.cut();
  proxy.restore();
  return acting;
}

describe('an answer that is lost', () => {
  test('of an acquire locks nobody out of its own lock', async () => {
    const { proxy, locks, others } = await scene();
    const lock = await lose(
      proxy,
      () => locks.acquire('lost', { ttl: '20s' }),
      async () => expect((await others.inspect('lost')).holder).toBeDefined(),
    );
    expect(lock.token).toBe((await others.inspect('lost')).holder?.token);
    expect(await lock.release()).toBe('released');
  });

  test('of an acquire that queued queues it once', async () => {
    const { proxy, locks, others } = await scene();
    const first = await others.acquire('lost');
    const waiting = lose(
      proxy,
      () => locks.acquire('lost'),
      async () => expect((await others.inspect('lost')).waiting).toBe(1),
    );
    await eventually(async () => expect((await locks.inspect('lost')).waiting).toBe(1));
    await first.release();
    const lock = await waiting;
    expect(await lock.release()).toBe('released');
    expect(await others.inspect('lost')).toMatchObject({ holder: undefined, waiting: 0 });
  });

  test('of an acquire that is given up frees the lock again', async () => {
    const { server, proxy, others } = await scene();
    const { locks } = locksOf({ url: proxy.url }, { deadline: '200ms' });
    await eventually(() => locks.using('warm', () => undefined));
    proxy.loseAnswers();
    await failureOf(locks.acquire('given-up', { ttl: '60s' }), 'LOCK_UNAVAILABLE');
    proxy.cut();
    proxy.restore();
    const { value, ms } = await timed(others.acquire('given-up'));
    expect(ms).toBeLessThan(5_000);
    await value.release();
    expect(server.pid).toBeGreaterThan(0);
  });

  test('of a release says released, and the waiter it was handed to is granted it', async () => {
    const { proxy, locks, others } = await scene();
    const lock = await locks.acquire('lost');
    const waiting = locks.acquire('lost');
    await eventually(async () => expect((await others.inspect('lost')).waiting).toBe(1));
    const outcome = await lose(
      proxy,
      () => lock.release(),
      async () => expect((await others.inspect('lost')).waiting).toBe(0),
    );
    expect(outcome).toBe('released');
    const { value, ms } = await timed(waiting);
    expect(ms).toBeLessThan(1_500);
    expect(value.token).toBeGreaterThan(lock.token);
    expect(await value.release()).toBe('released');
  });

  test('of an extension is asked for again', async () => {
    const { proxy, locks, others } = await scene();
    const lock = await locks.acquire('lost', { ttl: '1500ms' });
    proxy.loseAnswers();
    await systemClock.sleep(600); // Past the first extension, whose answer is lost.
    proxy.cut();
    proxy.restore();
    await systemClock.sleep(1_200); // Past the lease as it was at first.
    expect(lock.held).toBe(true);
    expect((await others.inspect('lost')).holder?.token).toBe(lock.token);
    expect(await lock.release()).toBe('released');
  });

  test('of an extension that shortens the lease leaves the holder with the shorter one', async () => {
    const { proxy, locks, others } = await scene();
    const lock = await locks.acquire('shortened', { ttl: '20s', autoExtend: false });
    await lock.extend();
    proxy.loseAnswers();
    const extending = failureOf(lock.extend('500ms'), 'LOCK_LOST');
    const next = await others.acquire('shortened');
    expect(lock.held).toBe(false);
    expect(next.token).toBeGreaterThan(lock.token);
    await extending;
    proxy.cut();
    proxy.restore();
    await next.release();
  });

  test('of a shorter extension is not outbid by the answer to a longer one that was sent before', async () => {
    const { proxy, locks, others } = await scene();
    const lock = await locks.acquire('outbid', { ttl: '5s', autoExtend: false });
    await lock.extend();
    const leaseMs = async (): Promise<number> => (await others.inspect('outbid')).holder?.remainingMs ?? 0;
    proxy.slowDown(300);
    const longer = lock.extend('20s');
    await eventually(async () => expect(await leaseMs()).toBeGreaterThan(10_000));
    await leaseMs(); // The proxy has heard the answer by now.
    proxy.loseAnswers();
    const shorter = failureOf(lock.extend('4s'), 'LOCK_UNAVAILABLE');
    await longer;
    expect(lock.remainingMs()).toBeLessThan(4_000);
    await shorter;
    proxy.cut();
    proxy.restore();
  });

  test('of an extension by hand, or only late, is not undone by one that comes by itself', async () => {
    const { proxy, locks } = await scene();
    const lock = await locks.acquire('by-hand', { ttl: '1500ms' });
    await lock.extend();
    proxy.slowDown(700); // Past the moment at which it would extend itself.
    await lock.extend('20s');
    proxy.slowDown(0);
    expect(lock.remainingMs()).toBeGreaterThan(15_000);
    await lock.extend();
    expect(lock.remainingMs()).toBeGreaterThan(19_000);
    expect(await lock.release()).toBe('released');
  });

  test('of an extension that lengthens the lease leaves its length as it was', async () => {
    const { proxy } = await scene();
    const { locks } = locksOf({ url: proxy.url }, { deadline: '200ms' });
    const lock = await eventually(() => locks.acquire('not-longer', { ttl: '20s' }));
    proxy.loseAnswers();
    await failureOf(lock.extend('60s'), 'LOCK_UNAVAILABLE');
    proxy.cut();
    proxy.restore();
    await eventually(() => lock.extend());
    expect(lock.remainingMs()).toBeGreaterThan(19_000);
    expect(lock.remainingMs()).toBeLessThan(20_000);
    expect(await lock.release()).toBe('released');
  });

  test('to a release that cannot be asked for again is told as unknown', async () => {
    const { proxy } = await scene();
    const { locks } = locksOf({ url: proxy.url }, { deadline: '200ms' });
    const lock = await eventually(() => locks.acquire('unknown', { ttl: '60s' }));
    proxy.freeze();
    const { value, ms } = await timed(lock.release());
    expect(value).toBe('unknown');
    expect(ms).toBeLessThan(2_000);
    proxy.cut();
    proxy.restore();
  });
});

test('without a server an acquire fails within its deadline, and works again when it is back', async () => {
  const server = own(await startRedis());
  const { locks } = locksOf({ url: server.url }, { deadline: '400ms' });
  await eventually(() => locks.using('warm', () => undefined));
  await server.kill();
  const { value, ms } = await timed(failureOf(locks.acquire('down'), 'LOCK_UNAVAILABLE'));
  expect(ms).toBeLessThan(2_000);
  expect(value.cause).toBeDefined();
  await failureOf(locks.tryAcquire('down'), 'LOCK_UNAVAILABLE');
  await failureOf(locks.inspect('down'), 'LOCK_UNAVAILABLE');
  await failureOf(locks.forceRelease('down'), 'LOCK_UNAVAILABLE');
  await server.startAgain();
  await eventually(() => locks.using('down', () => undefined));
});
