/** In which rooms a user is. */
import { beforeAll, afterAll, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { eventually } from '../../support/eventually.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { ownedPresence } from './own-presence.ts';

const presenceOf = ownedPresence();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const notesOf = (user: string): Promise<string[]> =>
  server.ask((redis) => redis.zrange(`millrace:presence-of:{${user}}:rooms`, '-inf', '+inf', 'BYSCORE'));

test('a user is found in each room as soon as enter() has resolved, until the user is gone from it', async () => {
  const [one, two] = [1, 2].map(() => presenceOf({ url: server.url }, { debounce: 0 }).presence);
  const me = await one!.room('a').enter({ userId: 'ada' });
  expect(await two!.whereIs('ada')).toEqual({ rooms: ['a'], isComplete: true });
  const other = await two!.room('a').enter({ userId: 'ada' });
  await two!.room('b/c:{d}').enter({ userId: 'ada' });
  await one!.room('not-hers').enter({ userId: 'bob' });
  expect(await one!.whereIs('ada')).toEqual({ rooms: ['b/c:{d}', 'a'], isComplete: true });
  await me.leave();
  expect((await one!.whereIs('ada')).rooms).toContain('a');
  await other.leave();
  expect(await one!.whereIs('ada')).toEqual({ rooms: ['b/c:{d}'], isComplete: true });
  expect(await notesOf('ada')).toEqual(['b/c:{d}']); // The stale note is gone with the look.
  expect(await one!.whereIs('nobody')).toEqual({ rooms: [], isComplete: true });
});

test('no more are named than were asked for, and it is said that there are more', async () => {
  const { presence } = presenceOf({ url: server.url });
  for (const name of ['r1', 'r2', 'r3']) await presence.room(name).enter({ userId: 'cid' });
  expect(await presence.whereIs('cid', { limit: 2 })).toEqual({ rooms: ['r3', 'r2'], isComplete: false });
  expect(await presence.whereIs('cid', { limit: 3 })).toEqual({ rooms: ['r3', 'r2', 'r1'], isComplete: true });
});

test('a process that dies between the two writes makes no answer wrong', async () => {
  const { presence, connections } = presenceOf({ url: server.url }, { ttl: 600, debounce: 0 });
  const redis = connections.commands();
  // The note without the connection.
  const [seconds] = await redis.time();
  await redis.zadd('millrace:presence-of:{dan}:rooms', (Number(seconds) + 60) * 1_000_000, 'never-entered');
  await presence.room('entered').enter({ userId: 'dan' });
  expect(await presence.whereIs('dan')).toEqual({ rooms: ['entered'], isComplete: true });
  expect(await notesOf('dan')).toEqual(['entered']);
  // The connection without the note: the beats make it anew.
  await redis.del('millrace:presence-of:{dan}:rooms');
  await eventually(async () => expect((await presence.whereIs('dan')).rooms).toEqual(['entered']));
});

test('whoever died is nowhere after a lease, though nobody looks after the room', async () => {
  const { presence: doomed, connections } = presenceOf({ url: server.url }, { ttl: 400 });
  const { presence } = presenceOf({ url: server.url });
  await doomed.room('left-alone').enter({ userId: 'eve' });
  expect((await presence.whereIs('eve')).rooms).toEqual(['left-alone']);
  await connections.close();
  await systemClock.sleep(450);
  expect(await presence.whereIs('eve')).toEqual({ rooms: [], isComplete: true });
});

test('a user who is away for longer than the room says is found until the debounce is over', async () => {
  const { presence } = presenceOf({ url: server.url }, { ttl: 100, debounce: 0, sweep: 50 });
  const me = await presence.room('away').enter({ userId: 'gus' });
  expect(await me.leave({ debounce: '10s' })).toBe('away');
  await systemClock.sleep(1_500); // Longer than a note of the room's own debounce holds.
  expect(await presence.room('away').count()).toEqual({ users: 1, connections: 1 });
  expect((await presence.whereIs('gus')).rooms).toEqual(['away']);
});

test('a long stay keeps its note, and the note of who only passed by does not outlast it for long', async () => {
  const { presence } = presenceOf({ url: server.url }, { ttl: 200, debounce: 0 });
  const me = await presence.room('long').enter({ userId: 'fay' });
  await systemClock.sleep(1_500); // Longer than a note holds.
  expect((await presence.whereIs('fay')).rooms).toEqual(['long']);
  await me.leave();
  await eventually(async () => expect(await server.ask((redis) => redis.keys('*{fay}*'))).toEqual([]));
});
