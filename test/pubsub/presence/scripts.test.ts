/** The acts of presence one by one: sent again after a lost answer, on a server that forgot them, on keys that were evicted. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Redis } from 'ioredis';
import {
  beatRoom,
  enterRoom,
  forgetRooms,
  leaveRoom,
  listRooms,
  noteRooms,
  takeSnapshot,
  updateState,
} from '../../../src/pubsub/presence/scripts.ts';
import { eventually } from '../../support/eventually.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

let server: TestServer;
let redis: Redis;
let listener: Redis;
const heard: unknown[][] = [];
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.port);
  listener = new Redis(server.port);
  listener.on('message', (_channel, text) => void heard.push(JSON.parse(text) as unknown[]));
  await listener.subscribe('said');
});
afterAll(async () => {
  redis.disconnect();
  listener.disconnect();
  await server.stop();
});

const SAID = { channel: 'said', publish: 'PUBLISH', keepMs: 60_000 };
let rooms = 0;

/** A room of its own, and the acts on it. */
function room() {
  const tag = `{room-${++rooms}}`;
  const keys = {
    leases: `${tag}:leases`,
    states: `${tag}:states`,
    owners: `${tag}:owners`,
    users: `${tag}:users`,
    clock: `${tag}:clock`,
  };
  const { states, owners, clock } = keys;
  return {
    keys,
    enter: (member: string, owner: string, state = '', keepMs = SAID.keepMs, most = 100) =>
      enterRoom(redis, keys, { ...SAID, member, owner, state, ttlMs: 10_000, keepMs, most }),
    update: (member: string, owner: string, state: string) =>
      updateState(redis, { states, owners, clock }, { ...SAID, member, owner, state }),
    leave: (member: string, owner: string, debounceMs = 0) =>
      leaveRoom(redis, keys, { ...SAID, member, owner, debounceMs }),
    beat: (...beats: string[]) => beatRoom(redis, keys, { ...SAID, ttlMs: 10_000, beats }),
    snapshot: () => takeSnapshot(redis, { states, clock }, {}),
    lapse: (member: string) => redis.zadd(keys.leases, 1, member),
    left: () => redis.exists(...Object.values(keys)),
  };
}

/** What was said since the last call, without its numbers. */
async function said(): Promise<unknown[][]> {
  await redis.publish('said', '["mark"]');
  await eventually(() => expect(heard.at(-1)).toEqual(['mark']));
  const all = heard.splice(0).slice(0, -1);
  return all.map((message) => (typeof message[0] === 'number' ? message.slice(2) : message));
}

test('each act that is sent again does and says nothing more', async () => {
  const { enter, update, leave, beat, left } = room();
  expect(await enter('c ada', 'me', '{"x":1}')).toEqual({ outcome: 'entered', state: '{"x":1}' });
  expect(await enter('c ada', 'me', '{"x":1}')).toEqual({ outcome: 'here', state: '{"x":1}' });
  expect(await update('c ada', 'me', '{"x":2}')).toBe('updated');
  expect(await update('c ada', 'me', '{"x":2}')).toBe('same');
  // An enter that was delayed does not bring the old state back.
  expect(await enter('c ada', 'me', '{"x":1}')).toEqual({ outcome: 'here', state: '{"x":2}' });
  expect(await beat('c ada', 'me')).toMatchObject({ users: 1, connections: 1, out: [], replaced: [] });
  expect(await leave('c ada', 'me')).toBe('left');
  expect(await leave('c ada', 'me')).toBe('gone');
  expect(await update('c ada', 'me', '{"x":3}')).toBe('out');
  expect(await beat('c ada', 'me')).toEqual({
    seq: 0,
    nextMs: undefined,
    users: 0,
    connections: 0,
    out: [0],
    replaced: [],
  });
  expect(await left()).toBe(0);
  expect(await said()).toEqual([
    ['enter', 'c ada', { x: 1 }, 10_000],
    ['update', 'c ada', { x: 2 }],
    ['leave', 'c ada', 'left'],
  ]);
});

test('announcements form a chain, over debounce, swap and lapse, and a room that was empty begins anew', async () => {
  const { enter, leave, beat, lapse, snapshot } = room();
  const chain: Array<{ seq: number; born: number }> = [];
  const note = async (): Promise<void> => void chain.push(await snapshot());
  await enter('c1 ada', 'me');
  await note();
  expect(await leave('c1 ada', 'me', 60_000)).toBe('away');
  expect(await enter('c2 ada', 'me', '')).toEqual({ outcome: 'returned', state: '{}' });
  await note();
  await enter('c3 bob', 'me');
  await lapse('c2 ada');
  const pulse = await beat();
  await note();
  expect(pulse.seq).toBe(chain[2]?.seq);
  await redis.publish('said', '["mark"]');
  await eventually(() => expect(heard.at(-1)).toEqual(['mark']));
  const links = heard.splice(0).filter(([first]) => typeof first === 'number') as number[][];
  expect(links.map(([prev]) => prev)).toEqual([0, ...links.slice(0, -1).map(([, seq]) => seq)]);
  expect(links.at(-1)?.slice(1)).toEqual([chain[2]?.seq, 'leave', 'c2 ada', 'lapsed']);
  expect(new Set(chain.map(({ born }) => born)).size).toBe(1);
  await leave('c3 bob', 'me');
  await enter('c3 bob', 'me');
  expect((await snapshot()).born).toBeGreaterThan(chain[2]?.seq ?? 0);
  expect((await said()).map(([kind]) => kind)).toEqual(['leave', 'enter']);
});

test('of a crashed tab and one that left, the user leaves once', async () => {
  const { enter, leave, beat, lapse, left } = room();
  await enter('c1 ada', 'one');
  await enter('c2 ada', 'two');
  await lapse('c1 ada');
  expect(await leave('c2 ada', 'two', 60_000)).toBe('left');
  await Promise.all([beat(), beat(), beat()]);
  expect(await said()).toEqual([
    ['enter', 'c1 ada', {}, 10_000],
    ['join', 'c2 ada', {}, 10_000],
    ['part', 'c2 ada', 'left'],
    ['leave', 'c1 ada', 'lapsed'],
  ]);
  expect(await left()).toBe(0);
});

test('a lease that ran out but was not missed yet is renewed, and nobody is told', async () => {
  const { enter, beat, lapse } = room();
  await enter('c ada', 'me');
  await lapse('c ada');
  expect(await beat('c ada', 'me')).toMatchObject({ out: [], users: 1 });
  await lapse('c ada');
  expect(await enter('c ada', 'another')).toMatchObject({ outcome: 'taken-over' });
  expect(await beat('c ada', 'me', 'x eve', 'me')).toMatchObject({ out: [1], replaced: [0], users: 1 });
  expect(await said()).toEqual([
    ['enter', 'c ada', {}, 10_000],
    ['away', 10_000],
  ]);
});

test('a lease is as long as its beat says, also after a failover to a server whose clock is behind', async () => {
  const { keys, enter, beat } = room();
  await enter('c ada', 'me');
  for (const renew of [() => beat('c ada', 'me'), () => enter('c ada', 'me')]) {
    await redis.zincrby(keys.leases, 3_600_000, 'c ada');
    await renew();
    expect((await beat()).nextMs).toBeLessThanOrEqual(10_000);
  }
  await said();
});

test('who keeps a connection anew says when its lease ends, though nothing else is told', async () => {
  const { enter, leave } = room();
  await enter('c1 ada', 'one');
  expect(await said()).toEqual([['enter', 'c1 ada', {}, 10_000]]);
  await enter('c1 ada', 'two');
  expect(await said()).toEqual([['away', 10_000]]);
  await enter('c1 ada', 'two');
  expect(await said()).toEqual([]);
  await enter('c1 ada', 'three', '{"x":1}');
  expect(await said()).toEqual([['update', 'c1 ada', { x: 1 }, 10_000]]);
  await leave('c1 ada', 'three', 5_000);
  expect(await said()).toEqual([['away', 5_000]]);
  await enter('c2 ada', 'three');
  expect(await said()).toEqual([['swap', 'c2 ada', { x: 1 }, 'c1 ada', 10_000]]);
});

test('ids of any text arrive as they are', async () => {
  const { enter, leave, snapshot } = room();
  const users = [
    'ada lovelace',
    '"quoted"\\',
    'line\nbreak',
    'été 日本 🚀',
    '{"json":1}',
    '/slash',
    '\u0000nul',
    '~c ada',
  ];
  for (const user of users) await enter(`c ${user}`, 'me');
  expect([...(await snapshot()).states.keys()].toSorted()).toEqual(users.map((user) => `c ${user}`).toSorted());
  for (const user of users) expect(await leave(`c ${user}`, 'me')).toBe('left');
  const told = await said();
  expect(told.map(([kind, member]) => `${String(kind)} ${String(member)}`)).toEqual([
    ...users.map((user) => `enter c ${user}`),
    ...users.map((user) => `leave c ${user}`),
  ]);
});

test('every key has a TTL after each act, also one that was made anew', async () => {
  const { keys, enter, leave, update } = room();
  const ttls = async (): Promise<number[]> => {
    const all = await Promise.all(Object.values(keys).map((key) => redis.pttl(key)));
    return all.filter((ttl) => ttl !== -2);
  };
  await enter('c1 ada', 'me');
  expect(Math.min(...(await ttls()))).toBeGreaterThan(50_000);
  await leave('c1 ada', 'me', 1_000); // No owner is left, so that key is gone.
  expect(await ttls()).toHaveLength(4);
  await enter('c2 bob', 'me');
  await update('c2 bob', 'me', '{"x":1}');
  expect(await ttls()).toHaveLength(5);
  expect(Math.min(...(await ttls()))).toBeGreaterThan(50_000);
  // A process with shorter leases does not shorten them; one with longer leases makes them longer.
  await enter('c3 cid', 'me', '', 5_000);
  expect(Math.min(...(await ttls()))).toBeGreaterThan(50_000);
  await enter('c4 dan', 'me', '', 600_000);
  expect(Math.min(...(await ttls()))).toBeGreaterThan(500_000);
});

test('a key that was evicted breaks no act, and what is left goes with its members', async () => {
  for (const lost of ['leases', 'states', 'owners', 'users', 'clock'] as const) {
    const { keys, enter, update, leave, beat, lapse, left } = room();
    await enter('c1 ada', 'me', '{"x":1}');
    await enter('c2 bob', 'me');
    await redis.del(keys[lost]);
    await update('c1 ada', 'me', '{"x":2}');
    const { out } = await beat('c1 ada', 'me', 'c2 bob', 'me');
    for (const at of out) await enter(['c1 ada', 'c2 bob'][at] ?? '', 'me');
    await leave('c1 ada', 'me');
    await leave('c2 bob', 'me');
    if ((await redis.exists(keys.leases)) === 1) for (const member of ['c1 ada', 'c2 bob']) await lapse(member);
    await beat();
    expect(await left(), lost).toBeLessThanOrEqual(1);
  }
  await said();
});

test('notes of rooms: the latest are kept, what ran out is not listed, and only what was not renewed is forgotten', async () => {
  const notes = '{user}:rooms';
  const note = (keepMs: number, ...names: string[]): Promise<number> =>
    noteRooms(redis, { notes }, { keepMs, most: 3, rooms: names });
  await note(60_000, 'a', 'b');
  await note(60_000, 'c', 'd');
  expect((await listRooms(redis, { notes }, { most: 10 })).notes.map(([name]) => name)).toHaveLength(3);
  await redis.zadd(notes, 1, 'old');
  const listed = await listRooms(redis, { notes }, { most: 2 });
  expect(listed.count).toBe(3);
  expect(listed.notes.map(([name]) => name)).toEqual(['d', 'c']);
  await note(70_000, 'd');
  expect(await forgetRooms(redis, { notes }, { stale: listed.notes.flat() })).toBe(1);
  expect((await listRooms(redis, { notes }, { most: 10 })).notes.map(([name]) => name)).toContain('d');
  expect(await redis.pttl(notes)).toBeGreaterThan(60_000);
});

test('a server that has forgotten the scripts is given them again', async () => {
  const { enter, update, beat, snapshot, leave } = room();
  await redis.script('FLUSH');
  await enter('c ada', 'me');
  await redis.script('FLUSH');
  expect(await update('c ada', 'me', '{"x":1}')).toBe('updated');
  await redis.script('FLUSH');
  expect(await beat('c ada', 'me')).toMatchObject({ users: 1 });
  expect((await snapshot()).states.get('c ada')).toBe('{"x":1}');
  await redis.script('FLUSH');
  expect(await leave('c ada', 'me')).toBe('left');
});

test('a full room does nothing for one more, and says whether the dead have its places', async () => {
  const { keys, enter, leave, beat, lapse } = room();
  const ask = (member: string, owner = 'me') => enter(member, owner, '', SAID.keepMs, 2);
  await ask('c1 ada');
  await ask('c2 bob');
  await said();
  expect(await ask('c3 cid')).toEqual({ outcome: 'full', state: '' });
  expect(await ask('c4 ada')).toEqual({ outcome: 'full', state: '' });
  expect(await redis.hget(keys.users, 'ada')).toBe('1');
  expect(await ask('c1 ada')).toMatchObject({ outcome: 'here' });
  expect(await ask('c1 ada', 'another')).toMatchObject({ outcome: 'taken-over' });
  await lapse('c2 bob');
  expect(await ask('c3 cid')).toEqual({ outcome: 'overdue', state: '' });
  await beat();
  expect(await ask('c3 cid')).toMatchObject({ outcome: 'entered' });
  await leave('c3 cid', 'me', 60_000);
  expect(await ask('c4 dan')).toMatchObject({ outcome: 'full' });
  expect(await ask('c5 cid')).toMatchObject({ outcome: 'returned' });
  expect((await said()).map(([kind]) => kind)).toEqual(['away', 'leave', 'enter', 'away', 'swap']);
});
