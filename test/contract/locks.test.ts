/** Locks on each topology. */
import { systemClock } from '../../src/clock.ts';
import { describe, expect, test } from 'vitest';
import type { Locks } from '../../src/lock/locks.ts';
import { MillraceError } from '../../src/errors.ts';
import type { Topology } from '../../src/redis/address.ts';
import { ownedLocks } from '../lock/own-locks.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { openAll, startForFile } from './topologies.ts';

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const locksOf = ownedLocks();
  const fresh = async (): Promise<Locks> => {
    const { locks, connections } = locksOf({ ...topologyOf().redis, commandTimeout: 2_000 }, { deadline: '1s' });
    await openAll(connections.commands());
    return locks;
  };

  test('a lock is taken, refused, extended, released', async () => {
    const [locks, others] = [await fresh(), await fresh()];
    const lock = await locks.acquire('plain', { ttl: '5s' });
    expect(await others.tryAcquire('plain')).toBeUndefined();
    await lock.extend('10s');
    expect(lock.remainingMs()).toBeGreaterThan(9_000);
    expect(await lock.release()).toBe('released');
    const next = await others.acquire('plain');
    expect(next.token).toBeGreaterThan(lock.token);
    await next.release();
  });

  test('waiters of two processes are served in order, one at a time', async () => {
    const [locks, others] = [await fresh(), await fresh()];
    const first = await locks.acquire('order');
    const served: number[] = [];
    const tokens = [first.token];
    let inside = 0;
    const waiting: Array<Promise<void>> = [];
    for (let index = 0; index < 20; index++) {
      const of = index % 2 === 0 ? locks : others;
      waiting.push(
        of.using('order', { wait: '30s' }, async ({ token }) => {
          expect(++inside).toBe(1);
          served.push(index);
          tokens.push(token);
          await Promise.resolve();
          inside--;
        }),
      );
      await eventually(async () => expect((await locks.inspect('order')).waiting).toBe(index + 1));
    }
    await first.release();
    await Promise.all(waiting);
    expect(served).toEqual(waiting.map((_, index) => index));
    expect(tokens).toEqual([...new Set(tokens)].toSorted((left, right) => left - right));
  });

  test('several are taken together, wherever they are kept, or none', async () => {
    const [locks, others] = [await fresh(), await fresh()];
    const names = ['several:c', 'several:a', 'several:b'];
    const set = await locks.acquire(names);
    expect(set.names).toEqual(names.toSorted());
    expect(Object.keys(set.tokens)).toEqual(set.names);
    expect(await others.tryAcquire(['several:z', 'several:b'])).toBeUndefined();
    await failureOf(others.acquire(['several:0', 'several:c'], { wait: 100 }), 'LOCK_TIMEOUT');
    for (const name of ['several:z', 'several:0']) {
      await eventually(async () => expect((await locks.inspect(name)).holder).toBeUndefined());
    }
    expect(await set.release()).toBe('released');
  });

  test('the waiters of a process that is gone hold nobody up for longer than one claim', async () => {
    const locks = await fresh();
    const { locks: doomed, connections } = locksOf(topologyOf().redis);
    const lock = await locks.acquire('gone', { ttl: '20s' });
    const lost = Array.from({ length: 10 }, () => doomed.acquire('gone').catch((error: unknown) => error));
    await eventually(async () => expect((await locks.inspect('gone')).waiting).toBe(10));
    await connections.close();
    const waiting = locks.acquire('gone', { wait: '20s' });
    await eventually(async () => expect((await locks.inspect('gone')).waiting).toBe(11));
    const start = performance.now();
    await lock.release();
    await (await waiting).release();
    expect(performance.now() - start).toBeLessThan(topology === 'cluster' ? 4_500 : 1_000);
    await doomed.stop();
    expect((await Promise.all(lost)).every((error) => error instanceof MillraceError)).toBe(true);
  });

  test('tokens only grow over a failover, and waiting goes on', { timeout: 90_000 }, async () => {
    const owners = [await fresh(), await fresh()];
    const tokens: number[] = [];
    const state = { isOver: false };
    const odd: unknown[] = [];
    const work = async (locks: Locks): Promise<void> => {
      while (!state.isOver) {
        try {
          await locks.using('failover', { ttl: '1s', wait: '20s', onLost: 'ignore' }, async ({ token }) => {
            tokens.push(token);
            await systemClock.sleep(2);
          });
        } catch (error) {
          if (!(error instanceof MillraceError && /^LOCK_(?:UNAVAILABLE|LOST|TIMEOUT)$/.test(error.code)))
            odd.push(error);
          await systemClock.sleep(50);
        }
      }
    };
    const working = owners.flatMap((locks) => [work(locks), work(locks)]);
    await eventually(() => expect(tokens.length).toBeGreaterThan(50));
    await topologyOf().failOver('millrace:lock:{failover}');
    const before = tokens.length;
    await eventually(() => expect(tokens.length).toBeGreaterThan(before + 50), 30_000);
    state.isOver = true;
    await Promise.all(working);
    expect(odd).toEqual([]);
    const backwards = tokens.filter((token, at) => at > 0 && token <= (tokens[at - 1] ?? 0));
    expect(backwards).toEqual([]);
  });
});
