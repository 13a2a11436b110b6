/** The concurrency limit on each topology. */
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { silentLogger } from '../../src/log.ts';
import { ConcurrencyLimit } from '../../src/rate-limit/concurrency.ts';
import type { Topology } from '../../src/redis/address.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { Guard } from '../../src/redis/guard.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { openAll, startForFile } from './topologies.ts';

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const own = ownedByTest();

  async function limitOf(prefix: string): Promise<ConcurrencyLimit> {
    const connections = own(createConnections(topologyOf().redis));
    await openAll(connections.commands());
    const guard = new Guard({ deadlineMs: 3_000, label: connections.label });
    const limit = new ConcurrencyLimit(
      'calls',
      { max: 3, ttl: 1_000 },
      { connections, prefix, guard, clock: systemClock, log: silentLogger, onError: 'deny', instances: 1 },
    );
    own({
      stop: async () => {
        limit.stop();
        guard.close();
      },
    });
    return limit;
  }

  test('slots of many keys are taken up to the limit, renewed, and given back', async () => {
    const prefix = `t-slots-${topology}`;
    const limit = await limitOf(prefix);
    const keys = Array.from({ length: 40 }, (_, index) => `user:${index}`);
    const answers = await Promise.all(keys.flatMap((key) => [1, 2, 3, 4].map(() => limit.acquire(key))));
    const slots = answers.filter((answer) => answer.allowed);
    expect(slots).toHaveLength(120);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    expect(await Promise.all(keys.map((key) => limit.inUse(key)))).toEqual(keys.map(() => 3));
    await Promise.all(slots.map((slot) => slot.release()));
    expect(await Promise.all(keys.map((key) => limit.inUse(key)))).toEqual(keys.map(() => 0));
  });

  test('slots of a process that died are free again', async () => {
    const prefix = `t-dead-${topology}`;
    const [dead, alive] = [await limitOf(prefix), await limitOf(prefix)];
    for (let round = 0; round < 3; round++) expect((await dead.acquire('a')).allowed).toBe(true);
    expect((await alive.acquire('a')).allowed).toBe(false);
    dead.stop();
    await eventually(async () => {
      const slot = await alive.acquire('a');
      expect(slot.allowed).toBe(true);
      if (slot.allowed) await slot.release();
    }, 10_000);
  });
});
