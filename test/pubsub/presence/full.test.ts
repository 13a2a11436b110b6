/** A room has a most of members, which processes cannot go over together. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createMetrics } from '../../../src/metrics/registry.ts';
import { startChild } from '../../support/child.ts';
import { eventually } from '../../support/eventually.ts';
import { valueIn } from '../../support/exposition.ts';
import { failureOf } from '../../support/failures.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { ownedPresence, usersIn, watch } from './own-presence.ts';

const own = ownedByTest();
const presenceOf = ownedPresence();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const keysOf = (room: string): string[] =>
  ['leases', 'states', 'owners', 'users', 'clock'].map((key) => `millrace:presence:{${room}}:${key}`);

test('two processes that fill a room at once stop at its most, and a crash makes room again', async () => {
  const crowds = [0, 1_000].map((first) =>
    own(startChild('../pubsub/presence/crowd-process', [server.url, 'crowd', '150', String(first), '200'])),
  );
  for (const crowd of crowds) await crowd.says('ready');
  for (const crowd of crowds) crowd.signal('SIGUSR2');
  const said = await Promise.all(crowds.map((crowd) => crowd.says('in ')));
  const [ins, outs] = [0, 2].map((at) => said.reduce((sum, line) => sum + Number(line.split(' ')[at]), 0));
  expect([ins, outs]).toEqual([150, 250]);
  for (const line of said) expect(line).toMatch(/ refused \d+ (?:ROOM_FULL)?$/);
  const sizes = await server.ask((redis) =>
    Promise.all(keysOf('crowd').map((key) => (key.endsWith('leases') ? redis.zcard(key) : redis.hlen(key)))),
  );
  expect(sizes).toEqual([150, 150, 150, 150, 2]);

  const { presence } = presenceOf({ url: server.url }, { ttl: '2s', maxMembers: 150 });
  const room = presence.room('crowd');
  await failureOf(room.enter({ userId: 'late' }), 'ROOM_FULL');
  for (const crowd of crowds) await crowd.stop();
  // Nobody has listened, so that nobody else takes the dead out.
  await eventually(() => room.enter({ userId: 'late' }));
  await eventually(async () => expect(await usersIn(room)).toBe('late/1'));
});

describe('a full room', () => {
  const few = { maxMembers: 2, debounce: '20s', updateEvery: 0 } as const;

  test('refuses one more, by a code with the numbers, and keeps nothing of it', async () => {
    const metrics = createMetrics();
    const { presence } = presenceOf({ url: server.url }, { ...few, metrics });
    const { room, told } = await watch(presence, 'full');
    await room.enter({ userId: 'ada', connectionId: 'a' });
    await room.enter({ userId: 'bob' });
    const error = await failureOf(room.enter({ userId: 'eve', connectionId: 'e' }), 'ROOM_FULL');
    expect(error.message).toBe('room full takes 2 members at most; eve did not come in');
    expect(error.facts).toEqual({ room: 'full', userId: 'eve', connectionId: 'e', maxMembers: 2 });
    // A further connection of one who is here takes a place, too.
    await failureOf(room.enter({ userId: 'ada' }), 'ROOM_FULL');
    expect(await usersIn(room)).toBe('ada/1 bob/1');
    expect(told).toEqual(['enter ada entered', 'enter bob entered']);
    expect(presence.stats().connections).toBe(2);
    const text = await metrics.render();
    expect(valueIn(text, 'millrace_presence_transitions_total', { outcome: 'full' })).toBe(2);
  });

  test('lets in who takes a place that is taken: a take-over, a come-back, one by another connection', async () => {
    const { presence } = presenceOf({ url: server.url }, few);
    const other = presenceOf({ url: server.url }, few).presence.room('taken');
    const room = presence.room('taken');
    const first = await room.enter({ userId: 'ada', connectionId: 'a' });
    const bob = await room.enter({ userId: 'bob', connectionId: 'b' });
    const again = await other.enter({ userId: 'ada', connectionId: 'a', state: { x: 1 } });
    expect(await first.leave()).toBe('gone');
    await again.update({ x: 2 });
    expect(await bob.leave()).toBe('away');
    await failureOf(other.enter({ userId: 'eve' }), 'ROOM_FULL'); // He may be back.
    const back = await other.enter({ userId: 'bob', connectionId: 'b2' });
    expect(await usersIn(room)).toBe('ada/1 bob/1');
    expect(await back.leave({ debounce: 0 })).toBe('left');
    await other.enter({ userId: 'eve' });
    expect(await usersIn(room)).toBe('ada/1 eve/1');
  });

  test('has its own most, and that of whoever enters counts', async () => {
    const { presence } = presenceOf({ url: server.url }, few);
    const wide = presence.room('own', { maxMembers: 3 });
    for (const userId of ['ada', 'bob', 'cid']) await wide.enter({ userId });
    await failureOf(wide.enter({ userId: 'dan' }), 'ROOM_FULL');
    await failureOf(presence.room('own').enter({ userId: 'dan' }), 'ROOM_FULL');
    expect((await wide.count()).connections).toBe(3);
  });

  test('keeps out who was found out and comes again too late, says so, and lets it in once there is room', async () => {
    const lines = collectLog();
    const { presence } = presenceOf({ url: server.url }, { ...few, ttl: '600ms', debounce: 0 }, lines.log);
    const room = presence.room('late');
    const ada = await room.enter({ userId: 'ada', state: { x: 1 } });
    const other = presenceOf({ url: server.url }, few).presence.room('late');
    const [bob] = await eventually(async () => {
      await server.ask((redis) => redis.del(keysOf('late'))); // As a failover may.
      // Unless she is back before both of them are in.
      return Promise.all(['bob', 'cid'].map((userId) => other.enter({ userId, connectionId: userId })));
    });
    const refused = await failureOf(ada.update({ x: 2 }), 'ROOM_FULL');
    expect(refused.facts).toMatchObject({ userId: 'ada' });
    await eventually(() => expect(lines.warnings()).toMatchObject([{ room: 'late', err: { code: 'ROOM_FULL' } }]));
    expect([ada.status, await usersIn(room)]).toEqual(['here', 'bob/1 cid/1']);
    await bob?.leave({ debounce: 0 });
    await eventually(async () => expect(await usersIn(room)).toBe('ada/1 cid/1'));
    expect((await room.members()).members.find(({ userId }) => userId === 'ada')?.state).toEqual({ x: 2 });
  });

  test('of the dead lets somebody in at once, also where more have died than one look takes out', async () => {
    const { presence, connections } = presenceOf({ url: server.url }, { ttl: '20s', maxMembers: 1_200 });
    const room = presence.room('dead');
    const [first] = await Promise.all(
      Array.from({ length: 1_200 }, (_, index) => room.enter({ userId: `user-${index}` })),
    );
    expect(first?.status).toBe('here');
    await connections.close();
    const [leases = ''] = keysOf('dead');
    await server.ask(async (redis) => {
      const members = await redis.zrange(leases, '0', '-1');
      await redis.zadd(leases, ...members.flatMap((member) => ['1', member]));
    });
    const other = presenceOf({ url: server.url }, { ttl: '20s', maxMembers: 3 }).presence.room('dead');
    await other.enter({ userId: 'late' });
    expect(await usersIn(other)).toBe('late/1');
  });
});
