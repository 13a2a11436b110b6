/** Beats: how many commands, how many packets, and when rooms are looked at. */
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { commandCount } from '../../support/command-count.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { ownedPresence, usersIn, watch } from './own-presence.ts';

const own = ownedByTest();
const presenceOf = ownedPresence();

const scripts = (server: TestServer): Promise<number> => commandCount([server], 'evalsha', 'eval');
/** How often the server found something to read on any connection. */
const reads = async (server: TestServer): Promise<number> =>
  Number((await server.info()).fields.get('total_reads_processed'));

test('500 rooms of one process beat in one pipeline: a command each, and far fewer packets', async () => {
  const server = own(await startRedis());
  const { presence } = presenceOf({ url: server.url }, { ttl: '6s' });
  await presence.room('room-0').enter({ userId: 'ada' }); // So that the server knows the script.
  await Promise.all(
    Array.from({ length: 499 }, (_, at) => presence.room(`room-${at + 1}`).enter({ userId: 'ada', state: { at } })),
  );
  expect(presence.stats()).toMatchObject({ connections: 500, rooms: 500 });
  await presence.room('room-0').count(); // So that the server knows the script.
  const { beats: earlier } = presence.stats();
  await eventually(() => expect(presence.stats().beats).toBeGreaterThan(earlier)); // So that none is under way.
  const { beats } = presence.stats();
  const before = { scripts: await scripts(server), reads: await reads(server) };
  await eventually(() => expect(presence.stats().beats).toBe(beats + 1));
  const after = { scripts: await scripts(server), reads: await reads(server) };
  expect(after.scripts - before.scripts).toBe(500);
  // The questions of this test are a few of them; what is left are pieces of one write of some 250 KB.
  expect(after.reads - before.reads).toBeLessThan(60);
  await eventually(() => expect(presence.stats().beats).toBe(beats + 2));
  expect((await scripts(server)) - after.scripts).toBe(500);
  expect(presence.stats().failedBeats).toBe(0);
});

test('a room whose leases are all renewed costs one command a beat, for each process, and no look besides', async () => {
  const server = own(await startRedis());
  const processes = [1, 2, 3].map(() => presenceOf({ url: server.url }, { ttl: 3_000, sweep: 100 }).presence);
  await Promise.all(processes.map((presence) => watch(presence, 'quiet')));
  await Promise.all(
    processes.map((presence, at) => presence.room('quiet').enter({ userId: `user-${at}`, state: { at } })),
  );
  await systemClock.sleep(1_100); // Past the first beats of all.
  const before = await scripts(server);
  const beats = processes.map((presence) => presence.stats().beats);
  await systemClock.sleep(2_000);
  const beaten = processes.reduce((sum, presence, at) => sum + presence.stats().beats - (beats[at] ?? 0), 0);
  expect(beaten).toBeGreaterThanOrEqual(3);
  expect((await scripts(server)) - before).toBe(beaten);
});

test('more connections in one room than one call takes are all renewed, and all taken out', async () => {
  const server = own(await startRedis());
  const leases = 'millrace:presence:{crowd}:leases';
  const firstEnd = async (): Promise<number> =>
    Number((await server.ask((redis) => redis.zrange(leases, '0', '0', 'WITHSCORES')))[1]);
  const { presence, connections } = presenceOf({ url: server.url }, { ttl: '9s' });
  const { presence: other } = presenceOf({ url: server.url }, { ttl: '9s', sweep: 50 });
  const { told, room } = await watch(other, 'crowd');
  // In waves: a burst of that many would take longer than a deadline on a busy machine.
  for (let wave = 0; wave < 12; wave++) {
    const users = Array.from({ length: 100 }, (_, at) => `user-${(wave * 100 + at) % 400}`);
    await Promise.all(users.map((userId) => presence.room('crowd').enter({ userId })));
  }
  const lastEnd = Number((await server.ask((redis) => redis.zrange(leases, '-1', '-1', 'WITHSCORES')))[1]);
  await eventually(async () => expect(await firstEnd()).toBeGreaterThan(lastEnd));
  expect(await room.count()).toEqual({ users: 400, connections: 1_200 });
  expect(presence.stats().lapsed).toBe(0);

  // Their process dies, and all of their leases end at the same moment: more than one look takes out.
  await connections.close();
  await server.ask((redis) => redis.zunionstore(leases, 1, leases, 'WEIGHTS', 0));
  const left = (): string[] => told.filter((line) => line.startsWith('leave'));
  await eventually(() => expect(left()).toHaveLength(400));
  expect(new Set(left()).size).toBe(400);
  expect(await room.count()).toEqual({ users: 0, connections: 0 });
});

test('a beat that was not answered is tried again soon, and the connection stays', async () => {
  const server = own(await startRedis());
  const { presence } = presenceOf({ url: server.url }, { ttl: 2_000, deadline: 150 });
  const { presence: other } = presenceOf({ url: server.url });
  const { told, room } = await watch(other, 'again');
  await presence.room('again').enter({ userId: 'ada' });
  await eventually(() => expect(presence.stats().beats).toBe(1));
  server.freeze();
  await eventually(() => expect(presence.stats().failedBeats).toBeGreaterThan(0));
  server.thaw();
  await eventually(() => expect(presence.stats().beats).toBeGreaterThan(1));
  expect(await usersIn(room)).toBe('ada/1');
  expect(told).toEqual(['enter ada entered']);
});

test('a room that Redis refuses is tried again by itself: the others beat as always, and their connections stay', async () => {
  const server = own(await startRedis());
  const { presence } = presenceOf({ url: server.url }, { ttl: 1_500 });
  const well = Array.from({ length: 10 }, (_, at) => `well-${at}`);
  for (const name of [...well, 'broken']) await presence.room(name).enter({ userId: 'ada' });
  await server.ask((redis) => redis.set('millrace:presence:{broken}:owners', 'no hash'));
  await eventually(() => expect(presence.stats().failedBeats).toBeGreaterThan(0));
  const before = { ...presence.stats(), scripts: await scripts(server) };
  await eventually(() => expect(presence.stats().beats).toBeGreaterThan(before.beats + 2));
  const scriptsNow = await scripts(server);
  const now = presence.stats();
  expect(now.failedBeats).toBeGreaterThan(before.failedBeats);
  // A beat is all rooms, and one note at most; a beat that failed is the broken room alone.
  const most = (now.beats - before.beats) * 12 + (now.failedBeats - before.failedBeats);
  expect(scriptsNow - before.scripts).toBeLessThanOrEqual(most + 12);
  for (const name of well) expect(await usersIn(presence.room(name))).toBe('ada/1');
  // Mended, it is entered again, and only it.
  await server.ask((redis) => redis.del('millrace:presence:{broken}:owners'));
  await eventually(async () => expect(await usersIn(presence.room('broken'))).toBe('ada/1'));
  await eventually(() => expect(presence.stats().lapsed).toBe(1));
});
