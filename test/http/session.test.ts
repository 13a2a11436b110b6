/** Sessions over real HTTP, with a real realm: the cookie, who is signed in, and what becomes of those who are not. */
import { ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sessionMiddleware, sessionOf, requireSession, type HttpRealm } from '../../src/http/session.ts';
import { systemClock } from '../../src/clock.ts';
import type { RealmOptions } from '../../src/session/options.ts';
import type { Realm } from '../../src/session/realm.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { freshPrefix, ownedSessions, type Options, type Served } from './session-app.ts';

const own = ownedByTest();
const { realmAt, serve } = ownedSessions();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const realmOf = (options?: RealmOptions): Promise<Realm> => realmAt(server.url, options);
const appOf = async (options?: Options, realmOptions?: RealmOptions): Promise<Served & { realm: Realm }> => {
  const realm = await realmOf(realmOptions);
  return { realm, ...(await serve(realm, options)) };
};
const post = { method: 'POST' };

describe('the cookie', () => {
  test('is for this host alone, over TLS alone, and read by no script', async () => {
    const { ask } = await appOf({}, { absolute: '1d' });
    const { cookies, headers } = await ask('/in/ada', post);
    expect(cookies).toHaveLength(1);
    expect(cookies[0]).toMatch(/^__Host-session=v1\.[\w.-]+; Path=\/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax$/);
    expect(headers['cache-control']).toBe('no-store');
  });

  test('is without Secure and __Host- where that is said, and until the browser closes', async () => {
    const { ask } = await appOf({ secure: false, name: 'dev', sameSite: 'strict', persistent: false });
    const { cookies } = await ask('/in/ada', post);
    expect(cookies).toEqual([expect.stringMatching(/^dev=v1\.[\w.-]+; Path=\/; HttpOnly; SameSite=Strict$/)]);
  });

  test('is taken away, with the same flags, once it is dead', async () => {
    const { ask, signIn } = await appOf();
    const cookie = await signIn('ada');
    await server.ask(async (redis) => redis.del(...(await redis.keys('*'))));
    const { cookies, body } = await ask('/me', { cookie });
    expect(cookies).toEqual(['__Host-session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax']);
    expect(body).toMatchObject({ refusal: 'unknown', isUnavailable: false });
    expect(body).not.toHaveProperty('userId');
  });

  test('comes with no response that need not set it', async () => {
    const { ask, signIn } = await appOf();
    const cookie = await signIn('ada');
    const answers = [await ask('/me'), await ask('/me', { cookie }), await ask('/cached', { cookie })];
    expect(answers.map(({ cookies }) => cookies)).toEqual([[], [], []]);
    expect(answers.map(({ headers }) => headers['cache-control'])).toEqual([
      undefined,
      undefined,
      'public, max-age=60',
    ]);
  });

  test('of another app stays as it was', () => {
    const response = new ServerResponse({} as never);
    response.setHeader('Set-Cookie', ['other=1', '__Host-sessions=2']);
    return new Promise<void>((resolve) => {
      sessionMiddleware(refusing())({ headers: { cookie: '__Host-session=x' }, socket: {} } as never, response, () => {
        response.writeHead(200);
        expect(response.getHeader('Set-Cookie')).toEqual([
          'other=1',
          '__Host-sessions=2',
          expect.stringContaining('__Host-session=; '),
        ]);
        resolve();
      });
    });
  });
});

/** A realm that refuses whatever it is asked. */
function refusing(asked: string[] = []): HttpRealm {
  const refuse = (what: string) => (text: string) => {
    asked.push(`${what} ${text}`);
    return Promise.resolve({ ok: false, reason: 'unknown' } as const);
  };
  return {
    create: () => Promise.reject(new Error('no')),
    validate: refuse('validate'),
    elevate: refuse('elevate'),
    update: () => Promise.resolve({ ok: false, reason: 'gone' }),
    revoke: () => Promise.resolve(false),
    reaches: () => false,
  };
}

describe('a cookie that is none of ours', () => {
  const token = `v1.${'a'.repeat(45)}.${'b'.repeat(43)}`;
  test.each([
    ['is huge', `__Host-session=${'x'.repeat(8_000)}`, 'malformed', 1],
    ['has characters that no token has', '__Host-session=a"b', 'malformed', 1],
    ['is empty', '__Host-session=', 'malformed', 1],
    ['is there twice', `__Host-session=${token}; __Host-session=other`, 'malformed', 0],
    ['is there a thousand times', Array.from({ length: 1_000 }, (_, at) => `s=${at}`).join(';'), undefined, 0],
    ['has another name', `session=${token}; xx__Host-session=${token}; __host-session=1`, undefined, 0],
    ['is no cookie at all', ';;; = ; __Host-session ;=;', undefined, 0],
  ])('and %s lets nobody in, and is not asked for', async (_title, cookie, refusal, cleared) => {
    const asked: string[] = [];
    const { ask } = await serve(refusing(asked));
    const { status, cookies, body } = await ask('/me', { cookie });
    expect([status, cookies.length, body['refusal'], body['userId']]).toEqual([200, cleared, refusal, undefined]);
    expect(asked).toEqual([]);
  });

  test('but has its form is asked for, once', async () => {
    const asked: string[] = [];
    const { ask } = await serve(refusing(asked));
    expect((await ask('/guarded', { cookie: `a=1; __Host-session=${token} ; __Host-session=${token}` })).status).toBe(
      401,
    );
    expect(asked).toEqual([`validate ${token}`]);
  });
});

describe('whoever signs in', () => {
  test('is known to the requests that follow, with the device', async () => {
    const { ask, signIn, realm } = await appOf();
    const cookie = await signIn('ada');
    const { body } = await ask('/me', { cookie });
    expect(body).toMatchObject({
      userId: 'ada',
      level: 'password',
      data: { theme: 'light' },
      device: { ip: '127.0.0.1' },
    });
    expect((await realm.list('ada')).map(({ id }) => id)).toEqual([body['id']]);
  });

  test('gets a new id, and the session before it is over', async () => {
    const { ask, signIn } = await appOf();
    const first = await signIn('ada');
    const { id } = (await ask('/me', { cookie: first })).body;
    const second = await signIn('ada', first);
    expect(second).not.toBe(first);
    const { body } = await ask('/me', { cookie: second });
    expect(body).toMatchObject({ userId: 'ada' });
    expect(body['id']).not.toBe(id);
    expect((await ask('/guarded', { cookie: first })).status).toBe(401);
  });

  test('cannot be given a session to sign in with', async () => {
    const { signIn, ask, realm } = await appOf();
    const planted = await signIn('mallory');
    const cookie = await signIn('ada', planted);
    expect((await ask('/me', { cookie })).body['userId']).toBe('ada');
    expect((await ask('/me', { cookie: planted })).body).not.toHaveProperty('userId');
    expect(await realm.count('mallory')).toBe(0);
  });

  test('signs out once, and is out', async () => {
    const { ask, signIn, realm } = await appOf();
    const cookie = await signIn('ada');
    const out = await ask('/out', { ...post, cookie });
    expect([out.body['result'], out.cookie]).toEqual([true, '']);
    expect((await ask('/out', { ...post, cookie })).body['result']).toBe(false);
    expect([await realm.count('ada'), (await ask('/guarded', { cookie })).status]).toEqual([0, 401]);
  });

  test('is signed in on the server only where a cookie can say so', async () => {
    const { ask, realm } = await appOf();
    const { body, cookies } = await ask('/late/ada', post);
    expect(body).toMatchObject({ code: 'HEADERS_SENT' });
    expect([cookies, await realm.count('ada')]).toEqual([[], 0]);
  });

  test('is signed out again when the response begins meanwhile', async () => {
    const response = new ServerResponse({} as never);
    const revoked: string[] = [];
    const realm: HttpRealm = {
      ...refusing(),
      create: () => {
        response.writeHead(504);
        return Promise.resolve({ token: 'new', session: { id: 'new-id' } as never });
      },
      revoke: (id) => Promise.resolve(revoked.push(id) > 0),
    };
    const request = { headers: {}, socket: {} } as never;
    await new Promise<unknown>((resolve) => sessionMiddleware(realm)(request, response, resolve));
    await expect(sessionOf(request).signIn('ada')).rejects.toMatchObject({ code: 'HEADERS_SENT' });
    expect([revoked, sessionOf(request).current]).toEqual([['new-id'], undefined]);
  });

  test('raises the level with a new token, and the guard of that level lets the requests pass', async () => {
    const { ask, signIn } = await appOf();
    const cookie = await signIn('ada');
    const low = await ask('/strong', { cookie });
    expect(low).toMatchObject({
      status: 403,
      body: { code: 'SESSION_LEVEL_LOW', level: 'second-factor', status: 403 },
    });
    const up = await ask('/up/second-factor', { ...post, cookie });
    expect(up.body['result']).toMatchObject({ ok: true, session: { level: 'second-factor' } });
    expect(JSON.stringify(up.body)).not.toContain(up.cookie.split('=')[1]);
    expect((await ask('/strong', { cookie: up.cookie })).status).toBe(200);
    expect((await ask('/strong', { cookie })).status).toBe(403);
    expect((await ask('/up/second-factor', post)).body['result']).toEqual({ ok: false, reason: 'missing' });
    expect((await ask('/wrong', { cookie })).status).toBe(500);
  });

  test('changes the data of the session, if nobody else has', async () => {
    const { ask, signIn } = await appOf();
    const cookie = await signIn('ada');
    expect((await ask('/theme/dark', { ...post, cookie })).body['result']).toMatchObject({ ok: true });
    expect((await ask('/theme/blue', { ...post, cookie })).body['result']).toMatchObject({
      ok: false,
      reason: 'version',
    });
    expect((await ask('/me', { cookie })).body['data']).toEqual({ theme: 'dark' });
    expect((await ask('/theme/red', post)).body['result']).toEqual({ ok: false, reason: 'gone' });
  });
});

describe('a token that is replaced', () => {
  test('reaches the browser, once for requests at once, and the session goes on', async () => {
    const { ask, signIn } = await appOf({}, { rotateEvery: 1_000, rotateGrace: 400 });
    const cookie = await signIn('ada');
    await eventually(async () => expect((await ask('/me', { cookie })).cookies).toHaveLength(1));
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask('/me', { cookie })));
    expect(answers.map(({ body }) => body['userId'])).toEqual(answers.map(() => 'ada'));
    for (const answer of answers) {
      expect(answer.cookies).toHaveLength(1);
      expect((await ask('/guarded', { cookie: answer.cookie })).status).toBe(200);
    }
  });

  test('is over when it comes back late, and so is the session', async () => {
    const { ask, signIn, realm } = await appOf({}, { rotateEvery: 10, rotateGrace: 0 });
    const stolen = await signIn('ada');
    const cookie = await eventually(async () => {
      const { cookies, cookie: fresh } = await ask('/me', { cookie: stolen });
      expect(cookies).toHaveLength(1);
      return fresh;
    });
    expect((await ask('/me', { cookie })).status).toBe(200); // Its use ends the grace of the one before it.
    expect((await ask('/me', { cookie: stolen })).body['refusal']).toBe('reused');
    expect([(await ask('/guarded', { cookie })).status, await realm.count('ada')]).toEqual([401, 0]);
  });
});

describe('a guard', () => {
  test('answers whoever is not signed in with a problem document', async () => {
    const { ask } = await appOf();
    const { status, headers, body } = await ask('/guarded');
    expect(status).toBe(401);
    expect(headers).toMatchObject({
      'content-type': 'application/problem+json; charset=utf-8',
      'cache-control': 'no-store',
      'www-authenticate': 'Cookie',
    });
    expect(body).toEqual({
      type: 'about:blank',
      title: 'Unauthorized',
      status: 401,
      detail: 'Sign in first.',
      code: 'SESSION_MISSING',
    });
  });

  test('says so when the middleware is not there', () => {
    expect(() => sessionOf({} as never)).toThrow('app.use(sessionMiddleware(realm)) must come before');
    expect(() => requireSession({ levle: 'x' } as never)).toThrow('unknown option levle, did you mean level?');
  });
});

describe('the options', () => {
  test('decide which requests are a use of the session, have one at all, and tell of the device', async () => {
    const { ask, signIn, realm } = await appOf(
      {
        touch: ({ path }) => path !== '/me',
        skip: ({ path }) => path.startsWith('/files'),
        device: () => ({ name: 'tv' }),
      },
      { idle: '10s', touchEvery: 0 },
    );
    const cookie = await signIn('ada');
    const seen = async (): Promise<number> => (await realm.list('ada'))[0]?.lastSeenAt ?? 0;
    const before = await seen();
    expect((await ask('/me', { cookie })).body['device']).toEqual({ name: 'tv' });
    expect(await seen()).toBe(before);
    await systemClock.sleep(2);
    await ask('/guarded', { cookie });
    expect(await seen()).toBeGreaterThan(before);
    expect((await ask('/files/me', { cookie })).body).toEqual({ isUnavailable: false });
  });

  test.each<[object, string]>([
    [{ secure: 'auto' }, 'secure: expected boolean'],
    [{ name: '__Host-x' }, 'name: expected up to 64 letters, digits, _ and -, without __Host-'],
    [{ name: 'a=b' }, 'name: expected up to 64 letters'],
    [{ sameSite: 'none', secure: false }, 'sameSite: expected lax or strict without secure'],
    [{ sameSite: 'Lax' }, 'sameSite: expected lax or strict or none'],
    [{ device: true }, 'device'],
    [{ onError: 'allow' }, 'onError: expected fail or anonymous'],
    [{ samesite: 'lax' }, 'unknown option samesite, did you mean sameSite?'],
  ])('%o are refused', (options, message) => {
    expect(() => sessionMiddleware(refusing(), options as Options)).toThrow(message);
  });

  test('without a realm are refused', () => {
    expect(() => sessionMiddleware({} as HttpRealm)).toThrow('expected a realm, as sessions.realm() gives one');
  });
});

/** An app with somebody signed in whose Redis does not answer any more. */
const broken = async (options: Options): Promise<Served & { cookie: string; mend: () => void }> => {
  const proxy = own(await startProxy(server.port));
  const prefix = freshPrefix();
  const { token } = await (await realmAt(server.url, {}, { prefix })).create('ada');
  const served = await serve(await realmAt(proxy.url, {}, { prefix, deadline: 300 }), options);
  const cookie = `__Host-session=${token}`;
  proxy.freeze();
  const mend = (): void => {
    proxy.restore();
    proxy.cut();
  };
  return { ...served, cookie, mend };
};

describe('Redis that is down', () => {
  test('is an error of the request, signs nobody in or out, and takes no cookie away', async () => {
    const { ask, cookie, mend } = await broken({});
    for (const [path, asked] of [
      ['/me', { cookie }],
      ['/in/bob', post],
      ['/out', { ...post, cookie }],
    ] as const) {
      const { status, cookies, body } = await ask(path, asked);
      expect([status, cookies, body['code']]).toEqual([500, [], 'REDIS_TIMEOUT']);
    }
    expect((await ask('/me')).status).toBe(200); // Nobody is asked about.
    mend();
    await eventually(async () => expect((await ask('/me', { cookie })).body['userId']).toBe('ada'));
  });

  test('leaves everybody anonymous where that is said, whom guards answer with 503', async () => {
    const { ask, cookie, mend } = await broken({ onError: 'anonymous' });
    const { body, cookies } = await ask('/me', { cookie });
    expect([body, cookies]).toEqual([{ isUnavailable: true }, []]);
    const guarded = await ask('/guarded', { cookie });
    expect([guarded.status, guarded.headers['retry-after'], guarded.body['code']]).toEqual([
      503,
      '1',
      'SESSION_UNAVAILABLE',
    ]);
    expect((await ask('/guarded')).status).toBe(401);
    for (const path of ['/out', '/in/bob']) expect((await ask(path, { ...post, cookie })).status).toBe(500);
    mend();
    await eventually(async () => expect((await ask('/me', { cookie })).body['userId']).toBe('ada'));
  });
});
