/** What a token is worth, what Redis keeps of it, and what is done with what is none. */
import { createHash, createHmac } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import type { Session } from '../../src/session/session.ts';
import { bornAt, Hashing, readToken } from '../../src/session/tokens.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { letIn, ownedSessions, reasonOf, secretOf } from './own-sessions.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis({ persistent: true, config: { appendfsync: 'always', 'aof-use-rdb-preamble': 'no' } });
});
afterAll(() => server.stop());
const sessionsOf = ownedSessions();

const PEPPER = 'a pepper of an app';

describe.each(['fields', 'keys'] as const)('as %s', (layout) => {
  const fresh = (more = {}) => sessionsOf({ url: server.url }, { layout, ...more });

  test('no part of a secret is in Redis: not in its files, its values, its slow log', async () => {
    await server.ask((redis) => redis.config('SET', 'slowlog-log-slower-than', '0', 'slowlog-max-len', '5000'));
    const { sessions, connections } = fresh();
    const realm = sessions.realm(`rest-${layout}`, { touchEvery: 0 });
    const { token, session } = await realm.create('ada', { data: { a: 1 }, device: { ip: '192.0.2.1' } });
    const rotated = letIn(await realm.rotate(token)).token ?? '';
    const raised = letIn(await realm.elevate(rotated, 'second-factor')).token ?? '';
    await realm.validate(raised);
    await realm.validate(`${raised.slice(0, -4)}AAAA`);
    await realm.update(session.id, { b: 2 });
    const client = connections.commands();
    await client.save();
    await eventually(async () => expect(await client.info('persistence')).toMatch('aof_rewrite_in_progress:0'));
    await client.bgrewriteaof();
    await eventually(async () => expect(await client.info('persistence')).toMatch('aof_rewrite_in_progress:0'));
    const slow = inspect(await client.slowlog('GET', 5_000), {
      depth: null,
      maxArrayLength: null,
      maxStringLength: null,
    });
    const files = filesBelow(server.folder).map((file) => readFileSync(file).toString('latin1'));
    const all = [...files, slow].join('\n');
    expect(all).toContain(session.id.split('.')[1]);
    for (const secret of [token, rotated, raised].map(secretOf)) {
      const [family, key] = [secret.slice(0, 22), secret.slice(22)];
      for (const part of [family, key])
        for (const form of [part, hexOf(part), Buffer.from(part, 'base64url').toString('latin1')])
          expect(all.includes(form)).toBe(false);
    }
  });

  test('what is no token is refused without asking Redis; a guess ends nothing and extends nothing', async () => {
    const { sessions } = fresh();
    const realm = sessions.realm(`guess-${layout}`, { touchEvery: 0 });
    const { token, session } = await realm.create('ada');
    const { token: other } = await realm.create('bob');
    const asked = await commandCount([server], 'hget', 'get', 'evalsha', 'eval', 'time');
    const texts = [
      '',
      'v1',
      'v1...',
      token.slice(0, -1),
      `${token}A`,
      token.replace('v1', 'v2'),
      ` ${token}`,
      `${token}\n`,
    ];
    const forms = [token.replaceAll('.', ':'), `${token.slice(0, 92)}*`, `${token.slice(0, 92)}\0`, 'x'.repeat(93)];
    const none: unknown[] = texts.concat(forms, 'v1.'.repeat(1_000_000));
    none.push(undefined, null, 42, {}, [token], Buffer.from(token));
    for (const text of none) expect(await realm.validate(text as string)).toEqual({ ok: false, reason: 'malformed' });
    for (const text of none) expect(await realm.revoke(text as string)).toBe(false);
    expect(await commandCount([server], 'hget', 'get', 'evalsha', 'eval', 'time')).toBe(asked);

    const secret = secretOf(token);
    const guesses = [
      `v1.${session.id}.${secretOf(other)}`,
      `v1.${session.id}.${'A'.repeat(44)}`,
      `v1.${session.id}.${'A'.repeat(22)}${secret.slice(22)}`,
      token.replace(session.id, session.id.split('.').toReversed().join('.')),
      `v1.${other.split('.')[1]}.${session.id.split('.')[1]}.${secret}`,
    ];
    for (const guess of guesses) {
      expect(reasonOf(await realm.validate(guess))).toBe('unknown');
      expect(reasonOf(await realm.rotate(guess))).toBe('unknown');
      expect(reasonOf(await realm.elevate(guess, 'second-factor'))).toBe('unknown');
    }
    expect(await realm.list('ada')).toEqual([session]);
    expect((await realm.validate(token)).ok).toBe(true);
  });

  test('knowing who it is takes one command; a use is written down when a tenth of idle has passed', async () => {
    const { sessions } = fresh();
    const realm = sessions.realm(`one-${layout}`, { idle: '30m' });
    const { token } = await realm.create('ada');
    await realm.validate(token);
    const before = await commandCount([server], 'hget', 'get', 'evalsha', 'time');
    for (let call = 0; call < 50; call++) await realm.validate(token);
    expect((await commandCount([server], 'hget', 'get', 'evalsha', 'time')) - before).toBe(50);
  });

  test('processes whose clocks are hours apart, and run at other rates, agree', async () => {
    const hour = 3_600_000;
    const clocks = [-1, 0, 1].map((side): Clock => ({
      ...systemClock,
      wallMs: () => systemClock.wallMs() + side * hour,
      monotonicMs: () => systemClock.monotonicMs() * 4 ** side,
    }));
    const rule = { idle: '30m', absolute: '1h', rotateEvery: '15m' } as const;
    const all = clocks.map((clock) => fresh({ clock }).sessions);
    const realms = all.map((sessions) => sessions.realm(`clocks-${layout}`, rule));
    for (const [at, mine] of realms.entries()) {
      const { token, session } = await mine.create(`user-${at}`);
      expect(isOff(session)).toBe(false);
      for (const other of realms) {
        const seen = letIn(await other.validate(token));
        expect(seen).toEqual({ session, token: undefined });
      }
      const rotated = letIn(await mine.rotate(token)).token;
      for (const other of realms) expect(letIn(await other.validate(token)).token).toBe(rotated);
    }
    const made = await Promise.all(realms.map((realm) => realm.create('ada')));
    const times = made.map(({ session }) => session.createdAt);
    expect(Math.max(...times) - Math.min(...times)).toBeLessThan(60_000);
    expect(made.some(({ session }) => isOff(session))).toBe(false);
    // Nobody has heard of this end, and it is too early for them to have run out.
    await fresh().sessions.realm(`clocks-${layout}`, rule).revokeAll('ada');
    for (const realm of realms)
      for (const { token } of made) expect(reasonOf(await realm.validate(token))).toBe('unknown');
    const short = all.map((sessions) => sessions.realm(`clocks-short-${layout}`, { idle: 100, absolute: '1h' }));
    const { token } = await short[1]!.create('ada');
    for (const realm of short)
      await eventually(async () => expect(reasonOf(await realm.validate(token, { touch: false }))).toBe('expired'));
  });

  test('nothing that is told or counted has a secret in it', async () => {
    const { log, all } = collectLog();
    const metrics = createMetrics();
    const { sessions } = fresh({ log, metrics });
    const realm = sessions.realm(`told-${layout}`, { rotateGrace: 0, maxPerUser: 1 });
    const told: unknown[] = [];
    for (const type of ['created', 'rotated', 'elevated', 'revoked', 'reused', 'evicted'] as const)
      realm.on(type, (event) => {
        told.push(event);
        throw new Error('a listener of the app');
      });
    const { token: first } = await realm.create('ada');
    const { token } = await realm.create('ada');
    const rotated = letIn(await realm.rotate(token)).token ?? '';
    const raised = letIn(await realm.elevate(rotated, 'second-factor')).token ?? '';
    told.push(await realm.list('ada'), await realm.validate(token));
    told.push(await failureOf(realm.elevate(raised, 'third'), 'OPTIONS_INVALID'));
    await realm.create('bob', { level: 'password' });
    await realm.revokeAll('bob');
    await sessions.stop();
    told.push(await failureOf(realm.validate(raised), 'CLOSED'), all(), await metrics.render());
    const text = inspect(told, { depth: null, maxArrayLength: null, maxStringLength: null });
    for (const type of ['created', 'rotated', 'elevated', 'revoked', 'reused', 'evicted'])
      expect(text).toContain(`type: '${type}'`);
    expect(text).toContain('a listener of sessions failed');
    expect(text).toContain('millrace_session_validations_total');
    for (const secret of [first, token, rotated, raised].map(secretOf)) {
      expect(text).not.toContain(secret.slice(0, 22));
      expect(text).not.toContain(secret.slice(22));
    }
  });
});

describe('hashes', () => {
  test('are HMAC-SHA256 with a pepper, SHA-256 without', () => {
    const key = createHash('sha256').update(PEPPER).digest();
    for (const text of ['', 'token', 'ø'.repeat(300)]) {
      expect(new Hashing(PEPPER).hashOf(text)).toBe(createHmac('sha256', key).update(text).digest('base64url'));
      expect(new Hashing(undefined).hashOf(text)).toBe(createHash('sha256').update(text).digest('base64url'));
      expect(new Hashing(PEPPER).isHashOf(new Hashing(PEPPER).hashOf(text), text)).toBe(true);
      expect(new Hashing(PEPPER).isHashOf(new Hashing(undefined).hashOf(text), text)).toBe(false);
    }
    const tag = createHmac('sha256', key).update('user:ada').digest().subarray(0, 16).toString('base64url');
    expect(new Hashing(PEPPER).tagOf('ada')).toBe(tag);
  });

  test('a successor takes the token and the seed, and keeps what a former token is known by', () => {
    const text = `v1.${'a'.repeat(22)}.${'b'.repeat(22)}.${'c'.repeat(44)}`;
    const token = readToken(text)!;
    const next = new Hashing(undefined).successorOf(token, 'seed');
    expect(readToken(next)).toMatchObject({ sessionId: token.sessionId, kin: token.kin });
    expect(new Set([text, next, new Hashing(PEPPER).successorOf(token, 'seed')]).size).toBe(3);
    expect(new Hashing(undefined).successorOf(token, 'weed')).not.toBe(next);
  });
});

function filesBelow(folder: string): string[] {
  return (readdirSync(folder, { recursive: true }) as string[])
    .map((file) => join(folder, file))
    .filter((file) => statSync(file).isFile());
}

function hexOf(part: string): string {
  return Buffer.from(part, 'base64url').toString('hex');
}

/** Whether the time in the id is another one than that of the login; by it it is told why a session is gone. */
function isOff({ id, createdAt }: Session): boolean {
  return Math.abs(bornAt(id.split('.')[1] ?? '') - createdAt) > 60_000;
}
