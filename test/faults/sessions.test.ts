/** Sessions while requests race, servers freeze and restart, and millions of others are there. */
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { startForFile } from '../contract/topologies.ts';
import { letIn, ownedSessions, reasonOf } from '../session/own-sessions.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';

const IS_LONG = process.env['FAULTS'] === 'long';
const INTERLEAVINGS = IS_LONG ? 10_000 : 150;
const OTHERS = IS_LONG ? 1_000_000 : 2_000;
/** Begun at once. */
const CHUNK = 1_000;

const running = startForFile('standalone');
const sessionsOf = ownedSessions();

describe.each(['fields', 'keys'] as const)('as %s', (layout) => {
  test(
    'no write that was under way brings a session back after its logout',
    { timeout: IS_LONG ? 600_000 : 30_000 },
    async () => {
      const name = `race-${layout}`;
      const rule = { touchEvery: 0, rotateEvery: 10, rotateGrace: 4, maxPerUser: 1_000 } as const;
      const [here, there] = [0, 1].map(() => sessionsOf(running().redis, { layout }).sessions.realm(name, rule));
      const keys = async (): Promise<number> =>
        (await running().servers[0]!.ask((redis) => redis.call('KEYS', `*:${name}*`) as Promise<string[]>)).length;
      for (let round = 0; round < INTERLEAVINGS; round++) {
        const { token, session } = await here!.create(`user-${round % 7}`);
        const logout = (): Promise<unknown> =>
          round % 3 === 0 ? there!.revokeAll(session.userId) : there!.revoke(session.id);
        // Each of them reads first and writes then; the logout comes in between at any point.
        const writes: Array<() => Promise<unknown>> = [
          () => here!.update(session.id, { round }),
          () => here!.validate(token, { device: { ip: `192.0.2.${round % 250}` } }),
          () => here!.rotate(token),
          () => here!.elevate(token, 'second-factor'),
          logout,
        ];
        const turns = round % writes.length;
        const calls = [...writes.slice(turns), ...writes.slice(0, turns)].map((write) => write());
        await Promise.all(calls);
        await Promise.all([here!.update(session.id, { late: true }), there!.validate(token)]);
        expect(reasonOf(await here!.validate(token))).not.toBe('ok');
        expect(await there!.count(session.userId)).toBe(0);
      }
      expect(await keys()).toBe(0);
    },
  );

  test('a server that stands still lets nobody in, and says so in time', async () => {
    const [server] = running().servers;
    const { sessions } = sessionsOf(running().redis, { layout, deadline: 300 });
    const realm = sessions.realm(`frozen-${layout}`);
    const { token, session } = await eventually(() => realm.create('ada'));
    server?.freeze();
    try {
      const calls = [
        () => realm.validate(token),
        () => realm.create('ada'),
        () => realm.rotate(token),
        () => realm.update(session.id, {}),
        () => realm.revoke(session.id),
        () => realm.list('ada'),
      ];
      const { ms } = await timed(Promise.all(calls.map((call) => failureOf(call(), 'REDIS_TIMEOUT'))));
      expect(ms).toBeLessThan(5_000);
    } finally {
      server?.thaw();
    }
    // What had no answer was done when the server went on: the logout, too.
    await eventually(async () => expect(reasonOf(await realm.validate(token))).not.toBe('ok'));
  });

  test('a restart keeps sessions, and what has ended', async () => {
    const [server] = running().servers;
    const { sessions } = sessionsOf(running().redis, { layout });
    const realm = sessions.realm(`restart-${layout}`, { rotateGrace: 0 });
    const [stays, ends] = [await realm.create('ada'), await realm.create('ada')];
    const rotated = letIn(await realm.rotate(stays.token)).token ?? '';
    await realm.validate(rotated);
    await realm.revoke(ends.session.id);
    await server?.restart();
    await eventually(async () => expect(letIn(await realm.validate(rotated)).session.id).toBe(stays.session.id));
    const other = sessionsOf(running().redis, { layout }).sessions.realm(`restart-${layout}`, { rotateGrace: 0 });
    expect(reasonOf(await other.validate(ends.token))).toBe('unknown');
    expect(reasonOf(await other.validate(stays.token))).toBe('reused');
  });
});

// Last, because a restart would load the millions.
describe.each(['fields', 'keys'] as const)('among many, as %s', (layout) => {
  test(
    'the end of all sessions of one user touches nothing else, however many there are',
    { timeout: IS_LONG ? 1_200_000 : 30_000 },
    async () => {
      const { sessions, connections } = sessionsOf(running().redis, { layout, deadline: '60s' });
      const realm = sessions.realm(`many-${layout}`);
      for (let from = 0; from < OTHERS; from += CHUNK)
        await Promise.all(Array.from({ length: CHUNK }, (_, at) => realm.create(`other-${(from + at) >> 1}`)));
      const mine = await Promise.all(Array.from({ length: 10 }, () => realm.create('ada')));
      const client = connections.commands();
      const before = await client.dbsize();
      const { servers } = running();
      const counted = ['scan', 'keys', 'unlink', 'hdel', 'hkeys', 'zrange', 'get', 'hget'] as const;
      const asked = async (): Promise<number> => commandCount(servers, ...counted);
      const start = await asked();
      expect(await realm.revokeAll('ada')).toBe(10);
      // One script; in the layout of keys it takes each of the ten.
      expect((await asked()) - start).toBe(layout === 'fields' ? 2 : 12);
      expect(await client.dbsize()).toBe(before - (layout === 'fields' ? 1 : 11));
      for (const { token } of mine) expect(reasonOf(await realm.validate(token))).toBe('revoked');
      for (let at = 0; at < 20; at++) expect(await realm.count(`other-${Math.floor((at * OTHERS) / 2 / 20)}`)).toBe(2);
    },
  );
});

test('a server that was never there is told of within the deadline', async () => {
  const { sessions } = sessionsOf({ url: 'redis://127.0.0.1:1' }, { deadline: 300 });
  const started = systemClock.monotonicMs();
  const token = `v1.${'a'.repeat(22)}.${'b'.repeat(22)}.${'c'.repeat(44)}`;
  const answer = sessions.realm('web').validate(token);
  const error: unknown = await answer.catch((failure: unknown) => failure);
  expect(error).toMatchObject({ name: 'MillraceError', code: expect.stringMatching(/^REDIS_/) as unknown });
  expect(JSON.stringify(error)).not.toContain('ccc');
  expect(systemClock.monotonicMs() - started).toBeLessThan(10_000);
});
