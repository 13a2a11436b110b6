import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import type { Lock } from '../../../src/lock/lock.ts';
import type { Semaphore } from '../../../src/lock/permits/semaphore.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf, timed } from '../../support/failures.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { ownedLocks, type OpenLocks } from './open-locks.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const openLocks = ownedLocks();
let lastName = 0;

/** One semaphore, as two processes see it. */
async function twoOf(
  permits: number,
): Promise<{ mine: Semaphore; theirs: Semaphore; me: OpenLocks; other: OpenLocks }> {
  const name = `exports ${++lastName}`;
  const [me, other] = await Promise.all([openLocks({ url: server.url }), openLocks({ url: server.url })]);
  return {
    mine: me.locks.semaphore(name, { permits }),
    theirs: other.locks.semaphore(name, { permits }),
    me,
    other,
  };
}

/** Waits until so many wait. */
const queued = (semaphore: Semaphore, count: number): Promise<void> =>
  eventually(async () => {
    const { waiting } = await semaphore.inspect();
    if (waiting !== count) throw new Error(`${waiting} wait, not ${count}`);
  });

describe('using', () => {
  test('runs as many at once as there are permits, over all processes, and gives the result', async () => {
    const { mine, theirs } = await twoOf(3);
    let inside = 0;
    let most = 0;
    const work = async (): Promise<string> => {
      most = Math.max(most, ++inside);
      await systemClock.sleep(5);
      inside--;
      return 'done';
    };
    const all = Array.from({ length: 40 }, (_, index) => (index % 2 ? mine : theirs).using(work));
    expect(new Set(await Promise.all(all))).toEqual(new Set(['done']));
    expect(most).toBe(3);
    expect(await mine.inspect()).toMatchObject({ used: 0, waiting: 0 });
  });

  test('counts weights', async () => {
    const { mine, theirs } = await twoOf(5);
    let used = 0;
    let most = 0;
    const take = (semaphore: Semaphore, weight: number): Promise<void> =>
      semaphore.using({ weight }, async () => {
        most = Math.max(most, (used += weight));
        await systemClock.sleep(3);
        used -= weight;
      });
    const weights = Array.from({ length: 40 }, (_, index) => 1 + ((index * 3) % 5));
    await Promise.all(weights.map((weight, index) => take(index % 2 ? mine : theirs, weight)));
    expect(most).toBeLessThanOrEqual(5);
    expect(most).toBeGreaterThanOrEqual(4);
  });

  test('passes the error of the function on, and gives the permits back', async () => {
    const { mine } = await twoOf(1);
    const failed = mine.using(() => {
      throw new Error('no paper');
    });
    await expect(failed).rejects.toThrow('no paper');
    expect(await mine.tryAcquire()).toBeDefined();
  });
});

describe('waiting', () => {
  test('200 waiters of two processes are served in the order in which they came', async () => {
    const { mine, theirs } = await twoOf(1);
    const first = await mine.acquire();
    const served: number[] = [];
    const waiters: Array<Promise<void>> = [];
    for (let index = 0; index < 200; index++) {
      const semaphore = index % 3 ? theirs : mine;
      waiters.push(semaphore.using({ wait: '30s' }, () => void served.push(index)));
      // Two processes have two connections: the one must have been heard before the other asks.
      if (index % 3 !== 1) await queued(mine, index + 1);
    }
    await queued(mine, 200);
    await first.release();
    await Promise.all(waiters);
    expect(served).toEqual(Array.from({ length: 200 }, (_, index) => index));
  });

  test('a heavy waiter is served before light ones that came later', async () => {
    const { mine, theirs } = await twoOf(3);
    const light = await Promise.all([mine.acquire(), theirs.acquire()]);
    const served: string[] = [];
    const heavy = theirs.using({ weight: 3 }, () => void served.push('heavy'));
    await queued(mine, 1);
    const later = [mine, theirs].map((semaphore) => semaphore.using(() => void served.push('light')));
    await queued(mine, 3);
    expect(await mine.tryAcquire()).toBeUndefined();
    for (const lock of light) await lock.release();
    await Promise.all([heavy, ...later]);
    expect(served).toEqual(['heavy', 'light', 'light']);
  });

  test('ends at its time, and leaves the queue', async () => {
    const { mine, theirs } = await twoOf(1);
    const held = await theirs.acquire();
    const start = performance.now();
    const error = await failureOf(mine.acquire({ wait: 150 }), 'LOCK_TIMEOUT');
    const ms = performance.now() - start;
    expect(error.facts).toMatchObject({ name: mine.name });
    expect(ms).toBeGreaterThanOrEqual(145);
    await queued(mine, 0);
    await held.release();
    await failureOf(
      theirs.acquire().then(() => mine.acquire({ wait: 0 })),
      'LOCK_TIMEOUT',
    );
  });

  test('ends by its signal, and what was granted at that moment goes to the next', async () => {
    const { mine, theirs } = await twoOf(1);
    for (let round = 0; round < 20; round++) {
      const held = await theirs.acquire();
      const abort = new AbortController();
      const aborted = mine.acquire({ signal: abort.signal }).then(
        (lock) => lock.release(),
        (error: unknown) => error,
      );
      await queued(mine, 1);
      const next = theirs.acquire();
      await queued(mine, 2);
      const released = held.release();
      if (round % 2) await systemClock.sleep(round / 10);
      abort.abort(new Error('enough'));
      await Promise.all([released, aborted]);
      const lock = await next;
      await lock.release();
    }
    await eventually(async () => expect(await mine.inspect()).toMatchObject({ used: 0, waiting: 0 }));
  });
});

describe('the number of permits', () => {
  test('may grow: those who wait are granted at once, in all processes', async () => {
    const { mine, theirs } = await twoOf(1);
    await mine.acquire();
    const waiting = [mine.acquire(), theirs.acquire(), theirs.acquire()];
    await queued(mine, 3);
    await mine.setPermits(3);
    expect(await mine.inspect()).toMatchObject({ permits: 3, used: 3, waiting: 1 });
    await theirs.setPermits(4);
    for (const lock of await Promise.all(waiting)) expect(lock.held).toBe(true);
  });

  test('may shrink: holders keep what they have, and nobody comes in until enough is back', async () => {
    const { mine, theirs } = await twoOf(3);
    const held = await Promise.all([mine.acquire(), mine.acquire(), theirs.acquire()]);
    await theirs.setPermits(1);
    for (const lock of held.slice(0, 2)) {
      expect(await lock.release()).toBe('released');
      expect(await mine.tryAcquire()).toBeUndefined();
    }
    await held[2]?.release();
    expect(await mine.tryAcquire()).toBeDefined();
    expect(await mine.tryAcquire()).toBeUndefined();
    await mine.unsetPermits();
    expect(await mine.tryAcquire()).toBeDefined();
    expect(await mine.inspect()).toMatchObject({ permits: 3, used: 2 });
  });

  test('may be too small for one who waits: others pass, and it is served when there are enough again', async () => {
    const { mine, theirs } = await twoOf(4);
    const held = await mine.acquire({ weight: 4 });
    const heavy = theirs.acquire({ weight: 4 });
    await queued(mine, 1);
    await mine.setPermits(2);
    await held.release();
    const light = await theirs.acquire({ weight: 2 });
    await mine.setPermits(4);
    expect(await mine.tryAcquire()).toBeUndefined();
    await light.release();
    await heavy;
  });

  test('is checked: by the declaration, by setPermits and against weights', async () => {
    const { mine, me } = await twoOf(2);
    expect(() => me.locks.semaphore('x', { permits: 0 })).toThrow('permits: expected at least 1, got 0');
    await failureOf(mine.setPermits(-1), 'OPTIONS_INVALID');
    const error = await failureOf(mine.acquire({ weight: 3 }), 'OPTIONS_INVALID');
    expect(error.message).toContain('weight: expected at most 2');
    const unknown = await failureOf(mine.acquire({ wieght: 3 } as never), 'OPTIONS_INVALID');
    expect(unknown.message).toContain('did you mean weight?');
  });
});

test('options are read at every call, also those of an object that was given before', async () => {
  const { mine } = await twoOf(3);
  const options = { weight: 1, wait: 0 };
  await mine.acquire(options);
  options.weight = 2;
  await mine.acquire(options);
  expect(await mine.inspect()).toMatchObject({ used: 3 });
  await failureOf(mine.acquire(null as never), 'OPTIONS_INVALID');
  await failureOf(mine.acquire({ weight: 0 }), 'OPTIONS_INVALID');
});

describe('a lease', () => {
  test('of a process that has died ends by itself, while others go on', async () => {
    const { mine, theirs } = await twoOf(2);
    const dead = await openLocks({ url: server.url });
    await dead.locks.semaphore(mine.name, { permits: 2 }).acquire({ ttl: 1_000, autoExtend: false });
    const held = await mine.acquire({ ttl: 1_000 });
    const { ms } = await timed(theirs.acquire());
    expect(ms).toBeLessThan(3_000);
    expect(held.held).toBe(true);
    expect((await mine.inspect()).holders).toHaveLength(2);
  });

  test('is kept by extensions for as long as it is held', async () => {
    const { mine, theirs } = await twoOf(1);
    const lock = await mine.acquire({ ttl: 900 });
    await systemClock.sleep(2_000);
    expect(lock.held).toBe(true);
    expect(await theirs.tryAcquire()).toBeUndefined();
    expect(await lock.release()).toBe('released');
  });

  test('that has run out aborts the signal, and its release frees nothing of others', async () => {
    const { mine, theirs } = await twoOf(1);
    const lock = await mine.acquire({ ttl: 100, autoExtend: false });
    const next = await theirs.acquire();
    expect(lock.signal.reason).toMatchObject({ code: 'LOCK_LOST' });
    expect(await lock.release()).toBe('expired');
    expect(await mine.tryAcquire()).toBeUndefined();
    expect(next.token).toBeGreaterThan(lock.token);
  });

  test('that is taken away aborts the signal at once, and goes to the next', async () => {
    const { mine, theirs } = await twoOf(1);
    const lock = await theirs.acquire();
    const next = mine.acquire();
    await queued(mine, 1);
    expect(await mine.forceRelease(lock.token)).toBe(true);
    expect(await mine.forceRelease(lock.token)).toBe(false);
    await eventually(() => expect(lock.signal.reason).toMatchObject({ code: 'LOCK_LOST' }));
    expect(await lock.release()).toBe('stolen');
    expect((await next).held).toBe(true);
  });
});

test('of more holders than are told of all are counted, and the last can be put out', async () => {
  const { mine, theirs } = await twoOf(3_000);
  const held = await Promise.all(Array.from({ length: 1_100 }, () => theirs.acquire({ weight: 2 })));
  const last = held.at(-1);
  const { used, holders } = await mine.inspect();
  expect(used).toBe(2_200);
  expect(holders).toHaveLength(1_000);
  expect(await mine.forceRelease(last?.token ?? 0)).toBe(true);
  expect(await mine.forceRelease(last?.token ?? 0)).toBe(false);
  expect((await mine.inspect()).used).toBe(2_198);
  expect(await last?.release()).toBe('stolen');
});

test('whoever has given back is not put out', async () => {
  const { mine, theirs } = await twoOf(1);
  const lock = await theirs.acquire();
  await lock.release();
  expect(await mine.forceRelease(lock.token)).toBe(false);
});

test('every message may be lost: waiters are granted all the same', async () => {
  const { mine, theirs, other } = await twoOf(2);
  const held = await Promise.all([mine.acquire(), mine.acquire()]);
  const waiting: Array<Promise<Lock>> = [theirs.acquire({ wait: '20s' }), theirs.acquire({ wait: '20s' })];
  await queued(mine, 2);
  // The subscriber of the other process is cut off and comes back; what was said meanwhile it has not heard.
  other.connections.subscriber().disconnect(true);
  for (const lock of held) await lock.release();
  const { ms } = await timed(Promise.all(waiting));
  expect(ms).toBeLessThan(6_000);
});

test('semaphores, read-write locks and mutexes of one name have nothing in common', async () => {
  const { mine, me } = await twoOf(1);
  await mine.acquire();
  const rest = me.locks.readWrite(mine.name);
  await rest.acquireWrite({ wait: 0 });
  expect((await mine.inspect()).holders).toHaveLength(1);
  expect((await rest.inspect()).writer).toBeDefined();
});
