/** What a trim removes and what holds it back, by MINID on the main server and by ACKED on the newest. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { silentLogger } from '../../src/log.ts';
import type { ServerBinary } from '../../src/redis/embedded/binary.ts';
import { createStreamKeys } from '../../src/streams/keys.ts';
import { Trimmer } from '../../src/streams/trim.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { skipBecause } from '../support/skips.ts';
import { createScene, failureOf, idsOf, many, notes, read, type Scene } from './scene.ts';

const own = ownedByTest();
type Context = Parameters<typeof skipBecause>[0];

/** Reads so many entries of a group, and acknowledges them. */
async function finish({ client, keysOf }: Scene, contract: { name: string }, group: string, count: number) {
  const { entries } = keysOf(contract);
  const ids = await read(client, entries, group, count);
  await client.xack(entries, group, ...ids);
}

describe.each(['main', 'newest'] as const)('on %s', (which) => {
  let server: TestServer | undefined;
  let binary: ServerBinary | string;
  beforeAll(async () => {
    binary = inject('servers')[which];
    // With a node for each entry, what is removed "nearly" is removed exactly.
    if (typeof binary !== 'string') server = await startRedis({ binary, config: { 'stream-node-max-entries': 1 } });
  });
  afterAll(() => server?.stop());
  const scene = (context: Context): Scene => {
    if (!server) return skipBecause(context, typeof binary === 'string' ? binary : 'it does not run');
    return createScene(own, { url: server.url });
  };
  test('what is finished goes beyond the count, and not before', async (context) => {
    const it = scene(context);
    const contract = notes({ groups: ['billing'], keep: { count: 20, age: false } });
    await it.streams.createGroup(contract, 'billing');
    await it.streams.publishMany(contract, many(50));
    await finish(it, contract, 'billing', 50);
    expect(await it.streams.trim(contract)).toEqual({ removed: 30, heldBy: undefined });
    expect(await it.streams.trim(contract)).toEqual({ removed: 0, heldBy: undefined });
    expect(await it.client.xlen(it.keysOf(contract).entries)).toBe(20);
  });

  test('what is finished goes when it is too old, by the clock of the server', async (context) => {
    const it = scene(context);
    const contract = notes({ groups: ['billing'], keep: { count: false, age: '1h' } });
    const { entries } = it.keysOf(contract);
    const [seconds] = await it.client.time();
    const atMs = (secondsAgo: number): number => (Number(seconds) - secondsAgo) * 1_000;
    for (const ago of [7_200, 5_000, 3_700, 3_000, 10])
      await it.client.xadd(entries, `${atMs(ago)}-0`, 'data', '{"n":1}');
    await it.streams.createGroup(contract, 'billing');
    await finish(it, contract, 'billing', 2);
    expect(await it.streams.trim(contract)).toEqual({
      removed: 2,
      heldBy: { group: 'billing', why: 'unread', id: `${atMs(5_000)}-1` },
    });
    await finish(it, contract, 'billing', 10);
    expect(await it.streams.trim(contract)).toEqual({ removed: 1, heldBy: undefined });
    expect(await idsOf(it.client, entries)).toEqual([`${atMs(3_000)}-0`, `${atMs(10)}-0`]);
  });

  test('without a bound nothing goes; without anything kept, all that is finished', async (context) => {
    const it = scene(context);
    const forever = notes({ keep: { count: false, age: false } });
    const never = { ...forever, keep: { count: 0, ageMs: undefined } };
    await it.streams.publishMany(forever, many(5));
    await it.streams.createGroup(forever, 'billing');
    await finish(it, forever, 'billing', 3);
    expect(await it.streams.trim(forever)).toEqual({ removed: 0, heldBy: undefined });
    expect(await it.streams.trim(never)).toMatchObject({ removed: 3, heldBy: { group: 'billing', why: 'unread' } });
    await finish(it, forever, 'billing', 3);
    expect(await it.streams.trim(never)).toEqual({ removed: 2, heldBy: undefined });
    expect(await it.client.xlen(it.keysOf(forever).entries)).toBe(0);
    const { id } = await it.streams.publish(forever, { n: 9 });
    expect(await read(it.client, it.keysOf(forever).entries, 'billing', 10)).toEqual([id]);
  });

  test('what a slow group has not read stays, also of a group that another tool has made', async (context) => {
    const it = scene(context);
    const contract = notes({ keep: { count: 0 } });
    const { entries } = it.keysOf(contract);
    const published = (await it.streams.publishMany(contract, many(20))).map(({ id }) => id);
    await it.streams.createGroup(contract, 'billing');
    await it.client.xgroup('CREATE', entries, "other's", published[4] as string);
    await finish(it, contract, 'billing', 20);
    expect(await it.streams.trim(contract)).toMatchObject({ removed: 5, heldBy: { group: "other's", why: 'unread' } });
    expect(await read(it.client, entries, "other's", 100)).toEqual(published.slice(5));
    expect(await it.streams.trim(contract)).toMatchObject({
      removed: 0,
      heldBy: { group: "other's", why: 'pending', id: published[5] },
    });
  });

  test('an entry that is pending stays with its data', async (context) => {
    const it = scene(context);
    const contract = notes({ keep: { count: 0 } });
    const { entries } = it.keysOf(contract);
    const published = (await it.streams.publishMany(contract, many(20))).map(({ id }) => id);
    await it.streams.createGroup(contract, 'billing');
    await it.streams.createGroup(contract, 'search');
    const ids = await read(it.client, entries, 'billing', 20);
    await finish(it, contract, 'search', 20);
    await it.client.xack(entries, 'billing', ...ids.filter((_id, index) => index !== 3 && index !== 9));
    const { removed, heldBy } = await it.streams.trim(contract);
    expect(heldBy).toEqual({ group: 'billing', why: 'pending', id: published[3] });
    const { trimAcknowledgedNearly } = (await it.connections.capabilities()).features;
    expect(trimAcknowledgedNearly || which === 'main').toBe(true);
    expect(removed).toBe(trimAcknowledgedNearly ? 18 : 3);
    const claimed = await it.client.xautoclaim(entries, 'billing', 'heir', 0, '0');
    expect((claimed as [string, Array<[string, string[]]>])[1]).toEqual([
      [published[3], ['data', '{"n":3}']],
      [published[9], ['data', '{"n":9}']],
    ]);
    await it.client.xack(entries, 'billing', published[3] as string, published[9] as string);
    await it.streams.trim(contract);
    expect(await it.client.xlen(entries)).toBe(0);
  });

  test('while a declared group is not there nothing goes, unless it is forced', async (context) => {
    const it = scene(context);
    const contract = notes({ groups: ['billing', 'search'], keep: { count: 0 } });
    await it.streams.publishMany(contract, many(10));
    await it.streams.createGroup(contract, 'billing');
    await finish(it, contract, 'billing', 6);
    expect(await it.streams.trim(contract)).toEqual({
      removed: 0,
      heldBy: { group: 'search', why: 'absent', id: undefined },
    });
    expect(await it.streams.trim(contract, { force: true })).toMatchObject({
      removed: 6,
      heldBy: { group: 'billing', why: 'unread' },
    });
    await it.streams.createGroup(contract, 'search');
    expect(await it.streams.lag(contract, 'search')).toMatchObject({ entries: 4, isExact: true });
  });

  test('a group that has finished all holds nothing back though it is idle for long', async (context) => {
    const it = scene(context);
    const contract = notes({ groups: ['billing'], keep: { count: 2 } });
    await it.streams.createGroup(contract, 'billing');
    expect(await it.streams.trim(contract)).toEqual({ removed: 0, heldBy: undefined });
    await it.streams.publishMany(contract, many(10));
    await finish(it, contract, 'billing', 10);
    expect(await it.streams.trim(contract)).toEqual({ removed: 8, heldBy: undefined });
  });

  test('halves of ids that no number holds are compared as they are', async (context) => {
    const it = scene(context);
    const contract = notes({ keep: { count: 0 } });
    const { entries } = it.keysOf(contract);
    const ids = ['5-9', '5-10', '5-18446744073709551614', '5-18446744073709551615', '10-0', '10-1'];
    for (const id of ids) await it.client.xadd(entries, id, 'data', '{"n":1}');
    await it.streams.createGroup(contract, 'billing');
    for (let finished = 1; finished <= ids.length; finished++) {
      await finish(it, contract, 'billing', 1);
      await it.streams.trim(contract);
      const left = await idsOf(it.client, entries);
      expect(left.slice(-(ids.length - finished) || ids.length)).toEqual(ids.slice(finished));
      expect(left.length).toBeLessThanOrEqual(ids.length - finished + 1); // The last one of such an id stays a while longer.
    }
  });

  test('of an empty or absent stream nothing is to be removed', async (context) => {
    const it = scene(context);
    const contract = notes({ groups: ['billing'], keep: { count: 0, age: 0 } });
    expect(await it.streams.trim(contract)).toEqual({ removed: 0, heldBy: undefined });
    await it.streams.createGroup(contract, 'billing');
    expect(await it.streams.trim(contract)).toEqual({ removed: 0, heldBy: undefined });
    expect(await failureOf(it.streams.trim(contract, { all: true } as never))).toMatchObject({
      code: 'OPTIONS_INVALID',
    });
  });

  test('by itself a stream is trimmed by one process of those that know it', async (context) => {
    const it = scene(context);
    const other = createScene(own, { url: server?.url });
    const contract = notes({ groups: ['billing'], keep: { count: 5 } });
    const { entries, trimmed } = it.keysOf(contract);
    await it.streams.createGroup(contract, 'billing');
    await it.streams.publishMany(contract, many(10));
    await finish(it, contract, 'billing', 10);
    const keys = createStreamKeys(it.prefix);
    const trimmers = (everyMs: number): Trimmer[] =>
      [it, other].map(({ connections }) => {
        const trimmer = new Trimmer(connections, keys, silentLogger, everyMs);
        own({ stop: async () => trimmer.stop() });
        return trimmer;
      });
    const before = await commandCount([server as TestServer], 'evalsha', 'eval');
    await Promise.all(trimmers(60_000).map((trimmer) => trimmer.trimIfDue(contract)));
    expect(await it.client.xlen(entries)).toBe(5);
    expect((await commandCount([server as TestServer], 'evalsha', 'eval')) - before).toBeLessThanOrEqual(4);
    expect(await it.client.pttl(trimmed)).toBeGreaterThan(0);
    await it.client.del(trimmed);
    await it.streams.publishMany(contract, many(10));
    await finish(it, contract, 'billing', 10);
    for (const trimmer of trimmers(100)) trimmer.watch(contract);
    await eventually(async () => expect(await it.client.xlen(entries)).toBe(5));
  });
});
