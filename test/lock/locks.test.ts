/** The face of locks: options, several at once, what is counted. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createLocks, type Locks } from '../../src/lock/locks.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLocks } from './own-locks.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const locksOf = ownedLocks();
const fresh = (): Locks => locksOf({ url: server.url }).locks;

describe('options', () => {
  test('that are unknown or wrong fail and name themselves', async () => {
    const locks = fresh();
    const wrong = { tll: '3s', wait: 'long', ttl: 5, waitReplicas: { count: 0, within: '1s' } } as object;
    const { message } = await failureOf(locks.acquire('x', wrong), 'OPTIONS_INVALID');
    expect(message).toContain('unknown option tll, did you mean ttl?');
    expect(message).toContain('ttl: expected');
    expect(message).toContain('wait: expected');
    expect(message).toContain('waitReplicas.count: expected at least 1');
    await failureOf(locks.acquire('x', { ttl: '30d' }), 'OPTIONS_INVALID');
    await failureOf(locks.using('x', undefined as never), 'OPTIONS_INVALID');
    for (const name of [[], 7, {}, undefined]) await failureOf(locks.acquire(name as never), 'OPTIONS_INVALID');
    await failureOf(locks.acquire(''), 'KEY_INVALID');
    const connections = createConnections({ url: server.url });
    expect(() => createLocks(connections, { lease: '3s' } as object)).toThrow('unknown option lease');
    await connections.close();
  });

  test('of all locks are the defaults of each', async () => {
    const { locks } = locksOf({ url: server.url }, { prefix: 'shop', ttl: '3s', wait: 50 });
    const lock = await locks.acquire('defaults');
    expect(lock.remainingMs()).toBeLessThanOrEqual(3_000);
    expect(await server.ask((redis) => redis.exists('shop:lock:{defaults}'))).toBe(1);
    expect((await failureOf(locks.acquire('defaults'), 'LOCK_TIMEOUT')).facts).toEqual({
      name: 'defaults',
      waitMs: 50,
    });
    await lock.release();
  });

  test('wait: Infinity waits until it is aborted', async () => {
    const locks = fresh();
    const lock = await locks.acquire('endless');
    const waiting = locks.acquire('endless', { wait: Number.POSITIVE_INFINITY, signal: AbortSignal.timeout(100) });
    await expect(waiting).rejects.toThrow('timeout');
    await lock.release();
  });

  test('any text is a name', async () => {
    const locks = fresh();
    const others = fresh();
    const name = 'grant a {b}|c: ü\n"d" %7B';
    const lock = await locks.acquire(name);
    const waiting = others.acquire(name);
    await eventually(async () => expect((await locks.inspect(name)).waiting).toBe(1));
    await lock.release();
    expect((await waiting).name).toBe(name);
    expect(await (await waiting).release()).toBe('released');
  });
});

describe('several locks at once', () => {
  test('are taken by two callers in any order without a deadlock', async () => {
    const [locks, others] = [fresh(), fresh()];
    const names = ['x', 'y', 'z'];
    let inside = 0;
    const work = async (of: Locks, order: string[]): Promise<void> => {
      for (let round = 0; round < 20; round++) {
        await of.using(order, async (set) => {
          expect(++inside).toBe(1);
          expect(set.held).toBe(true);
          await Promise.resolve();
          inside--;
        });
      }
    };
    await Promise.all([
      work(locks, names),
      work(locks, names.toReversed()),
      work(others, ['y', 'z', 'x', 'x']),
      work(others, ['z', 'x', 'y']),
    ]);
  });

  test('have one signal, the earliest deadline, and each its own token', async () => {
    const locks = fresh();
    const set = await locks.acquire(['p', 'q'], { ttl: '3s' });
    expect(set.tokens).toEqual({ p: set.locks[0]?.token, q: set.locks[1]?.token });
    await set.locks[1]?.extend('9s');
    expect(set.remainingMs()).toBeLessThan(3_000);
    await set.extend('5s');
    expect(set.remainingMs()).toBeGreaterThan(4_000);
    expect(set.lost).toBeUndefined();
    await fresh().forceRelease('q');
    await eventually(() => expect(set.signal.aborted).toBe(true));
    expect(set.held).toBe(false);
    expect(set.lost?.facts).toMatchObject({ name: 'q' });
    expect(() => set.assertHeld()).toThrow('lock q was lost');
    expect(await set.release()).toBe('stolen');
    expect((await locks.inspect('p')).holder).toBeUndefined();
  });

  test('share the time to wait', async () => {
    const locks = fresh();
    const held = [await locks.acquire('one'), await locks.acquire('two')];
    const start = performance.now();
    const waiting = failureOf(locks.acquire(['one', 'two'], { wait: 300 }), 'LOCK_TIMEOUT');
    await new Promise((resolve) => setTimeout(resolve, 150));
    await held[0]?.release();
    expect((await waiting).facts).toMatchObject({ name: 'two' });
    expect(performance.now() - start).toBeLessThan(900);
    await held[1]?.release();
    await eventually(async () => expect((await locks.inspect('one')).holder).toBeUndefined());
  });
});

describe('a timeout tells how long was waited', () => {
  test('not at all', async () => {
    const locks = fresh();
    const lock = await locks.acquire('no-wait');
    const { message, facts } = await failureOf(locks.acquire('no-wait', { wait: 0 }), 'LOCK_TIMEOUT');
    expect(message).toBe('lock no-wait: held by another, and not to be waited for');
    expect(facts).toMatchObject({ waitMs: 0 });
    await lock.release();
  });

  test('also when the first of several took it all', async () => {
    const others = fresh();
    let aheadMs = 0;
    const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + aheadMs };
    const { locks } = locksOf({ url: server.url }, { clock });
    const held = await others.acquire(['slow', 'then']);
    const waiting = failureOf(locks.acquire(['slow', 'then'], { wait: '5s' }), 'LOCK_TIMEOUT');
    await eventually(async () => expect((await others.inspect('slow')).waiting).toBe(1));
    aheadMs = 6_000;
    await held.locks[0]?.release();
    const { message, facts } = await waiting;
    expect(message).toBe('lock slow, then: not granted within 5 s');
    expect(facts).toMatchObject({ waitMs: 5_000 });
    await held.release();
  });
});

test('what happens to locks is counted by kind', async () => {
  const metrics = createMetrics();
  const { locks } = locksOf({ url: server.url }, { metrics });
  const lock = await locks.acquire('counted', { ttl: 900 });
  expect(await locks.tryAcquire('counted')).toBeUndefined();
  await failureOf(locks.acquire('counted', { wait: 20 }), 'LOCK_TIMEOUT');
  await expect(locks.acquire('counted', { signal: AbortSignal.timeout(20) })).rejects.toThrow('timeout');
  await eventually(async () => expect(await metrics.render()).toMatch(/lock_extensions_total\{.*"extended"\} [1-9]/));
  await lock.release();
  await locks.acquire('ran-out', { ttl: 20, autoExtend: false });
  await eventually(async () => expect(await metrics.render()).toContain('millrace_lock_lost_total{kind="mutex"} 1'));
  const text = await metrics.render();
  for (const [outcome, count] of Object.entries({ granted: 2, refused: 1, timeout: 1, aborted: 1, unavailable: 0 })) {
    expect(text).toContain(`millrace_lock_acquires_total{kind="mutex",outcome="${outcome}"} ${count}`);
  }
  expect(text).toContain('millrace_lock_releases_total{kind="mutex",outcome="released"} 1');
  expect(text).toContain('millrace_lock_wait_seconds_count{kind="mutex"} 2');
  expect(text).toContain('millrace_lock_held_seconds_count{kind="mutex"} 1');
});
