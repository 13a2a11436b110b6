/** One holder at a time, handed over in order. */
import { systemClock } from '../../src/clock.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLocks } from './own-locks.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const locksOf = ownedLocks();
const keysOf = (name: string): Promise<string[]> =>
  server.ask(async (redis) => (await redis.call('KEYS', `millrace:lock:{${name}}*`)) as string[]);

describe('a mutex', () => {
  test('is held by one, and free again after the release', async () => {
    const { locks } = locksOf({ url: server.url });
    const first = await locks.acquire('plain');
    expect(first.held).toBe(true);
    expect(first.remainingMs()).toBeGreaterThan(29_000);
    expect(await locks.tryAcquire('plain')).toBeUndefined();
    expect(await first.release()).toBe('released');
    expect(first.held).toBe(false);
    expect(first.remainingMs()).toBe(0);
    expect(first.signal.aborted).toBe(false);
    const second = await locks.acquire('plain');
    expect(second.token).toBeGreaterThan(first.token);
    expect(await second.release()).toBe('released');
    expect(await second.release()).toBe('released');
    expect(await keysOf('plain')).toEqual(['millrace:lock:{plain}:fence']);
  });

  test('is handed to the next waiter of the same process, and to one of another', async () => {
    const { locks } = locksOf({ url: server.url });
    const { locks: others } = locksOf({ url: server.url });
    const tokens: number[] = [];
    const first = await locks.acquire('handed');
    const use = (who: typeof locks) => who.using('handed', async (lock) => void tokens.push(lock.token));
    const waiting: Array<Promise<void>> = [];
    for (const [index, who] of [locks, others, others, locks].entries()) {
      waiting.push(use(who));
      await eventually(async () => expect((await locks.inspect('handed')).waiting).toBe(index + 1));
    }
    tokens.push(first.token);
    const { ms } = await timed(first.release().then(() => Promise.all(waiting)));
    expect(ms).toBeLessThan(500);
    expect(tokens).toHaveLength(5);
    expect(tokens).toEqual(tokens.toSorted((left, right) => left - right));
    expect(new Set(tokens).size).toBe(5);
    expect((await locks.inspect('handed')).holder).toBeUndefined();
  });

  test('is waited for no longer than asked', async () => {
    const { locks } = locksOf({ url: server.url });
    const lock = await locks.acquire('busy');
    const { value: error, ms } = await timed(failureOf(locks.acquire('busy', { wait: 100 }), 'LOCK_TIMEOUT'));
    expect(ms).toBeGreaterThan(95);
    expect(error.message).toMatch(/^lock busy: not granted within \d/);
    await failureOf(locks.acquire('busy', { wait: 0 }), 'LOCK_TIMEOUT');
    await eventually(async () => expect((await locks.inspect('busy')).waiting).toBe(0));
    await lock.release();
  });

  test('is extended for as long as it is held, and lost without that', async () => {
    const { locks } = locksOf({ url: server.url });
    const kept = await locks.acquire('kept', { ttl: 900 });
    const lost = await locks.acquire('lost', { ttl: 300, autoExtend: false });
    await new Promise((resolve) => lost.signal.addEventListener('abort', resolve));
    await systemClock.sleep(1_200);
    expect(kept.held).toBe(true);
    expect(await kept.release()).toBe('released');
    expect(lost.signal.reason).toMatchObject({ code: 'LOCK_LOST', facts: { name: 'lost', fence: lost.token } });
    expect(await lost.release()).toBe('expired');
    expect(() => lost.assertHeld()).toThrow('lock lost was lost');
  });
});
