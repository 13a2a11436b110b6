/** The rules of a realm: data and its schema, encryption, peppers, options, events. */
import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { RealmOptions } from '../../src/session/options.ts';
import type { Realm } from '../../src/session/realm.ts';
import { createSessions } from '../../src/session/sessions.ts';
import { ownedByTest } from '../support/owned.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { letIn, ownedSessions, reasonOf } from './own-sessions.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const sessionsOf = ownedSessions();
const own = ownedByTest();
const fresh = (options = {}) => sessionsOf({ url: server.url }, options);

describe('data', () => {
  test('is checked when it is written, and read with the defaults of its schema', async () => {
    const data = z.object({ theme: z.string().default('light'), visits: z.number().optional() });
    const realm = fresh().sessions.realm('data', { data, maxDataBytes: 100 });
    const { session, token } = await realm.create('ada', { data: { visits: 1 } });
    expect(session.data).toEqual({ theme: 'light', visits: 1 });
    const { session: again } = letIn(await realm.validate(token));
    expect(again.data).toEqual({ theme: 'light', visits: 1 });
    await failureOf(realm.update(session.id, { visits: 'two' as never }), 'INPUT_INVALID');
    await failureOf(realm.update(session.id, { theme: 'x'.repeat(101) }), 'PAYLOAD_TOO_LARGE');
    await failureOf(realm.create('ada', { data: 7 as never }), 'INPUT_INVALID');
    for (const patch of ['text', null, [1]]) await failureOf(realm.update(session.id, patch as never), 'INPUT_INVALID');
    expect(letIn(await realm.validate(token)).session).toEqual(again);
  });

  test('a schema may answer with a promise', async () => {
    const data = z.object({ n: z.number() }).refine(async ({ n }) => n > 0);
    const realm = fresh().sessions.realm('promised', { data });
    const { token } = await realm.create('ada', { data: { n: 1 } });
    expect(letIn(await realm.validate(token)).session.data).toEqual({ n: 1 });
    await failureOf(realm.create('ada', { data: { n: 0 } }), 'INPUT_INVALID');
  });

  test('that the schema does not know any more makes a session as good as gone, which is told', async () => {
    const { token } = await fresh()
      .sessions.realm('changed')
      .create('ada', { data: { theme: 'dark' } });
    const { log, warnings } = collectLog();
    const realm = fresh({ log }).sessions.realm('changed', { data: z.object({ name: z.string() }) });
    expect(reasonOf(await realm.validate(token))).toBe('unknown');
    expect(await realm.list('ada')).toEqual([]);
    expect(warnings()).toHaveLength(1);
    expect(await realm.revokeAll('ada')).toBe(1);
  });

  test('a device is kept when a use is written down, and cut where it is too long', async () => {
    const realm = fresh().sessions.realm('device', { touchEvery: 0 });
    const { token, session } = await realm.create('ada', { device: { ip: '192.0.2.1' } });
    const device = { ip: '192.0.2.2', userAgent: 'x'.repeat(10_000) };
    await realm.validate(token, { device, touch: false });
    expect((await realm.list('ada'))[0]?.device).toEqual(session.device);
    await realm.validate(token, { device });
    await eventually(async () => {
      const { session: seen } = letIn(await realm.validate(token, { device }));
      expect(seen.device).toEqual({ ip: '192.0.2.2', userAgent: 'x'.repeat(256) });
    });
  });
});

/** A new key. */
function key(id: string): { id: string; key: Buffer } {
  return { id, key: randomBytes(32) };
}

/** What stands in Redis of the realm `sealed`. */
function kept(): Promise<string> {
  return server.ask(async (redis) => {
    const keys = (await redis.call('KEYS', '*}:sealed')) as string[];
    return JSON.stringify(await Promise.all(keys.map((name) => redis.hgetall(name))));
  });
}

function realmWith(encryptWith: NonNullable<RealmOptions['encryptWith']>): Realm {
  return fresh().sessions.realm('sealed', { encryptWith });
}

/** Where a session of the realm `sealed-swap` is. */
function place({ id }: { id: string }): [home: string, field: string] {
  const [tag = '', field = ''] = id.split('.');
  return [`millrace:session:{${tag}}:sealed-swap`, field];
}

describe('at rest', () => {
  test('users, devices and data are encrypted; a new key reads what an old one wrote; a foreign one reads nothing', async () => {
    const [old, young] = [key('old'), key('young')];
    const before = realmWith([old]);
    const { token, session } = await before.create('ada@example.org', {
      data: { pin: 'a secret' },
      device: { ip: '192.0.2.7' },
    });
    expect(await kept()).toContain('old');
    expect(await kept()).not.toMatch(/ada|secret|192\.0/);
    const now = realmWith([young, { ...old, key: old.key.toString('base64') }]);
    expect(letIn(await now.validate(token)).session).toEqual(session);
    await now.update(session.id, { pin: 'another' });
    expect(await kept()).toContain('young');
    expect(reasonOf(await before.validate(token))).toBe('unknown');
    expect(reasonOf(await realmWith([key('young')]).validate(token))).toBe('unknown');
  });

  test('one session cannot be given the data of another', async () => {
    const realm = fresh().sessions.realm('sealed-swap', { encryptWith: [key('k')] });
    const [ada, eve] = [await realm.create('ada', { data: { isAdmin: true } }), await realm.create('eve')];
    await server.ask(async (redis) => {
      const sealedOf = async (at: [string, string]) =>
        (JSON.parse((await redis.hget(...at)) ?? '') as unknown[]).slice(14);
      const value = JSON.parse((await redis.hget(...place(eve.session))) ?? '') as unknown[];
      const swapped = JSON.stringify([...value.slice(0, 14), ...(await sealedOf(place(ada.session)))]);
      await redis.hset(...place(eve.session), swapped);
    });
    expect(reasonOf(await realm.validate(eve.token))).toBe('unknown');
    expect(letIn(await realm.validate(ada.token)).session.data).toEqual({ isAdmin: true });
  });

  test('where there are keys, what nobody has sealed is not read', async () => {
    const realm = fresh({ secret: 'a pepper of an app' }).sessions.realm('sealed-swap', { encryptWith: [key('k')] });
    const { token, session } = await realm.create('eve');
    await server.ask(async (redis) => {
      const value = JSON.parse((await redis.hget(...place(session))) ?? '') as unknown[];
      await redis.hset(...place(session), JSON.stringify([...value.slice(0, 14), 'ada', {}, { isAdmin: true }]));
    });
    expect(reasonOf(await realm.validate(token))).toBe('unknown');
    expect(await realm.list('eve')).toEqual([]);
  });

  test('a pepper is replaced without logging anybody out', async () => {
    const [old, young] = ['the pepper of last year', 'the pepper of this year'];
    const { token, session } = await fresh({ secret: old }).sessions.realm('pepper').create('ada');
    const realm = fresh().sessions.realm('pepper', { secret: [young, old] });
    const later = await realm.create('ada');
    expect(later.session.id.split('.')[0]).not.toBe(session.id.split('.')[0]);
    const rotated = letIn(await realm.rotate(token)).token ?? '';
    expect((await realm.validate(rotated)).ok).toBe(true);
    expect((await realm.list('ada')).map(({ id }) => id).toSorted()).toEqual([session.id, later.session.id].toSorted());
    expect(await realm.count('ada')).toBe(2);
    expect(reasonOf(await fresh({ secret: young }).sessions.realm('pepper').validate(rotated))).toBe('unknown');
    expect(await realm.revokeAll('ada', { except: later.session.id })).toBe(1);
    expect(await realm.revokeAll('ada')).toBe(1);
  });
});

describe('options', () => {
  test('are checked with all their faults, and no secret is shown', async () => {
    const { sessions } = fresh();
    const bad = { idle: '5 minutes', rotateEvry: 1, maxPerUser: 0, touchEvery: 2, levels: [], secret: 'short-secret' };
    const error = await failureOf(
      Promise.resolve().then(() => sessions.realm('bad', bad as never)),
      'OPTIONS_INVALID',
    );
    for (const part of ['idle', 'did you mean rotateEvery', 'maxPerUser', 'touchEvery', 'levels', 'secret'])
      expect(error.message).toContain(part);
    expect(JSON.stringify(error)).not.toContain('short-secret');
    const short = { id: 'k', key: 'c2hvcnQta2V5' };
    const faults: Array<[string, unknown]> = [
      ['absolute', { idle: '2h', absolute: '1h' }],
      ['encryptWith', { encryptWith: [short] }],
      ['encryptWith', { encryptWith: [{ id: 'k', key: `${'A'.repeat(42)}!${short.key}` }] }],
      ['data', { data: {} }],
      ['levels', { levels: ['a', 'a'] }],
      ['secret', { secret: ['the same pepper twice', 'the same pepper twice'] }],
      ['less than half of rotateEvery', { rotateEvery: '1m', rotateGrace: '30s', secret: `a pepper ${short.key}` }],
      ['at most 16 MiB', { maxPerUser: 1_000, maxDataBytes: 1_000_000, secret: `a pepper ${short.key}` }],
      ['at least idle', { idle: '2h', absolute: '1h', secret: `a pepper ${short.key}` }],
    ];
    for (const [part, options] of faults) {
      const fault = await failureOf(
        Promise.resolve().then(() => sessions.realm('bad', options as never)),
        'OPTIONS_INVALID',
      );
      expect(fault.message).toContain(part);
      expect(fault.message).not.toContain(short.key);
    }
    for (const name of ['', 'a b', 'x'.repeat(65), 'a:b', '{a}'])
      await failureOf(
        Promise.resolve().then(() => sessions.realm(name)),
        'OPTIONS_INVALID',
      );
    const realm = sessions.realm('calls');
    for (const userId of ['', 'x'.repeat(513), 'half \uD83E', 7 as never]) {
      await failureOf(realm.create(userId), 'OPTIONS_INVALID');
      await failureOf(realm.revokeAll(userId), 'OPTIONS_INVALID');
    }
    const { token, session } = await realm.create('ada');
    await failureOf(realm.create('ada', { level: 'root' }), 'OPTIONS_INVALID');
    await failureOf(realm.validate(token, { touhc: false } as never), 'OPTIONS_INVALID');
    await failureOf(realm.update(session.id, {}, { ifVersion: 0 }), 'OPTIONS_INVALID');
    for (const options of [{ except: 'me' }, { expect: session.id }, null, session.id])
      await failureOf(realm.revokeAll('ada', options as never), 'OPTIONS_INVALID');
    expect(await realm.count('ada')).toBe(1);
    const misplaced: Array<() => Promise<unknown>> = [
      () => realm.elevate('second-factor', token),
      () => realm.elevate(token, token),
      () => realm.create('ada', { level: token }),
      () => realm.create('ada', { device: token as never }),
      () => realm.create('ada', token as never),
      () => realm.create([token] as never),
      () => realm.update(session.id, {}, { ifVersion: token as never }),
      () => realm.update(session.id, {}, token as never),
      () => realm.validate(token, token as never),
      () => realm.validate(token, { touch: token as never }),
      () => realm.revokeAll('ada', { except: token }),
      () => realm.revokeAll('ada', token as never),
      () => Promise.resolve().then(() => realm.reaches(session, token)),
    ];
    for (const call of misplaced) {
      const shown = inspect(await failureOf(Promise.resolve().then(call), 'OPTIONS_INVALID'), { depth: null });
      expect(shown).not.toContain(token.slice(-22));
    }
  });

  test('a realm is there once, and its rules do not change', async () => {
    const { sessions } = fresh();
    const realm = sessions.realm('once', { idle: '1h', absolute: '1d' });
    expect(sessions.realm('once')).toBe(realm);
    expect(sessions.realm('once', { absolute: '24h', idle: 3_600_000 })).toBe(realm);
    expect(() => sessions.realm('once', { idle: '2h' })).toThrow('is there already with other options');
    const ready = failureOf(realm.ready(), 'CLOSED');
    await sessions.stop();
    await sessions.stop();
    await ready;
    expect(() => sessions.realm('once')).toThrow('stopped');
    await failureOf(realm.create('ada'), 'CLOSED');
  });

  test('a level that is no more is worth the least', async () => {
    const { token } = await fresh()
      .sessions.realm('fewer', { levels: ['a', 'b', 'c'] })
      .create('ada', { level: 'c' });
    const realm = fresh().sessions.realm('fewer', { levels: ['a', 'b'] });
    expect(letIn(await realm.validate(token)).session.level).toBe('a');
    expect(letIn(await realm.elevate(token, 'b')).session.level).toBe('b');
  });
});

test('while Redis refuses writes, who is signed in stays so, and nobody else is let in', async () => {
  const realm = fresh().sessions.realm('refused', { touchEvery: 0 });
  const { token, session } = await realm.create('ada');
  await server.ask((redis) => redis.config('SET', 'min-replicas-to-write', '1'));
  try {
    for (let call = 0; call < 10; call++) {
      const [seen] = await Promise.all([
        realm.validate(token),
        failureOf(realm.create('bob'), 'REDIS_WRITES_REFUSED'),
        failureOf(realm.rotate(token), 'REDIS_WRITES_REFUSED'),
        failureOf(realm.elevate(token, 'second-factor'), 'REDIS_WRITES_REFUSED'),
      ]);
      expect(letIn(seen)).toEqual({ session, token: undefined });
    }
    expect(reasonOf(await realm.validate(`${token.slice(0, -44)}${'A'.repeat(44)}`))).toBe('unknown');
  } finally {
    await server.ask((redis) => redis.config('SET', 'min-replicas-to-write', '0'));
  }
  expect((await realm.rotate(token)).ok).toBe(true);
});

test('a session whose index was evicted ends with its next use that is written down: nobody could end it', async () => {
  const realm = fresh({ layout: 'keys' }).sessions.realm('evicted', { touchEvery: 0 });
  const made = [await realm.create('ada'), await realm.create('ada')];
  const [tag = ''] = made[0]!.session.id.split('.');
  const home = `millrace:session:{${tag}}:evicted:ids`;
  await server.ask((redis) => redis.unlink(home));
  expect(await realm.update(made[0]!.session.id, {})).toEqual({ ok: false, reason: 'gone' });
  await eventually(async () => expect(reasonOf(await realm.validate(made[1]!.token))).toBe('unknown'));
  expect(await server.ask((redis) => redis.call('KEYS', `${home}*`))).toEqual([]);
});

describe('events', () => {
  test('of a call whose answer is lost are told once all the same, and a forged message is refused', async () => {
    const proxy = own(await startProxy(server.port));
    const { sessions, connections } = fresh();
    const lossy = own(
      createSessions({ ...lossyParts(connections, proxy.url), label: 'lossy' }, { deadline: 400, layout: 'fields' }),
    );
    const [here, there] = [lossy.realm('lost'), sessions.realm('lost')];
    await here.revoke((await here.create('bob')).session.id); // From now on the server knows the script.
    const heard = { here: [] as string[], there: [] as string[] };
    here.on('revoked', ({ sessionId, isLocal }) => void heard.here.push(`${sessionId} ${isLocal}`));
    there.on('revoked', ({ sessionId, isLocal }) => void heard.there.push(`${sessionId} ${isLocal}`));
    await Promise.all([here.ready(), there.ready()]);
    const { session } = await here.create('ada');
    proxy.loseAnswers();
    await failureOf(here.revoke(session.id), 'REDIS_TIMEOUT');
    await eventually(() => expect(heard).toEqual({ here: [`${session.id} true`], there: [`${session.id} false`] }));
    await server.ask(async (redis) => {
      for (const text of ['', 'lost', 'lost revoked x y z', `lost gone c ${'t'.repeat(22)} ${'i'.repeat(22)}`, '[]'])
        await redis.publish('millrace:session:ended', text);
    });
    const { session: last } = await there.create('ada');
    await there.revoke(last.id);
    await eventually(() => expect(heard.here).toHaveLength(2));
    expect(heard.there).toHaveLength(2);
  });

  test('a gap is told when the connection is back', async () => {
    const proxy = own(await startProxy(server.port));
    const { sessions } = sessionsOf({ url: proxy.url });
    const realm = sessions.realm('gap');
    let gaps = 0;
    const off = realm.on('gap', () => void gaps++);
    await realm.ready({ signal: AbortSignal.timeout(10_000) });
    expect(gaps).toBe(0);
    proxy.cut();
    await eventually(() => expect(gaps).toBe(1));
    off();
  });
});

type Connections = ReturnType<typeof fresh>['connections'];

/** Commands go through the proxy, messages do not. */
function lossyParts(plain: Connections, url: string) {
  const { connections } = sessionsOf({ url });
  return {
    commands: () => connections.commands(),
    capabilities: () => connections.capabilities(),
    subscriber: () => plain.subscriber(),
  };
}
