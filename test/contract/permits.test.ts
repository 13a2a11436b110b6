/** Semaphores, read-write locks and fences on each topology. */
import { describe, expect, test } from 'vitest';
import type { LocksOptions } from '../../src/lock/options.ts';
import { DEFAULT_PREFIX } from '../../src/redis/keys.ts';
import type { Topology } from '../../src/redis/address.ts';
import { ownedLocks, type OpenLocks } from '../lock/permits/open-locks.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { startForFile } from './topologies.ts';

const HOUR_MS = 3_600_000;

/** The clock of a machine whose time is wrong. */
const clockAhead = (ms: number): LocksOptions['clock'] => ({
  wallMs: () => Date.now() + ms,
  monotonicMs: () => performance.now() + ms,
  sleep: (sleepMs) => new Promise((resolve) => setTimeout(resolve, sleepMs)),
});

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const open = ownedLocks();
  const twoProcesses = async (options: LocksOptions = {}): Promise<[OpenLocks, OpenLocks]> => {
    const { redis } = topologyOf();
    return [await open(redis, options), await open(redis, options)];
  };

  test('semaphores of many names are counted, each on its node, over two processes', async () => {
    const processes = await twoProcesses();
    const names = Array.from({ length: 12 }, (_, index) => `exports/${index}`);
    const inside = new Map<string, number>();
    const most = new Map<string, number>();
    const work = names.flatMap((name) =>
      Array.from({ length: 8 }, (_, index) => {
        const process = processes[index % 2] as OpenLocks;
        return process.locks.semaphore(name, { permits: 2 }).using({ wait: '20s' }, async () => {
          inside.set(name, (inside.get(name) ?? 0) + 1);
          most.set(name, Math.max(most.get(name) ?? 0, inside.get(name) ?? 0));
          await new Promise((resolve) => setImmediate(resolve));
          inside.set(name, (inside.get(name) ?? 0) - 1);
        });
      }),
    );
    await Promise.all(work);
    for (const name of names) expect(most.get(name)).toBeLessThanOrEqual(2);
    const { locks } = processes[0];
    for (const name of names) {
      expect(await locks.semaphore(name, { permits: 2 }).inspect()).toMatchObject({ used: 0, waiting: 0 });
    }
  });

  test('a writer waits for readers of other processes, and is told by message', async () => {
    const [mine, theirs] = await twoProcesses();
    for (let round = 0; round < 5; round++) {
      const name = `prices/${round}`;
      const reader = await mine.locks.readWrite(name).acquireRead();
      const writer = theirs.locks.readWrite(name).acquireWrite({ wait: '10s' });
      await eventually(async () => expect(await mine.locks.readWrite(name).inspect()).toMatchObject({ waiting: 1 }));
      await reader.release();
      const lock = await writer;
      expect(lock.token).toBeGreaterThan(reader.token);
      expect(await mine.locks.readWrite(name).tryAcquireRead()).toBeUndefined();
      await lock.release();
    }
  });

  test('permits set at run time count in all processes', async () => {
    const [mine, theirs] = await twoProcesses();
    const [one, other] = [mine, theirs].map(({ locks }) => locks.semaphore('set', { permits: 1 }));
    await one?.acquire();
    const second = other?.acquire({ wait: '10s' });
    await eventually(async () => expect(await one?.inspect()).toMatchObject({ waiting: 1 }));
    await one?.setPermits(2);
    expect((await second)?.held).toBe(true);
    await one?.unsetPermits();
  });

  test('clocks an hour apart put no holder out, and hold nobody up', async () => {
    const { redis } = topologyOf();
    const slow = await open(redis, { clock: clockAhead(-HOUR_MS) });
    const fast = await open(redis, { clock: clockAhead(HOUR_MS) });
    const [ofSlow, ofFast] = [slow, fast].map(({ locks }) => locks.semaphore('skewed', { permits: 1 }));
    for (const [holder, waiter] of [
      [ofSlow, ofFast],
      [ofFast, ofSlow],
    ]) {
      const held = await holder?.acquire({ ttl: '2s' });
      expect(await waiter?.tryAcquire()).toBeUndefined();
      await failureOf(waiter?.acquire({ wait: 2_500 }) ?? Promise.resolve(), 'LOCK_TIMEOUT');
      expect(held?.held).toBe(true);
      const next = waiter?.acquire({ wait: '10s', ttl: '1s' });
      expect(await held?.release()).toBe('released');
      expect(await (await next)?.release()).toBe('released');
    }
  });

  test('scripts that the servers have forgotten cost no permit', async () => {
    const [mine] = await twoProcesses();
    const semaphore = mine.locks.semaphore('forgotten', { permits: 1 });
    for (let round = 0; round < 3; round++) {
      await Promise.all(topologyOf().servers.map((server) => server.ask((client) => client.script('FLUSH'))));
      const lock = await semaphore.acquire();
      expect(await semaphore.tryAcquire()).toBeUndefined();
      expect(await lock.release()).toBe('released');
    }
  });

  test('a fence refuses older tokens', async () => {
    const [{ locks }] = await twoProcesses();
    const fence = locks.fence('ledger');
    expect(await fence.check(1_000)).toEqual({ accepted: true, latest: 1_000 });
    expect(await fence.check(1_001)).toEqual({ accepted: true, latest: 1_001 });
    expect(await fence.check(1_000)).toEqual({ accepted: false, latest: 1_001 });
  });

  test('after a failover permits are granted again, with tokens that have grown', { timeout: 90_000 }, async () => {
    const [mine, theirs] = await twoProcesses({ wait: '60s' });
    const [one, other] = [mine, theirs].map(({ locks }) => locks.semaphore('failing over', { permits: 1 }));
    const before = await one?.acquire({ ttl: '2s', autoExtend: false });
    const waiting = other?.acquire();
    await eventually(async () => expect(await one?.inspect()).toMatchObject({ waiting: 1 }));
    await topologyOf().failOver(`${DEFAULT_PREFIX}:lock:{failing over}:semaphore:holders`);
    const after = await waiting;
    expect(after?.token).toBeGreaterThan(before?.token ?? 0);
    await eventually(async () => expect(['released', 'unknown', 'expired']).toContain(await after?.release()));
  });
});
