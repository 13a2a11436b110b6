import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import type { Lock } from '../../../src/lock/lock.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf, timed } from '../../support/failures.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy, type Proxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { ownedLocks, type OpenLocks } from './open-locks.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const own = ownedByTest();
const openLocks = ownedLocks();
let lastName = 0;

/** One process whose answers may be lost, another one whose are not, and a name. */
async function scene(): Promise<{ proxy: Proxy; shaky: OpenLocks; steady: OpenLocks; name: string }> {
  const proxy = own(await startProxy(server.port));
  const shaky = await openLocks({ url: proxy.url });
  const steady = await openLocks({ url: server.url });
  // The channel is open from here on, so that nothing but the acts of the test goes over the connection.
  const warm = steady.locks.semaphore('warm', { permits: 1 });
  const held = await warm.acquire();
  await failureOf(shaky.locks.semaphore('warm', { permits: 1 }).acquire({ wait: 50 }), 'LOCK_TIMEOUT');
  await held.release();
  return { proxy, shaky, steady, name: `shaky ${++lastName}` };
}

/** Acts while answers are lost, and mends the line once the server has done what was asked. */
async function withLostAnswer<T>(proxy: Proxy, act: () => Promise<T>, isDone: () => Promise<void>): Promise<T> {
  proxy.loseAnswers();
  const acting = act();
  await eventually(isDone);
  proxy.restore();
  proxy.cut();
  return acting;
}

describe('when an answer is lost', () => {
  test('an acquire is asked again, and takes the permits once', async () => {
    const { proxy, shaky, steady, name } = await scene();
    const watched = steady.locks.semaphore(name, { permits: 4 });
    const lock = await withLostAnswer(
      proxy,
      () => shaky.locks.semaphore(name, { permits: 4 }).acquire({ weight: 2 }),
      async () => expect((await watched.inspect()).used).toBe(2),
    );
    expect(await watched.inspect()).toMatchObject({ used: 2, waiting: 0, holders: [{ token: lock.token }] });
    expect(await lock.release()).toBe('released');
    expect(await watched.inspect()).toMatchObject({ used: 0 });
  });

  test('a waiter keeps its place', async () => {
    const { proxy, shaky, steady, name } = await scene();
    const watched = steady.locks.semaphore(name, { permits: 1 });
    const held = await watched.acquire();
    const order: string[] = [];
    const first = withLostAnswer(
      proxy,
      () => shaky.locks.semaphore(name, { permits: 1 }).using(() => void order.push('shaky')),
      async () => expect((await watched.inspect()).waiting).toBe(1),
    );
    await eventually(async () => expect((await watched.inspect()).waiting).toBe(1));
    const second = watched.using(() => void order.push('steady'));
    await eventually(async () => expect((await watched.inspect()).waiting).toBe(2));
    await held.release();
    await Promise.all([first, second]);
    expect(order).toEqual(['shaky', 'steady']);
  });

  test('a release says released, and frees the permits once', async () => {
    const { proxy, shaky, steady, name } = await scene();
    const watched = steady.locks.semaphore(name, { permits: 2 });
    const lock = await shaky.locks.semaphore(name, { permits: 2 }).acquire({ weight: 2 });
    const other = await withLostAnswer(
      proxy,
      () => lock.release(),
      async () => expect((await watched.inspect()).used).toBe(0),
    );
    expect(other).toBe('released');
    await watched.acquire({ weight: 2 });
    expect(await watched.tryAcquire()).toBeUndefined();
  });

  test('of a release that granted others, they find out by themselves', async () => {
    const { proxy, shaky, steady, name } = await scene();
    const semaphore = shaky.locks.semaphore(name, { permits: 2 });
    const watched = steady.locks.semaphore(name, { permits: 2 });
    const lock = await semaphore.acquire({ weight: 2 });
    const waiting = [semaphore.acquire(), semaphore.acquire()];
    await eventually(async () => expect((await watched.inspect()).waiting).toBe(2));
    const releasing = withLostAnswer(
      proxy,
      () => lock.release(),
      async () => expect((await watched.inspect()).holders).toHaveLength(2),
    );
    const { ms } = await timed(Promise.all([releasing, ...waiting]));
    expect(ms).toBeLessThan(5_000);
    expect(await watched.inspect()).toMatchObject({ used: 2, waiting: 0 });
  });

  test('a downgrade may be asked for again', async () => {
    const { proxy, shaky, steady, name } = await scene();
    const watched = steady.locks.readWrite(name);
    const lock = await shaky.locks.readWrite(name).acquireWrite();
    const failed = withLostAnswer(
      proxy,
      () => failureOf(lock.downgrade(), 'LOCK_UNAVAILABLE'),
      async () => expect((await watched.inspect()).readers).toHaveLength(1),
    );
    await failed;
    await eventually(() => lock.downgrade());
    expect(lock.held).toBe(true);
    expect(await watched.tryAcquireRead()).toBeDefined();
    expect(await watched.tryAcquireWrite()).toBeUndefined();
  });
});

test(
  'a server that is frozen past the leases loses holders in time, and nobody who waits',
  { timeout: 60_000 },
  async () => {
    const { shaky, steady, name } = await scene();
    const mine = steady.locks.semaphore(name, { permits: 2 });
    const theirs = shaky.locks.semaphore(name, { permits: 2 });
    const held = await Promise.all([mine.acquire({ ttl: 2_000 }), theirs.acquire({ ttl: 2_000 })]);
    const waiting: Array<Promise<Lock>> = [];
    for (const semaphore of [mine, theirs, mine]) {
      waiting.push(semaphore.acquire({ wait: '40s', ttl: '10s' }));
      await eventually(async () => expect((await mine.inspect()).waiting).toBe(waiting.length));
    }
    const frozenAt = performance.now();
    server.freeze();
    const lostAfter = await Promise.all(
      held.map(async ({ signal }) => {
        if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
        return performance.now() - frozenAt;
      }),
    );
    for (const ms of lostAfter) expect(ms).toBeLessThan(2_300);
    const refused = await failureOf(mine.tryAcquire(), 'LOCK_UNAVAILABLE');
    expect(refused.cause).toBeDefined();
    await systemClock.sleep(500);
    server.thaw();
    for (const lock of await Promise.all(waiting.slice(0, 2))) expect(lock.held).toBe(true);
    expect(await mine.inspect()).toMatchObject({ used: 2, waiting: 1 });
    for (const lock of await Promise.all(waiting.slice(0, 2))) await lock.release();
    expect((await waiting[2])?.held).toBe(true);
  },
);

test(
  'a server that has lost everything is asked anew by all who wait, in their order',
  { timeout: 60_000 },
  async () => {
    const { shaky, steady, name } = await scene();
    const mine = steady.locks.semaphore(name, { permits: 1 });
    const theirs = shaky.locks.semaphore(name, { permits: 1 });
    const held = await mine.acquire();
    const order: string[] = [];
    const waiting: Array<Promise<void>> = [];
    for (const turn of ['first', 'second', 'third']) {
      waiting.push(theirs.using({ wait: '30s' }, () => void order.push(turn)));
      await eventually(async () => expect((await mine.inspect()).waiting).toBe(waiting.length));
    }
    await server.restart();
    await Promise.all(waiting);
    expect(order).toEqual(['first', 'second', 'third']);
    await eventually(() => expect(held.held).toBe(false), 20_000);
    expect(held.signal.reason).toMatchObject({ code: 'LOCK_LOST' });
  },
);
