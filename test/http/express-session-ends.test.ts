/** What ends under the real express-session, and never comes back: with slow requests, for a user, while Redis is away. */
import session from 'express-session';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { expressSessionStore } from '../../src/http/express-session-store.ts';
import { systemClock } from '../../src/clock.ts';
import type { Connections } from '../../src/redis/connect.ts';
import { noteSession } from '../../src/session/store/scripts.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startCluster, startRedis, type TestServer } from '../support/servers.ts';
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

describe('what was ended', () => {
  test('does not come back with a request that began before and saves later', async () => {
    const { ask, open, begun, store } = await serve();
    const { cookie, body } = await ask('/login/ada');
    const late = Array.from({ length: 5 }, () => ask('/slow', cookie));
    await eventually(() => expect(begun).toHaveLength(5));
    expect((await ask('/logout', cookie)).status).toBe(200);
    open();
    expect((await Promise.all(late)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect(await store.get(String(body['id']))).toBeNull();
    expect((await ask('/look', cookie)).body).not.toHaveProperty('userId');
  });

  test('does not come back with the request that made it', async () => {
    const { ask, open, begun, store } = await serve();
    const making = ask('/save-twice');
    const id = await eventually(() => begun[0] ?? Promise.reject(new Error('not saved yet')));
    expect(await store.get(id)).toMatchObject({ note: 'first' });
    await store.destroy(id);
    open();
    expect((await making).status).toBe(200);
    expect(await store.get(id)).toBeNull();
  });

  test('does not come back with a copy that somebody made of it, nor once it has run out', async () => {
    const { store } = await serve();
    const data = newSession({ note: 'old' });
    await store.set('copied', data);
    const read = (await store.get('copied')) as Data;
    await store.destroy('copied');
    for (const one of [data, read, { ...read }]) await store.set('copied', one);
    await store.touch('copied', read);
    expect(await store.get('copied')).toBeNull();

    data.cookie.originalMaxAge = 30;
    await store.set('short', data);
    await eventually(async () => expect(await store.get('short')).toBeNull());
    data.cookie.originalMaxAge = 60_000;
    await store.set('short', data);
    await store.touch('short', data);
    expect(await store.get('short')).toBeNull();
  });

  test('stays ended in any order of ends and writes', async () => {
    const { store } = await serve();
    for (let run = 0; run < 60; run++) {
      const id = `race-${run}`;
      const data = newSession({ userId: id });
      await store.set(id, data);
      const acts = [
        store.set(id, { ...data, note: 'late' }),
        store.destroy(id),
        store.touch(id, data),
        store.set(id, data),
      ];
      await Promise.all(run % 2 ? acts : [store.endAll(id), ...acts]);
      expect(await store.get(id)).toBeNull();
    }
  });

  test('is remembered for the time of the tombstone, and no longer', async () => {
    const prefix = freshPrefix();
    const { store, connections } = await serve({ tombstone: '70s', prefix });
    await store.set('one', newSession());
    await store.destroy('one');
    const [key = ''] = await server.ask((redis) => redis.keys(`${prefix}:*`));
    expect(await connections.commands().hgetall(key)).toEqual({ ended: '1' });
    expect(await connections.commands().pttl(key)).toSatisfy((ms: number) => ms > 50_000 && ms <= 70_000);
    await store.destroy('one'); // Nothing is there by now, and it stays known as long.
    expect(await connections.commands().pttl(key)).toBeGreaterThan(50_000);
  });

  test('and never was is remembered only as long as a save of it can be under way', async () => {
    const prefix = freshPrefix();
    const { store, connections } = await serve({ prefix, deadline: '3s' });
    await store.destroy('one');
    const [key = ''] = await server.ask((redis) => redis.keys(`${prefix}:*`));
    expect(await connections.commands().pttl(key)).toSatisfy((ms: number) => ms > 5_000 && ms <= 15_000);
    await store.set('one', newSession());
    expect(await store.get('one')).toBeNull();
  });
});

describe('the sessions of a user', () => {
  test('end together, but for the one that is spared, and those of others stay', async () => {
    const prefix = freshPrefix();
    const { ask, store } = await serve({ prefix });
    const ada = await Promise.all(Array.from({ length: 5 }, () => ask('/login/ada')));
    const bob = await ask('/login/bob');
    const before = await commandCount([server], 'scan', 'keys');
    expect(await store.endAll('ada', { except: String(ada[2]?.body['id']) })).toBe(4);
    expect(await commandCount([server], 'scan', 'keys')).toBe(before);
    const users = await Promise.all(
      [...ada, bob].map(async ({ cookie }) => (await ask('/look', cookie)).body['userId']),
    );
    expect(users).toEqual([undefined, undefined, 'ada', undefined, undefined, 'bob']);
    expect([await store.endAll('ada'), await store.endAll('ada'), await store.endAll('nobody')]).toEqual([1, 0, 0]);
    const notes = await server.ask((redis) => redis.keys(`${prefix}:*:store-notes:*`));
    expect(notes).toHaveLength(1);
    expect(notes[0]).not.toContain('bob');
  });

  test('are those that are the user’s now: one that was handed on stays, one that is nobody’s yet does not', async () => {
    const { store } = await serve();
    const data = newSession({ userId: 'ada' });
    await store.set('handed-on', data);
    await store.set('handed-on', { ...data, userId: 'bob' });
    await store.set('signed-out', data);
    await store.set('signed-out', { cookie: data.cookie });
    expect(await store.endAll('ada')).toBe(1);
    expect(await store.get('handed-on')).toMatchObject({ userId: 'bob' });
    expect(await store.get('signed-out')).toBeNull();
  });

  test('leave no note behind', async () => {
    const prefix = freshPrefix();
    const { store } = await serve({ prefix });
    const data = newSession({ userId: 'ada' });
    data.cookie.originalMaxAge = 20;
    await store.set('short', data);
    data.cookie.originalMaxAge = 60_000;
    await store.set('long', data);
    await store.destroy('long');
    const [notes = ''] = await server.ask((redis) => redis.keys(`${prefix}:*:store-notes:*`));
    expect(await server.ask((redis) => redis.zcard(notes))).toBeLessThanOrEqual(1);
    expect(await server.ask((redis) => redis.pttl(notes))).toBeGreaterThan(0);
  });

  test('end too where two writes of one session were noted in another order than they were written', async () => {
    const prefix = freshPrefix();
    const { store, connections } = await serve({ prefix });
    const data = newSession({ userId: 'ada' });
    data.cookie.originalMaxAge = 600_000;
    await store.set('one', data);
    const [notes = ''] = await server.ask((redis) => redis.keys(`${prefix}:*:store-notes:*`));
    const client = connections.commands();
    const [hash = ''] = await client.zrange(notes, '0', '-1');
    // A write of a short life is noted after one of a long life, and written before it.
    await noteSession(client, { notes }, { session: hash, ttlMs: 1 });
    await systemClock.sleep(3);
    await noteSession(client, { notes }, { session: 'another', ttlMs: 1_000 });
    expect(await store.endAll('ada')).toBe(1);
    expect(await store.get('one')).toBeNull();
  });

  test('are told by texts and numbers, and by nothing else', async () => {
    const users: unknown[] = [7, '7', 7n, 0];
    const connections = await connect({ url: server.url });
    let user: unknown;
    const store = makeStore(connections, { user: () => user as string });
    for (user of users) await store.set(`of-${typeof user}-${String(user)}`, newSession());
    expect([await store.endAll(7), await store.endAll(0n)]).toEqual([3, 1]);
    for (user of [undefined, null]) await store.set('nobody', newSession());
    for (user of [{ id: 7 }, '', Number.NaN, true, Promise.resolve('7')]) {
      await expect(store.set('wrong', newSession())).rejects.toMatchObject({ code: 'OPTIONS_INVALID' });
      await expect(store.endAll(user as string)).rejects.toMatchObject({ code: 'OPTIONS_INVALID' });
    }
    await expect(store.endAll(undefined as never)).rejects.toThrow('endAll: expected a user');
  });

  test('cannot be ended where the store does not know whose they are', async () => {
    const store = expressSessionStore(session, await connect({ url: server.url }));
    await expect(store.endAll('ada')).rejects.toMatchObject({ code: 'OPTIONS_INVALID' });
  });
});

describe('Redis that is down', () => {
  test('is an error of the request, and whoever was signed in still is when it is back', async () => {
    const proxy = own(await startProxy(server.port));
    const connections = await connect({ url: proxy.url });
    const { ask } = await apps.serve(connections, { deadline: '1s' });
    const { cookie } = await ask('/login/ada');
    proxy.freeze();
    const { status, body, setCookie } = await ask('/look', cookie);
    expect({ status, setCookie }).toEqual({ status: 500, setCookie: null });
    expect(body['error']).toContain('no answer within 1 s');
    proxy.restore();
    proxy.cut();
    await eventually(async () => expect((await ask('/look', cookie)).body['userId']).toBe('ada'));
  });

  test('fails a destroy that nobody waits for, and is logged then', async () => {
    const proxy = own(await startProxy(server.port));
    const connections = await connect({ url: proxy.url });
    const lines = collectLog();
    const store = makeStore(connections, { deadline: 300, log: lines.log });
    proxy.freeze();
    // As request.session.destroy() does without a callback: an unhandled rejection would fail this run.
    void store.destroy('one');
    await eventually(() => expect(lines.warnings()).toHaveLength(1));
    await expect(store.destroy('one')).rejects.toMatchObject({ code: 'REDIS_TIMEOUT' });
    expect(JSON.stringify(lines.warnings())).toContain('REDIS_TIMEOUT');
    proxy.restore();
    proxy.cut();
  });

  test('that lost what it held has no session, and takes none from a request under way', async () => {
    const { ask, open, begun, store } = await serve();
    const { cookie, body } = await ask('/login/ada');
    const late = ask('/slow', cookie);
    await eventually(() => expect(begun).toHaveLength(1));
    await server.ask(async (redis) => redis.del(...(await redis.keys('*'))));
    open();
    expect((await late).status).toBe(200);
    expect(await store.get(String(body['id']))).toBeNull();
  });
});

/** Who is signed in after one has signed out and all have been ended. */
const usersAfterAnEnd = async (connections: Connections): Promise<unknown[]> => {
  const { ask, store } = await apps.serve(connections);
  const cookies = await Promise.all(Array.from({ length: 8 }, async () => (await ask('/login/ada')).cookie));
  expect((await ask('/logout', cookies[0])).status).toBe(200);
  expect(await store.endAll('ada')).toBe(7);
  return Promise.all(cookies.map(async (cookie) => (await ask('/look', cookie)).body['userId']));
};

describe('elsewhere', () => {
  test(
    'all of it holds on a Cluster, where sessions and notes are on different nodes',
    { timeout: 60_000 },
    async () => {
      const cluster = own(await startCluster());
      expect(new Set(await usersAfterAnEnd(await connect({ cluster: cluster.addresses })))).toEqual(
        new Set([undefined]),
      );
    },
  );

  test('and on Valkey', async ({ skip }) => {
    const { valkey } = inject('servers');
    if (typeof valkey === 'string') return skip(valkey);
    const other = own(await startRedis({ binary: valkey }));
    expect(new Set(await usersAfterAnEnd(await connect({ url: other.url })))).toEqual(new Set([undefined]));
  });
});
