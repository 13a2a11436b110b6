/** What each script of a consumer does to its group, on each server. */
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test, type TestContext } from 'vitest';
import {
  acknowledge,
  bury,
  inherit,
  joinGroup,
  leaveGroup,
  noteAttempts,
  putBack,
  revive,
  takeWaiting,
  tick,
} from '../../../src/streams/consumer/scripts.ts';
import { skipBecause } from '../../support/skips.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { eventually } from '../../support/eventually.ts';
import { add, consumers, groupKeys, pending, type Keys } from './scene.ts';

const LEASE_MS = 60_000;
const letter = (id: string, data: string): Array<string | number> => [
  id,
  id,
  data,
  '',
  '',
  3,
  'attempts',
  0,
  '{"message":"no"}',
  'f0',
];

describe.each(['main', 'valkey', 'newest'] as const)('on %s', (which) => {
  let server: TestServer | undefined;
  let redis: Redis;
  beforeAll(async () => {
    const binary = inject('servers')[which];
    if (typeof binary === 'string') return;
    server = await startRedis({ binary });
    redis = new Redis(server.url);
  });
  afterAll(async () => {
    redis?.disconnect();
    await server?.stop();
  });

  const newKeys = (context: TestContext): Keys => {
    const binary = inject('servers')[which];
    return typeof binary === 'string' ? skipBecause(context, binary) : groupKeys();
  };
  const join = (keys: Keys, consumer: string, { name = '', leaseMs = LEASE_MS, startAt = '0', before = '' } = {}) =>
    joinGroup(redis, keys, { group: keys.group, consumer, name, leaseMs, startAt, before });
  const look = (keys: Keys, consumer: string, { name = '', isOrdered = 0, isPaused = 0 } = {}) =>
    tick(redis, keys, { group: keys.group, consumer, name, leaseMs: LEASE_MS, isOrdered, isPaused });
  const take = (keys: Keys, consumer: string, room = 10) =>
    takeWaiting(redis, keys, { group: keys.group, consumer, room, leaseMs: LEASE_MS });
  const back = (keys: Keys, consumer: string, ...items: Array<string | number>) =>
    putBack(redis, keys, { group: keys.group, consumer, items });
  const read = async (keys: Keys, consumer: string, count = 10): Promise<string[]> => {
    const reply = await redis.xreadgroup('GROUP', keys.group, consumer, 'COUNT', count, 'STREAMS', keys.entries, '>');
    const all = reply as Array<[string, Array<[string, string[]]>]> | null;
    return all?.[0]?.[1].map(([id]) => id) ?? [];
  };
  /** The process is gone, and its lease is over. */
  const die = (keys: Keys, consumer: string) => redis.zadd(keys.members, 'XX', 1, consumer);

  test('a group is made once, at its start, and what was there before is in it', async (context) => {
    const keys = newKeys(context);
    const [first] = await add(redis, keys, 1);
    expect(await join(keys, 'a')).toBe('made');
    expect(await join(keys, 'b', { startAt: '$' })).toBe('joined');
    expect(await read(keys, 'a')).toEqual([first]);
    expect(await redis.zcard(keys.members)).toBe(2);
  });

  test('what is no stream is told, and not taken for a group that is there', async (context) => {
    const keys = newKeys(context);
    await redis.set(keys.entries, 'text');
    await expect(join(keys, 'a')).rejects.toThrow('WRONGTYPE');
  });

  test('a dead consumer is removed, but only once nothing is pending for it', async (context) => {
    const keys = newKeys(context);
    await add(redis, keys, 1);
    await join(keys, 'a');
    await join(keys, 'b');
    const [id] = await read(keys, 'a');
    await die(keys, 'a');
    expect(await look(keys, 'b')).toMatchObject({ standing: 'ok', orphans: 1, pending: 0 });
    expect(await consumers(redis, keys)).toContain('a');
    expect((await take(keys, 'b')).taken).toMatchObject([{ id, made: 1, deaths: 1 }]);
    await look(keys, 'b');
    expect(await consumers(redis, keys)).toEqual(['b']);
    expect(await redis.zrange(keys.members, '0', '-1')).toEqual(['b']);
    expect(await pending(redis, keys)).toEqual({ b: [id] });
  });

  test('a consumer that nobody entered is dead once it was silent for a lease', async (context) => {
    const keys = newKeys(context);
    await add(redis, keys, 1);
    await join(keys, 'b');
    await read(keys, 'stranger');
    const quick = { group: keys.group, consumer: 'b', room: 5, leaseMs: 30 };
    expect((await take(keys, 'b')).taken).toEqual([]);
    await eventually(async () => expect((await takeWaiting(redis, keys, quick)).taken).toHaveLength(1));
  });

  test('a process that comes with a lasting name puts out the one before it, and its entries are free', async (context) => {
    const keys = newKeys(context);
    await add(redis, keys, 1);
    await join(keys, 'pod~1', { name: 'pod' });
    const [id] = await read(keys, 'pod~1');
    await join(keys, 'pod~2', { name: 'pod' });
    expect((await look(keys, 'pod~1', { name: 'pod' })).standing).toBe('replaced');
    expect(await look(keys, 'pod~2', { name: 'pod' })).toMatchObject({ standing: 'ok', orphans: 1 });
    expect((await take(keys, 'pod~2')).taken).toMatchObject([{ id }]);
    expect(await back(keys, 'pod~1', id ?? '', 0, '1 0')).toEqual(['lost']);
  });

  test('a lease that ended stays so, and who lost it takes nothing', async (context) => {
    const keys = newKeys(context);
    await join(keys, 'a');
    await die(keys, 'a');
    expect((await look(keys, 'a')).standing).toBe('lapsed');
    expect((await take(keys, 'a')).isMember).toBe(false);
  });

  test('a retry is taken when it is due, with its count, and is pending for nobody meanwhile', async (context) => {
    const keys = newKeys(context);
    const [id = ''] = await add(redis, keys, { n: 1 });
    await join(keys, 'a');
    await read(keys, 'a');
    expect(await back(keys, 'a', id, 60_000, '2 0')).toEqual(['back']);
    expect(await pending(redis, keys)).toEqual({ '~retries': [id] });
    const early = await take(keys, 'a');
    expect(early.taken).toEqual([]);
    expect(early.dueInMs).toBeGreaterThan(50_000);
    await redis.zadd(keys.retries, 1, id);
    const { taken } = await take(keys, 'a');
    expect(taken).toEqual([{ id, fields: ['data', '{"n":1}'], made: 2, deaths: 0, waitMs: 0 }]);
    expect(await redis.zcard(keys.retries)).toBe(0);
    expect(await consumers(redis, keys)).toContain('~retries');
  });

  test('what is put back twice is put back once', async (context) => {
    const keys = newKeys(context);
    const [id = ''] = await add(redis, keys, 1);
    await join(keys, 'a');
    await join(keys, 'b');
    await read(keys, 'a');
    await back(keys, 'a', id, 0, '1 0');
    await take(keys, 'b');
    expect(await back(keys, 'a', id, 0, '1 0')).toEqual(['lost']);
    expect(await pending(redis, keys)).toEqual({ b: [id] });
    expect(await redis.zcard(keys.retries)).toBe(0);
  });

  test('the index of retries is made again when it was lost', async (context) => {
    const keys = newKeys(context);
    const [id = ''] = await add(redis, keys, 1);
    await join(keys, 'a');
    await read(keys, 'a');
    await back(keys, 'a', id, 60_000, '1 0');
    await redis.del(keys.retries);
    expect((await look(keys, 'a')).dueInMs).toBe(0);
    expect((await take(keys, 'a')).taken).toMatchObject([{ id, made: 1 }]);
  });

  test('entries that were deleted while they were pending are counted, and forgotten', async (context) => {
    const keys = newKeys(context);
    const [first = '', second = '', third = ''] = await add(redis, keys, 1, 2, 3);
    await join(keys, 'a');
    await join(keys, 'b');
    await read(keys, 'a');
    await back(keys, 'a', first, 0, '1 0');
    await redis.xdel(keys.entries, first, second, third);
    expect(await back(keys, 'a', second, 0, '1 0')).toEqual(['vanished']);
    await die(keys, 'a');
    expect(await take(keys, 'b')).toMatchObject({ taken: [], vanished: 2 });
    expect(await pending(redis, keys)).toEqual({});
    expect(await redis.hlen(keys.attempts)).toBe(0);
  });

  test('what two processes died with comes alone', async (context) => {
    const keys = newKeys(context);
    const ids = await add(redis, keys, 1, 2, 3);
    for (const who of ['a', 'b', 'c']) await join(keys, who);
    await read(keys, 'a');
    await die(keys, 'a');
    expect((await take(keys, 'b')).taken).toHaveLength(3);
    await die(keys, 'b');
    const { taken, hasMore } = await take(keys, 'c');
    expect(taken).toMatchObject([{ id: ids[0], made: 2, deaths: 2 }]);
    expect(hasMore).toBe(true);
    expect((await take(keys, 'c')).taken).toMatchObject([{ id: ids[1], deaths: 2 }]);
  });

  test('no more is taken than there is room for', async (context) => {
    const keys = newKeys(context);
    await add(redis, keys, 1, 2, 3, 4, 5);
    await join(keys, 'a');
    await join(keys, 'b');
    const ids = await read(keys, 'a');
    await back(keys, 'a', ids[4] ?? '', 0, '1 0');
    await die(keys, 'a');
    const some = await take(keys, 'b', 3);
    expect(some.taken.map(({ id }) => id)).toEqual([ids[4], ids[0], ids[1]]);
    expect(some.hasMore).toBe(true);
    expect(await take(keys, 'b', 3)).toMatchObject({ hasMore: false, taken: [{}, {}] });
  });

  test('an entry is a dead letter or pending, and never both', async (context) => {
    const keys = newKeys(context);
    const [id = ''] = await add(redis, keys, { n: 1 });
    await join(keys, 'a');
    await read(keys, 'a');
    await noteAttempts(redis, keys, { group: keys.group, consumer: 'a', items: [id, '2 0'] });
    const items = letter(id, '{"n":1}');
    expect(await bury(redis, keys, { group: keys.group, consumer: 'b', items })).toEqual(['lost']);
    expect(await bury(redis, keys, { group: keys.group, consumer: 'a', items })).toEqual(['dead']);
    expect(await bury(redis, keys, { group: keys.group, consumer: 'a', items })).toEqual(['gone']);
    const dead = await redis.xrange(keys.dead, '-', '+');
    expect(dead).toHaveLength(1);
    expect(dead[0]?.[1]).toEqual(expect.arrayContaining(['entry', id, 'data', '{"n":1}', 'reason', 'attempts']));
    expect(await pending(redis, keys)).toEqual({});
    expect(await redis.hlen(keys.attempts)).toBe(0);
  });

  test('an entry that was tried before leaves nothing behind once it is acknowledged', async (context) => {
    const keys = newKeys(context);
    const [id = ''] = await add(redis, keys, 1);
    await join(keys, 'a');
    await read(keys, 'a');
    await redis.hset(keys.attempts, id, '1 0');
    expect(await acknowledge(redis, keys, { group: keys.group, ids: [id] })).toBe(1);
    expect(await redis.exists(keys.attempts)).toBe(0);
  });

  test('who leaves gives back what it has, and is forgotten once it has nothing', async (context) => {
    const keys = newKeys(context);
    await add(redis, keys, 1, 2, 3);
    await join(keys, 'pod~1', { name: 'pod' });
    await look(keys, 'pod~1', { name: 'pod', isOrdered: 1 });
    const ids = await read(keys, 'pod~1');
    const leave = () => leaveGroup(redis, keys, { group: keys.group, consumer: 'pod~1', name: 'pod', count: 2 });
    expect(await leave()).toEqual({ given: 2, hasLeft: false });
    expect(await leave()).toEqual({ given: 1, hasLeft: true });
    expect(await consumers(redis, keys)).toEqual(['~retries']);
    expect(await pending(redis, keys)).toEqual({ '~retries': ids });
    expect(await redis.exists(keys.members, keys.leader)).toBe(0);
    expect(Object.keys(await redis.hgetall(keys.tokens))).toEqual(['~last']);
    await join(keys, 'b');
    expect((await take(keys, 'b')).taken).toMatchObject([{ made: 0 }, { made: 0 }, { made: 0 }]);
  });

  test('one consumer of an ordered group leads, and its heir is given all that is pending, in order', async (context) => {
    const keys = newKeys(context);
    const ids = await add(redis, keys, 1, 2, 3, 4);
    await join(keys, 'a');
    await join(keys, 'b');
    expect((await look(keys, 'a', { isOrdered: 1 })).leads).toBe(true);
    expect((await look(keys, 'b', { isOrdered: 1 })).leads).toBe(false);
    await read(keys, 'a');
    const note = (id: string, text: string) =>
      noteAttempts(redis, keys, { group: keys.group, consumer: 'a', items: [id, text] });
    await note(ids[1] ?? '', '1 0 1');
    await note(ids[2] ?? '', '3 0');
    await redis.xdel(keys.entries, ids[3] ?? '');
    const page = (after: string, own = 0) =>
      inherit(redis, keys, { group: keys.group, consumer: 'b', after, count: 2, own });
    expect(await page('')).toMatchObject({ leads: false });
    await redis.del(keys.leader);
    expect((await look(keys, 'b', { isOrdered: 1 })).leads).toBe(true);
    expect(await page('')).toMatchObject({ leads: true, taken: [] }); // The one that had the place lives.
    expect((await look(keys, 'a', { isOrdered: 1 })).standing).toBe('lapsed');
    const first = await page('');
    expect(first).toMatchObject({ leads: true, after: ids[1], taken: [{ made: 0 }, { made: 2, deaths: 1 }] });
    expect((await page('')).taken).toEqual([]);
    expect((await page('', 1)).taken).toEqual(first.taken);
    const second = await page(first.after ?? '');
    expect(second).toMatchObject({ vanished: 1, taken: [{ id: ids[2], made: 3, deaths: 0 }] });
    expect(await note(ids[0] ?? '', '1 0')).toEqual([false]);
  });

  test('a group that was deleted is told, and made again with what is known of it', async (context) => {
    const keys = newKeys(context);
    const [first = '', second = '', third = '', fourth = ''] = await add(redis, keys, 1, 2, 3, 4);
    await join(keys, 'a');
    await read(keys, 'a', 3);
    await redis.xack(keys.entries, keys.group, first);
    await back(keys, 'a', second, 60_000, '1 0');
    await redis.xgroup('DESTROY', keys.entries, keys.group);
    expect((await look(keys, 'a')).standing).toBe('gone');
    const again = (consumer: string, ids: string[], last = third) =>
      revive(redis, keys, { group: keys.group, consumer, last, ids });
    expect(await again('a', [third])).toEqual({ made: true, again: 1 });
    expect(await again('b', [third])).toEqual({ made: false, again: 0 });
    expect(await pending(redis, keys)).toEqual({ a: [third], '~retries': [second] });
    expect(await read(keys, 'a')).toEqual([fourth]);
    await redis.del(keys.entries);
    expect((await look(keys, 'a')).standing).toBe('gone');
    expect(await again('a', [third])).toEqual({ made: true, again: 0 });
    const [fifth] = await add(redis, keys, 5);
    expect(await read(keys, 'a')).toEqual([fifth]);
  });

  test('a group is made again where it had come to, whoever does it, and those who come later are told', async (context) => {
    const keys = newKeys(context);
    const ids = await add(redis, keys, 1, 2, 3, 4);
    await join(keys, 'a');
    await join(keys, 'b');
    const [first = '', second = '', third = '', fourth = ''] = await read(keys, 'a', 3).then(() => ids);
    const before = await look(keys, 'a');
    expect(before).toMatchObject({ last: third, generation: '' });
    await redis.xgroup('DESTROY', keys.entries, keys.group);
    expect(await join(keys, 'c', { startAt: '$' })).toBe('joined');
    expect((await look(keys, 'c')).standing).toBe('gone');
    const again = (consumer: string, some: string[], last: string) =>
      revive(redis, keys, { group: keys.group, consumer, last, ids: some });
    expect(await again('c', [], '$')).toEqual({ made: true, again: 0 });
    const after = await look(keys, 'a');
    expect(after).toMatchObject({ last: third });
    expect(after.generation).not.toBe('');
    expect(await again('a', [first, second], fourth)).toEqual({ made: false, again: 2 });
    expect((await look(keys, 'b')).last).toBe(fourth);
    expect(await read(keys, 'b')).toEqual([]);
  });

  test('what is pending for nobody is told from what is pending for another, and leaves no record', async (context) => {
    const keys = newKeys(context);
    const [id = ''] = await add(redis, keys, 1);
    await join(keys, 'a');
    await read(keys, 'a');
    expect(await back(keys, 'b', id, 0, '1 0')).toEqual(['lost']);
    await redis.xack(keys.entries, keys.group, id);
    await redis.hset(keys.attempts, id, '1 0');
    expect(await back(keys, 'a', id, 0, '1 0')).toEqual(['gone']);
    expect(await redis.exists(keys.attempts)).toBe(0);
    await redis.hset(keys.attempts, id, '1 0');
    expect(await bury(redis, keys, { group: keys.group, consumer: 'a', items: letter(id, '1') })).toEqual(['gone']);
    expect(await redis.exists(keys.attempts, keys.dead)).toBe(0);
  });

  test('an attempt that was noted as begun is over once its entry was put back or its consumer left', async (context) => {
    const keys = newKeys(context);
    const [first = '', second = ''] = await add(redis, keys, 1, 2);
    await join(keys, 'a');
    await read(keys, 'a');
    const items = [first, '1 0 1', second, '2 1 1'];
    await noteAttempts(redis, keys, { group: keys.group, consumer: 'a', items });
    await back(keys, 'a', first, 0, '');
    await leaveGroup(redis, keys, { group: keys.group, consumer: 'a', name: '', count: 10 });
    expect(await redis.hgetall(keys.attempts)).toEqual({ [first]: '1 0', [second]: '2 1' });
  });

  test('a full server lets its consumers renew, take, put back and leave', async (context) => {
    const keys = newKeys(context);
    const [id = ''] = await add(redis, keys, 1);
    await join(keys, 'a');
    await read(keys, 'a');
    await redis.config('SET', 'maxmemory', '1');
    try {
      expect((await look(keys, 'a')).standing).toBe('ok');
      expect(await back(keys, 'a', id, 0, '1 0')).toEqual(['back']);
      expect((await take(keys, 'a')).taken).toHaveLength(1);
      const full = bury(redis, keys, { group: keys.group, consumer: 'a', items: letter(id, '1') });
      await expect(full).rejects.toMatchObject({ code: 'REDIS_WRITES_REFUSED' });
      const left = await leaveGroup(redis, keys, { group: keys.group, consumer: 'a', name: '', count: 10 });
      expect(left).toEqual({ given: 1, hasLeft: true });
    } finally {
      await redis.config('SET', 'maxmemory', '0');
    }
  });
});
