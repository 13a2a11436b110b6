/** What one request makes of a session: the level that it came with, its response, several realms, and what fails half-way. */
import type express from 'express';
import { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MillraceError } from '../../src/errors.ts';
import { requireSession, sessionMiddleware, sessionOf, type HttpRealm } from '../../src/http/session.ts';
import type { RealmOptions } from '../../src/session/options.ts';
import type { Realm } from '../../src/session/realm.ts';
import type { Session } from '../../src/session/session.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { addRoutes, eventual, me, ownedSessions, type Options, type Served } from './session-app.ts';

const { realmAt, serve, serveRoutes } = ownedSessions();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const realmOf = (options?: RealmOptions): Promise<Realm> => realmAt(server.url, options);
const post = { method: 'POST' };
const sessionOfId = (id: string): Session => ({ id, level: 'password', version: 1 }) as never;

type Routes = (app: express.Express, realm: HttpRealm) => void;
const appOf = async (routes: Routes, options: Options = {}, realmOptions: RealmOptions = {}) => {
  const realm = await realmOf(realmOptions);
  const served = await serveRoutes((app) => {
    app.use(sessionMiddleware(realm, options));
    routes(app, realm);
    addRoutes(app);
  });
  return { realm, ...served };
};

describe('the level that a request came with', () => {
  test('is not raised by what it changes after another request has raised it', async () => {
    const { ask, signIn } = await appOf((app) => {
      const change = eventual((request) => sessionOf(request).update({ theme: 'dark' }));
      app.post(
        '/change-and-pass',
        (request, response, next) =>
          void sessionOf(request)
            .update({ theme: 'dark' })
            .then(() => requireSession({ level: 'second-factor' })(request, response, next), next),
        me,
      );
      app.post('/change', change);
    });
    const cookie = await signIn('ada');
    const { cookie: raised } = await ask('/up/second-factor', { ...post, cookie });
    expect((await ask('/change', { ...post, cookie })).body['result']).toMatchObject({
      session: { level: 'password' },
    });
    expect((await ask('/change-and-pass', { ...post, cookie })).status).toBe(403);
    expect((await ask('/change-and-pass', { ...post, cookie: raised })).body['data']).toEqual({ theme: 'dark' });
  });

  test('is gone with the session that it signs out, whatever was under way', async () => {
    const session = sessionOfId('one');
    const held = gate();
    const realm: HttpRealm = {
      ...failing(),
      validate: () => Promise.resolve({ ok: true, session }),
      update: () => held.opened.then(() => ({ ok: true, session: { ...session, version: 2 } }) as const),
      revoke: () => Promise.resolve(true),
    };
    const request = { headers: { cookie: '__Host-session=x' }, socket: {} } as never;
    const response = new ServerResponse({} as never);
    await new Promise<unknown>((resolve) => sessionMiddleware(realm)(request, response, resolve));
    const changed = sessionOf(request).update({ theme: 'dark' });
    await sessionOf(request).signOut();
    held.open();
    expect([(await changed).ok, sessionOf(request).current]).toEqual([true, undefined]);
  });

  test('is raised once by a double click, and neither click takes the cookie away', async () => {
    const { ask, signIn } = await appOf(() => undefined);
    const cookie = await signIn('ada');
    const first = await ask('/up/second-factor', { ...post, cookie });
    const second = await ask('/up/second-factor', { ...post, cookie });
    expect([second.body['result'], second.cookie]).toEqual([first.body['result'], first.cookie]);
    expect((await ask('/strong', { cookie: first.cookie })).status).toBe(200);
  });
});

test('a token that was replaced twice within its grace takes no cookie away', async () => {
  const { ask, signIn, realm } = await appOf(() => undefined);
  const cookie = await signIn('ada');
  const token = cookie.split('=')[1] ?? '';
  const once = await realm.rotate(token);
  const twice = once.ok ? await realm.rotate(once.token) : once;
  const { cookies, body } = await ask('/me', { cookie });
  expect([cookies, body['refusal'], body['userId']]).toEqual([[], 'revoked', undefined]);
  const live = `__Host-session=${twice.ok ? twice.token : ''}`;
  expect((await ask('/me', { cookie: live })).body['userId']).toBe('ada');
});

const routes: Routes = (app) => {
  app.get('/public', (_request, response) => response.set('Cache-Control', 'public, max-age=60').json({}));
  app.get('/own-cookie', (_request, response) => void response.setHeader('Set-Cookie', 'theme=dark').json({}));
  app.get('/head', (_request, response) => {
    response.writeHead(202, 'Fine', { 'Cache-Control': 'public', 'Set-Cookie': ['theme=dark', 'a=b'], 'X-Own': '1' });
    response.end('{}');
  });
  app.get('/raw', (_request, response) => {
    response.writeHead(202, ['Set-Cookie', 'theme=dark', 'Set-Cookie', 'a=b', 'cache-control', 'public', 'X-Own', '1']);
    response.end('{}');
  });
  app.get('/flush', (_request, response) => {
    response.flushHeaders();
    response.end('{}');
  });
};

describe('a response that sets the cookie', () => {
  test.each<[string, number, string[]]>([
    ['/public', 200, []],
    ['/own-cookie', 200, ['theme=dark']],
    ['/head', 202, ['theme=dark', 'a=b']],
    ['/raw', 202, ['theme=dark', 'a=b']],
    ['/flush', 200, []],
  ])('has it, is kept by no cache, and has what else was said: %s', async (path, status, others) => {
    const { ask, signIn } = await appOf(routes, {}, { rotateEvery: 10, rotateGrace: 4 });
    const cookie = await signIn('ada');
    const answer = await eventually(async () => {
      const got = await ask(path, { cookie });
      expect(got.cookies).toHaveLength(others.length + 1);
      return got;
    });
    expect([answer.status, answer.headers['cache-control']]).toEqual([status, 'no-store']);
    expect(answer.cookies.slice(0, -1)).toEqual(others);
    expect(answer.cookie).toMatch(/^__Host-session=v1\./);
    expect(answer.headers['x-own']).toBe(status === 202 ? '1' : undefined);
  });

  test('is as ever where none is set', async () => {
    const { ask, signIn } = await appOf(routes);
    const { headers, cookies } = await ask('/public', { cookie: await signIn('ada') });
    expect([headers['cache-control'], cookies]).toEqual(['public, max-age=60', []]);
  });

  test('cannot begin twice', () => {
    const response = new ServerResponse({} as never);
    sessionMiddleware({ ...failing(), validate: () => Promise.resolve({ ok: false, reason: 'unknown' }) })(
      { headers: { cookie: '__Host-session=x"' }, socket: {} } as never,
      response,
      () => undefined,
    );
    response.writeHead(200, [['X-Own', '1']] as never);
    expect(response.getHeaders()).toMatchObject({ 'x-own': '1', 'cache-control': 'no-store' });
    expect(() => response.writeHead(200)).toThrow(expect.objectContaining({ code: 'ERR_HTTP_HEADERS_SENT' }));
  });
});

/** A realm that does nothing. */
function failing(error: Error = new MillraceError('CLOSED', 'sessions have been stopped', {})): HttpRealm {
  const fail = async (): Promise<never> => {
    throw error;
  };
  return { create: fail, validate: fail, elevate: fail, update: fail, revoke: fail, reaches: () => false };
}

/** Who is signed in to the realm. */
const show = (of: Realm) => (request: express.Request, response: express.Response) =>
  void response.json({ userId: sessionOf(request, of).userId });

/** An app with two realms, and guards of a third one. */
const both = async (): Promise<Served> => {
  const [web, admin, other] = await Promise.all([realmOf(), realmOf(), realmOf()]);
  return serveRoutes((app) => {
    app.use(sessionMiddleware(web), sessionMiddleware(admin, { name: 'admin' }));
    app.post(
      '/in/:user',
      eventual((request) => sessionOf(request, web).signIn(String(request.params['user']))),
    );
    app.post(
      '/in-admin',
      eventual((request) => sessionOf(request, admin).signIn('root')),
    );
    app.get('/web', requireSession({ realm: web }), show(web));
    app.get('/admin', requireSession({ realm: admin }), show(admin));
    app.get('/either', requireSession(), me);
    app.get('/other', requireSession({ realm: other }), me);
  });
};

describe('two realms on one path', () => {
  test('know their own users only', async () => {
    const { ask, signIn } = await both();
    const cookie = await signIn('ada');
    expect((await ask('/web', { cookie })).body).toEqual({ userId: 'ada' });
    expect((await ask('/admin', { cookie })).status).toBe(401);
    const { cookie: admin } = await ask('/in-admin', post);
    expect(admin).toMatch(/^__Host-admin=/);
    expect((await ask('/admin', { cookie: `${cookie}; ${admin}` })).body).toEqual({ userId: 'root' });
  });

  test('must be told apart, and a realm that was not asked lets nobody in', async () => {
    const { ask, signIn } = await both();
    const cookie = await signIn('ada');
    for (const [path, message] of [
      ['/either', 'the request has sessions of 2 realms: say which'],
      ['/other', 'app.use(sessionMiddleware(realm)) must come before'],
    ] as const) {
      const { status, body } = await ask(path, { cookie });
      expect([status, body['code']]).toEqual([500, 'OPTIONS_INVALID']);
      expect(body['error']).toContain(message);
    }
    expect(() => requireSession({ realm: {} as HttpRealm })).toThrow('realm: expected a realm');
  });
});

describe('a sign-in', () => {
  test('that is refused leaves the session that is there', async () => {
    const { ask, signIn, realm } = await appOf((app) => {
      app.post(
        '/wrong-in',
        eventual((request) => sessionOf(request).signIn('bob', { level: 'no-such-level' })),
      );
    });
    const cookie = await signIn('ada');
    const { status, body, cookies } = await ask('/wrong-in', { ...post, cookie });
    expect([status, body['code'], cookies]).toEqual([500, 'OPTIONS_INVALID', []]);
    expect([(await ask('/me', { cookie })).body['userId'], await realm.count('bob')]).toEqual(['ada', 0]);
  });

  test('that Redis does not answer changes nothing for the browser', async () => {
    const realm: HttpRealm = {
      ...failing(new MillraceError('REDIS_TIMEOUT', 'no answer', {})),
      validate: () => Promise.resolve({ ok: true, session: sessionOfId('old') }),
      create: () => Promise.reject(new MillraceError('REDIS_TIMEOUT', 'no answer', {})),
    };
    const request = { headers: { cookie: '__Host-session=x' }, socket: {} } as never;
    const response = new ServerResponse({} as never);
    await new Promise<unknown>((resolve) => sessionMiddleware(realm)(request, response, resolve));
    await expect(sessionOf(request).signIn('ada')).rejects.toMatchObject({ code: 'REDIS_TIMEOUT' });
    response.writeHead(500);
    expect([sessionOf(request).current?.id, response.hasHeader('Set-Cookie')]).toEqual(['old', false]);
  });

  test('is refused where the session that may be there was left out, and so is a sign-out', async () => {
    const { ask, signIn, realm } = await appOf(() => undefined, { skip: ({ path }) => path !== '/in/ada' });
    const cookie = await signIn('ada');
    for (const path of ['/in/bob', '/out', '/up/second-factor']) {
      const { status, body, cookies } = await ask(path, { ...post, cookie });
      expect([status, body['code'], cookies]).toEqual([500, 'OPTIONS_INVALID', []]);
      expect(body['error']).toContain('skip');
    }
    expect([await realm.count('ada'), await realm.count('bob')]).toEqual([1, 0]);
  });
});

test('what is no outage is an error, whatever is said of outages', async () => {
  const cookie = `__Host-session=${'a'.repeat(90)}`;
  const closed = await serve(failing(), { onError: 'anonymous' });
  expect((await closed.ask('/me', { cookie })).body['code']).toBe('CLOSED');
  const broken = await serve(failing(new TypeError('a schema that throws')), { onError: 'anonymous' });
  expect((await broken.ask('/me', { cookie })).status).toBe(500);
  const down = await serve(failing(new MillraceError('REDIS_UNREACHABLE', 'down', {})), { onError: 'anonymous' });
  expect((await down.ask('/me', { cookie })).body).toEqual({ isUnavailable: true });
  expect((await down.ask('/up/second-factor', { ...post, cookie })).body['code']).toBe('REDIS_UNREACHABLE');
});
