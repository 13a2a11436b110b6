/** Consumers on a Cluster whose slot moves to another node while entries are published. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../../src/clock.ts';
import { consume } from '../../../src/streams/consumer/consume.ts';
import { defineStream } from '../../../src/streams/contract.ts';
import { createStreams } from '../../../src/streams/streams.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startCluster, type TestCluster, type TestServer } from '../../support/servers.ts';
import { groupKeys, ownedProcesses, pending } from './scene.ts';

const own = ownedByTest();
const start = ownedProcesses(own);
const stream = defineStream({ name: 's', schema: z.object({ n: z.number() }) });

const idOf = (node: TestServer): Promise<string> => node.ask((redis) => redis.cluster('MYID'));

/** Moves the slot of a key as `redis-cli --cluster reshard` does, one key after the other, and calls this between two of them. */
async function moveSlot(cluster: TestCluster, key: string, between: () => Promise<unknown>): Promise<number> {
  const [first] = cluster.nodes;
  const slot = await first!.ask((redis) => redis.cluster('KEYSLOT', key));
  const from = await cluster.masterOf(slot);
  const to = cluster.nodes.find((node) => node !== from) as TestServer;
  const [fromId, toId] = await Promise.all([idOf(from), idOf(to)]);
  await to.ask((redis) => redis.cluster('SETSLOT', slot, 'IMPORTING', fromId));
  await from.ask((redis) => redis.cluster('SETSLOT', slot, 'MIGRATING', toId));
  let moved = 0;
  for (;;) {
    const [name] = await from.ask((redis) => redis.cluster('GETKEYSINSLOT', slot, 1));
    if (name === undefined) break;
    await from.ask((redis) => redis.call('MIGRATE', '127.0.0.1', to.port, name, 0, 5_000));
    moved++;
    await between();
  }
  for (const node of [to, from, ...cluster.nodes])
    await node.ask((redis) => redis.cluster('SETSLOT', slot, 'NODE', toId));
  return moved;
}

test('nothing is lost while the slot of a stream moves, and the order of keys holds', { timeout: 90_000 }, async () => {
  const cluster = own(await startCluster({ replicas: false }));
  const keys = groupKeys('single', 's');
  const on = { redis: { cluster: cluster.addresses, commandTimeout: 2_000 }, keys };
  const single: number[] = [];
  const ordered: number[] = [];
  const failed = new Set<number>();
  const { connections } = await start(
    [
      consume(stream, { group: 'single', lease: '20s', backoff: '50ms' }, async ({ n }) => {
        await systemClock.sleep(1);
        if (n % 7 === 0 && !failed.has(n)) {
          failed.add(n);
          throw new Error('not yet');
        }
        single.push(n);
      }),
      consume(stream, { group: 'ordered', lease: '20s', orderBy: () => 'one' }, ({ n }) => void ordered.push(n)),
    ],
    on,
  );
  const streams = own(createStreams(connections, { prefix: keys.prefix }));
  const published: number[] = [];
  const over = new AbortController();
  const publishing = (async () => {
    for (let n = 0; !over.signal.aborted; n++) {
      const isThere = await streams.publish(stream, { n }, { key: `k${n}` }).then(
        () => true,
        () => false,
      );
      if (isThere) published.push(n);
      await systemClock.sleep(2);
    }
  })();
  await eventually(() => expect(Math.min(single.length, ordered.length)).toBeGreaterThan(20));
  const moved = await moveSlot(cluster, keys.entries, () => systemClock.sleep(50));
  expect(moved).toBeGreaterThan(3);
  const before = published.length;
  await eventually(() => expect(published.length).toBeGreaterThan(before + 50), 30_000);
  over.abort();
  await publishing;
  for (const seen of [single, ordered])
    await eventually(() => expect(published.filter((n) => !seen.includes(n))).toEqual([]), 40_000);
  expect(ordered.filter((n, at) => ordered.indexOf(n) === at)).toEqual([...new Set(ordered)].toSorted((a, b) => a - b));
  const client = connections.commands();
  for (const group of ['single', 'ordered'])
    await eventually(async () => expect(await pending(client as never, { ...keys, group })).toEqual({}));
  const again = single.length - new Set(single).size + ordered.length - new Set(ordered).size;
  expect(again).toBeLessThan(published.length / 2);
});
