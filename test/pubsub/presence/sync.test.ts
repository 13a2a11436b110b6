/** Announcements that are missed, forged, or come from a server that has lost its data. */
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { enterRoom, leaveRoom } from '../../../src/pubsub/presence/scripts.ts';
import type { RedisClient } from '../../../src/redis/clients.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis } from '../../support/servers.ts';
import { ownedPresence, usersIn, viewOf, watch } from './own-presence.ts';

const own = ownedByTest();
const presenceOf = ownedPresence();

/** Keys of a room, for acts whose announcement goes where nobody hears it. */
function keysOf(room: string): Record<'leases' | 'states' | 'owners' | 'users' | 'clock', string> {
  const key = (name: string): string => `millrace:presence:{${room}}:${name}`;
  return {
    leases: key('leases'),
    states: key('states'),
    owners: key('owners'),
    users: key('users'),
    clock: key('clock'),
  };
}

const UNHEARD = { channel: 'elsewhere', publish: 'PUBLISH', keepMs: 60_000 };

function enterUnheard(redis: RedisClient, room: string, userId: string): Promise<unknown> {
  const args = { ...UNHEARD, member: `c-${userId} ${userId}`, owner: 'me', state: '{}', ttlMs: 60_000, most: 100 };
  return enterRoom(redis, keysOf(room), args);
}

function leaveUnheard(redis: RedisClient, room: string, userId: string): Promise<unknown> {
  return leaveRoom(redis, keysOf(room), { ...UNHEARD, member: `c-${userId} ${userId}`, owner: 'me', debounceMs: 0 });
}

describe('a gap', () => {
  test('is noticed by the next announcement: what was missed is told, and the room is right again', async () => {
    const server = own(await startRedis());
    const { presence, connections } = presenceOf({ url: server.url }, { debounce: 0 });
    const { told, room, syncs } = await watch(presence, 'gap');
    const me = await room.enter({ userId: 'ada' });
    await enterUnheard(connections.commands(), 'gap', 'bob');
    await enterUnheard(connections.commands(), 'gap', 'cid');
    await leaveUnheard(connections.commands(), 'gap', 'cid');
    expect(viewOf(room)).toBe('ada/1');
    await me.update({ x: 1 });
    const all = ['enter ada entered', 'enter bob entered', 'update ada state {"x":1}'];
    await eventually(() => expect(told.toSorted()).toEqual(all));
    expect(syncs()).toBe(2);
    expect(viewOf(room)).toBe('ada/1 bob/1');
    expect(presence.stats().resyncs).toBe(1);
    await leaveUnheard(connections.commands(), 'gap', 'bob');
    await me.leave();
    await eventually(() => expect(viewOf(room)).toBe(''));
    expect(told.slice(3).toSorted()).toEqual(['leave ada missed', 'leave bob missed']);
  });

  test('at the end is noticed by the next beat', async () => {
    const server = own(await startRedis());
    const { presence, connections } = presenceOf({ url: server.url }, { ttl: 900 });
    const { told, room } = await watch(presence, 'tail');
    await enterUnheard(connections.commands(), 'tail', 'bob');
    await eventually(() => expect(told).toEqual(['enter bob entered']));
    expect(viewOf(room)).toBe('bob/1');
    await leaveUnheard(connections.commands(), 'tail', 'bob');
    await eventually(() => expect(told).toEqual(['enter bob entered', 'leave bob missed']));
    await systemClock.sleep(2_000);
    expect(presence.stats().resyncs).toBe(2); // And none for what was heard late, but heard.
  });

  test('by a cut connection: the difference is told, each process sees the same room', async () => {
    const server = own(await startRedis());
    const proxy = own(await startProxy(server.port));
    const { presence: mine } = presenceOf({ url: server.url }, { debounce: 0 });
    const { presence: cutOff } = presenceOf({ url: proxy.url }, { debounce: 0 });
    const { told, room, syncs } = await watch(cutOff, 'cut');
    const at = mine.room('cut');
    const [ada, , cid] = await Promise.all(
      ['ada', 'bob', 'cid'].map((userId) => at.enter({ userId, state: { x: 0 } })),
    );
    await eventually(() => expect(told).toHaveLength(3));
    proxy.freeze();
    proxy.cut();
    await eventually(() => expect(room.view()?.isLive).toBe(false));
    await ada?.leave();
    await cid?.update({ x: 1 });
    await at.enter({ userId: 'dan' });
    const short = await at.enter({ userId: 'eve' });
    await short.leave();
    proxy.restore();
    proxy.cut();
    await eventually(() => expect(syncs()).toBe(2), 20_000);
    expect(told.slice(3).toSorted()).toEqual(['enter dan entered', 'leave ada missed', 'update cid state {"x":1}']);
    expect(viewOf(room)).toBe(await usersIn(at));
  });

  test('by CLIENT KILL, again and again while users come and go, leaves every process with the same room', async () => {
    const server = own(await startRedis());
    const all = [1, 2, 3].map(() => presenceOf({ url: server.url }, { debounce: 0, updateEvery: 0 }).presence);
    const watched = await Promise.all(all.map((presence) => watch(presence, 'storm')));
    const churn = async (at: number): Promise<void> => {
      const room = all[at]!.room('storm');
      for (let round = 0; round < 40; round++) {
        const me = await room.enter({ userId: `user-${at}-${round % 4}`, state: { round } });
        await me.update({ round: round + 1 });
        await systemClock.sleep(5);
        if (round % 5 !== 4) await me.leave();
      }
    };
    const killing = (async () => {
      for (let round = 0; round < 6; round++) {
        await systemClock.sleep(60);
        await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
      }
    })();
    await Promise.all([churn(0), churn(1), churn(2), killing]);
    const now = await usersIn(watched[0]!.room);
    expect(now).not.toBe('');
    for (const { room, told } of watched) {
      await eventually(() => expect(viewOf(room)).toBe(now), 20_000);
      // Whatever was missed: each user's enters and leaves take turns, and end as the room does.
      for (const user of new Set(told.map((line) => line.split(' ')[1] ?? ''))) {
        const turns = told
          .filter((line) => line.startsWith(`enter ${user} `) || line.startsWith(`leave ${user} `))
          .map((line) => line.slice(0, 5));
        expect(turns.join(' ')).toMatch(/^enter( leave enter)*( leave)?$/);
        expect(turns.at(-1) === 'enter').toBe(viewOf(room).includes(`${user}/`));
      }
    }
  });
});

describe('a server that is restarted', () => {
  test('with its data: nobody has left', async () => {
    const server = own(await startRedis({ persistent: true, config: { appendfsync: 'always' } }));
    const processes = [1, 2].map(() => presenceOf({ url: server.url }, { ttl: '10s' }).presence);
    const watched = await Promise.all(processes.map((presence) => watch(presence, 'kept')));
    for (const [at, { room }] of watched.entries()) await room.enter({ userId: `user-${at}` });
    for (const { told } of watched) await eventually(() => expect(told).toHaveLength(2));
    await server.kill();
    await server.startAgain();
    for (const { syncs } of watched) await eventually(() => expect(syncs()).toBe(2), 20_000);
    for (const { told, room } of watched) {
      expect(told).toHaveLength(2);
      expect(viewOf(room)).toBe('user-0/1 user-1/1');
    }
  });

  test('without its data: whoever lives enters again and nobody is told; whoever does not has left', async () => {
    const server = own(await startRedis());
    const processes = [1, 2].map(() => presenceOf({ url: server.url }, { ttl: 1_500, sweep: 200 }).presence);
    const watched = await Promise.all(processes.map((presence) => watch(presence, 'lost')));
    for (const [at, { room }] of watched.entries()) await room.enter({ userId: `user-${at}`, state: { at } });
    const { presence: doomed, connections } = presenceOf({ url: server.url }, { ttl: 20_000 });
    await doomed.room('lost').enter({ userId: 'doomed' });
    for (const { told } of watched) await eventually(() => expect(told).toHaveLength(3));
    await connections.close();
    await server.kill();
    await server.startAgain();
    for (const { told } of watched) await eventually(() => expect(told).toHaveLength(4), 20_000);
    for (const { told, room } of watched) {
      expect(told.slice(3)).toEqual(['leave doomed missed']);
      expect(viewOf(room)).toBe('user-0/1 user-1/1');
      expect(await usersIn(room)).toBe(viewOf(room));
      expect((await room.members()).members.map(({ state }) => state)).toEqual([{ at: 0 }, { at: 1 }]);
    }
    expect(processes.map((presence) => presence.stats().lapsed)).toEqual([1, 1]);
    expect(await processes[0]!.whereIs('user-1')).toEqual({ rooms: ['lost'], isComplete: true });
  });

  test('while it is down, calls reject in time, and a leave says that it does not know', async () => {
    const server = own(await startRedis());
    const { presence } = presenceOf({ url: server.url }, { deadline: 300 });
    const room = presence.room('down');
    const me = await room.enter({ userId: 'ada' });
    server.freeze();
    try {
      const start = performance.now();
      const failed = await Promise.allSettled([
        room.members(),
        room.count(),
        room.enter({ userId: 'bob' }),
        me.update({ x: 1 }),
      ]);
      expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected', 'rejected']);
      for (const outcome of failed) expect(outcome).toMatchObject({ reason: { code: 'REDIS_TIMEOUT' } });
      expect(await me.leave()).toBe('unknown');
      expect(performance.now() - start).toBeLessThan(2_000);
    } finally {
      server.thaw();
    }
    // What came in after all was taken back.
    await eventually(async () => expect(await usersIn(room)).toMatch(/^(ada\/1)?$/));
  });
});

test('what has not the form of an announcement is counted, and harms nobody; a forged one is mended by reading', async () => {
  const server = own(await startRedis());
  const { presence, connections } = presenceOf({ url: server.url }, { debounce: 0 });
  const { told, room } = await watch(presence, 'hostile');
  await room.enter({ userId: 'ada' });
  const redis = connections.commands();
  const { seq } = await room.members();
  const refused = [
    '',
    '{',
    'null',
    '"enter"',
    '{}',
    '[]',
    '["away"]',
    '["away",-1]',
    '["away","soon"]',
    `[${seq},${seq},"enter","c bob",{}]`,
    `[${seq},${seq + 1},"enter","bob",{}]`,
    `[${seq},${seq + 1},"enter","c bob",7]`,
    `[${seq},${seq + 1},"enter","c bob",null]`,
    `[${seq},${seq + 1},"enter","c bob",[]]`,
    `[${seq},${seq + 1},"enter",["c bob"],{}]`,
    `[${seq},${seq + 1},"leave","c bob","gone"]`,
    `[${seq},${seq + 1},"swap","c bob",{}]`,
    `[${seq},${seq + 1},"enter","c bob",{},"soon"]`,
    `[${seq},${seq + 1},"swap","c bob",{},"c bob",-1]`,
    `[${seq},${seq + 1},"__proto__","c bob",{}]`,
    `[-1,${seq + 1},"enter","c bob",{}]`,
    `[1e400,${seq + 1},"enter","c bob",{}]`,
    `[${seq},"later","enter","c bob",{}]`,
    '['.repeat(20_000),
  ];
  for (const text of refused) await redis.publish('millrace:presence:{hostile}', text);
  await eventually(() => expect(presence.stats().refusedMessages).toBe(refused.length));
  expect(told).toEqual(['enter ada entered']);
  await redis.publish('millrace:presence:{hostile}', `[${seq + 5},${seq + 6},"enter","c mallory",{}]`);
  await redis.publish('millrace:presence:{hostile}', `["away",${Number.MAX_SAFE_INTEGER}]`);
  await eventually(() => expect(presence.stats().resyncs).toBe(1));
  expect(viewOf(room)).toBe('ada/1');
  const bob = await room.enter({ userId: 'bob' });
  await eventually(() => expect(told).toEqual(['enter ada entered', 'enter bob entered']));
  await bob.leave();
  // A state that another program left there, and that is no object, is shown as empty.
  await redis.hset('millrace:presence:{hostile}:states', 'c1 eve', '{broken', 'c2 eve', '7');
  expect((await room.members()).members.filter(({ userId }) => userId === 'eve').map(({ state }) => state)).toEqual([
    {},
    {},
  ]);
});
