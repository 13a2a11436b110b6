/** Who waits: in order, told without polling, and gone without a trace. */
import { systemClock } from '../../src/clock.ts';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/errors.ts';
import type { Locks } from '../../src/lock/locks.ts';
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
const fresh = (): Locks => locksOf({ url: server.url }).locks;
const mustWait = (locks: Locks, name: string, count: number) =>
  eventually(async () => expect((await locks.inspect(name)).waiting).toBe(count));

describe('200 waiters', () => {
  test('of one process are served in the order of asking, with growing tokens', async () => {
    const locks = fresh();
    const first = await locks.acquire('line');
    const served: Array<{ index: number; token: number }> = [];
    const all = Array.from({ length: 200 }, (_, index) =>
      locks.using('line', { wait: '30s' }, ({ token }) => void served.push({ index, token })),
    );
    await mustWait(locks, 'line', 200);
    await first.release();
    await Promise.all(all);
    expect(served.map(({ index }) => index)).toEqual(all.map((_, index) => index));
    const tokens = [first.token, ...served.map(({ token }) => token)];
    expect(tokens.every((token, at) => at === 0 || token > (tokens[at - 1] ?? 0))).toBe(true);
  });

  test('of four processes are served in the order in which Redis heard of them', async () => {
    const processes = Array.from({ length: 4 }, fresh);
    const [locks] = processes as [Locks];
    const first = await locks.acquire('wide');
    const served: number[] = [];
    let inside = 0;
    const all: Array<Promise<void>> = [];
    for (let index = 0; index < 200; index++) {
      const of = processes[index % 4] as Locks;
      all.push(
        of.using('wide', { wait: '60s' }, async () => {
          expect(++inside).toBe(1);
          served.push(index);
          await Promise.resolve();
          inside--;
        }),
      );
      await mustWait(locks, 'wide', index + 1);
    }
    const { ms } = await timed(first.release().then(() => Promise.all(all)));
    expect(served).toEqual(all.map((_, index) => index));
    // A lost message would cost a second each.
    expect(ms).toBeLessThan(10_000);
  });
});

describe('a waiter', () => {
  test('that is aborted leaves at once with the reason, and the others move up', async () => {
    const locks = fresh();
    const lock = await locks.acquire('abort');
    const controller = new AbortController();
    const gone = locks.acquire('abort', { signal: controller.signal });
    const stays = locks.acquire('abort');
    await mustWait(locks, 'abort', 2);
    controller.abort(new Error('changed my mind'));
    await expect(gone).rejects.toThrow('changed my mind');
    await mustWait(locks, 'abort', 1);
    await lock.release();
    await (await stays).release();
    await expect(locks.acquire('abort', { signal: controller.signal })).rejects.toThrow('changed my mind');
  });

  test.each(['abort', 'timeout'])('that leaves by %s while it is handed the lock loses it to nobody', async (how) => {
    const locks = fresh();
    const others = fresh();
    for (let round = 0; round < 60; round++) {
      const name = `race-${how}`;
      const lock = await locks.acquire(name);
      const controller = new AbortController();
      const of = round % 2 === 0 ? locks : others;
      const options = how === 'abort' ? { signal: controller.signal } : { wait: 4 + (round % 7) };
      const outcome = of.acquire(name, options).then(
        (granted) => granted.release(),
        (error: unknown) => (error instanceof MillraceError ? error.code : String(error)),
      );
      await systemClock.sleep(3 + (round % 5));
      const released = lock.release();
      if (round % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
      controller.abort(new Error('gone'));
      expect(await released).toBe('released');
      expect(['released', how === 'abort' ? 'Error: gone' : 'LOCK_TIMEOUT']).toContain(await outcome);
      const { value, ms } = await timed(locks.acquire(name, { wait: '5s' }));
      expect(ms).toBeLessThan(900); // Nobody had to wait for a claim, or for a look.
      await value.release();
    }
  });

  test('is told CLOSED when the locks are stopped, and leaves the queue', async () => {
    const locks = fresh();
    const stopped = fresh();
    const lock = await locks.acquire('stop');
    const waiting = failureOf(stopped.acquire('stop'), 'CLOSED');
    await mustWait(locks, 'stop', 1);
    await stopped.stop();
    await waiting;
    await failureOf(stopped.acquire('stop'), 'CLOSED');
    await mustWait(locks, 'stop', 0);
    await lock.release();
  });

  test('whose message is lost finds the lock by looking', async () => {
    const locks = fresh();
    const { locks: deaf, connections } = locksOf({ url: server.url });
    const lock = await locks.acquire('deaf');
    const waiting = deaf.acquire('deaf');
    await mustWait(locks, 'deaf', 1);
    // Still counted as a receiver, but this one does nothing with what it hears.
    connections.subscriber().removeAllListeners('message');
    await lock.release();
    const { value, ms } = await timed(waiting);
    expect(ms).toBeLessThan(2_500);
    expect(await value.release()).toBe('released');
  });

  test('whose channel is lost queues again', async () => {
    const locks = fresh();
    const { locks: cut } = locksOf({ url: server.url });
    const lock = await locks.acquire('cut');
    const waiting = cut.acquire('cut');
    await mustWait(locks, 'cut', 1);
    await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
    await lock.release();
    const { value, ms } = await timed(waiting);
    expect(ms).toBeLessThan(4_000);
    expect(await value.release()).toBe('released');
  });

  test('is granted a lock whose holder died some ms after its lease', async () => {
    const locks = fresh();
    const lock = await locks.acquire('died', { ttl: 300, autoExtend: false });
    const { value, ms } = await timed(locks.acquire('died'));
    expect(ms).toBeGreaterThan(270);
    expect(ms).toBeLessThan(900); // Below a second, after which it would have looked anyway.
    expect(value.token).toBeGreaterThan(lock.token);
    await value.release();
  });

  test('of a lock whose holders all die is granted it one lease later each', async () => {
    const locks = fresh();
    await locks.acquire('dying', { ttl: 150, autoExtend: false });
    const { ms } = await timed(
      Promise.all([1, 2, 3].map(() => locks.acquire('dying', { ttl: 150, autoExtend: false }))),
    );
    expect(ms).toBeGreaterThan(420);
    expect(ms).toBeLessThan(1_800);
  });
});

test('one that may not wait passes over the dead, and is refused while the living wait', async () => {
  const locks = fresh();
  const others = fresh();
  const entry = 'dead:1:aaaaaa|mdead-1|30000';
  await server.ask((redis) => redis.rpush('millrace:lock:{try}:queue', entry));
  const lock = await locks.tryAcquire('try');
  expect(lock?.held).toBe(true);
  const waiting = others.acquire('try');
  await mustWait(locks, 'try', 1);
  expect(await locks.tryAcquire('try')).toBeUndefined();
  await lock?.release();
  await (await waiting).release();
});
