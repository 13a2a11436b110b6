/** The store under the real express-session in a real Express app: what lives, for how long, and what cannot. */
import session from 'express-session';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { expressSessionStore } from '../../src/http/express-session-store.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { eventually } from '../support/eventually.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import {
  freshPrefix,
  makeStore,
  newSession,
  ownedApps,
  type App,
  type Data,
  type Options,
} from './express-session-app.ts';

const own = ownedByTest();
const apps = ownedApps();
const { connect } = apps;
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const serve = async (options?: Options, sessions?: Parameters<typeof apps.serve>[2]): Promise<App> =>
  apps.serve(await connect({ url: server.url }), options, sessions);

/** All that Redis holds. */
const dump = (): Promise<string> =>
  server.ask(async (redis) => {
    const keys = await redis.keys('*');
    const values = await Promise.all(
      keys.map((key) => (key.includes(':store:') ? redis.hgetall(key) : redis.zrange(key, '0', '-1'))),
    );
    return JSON.stringify([keys, values]);
  });

/** How long the one session of the prefix lives. */
const leftOf = async (prefix: string): Promise<number> =>
  server.ask(async (redis) => redis.pttl((await redis.keys(`${prefix}:*:store:*`))[0] ?? ''));

describe('a session', () => {
  test('is made with its first change, found again, and never stored by its id', async () => {
    const { ask, store } = await serve();
    expect((await ask('/look')).setCookie).toBeNull();
    const first = await ask('/views');
    const again = await ask('/views', first.cookie);
    expect(again.body).toEqual({ id: first.body['id'], views: 2 });
    const id = String(first.body['id']);
    expect(await dump()).not.toContain(id);
    expect(await store.get(id)).toMatchObject({ views: 2, cookie: { path: '/', httpOnly: true } });
  });

  test('that nobody changed is stored where saveUninitialized says so', async () => {
    const { ask } = await serve({}, { saveUninitialized: true });
    const { cookie, body } = await ask('/look');
    expect((await ask('/look', cookie)).body['id']).toBe(body['id']);
  });

  test('is stored with each request under resave, and stays the same', async () => {
    const { ask } = await serve({}, { resave: true, saveUninitialized: true });
    const { cookie } = await ask('/views');
    await ask('/look', cookie);
    expect((await ask('/views', cookie)).body['views']).toBe(2);
  });

  test('of requests at once loses none of them to an error', async () => {
    const { ask } = await serve({}, { resave: true });
    const { cookie, body } = await ask('/views');
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask('/views', cookie)));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 200));
    expect(new Set(answers.map((answer) => answer.body['id']))).toEqual(new Set([body['id']]));
  });

  test('gets a new id with regenerate, and the old one is dead', async () => {
    const { ask, store } = await serve();
    const before = await ask('/views');
    const after = await ask('/login/ada', before.cookie);
    expect(after.body['id']).not.toBe(before.body['id']);
    expect((await ask('/look', after.cookie)).body).toMatchObject({ id: after.body['id'], userId: 'ada' });
    expect((await ask('/look', before.cookie)).body).not.toHaveProperty('views');
    expect(await store.get(String(before.body['id']))).toBeNull();
  });

  test('is read anew by reload, and what is changed after that is saved', async () => {
    const { ask } = await serve();
    const { cookie } = await ask('/views');
    expect((await ask('/reload', cookie)).body).toEqual({ views: 1 });
    expect((await ask('/look', cookie)).body).toMatchObject({ views: 1, note: 'reloaded' });
  });

  test('that was unset is destroyed where unset says so', async () => {
    const { ask, store } = await serve({}, { unset: 'destroy' });
    const { cookie, body } = await ask('/views');
    await ask('/unset', cookie);
    expect(await store.get(String(body['id']))).toBeNull();
  });

  test('of another store of the app is another one', async () => {
    const prefix = freshPrefix();
    const connections = await connect({ url: server.url });
    const [shop, admin] = [makeStore(connections, { prefix }), makeStore(connections, { prefix, name: 'admin' })];
    await shop.set('one', newSession({ userId: 'ada' }));
    expect([await admin.get('one'), await admin.endAll('ada')]).toEqual([null, 0]);
    const keys = await server.ask((redis) => redis.keys(`${prefix}:*`));
    expect(keys.map((key) => key.replace(/\{.*\}/, '{}')).toSorted()).toEqual([
      `${prefix}:session:{}:store-notes:express`,
      `${prefix}:session:{}:store:express`,
    ]);
  });

  test('may be any text, and its id too', async () => {
    const { store } = await serve();
    const data = newSession({ note: '\u0000 } {"ünïcode 👩‍🚀' });
    for (const id of ['a:b{c}*?', '👩‍🚀', ' ', 'x'.repeat(10_000)]) {
      await store.set(id, data);
      expect(await store.get(id)).toMatchObject({ note: data.note });
    }
  });

  test('is taken by callbacks and by promises', async () => {
    const { store } = await serve();
    const data = newSession({ views: 7 });
    const calls: unknown[] = [];
    const told = (error: unknown, found?: { views?: number } | null): void => void calls.push(error, found?.views);
    store.set('one', data, told);
    await eventually(() => expect(calls).toHaveLength(2));
    store.load('one', told);
    await eventually(() => expect(calls).toHaveLength(4));
    store.destroy('one', told);
    await eventually(() => expect(calls).toHaveLength(6));
    expect(calls).toEqual([null, undefined, null, 7, null, undefined]);
    expect(await store.get('one')).toBeNull();
  });
});

describe('time', () => {
  test.each<[string, Options, Partial<session.SessionOptions>, number]>([
    ['the maxAge of its cookie', { ttl: '1h' }, { cookie: { maxAge: 90_000 } }, 90_000],
    ['ttl where the cookie has none', { ttl: '1h' }, {}, 3_600_000],
    ['a day where nothing is said', {}, {}, 86_400_000],
    ['what a function says', { ttl: () => '10m' }, { cookie: { maxAge: 90_000 } }, 600_000],
    ['at most what absolute says', { absolute: '20s' }, { cookie: { maxAge: 90_000 } }, 20_000],
  ])('of a session is %s', async (_title, options, sessions, expectedMs) => {
    const prefix = freshPrefix();
    const { ask } = await serve({ ...options, prefix }, sessions);
    await ask('/views');
    const leftMs = await leftOf(prefix);
    expect(leftMs).toBeLessThanOrEqual(expectedMs);
    expect(leftMs).toBeGreaterThan(expectedMs - 10_000);
  });

  test('begins anew with a request that changes nothing, once a part of it has passed', async () => {
    const prefix = freshPrefix();
    const { ask, store } = await serve({ prefix }, { cookie: { maxAge: 6_000_000 } });
    const { cookie, body } = await ask('/views');
    const [key = ''] = await server.ask((redis) => redis.keys(`${prefix}:*:store:*`));
    await server.ask((redis) => redis.pexpire(key, 5_800_000));
    await ask('/look', cookie);
    expect(await leftOf(prefix)).toBeLessThanOrEqual(5_800_000);
    await server.ask((redis) => redis.pexpire(key, 3_000_000));
    const { body: seen } = await ask('/look', cookie);
    expect(seen['maxAge']).toSatisfy((ms: number) => ms > 2_000_000 && ms <= 3_000_000);
    expect(await leftOf(prefix)).toBeGreaterThan(5_000_000);
    expect(await store.get(String(body['id']))).not.toBeNull();
  });

  test('begins anew with each request where touchEvery is 0, and the cookie is sent again under rolling', async () => {
    const prefix = freshPrefix();
    const { ask } = await serve({ prefix, touchEvery: 0 }, { cookie: { maxAge: 6_000_000 }, rolling: true });
    const { cookie } = await ask('/views');
    const [key = ''] = await server.ask((redis) => redis.keys(`${prefix}:*:store:*`));
    await server.ask((redis) => redis.pexpire(key, 5_800_000));
    const { setCookie } = await ask('/look', cookie);
    expect(setCookie).toContain('Expires=');
    expect(await leftOf(prefix)).toBeGreaterThan(5_800_000);
  });

  test('ends at the absolute end, however much the session is used', async () => {
    const { store } = await serve({ absolute: '400ms', touchEvery: 0 });
    const data = newSession();
    const since = systemClock.monotonicMs();
    await store.set('one', data);
    await eventually(async () => {
      await store.set('one', data);
      await store.touch('one', data);
      expect(await store.get('one')).toBeNull();
    });
    expect(systemClock.monotonicMs() - since).toBeGreaterThan(398);
  });

  test('is the same for processes whose clocks are hours apart', async () => {
    const prefix = freshPrefix();
    const connections = await connect({ url: server.url });
    const behind = makeStore(connections, {
      prefix,
      clock: { ...systemClock, wallMs: () => systemClock.wallMs() - 7_200_000 },
    });
    const right = makeStore(connections, { prefix });
    const cookie = new session.Cookie();
    cookie.maxAge = 60_000;
    await right.set('one', { cookie });
    const read = (await behind.get('one')) as Data;
    expect(read.cookie).toMatchObject({ originalMaxAge: 60_000 });
    await behind.set('one', read);
    expect(await leftOf(prefix)).toSatisfy((ms: number) => ms > 50_000 && ms <= 60_000);
  });

  test('of a cookie that is over ends the session', async () => {
    const { ask, store } = await serve();
    const { cookie, body } = await ask('/views');
    await ask('/short', cookie);
    expect(await store.get(String(body['id']))).toBeNull();
  });
});

describe('what cannot be kept', () => {
  test('is refused when it is too large', async () => {
    const { store } = await serve({ maxBytes: 1_000 });
    const large = newSession({ note: 'ü'.repeat(600) });
    await expect(store.set('large', large)).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
  });

  test('is nobody’s when it cannot be read, and is logged', async () => {
    const prefix = freshPrefix();
    const lines = collectLog();
    const { store } = await serve({ prefix, log: lines.log });
    await store.set('one', newSession());
    for (const data of ['{', 'null', '7', '{}']) {
      await server.ask(async (redis) => redis.hset((await redis.keys(`${prefix}:*`))[0] ?? '', 'data', data));
      expect(await store.get('one')).toBeNull();
    }
    expect(lines.warnings().map(({ msg }) => msg)).toEqual(
      Array.from({ length: 4 }, () => expect.stringContaining('cannot be read') as string),
    );
  });

  test('is written as the serializer says', async () => {
    const serializer = {
      stringify: (data: Data) => Buffer.from(JSON.stringify(data)).toString('base64'),
      parse: (text: string) => JSON.parse(Buffer.from(text, 'base64').toString()) as Data,
    };
    const { store } = await serve({ serializer });
    await store.set('one', newSession({ note: 'kept' }));
    expect(await store.get('one')).toMatchObject({ note: 'kept' });
  });

  test.each<[object, string]>([
    [{ ttl: 'soon' }, 'ttl'],
    [{ ttl: 0 }, 'ttl: expected a duration of more than 0'],
    [{ name: 'a:b' }, 'name: expected letters, digits and _ . - only'],
    [{ absolute: 0 }, 'absolute: expected a duration of more than 0'],
    [{ touchEvery: 1 }, 'touchEvery: expected at most 0.9'],
    [{ tombstone: 10 }, 'tombstone: expected a duration of 1 s or more'],
    [{ serializer: {} }, 'serializer: expected an object with stringify and parse'],
    [{ users: () => 1 }, 'unknown option users, did you mean user?'],
  ])('%o are refused', async (options, message) => {
    const connections = own(createConnections({ url: server.url }));
    expect(() => makeStore(connections, options as Options)).toThrow(message);
  });

  test('without express-session or without connections are refused', () => {
    const make = expressSessionStore as unknown as (...given: unknown[]) => unknown;
    const connections = own(createConnections({ url: server.url }));
    for (const given of [[], [connections], [session], [session, {}], [connections, session]])
      expect(() => make(...given)).toThrow('as in expressSessionStore(session, platform.redis)');
  });
});
