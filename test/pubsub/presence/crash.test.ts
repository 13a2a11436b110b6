/** Processes that die, stand still, or have another clock. */
import { beforeAll, afterAll, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../../src/clock.ts';
import { startChild, type Child } from '../../support/child.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { ownedPresence, usersIn, viewOf, watch } from './own-presence.ts';

const own = ownedByTest();
const presenceOf = ownedPresence();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const TTL_MS = 1_500;
const SWEEP_MS = 200;
/** What this machine, busy with other tests, may take besides. */
const SLACK_MS = 700;
const PROMPT = { ttl: TTL_MS, sweep: SWEEP_MS, debounce: 0 };

function child(room: string, users: string): Child {
  return own(startChild('../pubsub/presence/presence-process', [server.url, room, String(TTL_MS), users]));
}

function shifted(byMs: number): Clock {
  return {
    ...systemClock,
    wallMs: () => systemClock.wallMs() + byMs,
    monotonicMs: () => systemClock.monotonicMs() + byMs,
  };
}

function only(told: readonly string[], start: string): string[] {
  return told.filter((line) => line.startsWith(start)).toSorted();
}

test('of a process that is killed each user leaves once, within a lease and a sweep, with three that look', async () => {
  const others = [1, 2, 3].map(() => presenceOf({ url: server.url }, PROMPT).presence);
  const watched = await Promise.all(others.map((presence) => watch(presence, 'killed')));
  for (const [at, presence] of others.entries()) await presence.room('killed').enter({ userId: `other-${at}` });
  const doomed = child('killed', 'ada,bob,cid,dan,eve');
  await doomed.says('here 5');
  for (const { told } of watched) await eventually(() => expect(only(told, 'enter')).toHaveLength(8));
  doomed.signal('SIGKILL');
  const start = performance.now();
  const leaves = ['ada', 'bob', 'cid', 'dan', 'eve'].map((user) => `leave ${user} lapsed`);
  for (const { told } of watched) await eventually(() => expect(only(told, 'leave')).toEqual(leaves));
  expect(performance.now() - start).toBeLessThan(TTL_MS + SWEEP_MS + SLACK_MS);
  await systemClock.sleep(TTL_MS);
  for (const { told, room } of watched) {
    expect(only(told, 'leave')).toEqual(leaves);
    expect(viewOf(room)).toBe('other-0/1 other-1/1 other-2/1');
    expect(await usersIn(room)).toBe(viewOf(room));
  }
});

test('a process that stood still for longer than its lease finds itself out and enters again, each told once', async () => {
  const { presence } = presenceOf({ url: server.url }, PROMPT);
  const { told, room } = await watch(presence, 'frozen');
  const frozen = child('frozen', 'ada,bob');
  await frozen.says('here 2');
  await eventually(() => expect(told).toHaveLength(2));
  frozen.signal('SIGSTOP');
  await eventually(() => expect(only(told, 'leave')).toEqual(['leave ada lapsed', 'leave bob lapsed']));
  expect(await usersIn(room)).toBe('');
  frozen.signal('SIGCONT');
  await eventually(() => expect(only(told, 'enter')).toHaveLength(4));
  await systemClock.sleep(TTL_MS);
  expect(told).toHaveLength(6);
  expect(await usersIn(room)).toBe('ada/1 bob/1');
  // It has heard of itself as everybody else has.
  const heard = frozen.lines().filter((line) => line.startsWith('event'));
  expect(heard.filter((line) => line === 'event enter ada').length).toBeGreaterThanOrEqual(1);
  frozen.signal('SIGTERM');
  await frozen.says('stopped');
  await eventually(() => expect(only(told, 'leave')).toHaveLength(4));
});

test('a process that stood still for less than its lease was never away', async () => {
  const { presence } = presenceOf({ url: server.url }, PROMPT);
  const { told } = await watch(presence, 'short');
  const frozen = child('short', 'ada');
  await frozen.says('here 1');
  frozen.signal('SIGSTOP');
  await systemClock.sleep(TTL_MS / 3);
  frozen.signal('SIGCONT');
  await systemClock.sleep(TTL_MS * 1.5);
  expect(told).toEqual(['enter ada entered']);
});

test('processes whose clocks are hours apart see the same', async () => {
  const options = { ...PROMPT, ttl: 600 };
  const [ahead, behind, crashed] = [3_600_000, -3_600_000, 7_200_000].map((byMs) =>
    presenceOf({ url: server.url }, { ...options, clock: shifted(byMs) }),
  );
  const watched = [await watch(ahead!.presence, 'clocks'), await watch(behind!.presence, 'clocks')];
  await ahead!.presence.room('clocks').enter({ userId: 'ahead' });
  await behind!.presence.room('clocks').enter({ userId: 'behind' });
  await crashed!.presence.room('clocks').enter({ userId: 'crashed' });
  await systemClock.sleep(1_500); // More than two leases.
  for (const { told } of watched) expect(only(told, 'leave')).toEqual([]);
  await crashed!.connections.close();
  for (const { told } of watched) await eventually(() => expect(only(told, 'leave')).toEqual(['leave crashed lapsed']));
  for (const { room } of watched) expect(viewOf(room)).toBe('ahead/1 behind/1');
});

test('a process with a short lease that dies at once is told in time to one whose own leases are long', async () => {
  const { presence } = presenceOf({ url: server.url }, { ttl: '30s', sweep: SWEEP_MS });
  const { told } = await watch(presence, 'mixed');
  // As a first connection, by taking over one that a longer lease has, and by a come-back: of the last two nothing is told.
  const kept = presence.room('mixed');
  await kept.enter({ userId: 'bob', connectionId: 'c' });
  await (await kept.enter({ userId: 'cid', connectionId: 'c' })).leave({ debounce: '5s' });
  await (await kept.enter({ userId: 'dan', connectionId: 'c1' })).leave({ debounce: '5s' });
  const { presence: doomed, connections } = presenceOf({ url: server.url }, { ttl: '1s' });
  const room = doomed.room('mixed');
  await room.enter({ userId: 'ada' });
  for (const userId of ['bob', 'cid']) await room.enter({ userId, connectionId: 'c' });
  await room.enter({ userId: 'dan', connectionId: 'c2' });
  await connections.close();
  const start = performance.now();
  const leaves = ['ada', 'bob', 'cid', 'dan'].map((user) => `leave ${user} lapsed`);
  await eventually(() => expect(only(told, 'leave')).toEqual(leaves));
  expect(performance.now() - start).toBeLessThan(1_000 + SWEEP_MS + SLACK_MS);
});

test('no update makes anybody immortal, nor brings a dead connection back', async () => {
  const { presence } = presenceOf({ url: server.url }, PROMPT);
  const { told, room } = await watch(presence, 'immortal');
  const { presence: doomed, connections } = presenceOf({ url: server.url }, { ...PROMPT, ttl: 400, updateEvery: 0 });
  const me = await doomed.room('immortal').enter({ userId: 'ada', state: { x: 0 } });
  for (let x = 1; x <= 20; x++) await me.update({ x });
  await connections.close();
  await eventually(() => expect(told.at(-1)).toBe('leave ada lapsed'));
  expect(await server.ask((redis) => redis.keys('*{immortal}*'))).toEqual([]);

  // One that is out already: the update enters again, with a lease, instead of writing a state that nobody owns.
  const again = await room.enter({ userId: 'bob' });
  await server.ask((redis) =>
    redis.del(['leases', 'states', 'owners', 'users', 'clock'].map((key) => `millrace:presence:{immortal}:${key}`)),
  );
  await again.update({ x: 1 });
  expect((await room.members()).members).toMatchObject([{ userId: 'bob', state: { x: 1 } }]);
  const leases = await server.ask((redis) => redis.zcard('millrace:presence:{immortal}:leases'));
  expect(leases).toBe(1);
});

test('all keys of an empty room are gone, and those of a room whose processes all died expire', async () => {
  const keysOf = (room: string): Promise<string[]> => server.ask((redis) => redis.keys(`*{${room}}*`));
  const { presence } = presenceOf({ url: server.url }, PROMPT);
  const all = await Promise.all(
    ['ada', 'ada', 'bob'].map((userId) => presence.room('emptied').enter({ userId, state: { x: 1 } })),
  );
  expect(await keysOf('emptied')).toHaveLength(5);
  await Promise.all(all.map((me) => me.leave()));
  expect(await keysOf('emptied')).toEqual([]);

  const { presence: doomed, connections } = presenceOf({ url: server.url }, { ttl: 300, sweep: 10, debounce: 200 });
  const room = doomed.room('died');
  const [first] = await Promise.all(['zoe', 'bob', 'cid'].map((userId) => room.enter({ userId })));
  await systemClock.sleep(700); // Beats have renewed the keys.
  await first?.leave();
  await connections.close();
  const keys = [...(await keysOf('died')), ...(await keysOf('zoe'))];
  expect(keys).toHaveLength(6);
  for (const key of keys) {
    const leftMs = await server.ask((redis) => redis.pttl(key));
    expect(leftMs, key).toBeGreaterThan(300);
    expect(leftMs, key).toBeLessThan(6_000);
  }
  expect(await server.ask((redis) => redis.config('GET', 'notify-keyspace-events'))).toEqual([
    'notify-keyspace-events',
    '',
  ]);
  await eventually(async () => expect(await keysOf('died')).toEqual([]), 10_000);
});
