/** Sessions in both layouts, on each server and topology. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { RedisOptions } from '../../src/redis/address.ts';
import type { SessionsOptions } from '../../src/session/options.ts';
import type { Sessions } from '../../src/session/sessions.ts';
import { letIn, ownedSessions, reasonOf } from '../session/own-sessions.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { openAll, startForFile, type RunningTopology } from './topologies.ts';

const USERS = ['ada', 'user:1', 'a*b?[c]', '{tag}', 'Ærøskøbing 🦆', "o'hara\n", '..', 'x'.repeat(512)];

function suite(redis: () => RedisOptions, options: SessionsOptions): void {
  const sessionsOf = ownedSessions();
  const fresh = async (more: SessionsOptions = {}): Promise<Sessions> => {
    const { sessions, connections } = sessionsOf(redis(), { ...options, ...more });
    await openAll(connections.commands());
    return sessions;
  };

  test('a session of any user is begun, let in, listed and ended', async () => {
    const web = (await fresh()).realm('web');
    for (const userId of USERS) {
      const device = { ip: '192.0.2.1', userAgent: 'Firefox', name: 'laptop' };
      const { token, session } = await web.create(userId, { data: { cart: ['a'] }, device });
      expect(token).toMatch(/^v1\.[\w-]{22}\.[\w-]{22}\.[\w-]{44}$/);
      expect(session).toMatchObject({ userId, data: { cart: ['a'] }, device, level: 'password', version: 1 });
      expect(letIn(await web.validate(token))).toEqual({ session, token: undefined });
      expect(await web.list(userId)).toEqual([session]);
      expect(await web.revoke(session.id)).toBe(true);
      expect(await web.revoke(session.id)).toBe(false);
      expect(reasonOf(await web.validate(token))).toBe('revoked');
      expect(await web.count(userId)).toBe(0);
    }
  });

  test('users whose ids look alike, and realms, are kept apart', async () => {
    const sessions = await fresh();
    const [web, admin] = [sessions.realm('web-apart'), sessions.realm('admin-apart')];
    const tokens = await Promise.all(USERS.map(async (userId) => (await web.create(userId)).token));
    const { token: elsewhere } = await admin.create('*');
    expect(reasonOf(await web.validate(elsewhere))).toBe('unknown');
    expect(await web.revokeAll('*')).toBe(0);
    expect(await web.revokeAll('a*b?[c]')).toBe(1);
    for (const [at, token] of tokens.entries())
      expect((await web.validate(token)).ok, USERS[at]).toBe(USERS[at] !== 'a*b?[c]');
    expect((await admin.validate(elsewhere)).ok).toBe(true);
  });

  test('a session that is not used ends, leaves no trace, and what comes late brings nothing back', async () => {
    const { sessions, connections } = sessionsOf(redis(), options);
    const realm = sessions.realm('idle', { idle: 100, absolute: '1h' });
    const { token, session } = await realm.create('idler');
    await eventually(async () => expect(reasonOf(await realm.validate(token, { touch: false }))).toBe('expired'));
    expect(await realm.update(session.id, { late: true })).toEqual({ ok: false, reason: 'gone' });
    expect([await realm.list('idler'), await realm.count('idler')]).toEqual([[], 0]);
    expect(await realm.revoke(session.id)).toBe(false);
    const [tag] = session.id.split('.');
    const homes = [`millrace:session:{${tag}}:idle`, `millrace:session:{${tag}}:idle:ids`];
    const exist = async (): Promise<unknown> => Promise.all(homes.map((home) => connections.commands().exists(home)));
    await eventually(async () => expect(await exist()).toEqual([0, 0]));
  });

  test('use keeps a session alive, but not beyond its absolute age', async () => {
    const { sessions, connections } = sessionsOf(redis(), options);
    const client = connections.commands();
    const slides = sessions.realm('slides', { idle: '1h', absolute: '2h', touchEvery: 0 });
    const { token, session } = await slides.create('busy');
    const seen = await eventually(async () => {
      const { session: now } = letIn(await slides.validate(token));
      expect(now.idleExpiresAt).toBeGreaterThan(session.idleExpiresAt);
      return now;
    });
    const [tag = '', id = ''] = session.id.split('.');
    const home = `millrace:session:{${tag}}:slides`;
    const ends = async (): Promise<number> => {
      if (await client.exists(`${home}:ids:${id}`)) return client.pexpiretime(`${home}:ids:${id}`);
      return ((await client.call('HPEXPIRETIME', home, 'FIELDS', 1, id)) as [number])[0];
    };
    expect(await ends()).toBe(seen.idleExpiresAt);
    await slides.update(session.id, { changed: true });
    expect(await ends()).toBe(seen.idleExpiresAt);

    const capped = sessions.realm('capped', { idle: 400, absolute: 400, touchEvery: 0 });
    const short = await capped.create('busy');
    let answer = await capped.validate(short.token);
    for (; answer.ok; answer = await capped.validate(short.token))
      expect(answer.session.idleExpiresAt).toBe(short.session.expiresAt);
    // The server's clock may be known a moment late.
    await eventually(async () => expect(reasonOf(await capped.validate(short.token))).toBe('expired'));
  });

  test('requests that come at once with an old token are all let in, and told one successor', async () => {
    const [here, there] = [await fresh(), await fresh()].map((one) =>
      one.realm('rotating', { rotateEvery: 10, rotateGrace: 4 }),
    );
    const { token } = await here!.create('ada');
    const due = await eventually(async () => {
      const { token: next } = letIn(await here!.validate(token));
      expect(next).toBeTypeOf('string');
      return next;
    });
    const others = await Promise.all(
      Array.from({ length: 20 }, (_, at) => (at % 2 ? here! : there!).validate(token, { touch: at % 3 > 0 })),
    );
    expect(new Set(others.map((answer) => letIn(answer).token))).toEqual(new Set([due]));
    expect((await there!.validate(due ?? '')).ok).toBe(true);
  });

  test('a token that comes back after its grace ends the session for whoever has it', async () => {
    const rule = { rotateGrace: 0, rotateEvery: false } as const;
    const [here, there] = [await fresh(), await fresh()].map((one) => one.realm('reuse', rule));
    const heard: string[] = [];
    there!.on('reused', ({ sessionId, isLocal }) => void heard.push(`${sessionId} ${isLocal}`));
    await there!.ready();
    const { token: first, session } = await here!.create('ada');
    const second = letIn(await here!.rotate(first)).token ?? '';
    const third = letIn(await here!.rotate(second)).token ?? '';
    expect(new Set([first, second, third]).size).toBe(3);
    expect((await here!.validate(third)).ok).toBe(true);
    expect(await here!.validate(first)).toEqual({ ok: false, reason: 'reused' });
    expect(await here!.validate(third)).toEqual({ ok: false, reason: 'revoked' });
    await eventually(() => expect(heard).toEqual([`${session.id} false`]));
    expect(await there!.validate(third)).toEqual({ ok: false, reason: 'revoked' });
    expect(await here!.count('ada')).toBe(0);
  });

  test('an answer that was lost logs nobody out, whatever the grace; and who comes beside a successor that was used is found', async () => {
    const realm = (await fresh()).realm('lost', { rotateGrace: 0, rotateEvery: false });
    const { token: first } = await realm.create('ada');
    const second = letIn(await realm.rotate(first)).token ?? '';
    for (const again of [realm.validate(first), realm.rotate(first)]) expect(letIn(await again).token).toBe(second);
    const third = letIn(await realm.elevate(first, 'second-factor')).token ?? ''; // As if it had come with the second.
    expect(letIn(await realm.validate(second))).toMatchObject({ session: { level: 'password' }, token: undefined });
    expect(reasonOf(await realm.rotate(second))).toBe('revoked');
    expect(letIn(await realm.elevate(second, 'second-factor'))).toMatchObject({
      session: { level: 'second-factor' },
      token: third,
    });
    expect(letIn(await realm.validate(third, { touch: false })).session.level).toBe('second-factor');
    expect(reasonOf(await realm.validate(second))).toBe('reused');
    expect(reasonOf(await realm.validate(third))).toBe('revoked');
  });

  test('a token that Redis does not know yet ends nothing, as after a failover that has lost a rotation', async () => {
    const { sessions, connections } = sessionsOf(redis(), options);
    const client = connections.commands();
    const realm = sessions.realm('forgot', { rotateGrace: 0, rotateEvery: false });
    const { token, session } = await realm.create('ada');
    const [tag = '', id = ''] = session.id.split('.');
    const home = `millrace:session:{${tag}}:forgot`;
    const own = `${home}:ids:${id}`;
    const before = (await client.exists(own)) ? await client.get(own) : await client.hget(home, id);
    const lost = letIn(await realm.rotate(token)).token ?? '';
    await realm.validate(lost);
    if (await client.exists(own)) await client.set(own, before ?? '', 'KEEPTTL');
    else await client.call('HSETEX', home, 'KEEPTTL', 'FIELDS', 1, id, before ?? '');
    expect(reasonOf(await realm.validate(lost))).toBe('unknown');
    const other = letIn(await realm.rotate(token)).token ?? '';
    expect(reasonOf(await realm.validate(lost))).toBe('unknown');
    expect((await realm.validate(other)).ok).toBe(true);
  });

  test('a rule that lets sessions live shorter is that of those that are there, too', async () => {
    const rules = [{ idle: 400 }, { idle: 300, absolute: 400 }] as const;
    for (const [at, rule] of rules.entries()) {
      const [before, now] = [await fresh(), await fresh()].map((one) => one.realm(`shorter-${at}`));
      const { token, session } = await before!.create('ada', { data: { n: 1 } });
      expect((await now!.validate(token)).ok).toBe(true);
      const shorter = (await fresh()).realm(`shorter-${at}`, rule);
      const seen = letIn(await shorter.validate(token, { touch: false })).session;
      expect(seen.idleExpiresAt - session.createdAt).toBe(rule.idle);
      await eventually(async () => expect((await shorter.validate(token, { touch: false })).ok).toBe(false));
      expect([await shorter.list('ada'), await shorter.count('ada')]).toEqual([[], 0]);
      expect(await shorter.update(session.id, {})).toEqual({ ok: false, reason: 'gone' });
      expect((await before!.validate(token)).ok).toBe(true);
    }
  });

  test('a login at the same time as the end of all sessions is ended or stays, and can be ended', async () => {
    const [here, there] = [await fresh(), await fresh()].map((one) => one.realm('all-race', { maxPerUser: 4 }));
    for (let round = 0; round < 10; round++) {
      const logins = Array.from({ length: 6 }, () => here!.create('ada'));
      const [made] = await Promise.all([Promise.all(logins), there!.revokeAll('ada')]);
      const listed = (await here!.list('ada')).map(({ id }) => id);
      for (const { token, session } of made) expect((await here!.validate(token)).ok).toBe(listed.includes(session.id));
      expect(await there!.revokeAll('ada')).toBe(listed.length);
      for (const { token } of made) expect((await there!.validate(token)).ok).toBe(false);
    }
  });

  test('a higher level takes another token, and the one before it never comes to that level', async () => {
    const realm = (await fresh()).realm('levels', { levels: ['anonymous', 'password', 'second-factor'] });
    const { token, session } = await realm.create('ada', { level: 'password' });
    const raised = letIn(await realm.elevate(token, 'second-factor'));
    expect(raised.session).toMatchObject({ id: session.id, level: 'second-factor' });
    expect(letIn(await realm.validate(token))).toMatchObject({ session: { level: 'password' }, token: undefined });
    expect(reasonOf(await realm.rotate(token))).toBe('revoked');
    expect(letIn(await realm.elevate(token, 'second-factor'))).toMatchObject({ token: raised.token });
    const now = letIn(await realm.validate(raised.token ?? '')).session;
    expect(realm.reaches(now, 'password')).toBe(true);
    expect(realm.reaches(session, 'second-factor')).toBe(false);
    expect(letIn(await realm.elevate(raised.token ?? '', 'anonymous')).session.level).toBe('second-factor');
  });

  test('changes of data lose none of each other, and one of an old version is refused', async () => {
    const realm = (await fresh()).realm('data');
    const { session, token } = await realm.create('ada', { data: { kept: 1, gone: 1 } });
    await Promise.all(Array.from({ length: 12 }, (_, at) => realm.update(session.id, { [`k${at}`]: at })));
    const { session: after } = letIn(await realm.validate(token));
    expect(after.version).toBe(13);
    expect(Object.keys(after.data)).toHaveLength(14);
    expect(await realm.update(session.id, { kept: 2 }, { ifVersion: 1 })).toEqual({
      ok: false,
      reason: 'version',
      version: 13,
    });
    const updated = await realm.update(session.id, { kept: 3, gone: undefined }, { ifVersion: 13 });
    expect(updated).toMatchObject({ ok: true, session: { version: 14, data: { kept: 3 } } });
    expect(updated.ok && 'gone' in updated.session.data).toBe(false);
  });

  test('one session too many ends the one that was idle longest', async () => {
    const realm = (await fresh()).realm('most', { maxPerUser: 3, touchEvery: 0 });
    const evicted: string[] = [];
    realm.on('evicted', ({ sessionId }) => void evicted.push(sessionId));
    const all = [await realm.create('ada'), await realm.create('ada'), await realm.create('ada')];
    const first = all[0]!.session;
    await eventually(async () => {
      const { session } = letIn(await realm.validate(all[0]!.token));
      expect(session.lastSeenAt).toBeGreaterThan(all[2]!.session.lastSeenAt);
    });
    await realm.create('ada');
    const ids = (await realm.list('ada')).map(({ id }) => id);
    expect(ids).toHaveLength(3);
    expect(ids).toContain(first.id);
    expect(evicted).toHaveLength(1);
    expect([all[1]!.session.id, all[2]!.session.id]).toContain(evicted[0]);
    await Promise.all(Array.from({ length: 20 }, () => realm.create('ada')));
    expect(await realm.count('ada')).toBe(3);
  });

  test('a session that takes the place of another ends that one, and makes no other device sign in', async () => {
    const realm = (await fresh()).realm('replaces', { maxPerUser: 2 });
    const told: string[] = [];
    realm.on('revoked', ({ sessionId }) => void told.push(`revoked ${sessionId}`));
    realm.on('evicted', ({ sessionId }) => void told.push(`evicted ${sessionId}`));
    const [phone, laptop] = [await realm.create('ada'), await realm.create('ada')];
    const again = await realm.create('ada', { replaces: laptop.session.id });
    const ids = (await realm.list('ada')).map(({ id }) => id).toSorted();
    expect(ids).toEqual([phone.session.id, again.session.id].toSorted());
    await realm.create('bob', { replaces: again.session.id }); // Another user on the same laptop.
    expect((await realm.list('ada')).map(({ id }) => id)).toEqual([phone.session.id]);
    await realm.create('ada', { replaces: again.session.id }); // It has ended already.
    await realm.create('ada', { replaces: again.session.id });
    expect(told).toEqual([
      `revoked ${laptop.session.id}`,
      `revoked ${again.session.id}`,
      `evicted ${phone.session.id}`,
    ]);
    expect(await realm.count('ada')).toBe(2);
  });

  test('all sessions of a user end at once, but the one that stays; every process hears of each once', async () => {
    const [here, there] = [await fresh(), await fresh()].map((one) => one.realm('all'));
    const heard = { here: [] as string[], there: [] as string[] };
    here!.on('revoked', ({ sessionId }) => void heard.here.push(sessionId));
    there!.on('revoked', ({ sessionId }) => void heard.there.push(sessionId));
    await Promise.all([here!.ready(), there!.ready()]);
    const made = await Promise.all(Array.from({ length: 5 }, () => here!.create('ada')));
    const other = await here!.create('bob');
    const [stays, ...others] = made.map(({ session }) => session.id).toSorted();
    expect(await here!.revokeAll('ada', { except: stays })).toBe(4);
    await eventually(() => expect(heard.there.toSorted()).toEqual(others));
    await here!.revoke(other.session.id);
    await eventually(() => expect(heard.there).toContain(other.session.id));
    expect(heard.here.toSorted()).toEqual([...others, other.session.id].toSorted());
    expect((await here!.list('ada')).map(({ id }) => id)).toEqual([stays]);
    expect(await there!.revokeAll('ada')).toBe(1);
    expect(await there!.revokeAll('ada')).toBe(0);
  });
}

function idOf(node: TestServer): Promise<string> {
  return node.ask((redis) => redis.call('CLUSTER', 'MYID') as Promise<string>);
}

/** A Cluster moves the slot while calls are made: the index is at its new place, the sessions are not. */
function moves(running: () => RunningTopology): void {
  const sessionsOf = ownedSessions();

  test('while a slot moves calls wait, and none is half done', async () => {
    const { sessions } = sessionsOf(running().redis, { layout: 'keys' });
    const realm = sessions.realm('moves', { maxPerUser: 3 });
    const made = [await realm.create('ada'), await realm.create('ada'), await realm.create('ada')];
    const [tag = ''] = made[0]!.session.id.split('.');
    const home = `millrace:session:{${tag}}:moves:ids`;
    const from = await running().masterOf(home);
    const slot = await from.ask((redis) => redis.cluster('KEYSLOT', home));
    const masters = [
      ...new Set(await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((key) => running().masterOf(key)))),
    ];
    const to = masters.find((master) => master !== from)!;
    const [fromId, toId] = [await idOf(from), await idOf(to)];
    const move = (key: string) => from.ask((redis) => redis.call('MIGRATE', '127.0.0.1', to.port, key, 0, 5_000));
    await to.ask((redis) => redis.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId));
    await from.ask((redis) => redis.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId));
    await move(home);
    const calls = Promise.all([
      realm.create('ada'),
      realm.rotate(made[2]!.token),
      realm.update(made[2]!.session.id, { a: 1 }),
      realm.list('ada'),
      realm.revoke(made[2]!.session.id),
      realm.revokeAll('ada'),
    ]);
    for (const { session } of made) await move(`${home}:${session.id.split('.')[1]}`);
    for (const node of [to, from]) await node.ask((redis) => redis.call('CLUSTER', 'SETSLOT', slot, 'NODE', toId));
    const [late] = await calls;
    const isThere = (await realm.validate(late.token)).ok;
    for (const { token } of made) expect((await realm.validate(token)).ok).toBe(false);
    expect(await realm.revokeAll('ada')).toBe(isThere ? 1 : 0);
    expect(await realm.count('ada')).toBe(0);
  });
}

describe.each(['standalone', 'cluster'] as const)('on %s', (topology) => {
  const running = startForFile(topology);
  describe.each(['fields', 'keys'] as const)('as %s', (layout) => {
    suite(() => running().redis, { layout });
  });

  if (topology === 'cluster') moves(running);
});

const others = (['valkey', 'newest'] as const).flatMap((which) => {
  const binary = inject('servers')[which];
  return typeof binary === 'string' ? [] : [{ which, binary }]; // Why it is not here was told at the start of the run.
});

describe.each(others)('on $which, as it chooses', ({ which, binary }) => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis({ binary });
  });
  afterAll(() => server.stop());
  suite(() => ({ url: server.url }), {});

  test('the layout is what the server can do', async () => {
    const keys = await server.ask((redis) => redis.call('KEYS', '*:ids*') as Promise<string[]>);
    expect(keys.length > 0).toBe(which === 'valkey');
  });
});
