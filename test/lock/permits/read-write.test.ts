import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import type { ReadWriteLock } from '../../../src/lock/permits/read-write.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { ownedLocks } from './open-locks.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const openLocks = ownedLocks();
let lastName = 0;

/** One lock, as two processes see it. */
async function two(): Promise<{ mine: ReadWriteLock; theirs: ReadWriteLock }> {
  const name = `prices/${++lastName}`;
  const [me, other] = await Promise.all([openLocks({ url: server.url }), openLocks({ url: server.url })]);
  return { mine: me.locks.readWrite(name), theirs: other.locks.readWrite(name) };
}

const queued = (lock: ReadWriteLock, count: number): Promise<void> =>
  eventually(async () => {
    const { waiting } = await lock.inspect();
    if (waiting !== count) throw new Error(`${waiting} wait, not ${count}`);
  });

describe('readers and writers', () => {
  test('readers hold together, a writer alone', async () => {
    const { mine, theirs } = await two();
    let readers = 0;
    let writers = 0;
    let mostReaders = 0;
    const faults: string[] = [];
    const look = (): void => {
      mostReaders = Math.max(mostReaders, readers);
      if (writers > 1 || (writers > 0 && readers > 0)) faults.push(`${writers} writers beside ${readers} readers`);
    };
    const read = async (): Promise<void> => {
      readers++;
      look();
      await systemClock.sleep(4);
      readers--;
    };
    const write = async (): Promise<void> => {
      writers++;
      look();
      await systemClock.sleep(2);
      writers--;
    };
    const all = Array.from({ length: 60 }, (_, index) => {
      const lock = index % 2 ? mine : theirs;
      return index % 6 === 0 ? lock.write(write) : lock.read(read);
    });
    await Promise.all(all);
    expect(faults).toEqual([]);
    expect(mostReaders).toBeGreaterThan(2);
    expect(await mine.inspect()).toMatchObject({ readers: [], waiting: 0 });
  });

  test('a writer is not starved by readers that keep coming, and the readers behind it go together', async () => {
    const { mine, theirs } = await two();
    const order: string[] = [];
    const first = await mine.acquireRead();
    const write = theirs.write(async () => {
      order.push('write');
    });
    await queued(mine, 1);
    expect(await mine.tryAcquireRead()).toBeUndefined();
    let together = 0;
    const readers = [mine, theirs, mine, theirs].map((lock) =>
      lock.read(async () => {
        order.push('read');
        together++;
        await eventually(() => {
          if (together < 4) throw new Error('not all of them read together');
        }, 5_000);
      }),
    );
    await queued(mine, 5);
    expect((await mine.inspect()).waiters.map(({ mode }) => mode)).toEqual(['write', 'read', 'read', 'read', 'read']);
    await first.release();
    await Promise.all([write, ...readers]);
    expect(order).toEqual(['write', 'read', 'read', 'read', 'read']);
  });

  test('the token of a writer is greater than those of all before, and those after are greater still', async () => {
    const { mine, theirs } = await two();
    const tokens: number[] = [];
    for (let round = 0; round < 3; round++) {
      const readers = [await mine.acquireRead(), await theirs.acquireRead()];
      for (const reader of readers) tokens.push(reader.token);
      for (const reader of readers) await reader.release();
      await theirs.write(({ token }) => void tokens.push(token));
    }
    expect(tokens).toEqual([...new Set(tokens)].toSorted((left, right) => left - right));
  });

  test('each reader has a lease of its own: one that has died lets the writer in, those that live do not', async () => {
    const { mine, theirs } = await two();
    const dead = await openLocks({ url: server.url });
    await dead.locks.readWrite(mine.name).acquireRead({ ttl: 900, autoExtend: false });
    const alive = await mine.acquireRead({ ttl: 900 });
    const writer = theirs.acquireWrite({ wait: '10s' });
    await systemClock.sleep(1_500);
    expect((await mine.inspect()).readers).toHaveLength(1);
    expect(alive.held).toBe(true);
    await alive.release();
    expect((await writer).held).toBe(true);
  });

  test('a reader that asks to write waits for itself no longer than its time', async () => {
    const { mine } = await two();
    const reader = await mine.acquireRead();
    await failureOf(mine.acquireWrite({ wait: 100 }), 'LOCK_TIMEOUT');
    await failureOf(mine.acquireWrite({ wait: 0 }), 'LOCK_TIMEOUT');
    expect(reader.held).toBe(true);
    expect((await mine.inspect()).waiting).toBe(0);
  });
});

describe('a writer that becomes a reader', () => {
  test('lets waiting readers in, and no writer', async () => {
    const { mine, theirs } = await two();
    const lock = await mine.acquireWrite();
    const readers = [mine.acquireRead(), theirs.acquireRead()];
    await queued(mine, 2);
    const writer = theirs.acquireWrite();
    await queued(mine, 3);
    const { token } = lock;
    await lock.downgrade();
    await lock.downgrade();
    for (const reader of await Promise.all(readers)) expect(reader.token).toBeGreaterThan(token);
    expect(await mine.inspect()).toMatchObject({ writer: undefined, waiting: 1 });
    expect((await mine.inspect()).readers).toHaveLength(3);
    expect(lock).toMatchObject({ held: true, token });
    expect(await lock.release()).toBe('released');
    for (const reader of readers) await (await reader).release();
    expect((await writer).held).toBe(true);
  });

  test('keeps its lease by extensions', async () => {
    const { mine, theirs } = await two();
    const lock = await mine.acquireWrite({ ttl: 900 });
    await lock.downgrade();
    await systemClock.sleep(1_500);
    expect(lock.held).toBe(true);
    expect(await theirs.tryAcquireWrite()).toBeUndefined();
    expect(await theirs.tryAcquireRead()).toBeDefined();
  });

  test('is told when it had lost the lock before', async () => {
    const { mine, theirs } = await two();
    const lock = await mine.acquireWrite();
    await server.ask((redis) => redis.del(`millrace:lock:{${mine.name}}:read-write:holders`));
    expect(await theirs.tryAcquireWrite()).toBeDefined();
    await failureOf(lock.downgrade(), 'LOCK_LOST');
    expect(lock.signal.aborted).toBe(true);
    expect(lock.held).toBe(false);
  });
});

test('a write is over when its function is, whether it was downgraded or not', async () => {
  const { mine, theirs } = await two();
  const result = await mine.write({ ttl: '5s' }, async (lock) => {
    await lock.downgrade();
    return theirs.read(() => 'both read');
  });
  expect(result).toBe('both read');
  expect(await theirs.tryAcquireWrite()).toBeDefined();
});

test('a reader or writer can be put out by its token', async () => {
  const { mine, theirs } = await two();
  const reader = await theirs.acquireRead();
  const writer = mine.acquireWrite();
  await queued(mine, 1);
  expect(await mine.forceRelease(reader.token)).toBe(true);
  expect((await writer).held).toBe(true);
  await eventually(() => expect(reader.signal.reason).toMatchObject({ code: 'LOCK_LOST' }));
});
