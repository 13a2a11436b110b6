/** Presence on each topology. */
import { describe, expect, test } from 'vitest';
import type { PresenceOptions } from '../../src/pubsub/presence/options.ts';
import type { Topology } from '../../src/redis/address.ts';
import { ownedPresence, usersIn, viewOf, watch, type OwnedPresence } from '../pubsub/presence/own-presence.ts';
import { eventually } from '../support/eventually.ts';
import { openAll, startForFile } from './topologies.ts';

describe.each<Topology>(['standalone', 'sentinel', 'cluster'])('on %s', (topology) => {
  const topologyOf = startForFile(topology);
  const presenceOf = ownedPresence();
  const fresh = async (options: PresenceOptions = {}): Promise<OwnedPresence> => {
    const owned = presenceOf({ ...topologyOf().redis, commandTimeout: 2_000 }, { debounce: 0, sweep: 200, ...options });
    await openAll(owned.connections.commands());
    return owned;
  };

  test('enter, update and leave are told once to every process, in rooms of every node', async () => {
    const [mine, ...others] = [await fresh(), await fresh(), await fresh()].map(({ presence }) => presence);
    for (const name of ['doc:1', 'doc:2', 'doc:3', 'doc:4', 'doc {5}']) {
      const watched = await Promise.all(others.map((presence) => watch(presence, name)));
      const me = await mine!.room(name).enter({ userId: 'ada', state: { x: 1 } });
      const tab = await mine!.room(name).enter({ userId: 'ada' });
      await me.update({ x: 2 });
      expect(await usersIn(mine!.room(name))).toBe('ada/2');
      expect((await others[0]!.whereIs('ada')).rooms).toEqual([name]);
      expect([await tab.leave(), await me.leave()]).toEqual(['left', 'left']);
      const all = [
        'enter ada entered',
        'update ada joined {}',
        'update ada state {"x":2}',
        'update ada parted',
        'leave ada left',
      ];
      for (const { told, seqs, room } of watched) {
        await eventually(() => expect(told).toEqual(all));
        expect(new Set(seqs).size).toBe(all.length);
        expect(viewOf(room)).toBe('');
      }
    }
  });

  test('a user who comes back within the debounce was never gone; one who does not has left once', async () => {
    const [mine, ...others] = [await fresh(), await fresh(), await fresh()].map(({ presence }) => presence);
    const watched = await Promise.all(others.map((presence) => watch(presence, 'debounce')));
    const room = mine!.room('debounce', { debounce: '400ms' });
    expect(await (await room.enter({ userId: 'ada' })).leave()).toBe('away');
    const again = await room.enter({ userId: 'ada' });
    for (const { told } of watched) await eventually(() => expect(told).toEqual(['enter ada entered']));
    expect(await again.leave()).toBe('away');
    await mine!.stop();
    for (const { told } of watched)
      await eventually(() => expect(told).toEqual(['enter ada entered', 'leave ada left']));
  });

  test('several processes do not go over the most of a room together', async () => {
    const processes = await Promise.all([1, 2, 3].map(() => fresh({ maxMembers: 10 })));
    const enters = processes.flatMap(({ presence }, process) =>
      Array.from({ length: 8 }, (_, user) => presence.room('few').enter({ userId: `user-${process}-${user}` })),
    );
    const outcomes = await Promise.allSettled(enters);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.map(({ reason }) => (reason as { code: string }).code)).toEqual(Array(14).fill('ROOM_FULL'));
    expect(await processes[0]!.presence.room('few').count()).toEqual({ users: 10, connections: 10 });
  });

  test('the users of a process that is gone leave once, though several look', async () => {
    const processes = [await fresh({ ttl: 900 }), await fresh({ ttl: 900 }), await fresh({ ttl: 900 })];
    const watched = await Promise.all(processes.map(({ presence }) => watch(presence, 'gone')));
    for (const { presence } of processes) await presence.room('gone').enter({ userId: 'stays' });
    const doomed = await fresh({ ttl: 900 });
    await Promise.all(['ada', 'bob'].map((userId) => doomed.presence.room('gone').enter({ userId })));
    for (const { room } of watched) await eventually(() => expect(viewOf(room)).toBe('ada/1 bob/1 stays/3'));
    await doomed.connections.close();
    for (const { room, told } of watched) {
      await eventually(() => expect(viewOf(room)).toBe('stays/3'));
      const leaves = told.filter((line) => line.startsWith('leave')).toSorted();
      expect(leaves).toEqual(['leave ada lapsed', 'leave bob lapsed']);
    }
  });

  test(
    'a failover changes nothing for whoever lives, and what comes after it is told',
    { timeout: 90_000 },
    async () => {
      const processes = [await fresh({ ttl: '2s' }), await fresh({ ttl: '2s' })];
      const watched = await Promise.all(processes.map(({ presence }) => watch(presence, 'failover')));
      for (const [at, { room }] of watched.entries()) await room.enter({ userId: `user-${at}`, state: { at } });
      for (const { room } of watched) await eventually(() => expect(viewOf(room)).toBe('user-0/1 user-1/1'));
      await topologyOf().failOver('millrace:presence:{failover}');
      // Whoever was told that one has left, because the failover took longer than a lease, is told that he is back.
      const newcomer = await eventually(() => watched[0]!.room.enter({ userId: 'new' }), 30_000);
      const all = 'new/1 user-0/1 user-1/1';
      for (const { room } of watched) await eventually(() => expect(viewOf(room)).toBe(all), 30_000);
      await eventually(async () => expect(await usersIn(watched[1]!.room)).toBe(all), 20_000);
      await eventually(() => newcomer.leave());
      for (const { room } of watched) await eventually(() => expect(viewOf(room)).toBe('user-0/1 user-1/1'), 20_000);
      for (const { told } of watched) {
        const turns = told.filter((line) => /^(?:enter|leave) user-1 /.test(line)).map((line) => line.slice(0, 5));
        expect(turns.join(' ')).toMatch(/^enter( leave enter)*$/);
      }
    },
  );
});
