/** What is told of users who come, change and go. */
import { beforeAll, afterAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../../src/clock.ts';
import { createMetrics } from '../../../src/metrics/registry.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { collectLog } from '../../support/log-lines.ts';
import { commandCount } from '../../support/command-count.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { ownedPresence, usersIn, viewOf, watch } from './own-presence.ts';

const presenceOf = ownedPresence();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe('one connection', () => {
  test('its enter, update and leave are told once to every process, in order', async () => {
    const [mine, ...others] = [1, 2, 3, 4].map(() => presenceOf({ url: server.url }, { debounce: 0 }).presence);
    const watched = await Promise.all(others.map((presence) => watch(presence, 'once')));
    const me = await mine!.room('once').enter({ userId: 'ada', state: { cursor: 1 } });
    await me.update({ cursor: 2 });
    expect(await me.leave()).toBe('left');
    for (const { told, seqs, room } of watched) {
      await eventually(() => expect(told.length).toBeGreaterThanOrEqual(3));
      expect(told).toEqual(['enter ada entered', 'update ada state {"cursor":2}', 'leave ada left']);
      expect(seqs).toEqual(seqs.toSorted((left, right) => left - right));
      expect(room.view()).toEqual({ seq: 0, isLive: true, members: [] });
    }
  });

  test('who comes later is told with sync who is here, and is told nothing of how they came', async () => {
    const { presence } = presenceOf({ url: server.url }, { debounce: 0 });
    await presence.room('later').enter({ userId: 'ada', connectionId: 'c1', state: { x: 1 } });
    const { presence: other } = presenceOf({ url: server.url });
    const room = other.room('later');
    const synced: unknown[] = [];
    room.on('sync', (snapshot) => void synced.push(snapshot));
    await room.ready();
    const members = [{ userId: 'ada', connectionId: 'c1', state: { x: 1 } }];
    expect(synced).toEqual([{ seq: expect.any(Number), members }]);
    expect(await room.members()).toEqual(synced[0]);
    expect(await room.users()).toEqual([{ userId: 'ada', connections: members }]);
    expect(await room.count()).toEqual({ users: 1, connections: 1 });
  });

  test('updates that come shortly after one another are merged into one write', async () => {
    const { presence } = presenceOf({ url: server.url });
    const { told, room } = await watch(presence, 'merged');
    const me = await room.enter({ userId: 'ada', state: { x: 0, y: 0 } });
    const before = await commandCount([server], 'evalsha', 'eval');
    await Promise.all(Array.from({ length: 100 }, (_, x) => me.update({ x, y: -x })));
    await me.update({ z: 1, y: undefined });
    expect((await commandCount([server], 'evalsha', 'eval')) - before).toBeLessThanOrEqual(4);
    expect(me.state).toEqual({ x: 99, z: 1 });
    await eventually(() => expect(told.at(-1)).toBe('update ada state {"x":99,"z":1}'));
    expect(told.length).toBeLessThanOrEqual(4);
    expect((await room.members()).members[0]?.state).toEqual({ x: 99, z: 1 });
  });

  test('an update that changes nothing is told to nobody', async () => {
    const { presence } = presenceOf({ url: server.url }, { updateEvery: 0 });
    const { told, room } = await watch(presence, 'nothing');
    const me = await room.enter({ userId: 'ada', state: { x: 1 } });
    await me.update({ x: 1 });
    await me.update({ x: 2 });
    await eventually(() => expect(told).toEqual(['enter ada entered', 'update ada state {"x":2}']));
  });

  test('an update that leave() overtakes rejects, as it is never written', async () => {
    const { presence } = presenceOf({ url: server.url }, { updateEvery: '10s' });
    const room = presence.room('overtaken');
    const me = await room.enter({ userId: 'ada', state: { x: 0 } });
    await me.update({ x: 1 });
    const waiting = failureOf(me.update({ x: 2 }), 'CLOSED');
    await eventually(() => expect(me.state).toEqual({ x: 2 })); // From now on it waits for its time.
    expect(await me.leave({ debounce: '5s' })).toBe('away');
    await waiting;
    expect((await room.members()).members[0]?.state).toEqual({ x: 1 });
  });

  test('a state is checked with each update, in the order of the calls, also by a schema that takes its time', async () => {
    const { presence } = presenceOf({ url: server.url });
    const schema = z.object({ x: z.number() }).refine(async ({ x }) => {
      await systemClock.sleep(x === 1 ? 30 : 1);
      return x < 10;
    });
    const room = presence.room('checked', { schema });
    const me = await room.enter({ userId: 'ada', state: { x: 0 } });
    const first = me.update({ x: 1 });
    const refused = failureOf(me.update({ x: 10 }), 'INPUT_INVALID');
    const last = me.update({ x: 2 });
    await Promise.all([first, refused, last]);
    expect(me.state).toEqual({ x: 2 });
    await failureOf(room.enter({ userId: 'bob', state: { x: 11 } }), 'INPUT_INVALID');
    expect(await usersIn(room as never)).toBe('ada/1');
  });
});

describe('several connections of one user', () => {
  test('enter with the first and leave with the last', async () => {
    const [one, two, other] = [1, 2, 3].map(() => presenceOf({ url: server.url }, { debounce: 0 }).presence);
    const { told, room } = await watch(other!, 'tabs');
    const first = await one!.room('tabs').enter({ userId: 'ada', state: { tab: 1 } });
    const second = await two!.room('tabs').enter({ userId: 'ada', state: { tab: 2 } });
    expect(await room.count()).toEqual({ users: 1, connections: 2 });
    expect(await first.leave()).toBe('left');
    expect(await usersIn(room)).toBe('ada/1');
    expect(await second.leave()).toBe('left');
    const all = ['enter ada entered', 'update ada joined {"tab":2}', 'update ada parted', 'leave ada left'];
    await eventually(() => expect(told).toEqual(all));
    expect(await room.count()).toEqual({ users: 0, connections: 0 });
  });

  test('of two last ones that leave at the same moment exactly one is the last', async () => {
    const processes = [1, 2, 3, 4].map(() => presenceOf({ url: server.url }, { debounce: 0 }).presence);
    const { told } = await watch(processes[0]!, 'rush');
    for (let round = 0; round < 20; round++) {
      const all = await Promise.all(processes.map((presence) => presence.room('rush').enter({ userId: 'ada' })));
      await Promise.all(all.map((me) => me.leave()));
      await eventually(() => expect(told.filter((line) => line === 'leave ada left')).toHaveLength(round + 1));
    }
    expect(told.filter((line) => line === 'enter ada entered')).toHaveLength(20);
  });

  test('a connection that enters elsewhere is taken over: the earlier holder is told, and takes nothing away', async () => {
    const [old, now, other] = [1, 2, 3].map(() => presenceOf({ url: server.url }, { debounce: 0, ttl: 600 }).presence);
    const { told, room } = await watch(other!, 'over');
    const before = await old!.room('over').enter({ userId: 'ada', connectionId: 'socket-1', state: { x: 1 } });
    const after = await now!.room('over').enter({ userId: 'ada', connectionId: 'socket-1' });
    expect(after.state).toEqual({ x: 1 });
    await eventually(() => expect(before.status).toBe('replaced'));
    await failureOf(before.update({ x: 2 }), 'LEASE_LOST');
    expect(await before.leave()).toBe('gone');
    expect(await usersIn(room)).toBe('ada/1');
    await after.leave();
    await eventually(() => expect(told).toEqual(['enter ada entered', 'leave ada left']));
  });

  test('an update finds at once that another has the connection', async () => {
    const [old, now] = [1, 2].map(() => presenceOf({ url: server.url }).presence);
    const before = await old!.room('at-once').enter({ userId: 'ada', connectionId: 'c' });
    const after = await now!.room('at-once').enter({ userId: 'ada', connectionId: 'c', state: { x: 5 } });
    await failureOf(before.update({ x: 2 }), 'LEASE_LOST');
    expect(before.status).toBe('replaced');
    await after.update({ x: 6 });
    expect((await now!.room('at-once').members()).members[0]?.state).toEqual({ x: 6 });
  });
});

describe('a come-back within the debounce', () => {
  test('by the same connection is told to nobody, and finds its state again', async () => {
    const [mine, other] = [1, 2].map(() => presenceOf({ url: server.url }, { debounce: '5s' }).presence);
    const { told, room } = await watch(other!, 'back');
    const me = await mine!.room('back').enter({ userId: 'ada', connectionId: 'c1', state: { x: 1 } });
    const { seq } = await room.members();
    expect(await me.leave()).toBe('away');
    expect(await usersIn(room)).toBe('ada/1');
    const again = await mine!.room('back').enter({ userId: 'ada', connectionId: 'c1' });
    expect(again.state).toEqual({ x: 1 });
    expect((await room.members()).seq).toBe(seq);
    expect(told).toEqual(['enter ada entered']);
    await again.leave({ debounce: 0 });
    await eventually(() => expect(told).toEqual(['enter ada entered', 'leave ada left']));
  });

  test('by another connection swaps the two, and is told only where its state is another', async () => {
    const [mine, other] = [1, 2].map(() => presenceOf({ url: server.url }, { debounce: '5s' }).presence);
    const { told, room } = await watch(other!, 'swap');
    const at = mine!.room('swap');
    await (await at.enter({ userId: 'ada', connectionId: 'c1', state: { x: 1 } })).leave();
    await (await at.enter({ userId: 'ada', connectionId: 'c2' })).leave();
    const last = await at.enter({ userId: 'ada', connectionId: 'c3', state: { x: 3 } });
    await eventually(() => expect(told).toEqual(['enter ada entered', 'update ada resumed {"x":3}']));
    expect(room.view()?.members).toEqual([{ userId: 'ada', connectionId: 'c3', state: { x: 3 } }]);
    expect((await room.members()).members).toEqual(room.view()?.members);
    await last.leave({ debounce: 0 });
  });

  test('that does not come is a leave, told once, by whoever else is there', async () => {
    const [mine, ...others] = [1, 2, 3].map(
      () => presenceOf({ url: server.url }, { debounce: 300, sweep: 100, ttl: '20s' }).presence,
    );
    const watched = await Promise.all(others.map((presence) => watch(presence, 'late')));
    const me = await mine!.room('late').enter({ userId: 'ada' });
    const start = performance.now();
    await me.leave();
    await mine!.stop();
    for (const { told } of watched)
      await eventually(() => expect(told).toEqual(['enter ada entered', 'leave ada left']));
    expect(performance.now() - start).toBeGreaterThan(290);
    expect(performance.now() - start).toBeLessThan(1_500);
    await systemClock.sleep(300);
    for (const { told } of watched) expect(told).toHaveLength(2);
  });
});

describe('listening', () => {
  test('a listener that throws or rejects is logged, and keeps nobody else from hearing', async () => {
    const lines = collectLog();
    const { presence } = presenceOf({ url: server.url }, {}, lines.log);
    const room = presence.room('faulty');
    const heard: string[] = [];
    room.on('enter', () => JSON.parse('{') as void);
    room.on('enter', () => Promise.reject(new TypeError('later')));
    room.on('enter', ({ userId }) => void heard.push(userId));
    await room.ready();
    await room.enter({ userId: 'ada' });
    await eventually(() => expect(heard).toEqual(['ada']));
    await eventually(() => expect(lines.warnings()).toHaveLength(2));
    expect(lines.warnings()[0]).toMatchObject({ room: 'faulty', event: 'enter' });
  });

  test('ends with the last listener: the channel is let go of', async () => {
    const { presence } = presenceOf({ url: server.url });
    const { presence: other } = presenceOf({ url: server.url });
    const room = presence.room('heard');
    const heard: string[] = [];
    const offs = [1, 2].map(() => room.on('enter', ({ userId }) => void heard.push(userId)));
    await room.ready();
    const channels = (): Promise<unknown> =>
      server.ask((redis) => redis.pubsub('CHANNELS', 'millrace:presence:{heard}'));
    expect(await channels()).toHaveLength(1);
    offs[0]?.();
    await other.room('heard').enter({ userId: 'ada' });
    await eventually(() => expect(heard).toEqual(['ada']));
    offs[1]?.();
    offs[1]?.();
    expect(room.view()).toBeUndefined();
    await eventually(async () => expect(await channels()).toHaveLength(0));
    expect(presence.stats().watched).toBe(0);
    room.on('sync', () => void heard.push('synced'));
    await eventually(() => expect(heard).toEqual(['ada', 'synced']));
  });

  test('two rooms of one name share what they hear; the second is told who is here', async () => {
    const { presence } = presenceOf({ url: server.url }, { debounce: 0 });
    const first = await watch(presence, 'shared');
    const me = await first.room.enter({ userId: 'ada' });
    await eventually(() => expect(first.told).toEqual(['enter ada entered']));
    const second = await watch(presence, 'shared');
    await eventually(() => expect(second.syncs()).toBe(1));
    expect(viewOf(second.room)).toBe('ada/1');
    await me.leave();
    await eventually(() => expect(second.told).toEqual(['leave ada left']));
    await eventually(() => expect(first.told).toEqual(['enter ada entered', 'leave ada left']));
    expect(presence.stats().watched).toBe(1);
  });

  test('whoever listens for sync later is told once who is here, also by a room that is heard already', async () => {
    const { presence } = presenceOf({ url: server.url });
    const { room } = await watch(presence, 'late-sync');
    await room.enter({ userId: 'ada' });
    await eventually(() => expect(viewOf(room)).toBe('ada/1'));
    const synced: string[] = [];
    const listenTo = (heard: typeof room, name: string): (() => void) =>
      heard.on('sync', ({ members }) => void synced.push(`${name} ${members.map(({ userId }) => userId).join()}`));
    listenTo(room, 'same');
    const other = presence.room('late-sync');
    other.on('enter', () => undefined);
    listenTo(other, 'other');
    listenTo(room, 'ended')();
    await eventually(() => expect(synced).toEqual(['same ada', 'other ada']));
    await presence.room('late-sync').count(); // Whatever else would come has come by now.
    expect(synced).toHaveLength(2);
  });

  test('waiting for it ends with a signal', async () => {
    const { presence } = presenceOf({ url: 'redis://127.0.0.1:1' });
    const room = presence.room('never');
    room.on('enter', () => undefined);
    await expect(room.ready({ signal: AbortSignal.timeout(50) })).rejects.toThrow(/timeout/);
    await expect(room.ready({ signal: AbortSignal.abort(new TypeError('no')) })).rejects.toThrow('no');
  });
});

describe('stop()', () => {
  test('leaves all rooms, twice is fine, and nothing can be used after it', async () => {
    const { presence } = presenceOf({ url: server.url }, { debounce: 0 });
    const { told } = await watch(presenceOf({ url: server.url }).presence, 'stop');
    const room = presence.room('stop');
    const me = await room.enter({ userId: 'ada' });
    const entering = room.enter({ userId: 'bob' }).catch((error: unknown) => error);
    await Promise.all([presence.stop(), presence.stop()]);
    expect(me.status).toBe('left');
    expect(await entering).toMatchObject({ code: 'CLOSED' });
    await failureOf(room.enter({ userId: 'eve' }), 'CLOSED');
    await failureOf(me.update({ x: 1 }), 'CLOSED');
    expect(() => room.on('enter', () => undefined)).toThrow(/stopped/);
    await eventually(() => expect(told).toContain('leave ada left'));
    await eventually(async () => expect(await server.ask((redis) => redis.keys('*{stop}*'))).toEqual([]));
  });

  test('counts are in metrics and stats', async () => {
    const metrics = createMetrics();
    const { presence } = presenceOf({ url: server.url }, { debounce: 0, metrics, ttl: 300 });
    const { room } = await watch(presence, 'counted');
    const me = await room.enter({ userId: 'ada' });
    await me.update({ x: 1 });
    await eventually(() => expect(presence.stats()).toMatchObject({ connections: 1, rooms: 1, watched: 1, lapsed: 0 }));
    await eventually(() => expect(presence.stats().beats).toBeGreaterThan(1));
    await me.leave();
    await eventually(async () => expect(await metrics.render()).toContain('_changes_total{type="leave"} 1'));
    const text = await metrics.render();
    for (const line of [
      'millrace_presence_connections 0',
      'millrace_presence_watched_rooms 1',
      'millrace_presence_transitions_total{outcome="entered"} 1',
      'millrace_presence_transitions_total{outcome="left"} 1',
      'millrace_presence_changes_total{type="enter"} 1',
      'millrace_presence_changes_total{type="update"} 1',
      'millrace_presence_syncs_total{reason="opened"} 1',
      'millrace_presence_refused_messages_total 0',
    ])
      expect(text).toContain(line);
    expect(text).toMatch(/millrace_presence_beats_total\{outcome="ok"\} [1-9]/);
    expect(() => presenceOf({ url: server.url }, { metrics })).not.toThrow();
  });
});
