/** What a holder may rely on: its deadline, its signal, and what a release says. */
import { systemClock } from '../../src/clock.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Locks } from '../../src/lock/locks.ts';
import { untilAborted } from '../support/gate.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLocks } from './own-locks.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const locksOf = ownedLocks();
const fresh = (): Locks => locksOf({ url: server.url }).locks;
const holderKey = (name: string): string => `millrace:lock:{${name}}`;

function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

async function outlast(): Promise<string> {
  block(120);
  return 'done';
}

describe('a lease', () => {
  test('is counted from before it was asked for, less the drift', async () => {
    const locks = fresh();
    await locks.tryAcquire('warm');
    const before = performance.now();
    const lock = await locks.acquire('counted', { ttl: '10s' });
    expect(lock.remainingMs()).toBeLessThanOrEqual(10_000 - 102);
    expect(lock.remainingMs()).toBeGreaterThanOrEqual(10_000 - 102 - (performance.now() - before) - 1);
    await lock.release();
  });

  test('that ran out while the event loop stood still is noticed by whoever looks, before any timer', async () => {
    const locks = fresh();
    const lock = await locks.acquire('blocked', { ttl: 100 });
    const { signal } = lock;
    block(150);
    expect(signal.aborted).toBe(false);
    expect(lock.held).toBe(false);
    expect(signal.reason).toMatchObject({ code: 'LOCK_LOST' });
    expect(lock.remainingMs()).toBe(0);
    expect(() => lock.assertHeld()).toThrow('lock blocked was lost: its lease ran out');
    await failureOf(lock.extend(), 'LOCK_LOST');
    expect(await lock.release()).toBe('expired');
  });

  test('can be made longer by hand', async () => {
    const locks = fresh();
    const lock = await locks.acquire('by-hand', { ttl: 700, autoExtend: false });
    await lock.extend('5s');
    expect(lock.remainingMs()).toBeGreaterThan(4_500);
    await systemClock.sleep(800);
    expect(lock.held).toBe(true);
    await failureOf(lock.extend(3), 'OPTIONS_INVALID');
    expect(await lock.release()).toBe('released');
    await failureOf(lock.extend(), 'LOCK_LOST');
  });

  test('that another holds at its next extension is lost at once', async () => {
    const locks = fresh();
    const lock = await locks.acquire('taken', { ttl: 1_500 });
    await server.ask((redis) => redis.set(holderKey('taken'), 'other:1:ffffff|mother-1|30000|1', 'PX', 30_000));
    const { ms } = await timed(untilAborted(lock.signal).catch(() => undefined));
    expect(ms).toBeLessThan(1_200);
    expect(await lock.release()).toBe('stolen');
    expect(await server.ask((redis) => redis.get(holderKey('taken')))).toContain('other');
  });

  test('is abandoned when the locks are stopped: the signal aborts, the lease stays', async () => {
    const locks = fresh();
    const lock = await locks.acquire('stopped', { ttl: '5s' });
    const { signal } = lock;
    await locks.stop();
    await locks.stop();
    expect(signal.reason).toMatchObject({ code: 'CLOSED' });
    expect(lock.held).toBe(false);
    expect(await server.ask((redis) => redis.exists(holderKey('stopped')))).toBe(1);
    expect(await lock.release()).toBe('released');
    expect(await server.ask((redis) => redis.exists(holderKey('stopped')))).toBe(0);
  });
});

describe('using', () => {
  test('gives what the function gives, and what it throws, whatever becomes of the release', async () => {
    const locks = fresh();
    expect(await locks.using('used', () => 42)).toBe(42);
    const failing = locks.using('used', { ttl: 100 }, async ({ name }) => {
      await server.ask((redis) => redis.del(holderKey(name)));
      throw new Error('mine');
    });
    await expect(failing).rejects.toThrow('mine');
    expect((await locks.inspect('used')).holder).toBeUndefined();
  });

  test('throws LOCK_LOST when the function succeeded without the lock, unless that is to be ignored', async () => {
    const locks = fresh();
    await failureOf(locks.using('outlasted', { ttl: 60 }, outlast), 'LOCK_LOST');
    expect(await locks.using('outlasted', { ttl: 60, onLost: 'ignore' }, outlast)).toBe('done');
    const stolen = locks.using('outlasted', async ({ name }) => {
      await server.ask((redis) => redis.del(holderKey(name)));
    });
    expect((await failureOf(stolen, 'LOCK_LOST')).message).toContain('it was expired when it was released');
  });

  test('releases by await using too', async () => {
    const locks = fresh();
    {
      await using lock = await locks.acquire('disposed');
      expect(lock.held).toBe(true);
    }
    expect((await locks.inspect('disposed')).holder).toBeUndefined();
  });
});

describe('an operator', () => {
  test('sees who holds and who waits', async () => {
    const locks = fresh();
    const lock = await locks.acquire('seen', { ttl: '20s' });
    const waiting = locks.acquire('seen', { ttl: '7s' });
    const seen = await eventually(async () => {
      const inspection = await locks.inspect('seen');
      expect(inspection.waiting).toBe(1);
      return inspection;
    });
    const owner = expect.stringMatching(`:${process.pid}:`) as string;
    expect(seen).toMatchObject({
      name: 'seen',
      holder: { owner, token: lock.token, confirmed: true },
      waiters: [{ owner, ttlMs: 7_000 }],
    });
    expect(seen.holder?.remainingMs).toBeGreaterThan(19_000);
    await lock.release();
    await (await waiting).release();
    expect(await locks.inspect('seen')).toEqual({ name: 'seen', holder: undefined, waiters: [], waiting: 0 });
  });

  test('puts a holder out: it is told, and the next one has the lock', async () => {
    const lines = collectLog();
    const holders = locksOf({ url: server.url }, { log: lines.log }).locks;
    const operators = fresh();
    const lock = await holders.acquire('put-out');
    const next = holders.acquire('put-out');
    await eventually(async () => expect((await operators.inspect('put-out')).waiting).toBe(1));
    expect(await operators.forceRelease('put-out')).toBe(true);
    await expect(untilAborted(lock.signal)).rejects.toThrow('it was taken away by forceRelease()');
    expect(await lock.release()).toBe('stolen');
    const granted = await next;
    expect(granted.token).toBeGreaterThan(lock.token);
    expect(await granted.release()).toBe('released');
    expect(await operators.forceRelease('put-out')).toBe(false);
    const told = JSON.stringify(lines.told());
    expect(told).toContain('was lost');
  });

  test('puts out the holder that is meant, and never the one that came after it', async () => {
    const { locks } = locksOf({ url: server.url });
    const before = await locks.acquire('meant');
    await before.release();
    const after = await locks.acquire('meant');
    expect(await locks.forceRelease('meant', { token: before.token })).toBe(false);
    await after.extend();
    await failureOf(locks.forceRelease('meant', { tokn: 1 } as never), 'OPTIONS_INVALID');
    expect(await locks.forceRelease('meant', { token: after.token })).toBe(true);
    expect(await locks.forceRelease('meant', { token: after.token })).toBe(false);
  });
});
