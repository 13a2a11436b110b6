/** Requests that other sites cause, over real HTTP with a real realm, and tokens that are not of the session. */
import type express from 'express';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { csrf, type CsrfOptions } from '../../src/http/csrf.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedApps } from './express-session-app.ts';
import { ownedSessions, type Served } from './session-app.ts';

const { realmAt, serve } = ownedSessions();
const secret = 'a secret of the tests that is long enough';
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const appOf = async (options: Partial<CsrfOptions> = {}): Promise<Served> =>
  serve(await realmAt(server.url), {}, { secret, ...(options as object) });
const post = { method: 'POST' };
const session = (): string => 'session-1';
const tokenOf = async ({ ask }: Served, cookie: string): Promise<string> =>
  String((await ask('/form', { cookie })).body['token']);

describe('a token', () => {
  test('lets the request pass, in the header or in the form, as often as it is used', async () => {
    const app = await appOf();
    const cookie = await app.signIn('ada');
    const token = await tokenOf(app, cookie);
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const body = `_csrf=${token}`;
    const inForm = { headers: form, body };
    const besideEmptyHeader = { headers: { ...form, 'x-csrf-token': '' }, body };
    for (const asked of [{ headers: { 'x-csrf-token': token } }, inForm, inForm, besideEmptyHeader])
      expect((await app.ask('/act', { ...post, cookie, ...asked })).body).toEqual({ done: true });
    expect(await tokenOf(app, cookie)).not.toBe(token);
  });

  test('is asked for by every method that changes something, and by no other', async () => {
    const app = await appOf();
    const cookie = await app.signIn('ada');
    const statusOf = async (method: string): Promise<number> => (await app.ask('/act', { method, cookie })).status;
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) expect(await statusOf(method)).toBe(403);
    for (const method of ['GET', 'OPTIONS']) expect(await statusOf(method)).toBe(200);
  });

  test('that is missing is a problem document', async () => {
    const app = await appOf();
    const { status, headers, body } = await app.ask('/act', { ...post, cookie: await app.signIn('ada') });
    expect([status, headers['content-type']]).toEqual([403, 'application/problem+json; charset=utf-8']);
    expect(body).toEqual({
      type: 'about:blank',
      title: 'Forbidden',
      status: 403,
      detail: 'The request bears no CSRF token.',
      code: 'CSRF_REFUSED',
      reason: 'token-missing',
    });
  });

  test('of another session is refused, also of the one before a new sign-in', async () => {
    const app = await appOf();
    const [ada, bob] = [await app.signIn('ada'), await app.signIn('bob')];
    const token = await tokenOf(app, ada);
    const headers = { 'x-csrf-token': token };
    expect((await app.ask('/act', { ...post, cookie: bob, headers })).body['reason']).toBe('token-invalid');
    const { cookie: again } = await app.ask('/in/ada', { ...post, cookie: ada, headers });
    expect((await app.ask('/act', { ...post, cookie: again, headers })).body['reason']).toBe('token-invalid');
  });

  test('of an older secret is believed while that is known, and new ones are of the first', () => {
    const older = 'an older secret that is long enough, too';
    const passes = (made: string, secrets: string[]): boolean => {
      let passed = false;
      const request = { method: 'POST', headers: { 'x-csrf-token': made } } as never;
      const response = { setHeader: () => undefined, end: () => undefined } as never;
      csrf({ secret: secrets, session }).protect(request, response, () => (passed = true));
      return passed;
    };
    const made = csrf({ secret: older, session }).tokenFor({} as never) as string;
    expect([passes(made, [secret, older]), passes(made, [secret])]).toEqual([true, false]);
    const fresh = csrf({ secret: [secret, older], session }).tokenFor({} as never) as string;
    expect([passes(fresh, [secret]), passes(fresh, [older])]).toEqual([true, false]);
  });

  test('that differs in anything is refused, whatever it is', () => {
    const { protect, tokenFor } = csrf({ secret, session });
    const refused = (made: unknown): unknown => {
      let text = 'passed';
      const request = { method: 'POST', headers: {}, body: { _csrf: made } } as never;
      const response = { setHeader: () => undefined, end: (sent: string) => (text = sent) } as never;
      protect(request, response, () => undefined);
      return text;
    };
    const token = tokenFor({} as never) as string;
    expect(refused(token)).toBe('passed');
    fc.assert(
      fc.property(
        fc.nat(token.length - 2),
        fc.constantFrom('a', 'Z', '0', '_', '-', '.', '=', ' ', 'é'),
        (at, char) => {
          fc.pre(token[at] !== char);
          expect(refused(token.slice(0, at) + char + token.slice(at + 1))).toContain('token-invalid');
        },
      ),
    );
    for (const made of [token.slice(1), `${token}a`, [token], { token }, 7, true, 'x'.repeat(100_000)])
      expect(refused(made)).toContain('token-invalid');
    for (const made of ['', undefined]) expect(refused(made)).toContain('token-missing');
  });
});

describe('where a request comes from', () => {
  const own = { host: 'shop.example' };
  test.each<[string, Record<string, string>, boolean]>([
    ['a page of ours', { 'sec-fetch-site': 'same-origin' }, true],
    ['the user himself', { 'sec-fetch-site': 'none' }, true],
    ['another site', { 'sec-fetch-site': 'cross-site' }, false],
    ['another name of the domain', { 'sec-fetch-site': 'same-site', origin: 'https://blog.shop.example' }, false],
    ['a site that may', { 'sec-fetch-site': 'cross-site', origin: 'https://admin.example' }, true],
    ['a site that may, of an old browser', { origin: 'https://admin.example' }, true],
    ['a page of ours, of an old browser', { origin: 'https://shop.example' }, true],
    [
      'a page of ours, with a port that goes without saying',
      { origin: 'https://shop.example', host: 'shop.example:443' },
      true,
    ],
    ['another port', { origin: 'https://shop.example:8443' }, false],
    ['another site, of an old browser', { origin: 'https://evil.example' }, false],
    ['a name that begins as ours', { origin: 'https://shop.example.evil.example' }, false],
    ['a page without an origin', { origin: 'null' }, false],
    ['what is no origin', { origin: 'shop.example' }, false],
    ['no browser', {}, true],
    ['a page of ours over TLS', { origin: 'https://shop.example', 'x-forwarded-proto': 'https' }, true],
    [
      'our name without TLS, which anybody on the way can speak for',
      { origin: 'http://shop.example', 'x-forwarded-proto': 'https' },
      false,
    ],
  ])('%s', async (_title, headers, passes) => {
    const app = await appOf({ origins: ['https://admin.example'] });
    const cookie = await app.signIn('ada');
    const token = await tokenOf(app, cookie);
    const { body } = await app.ask('/act', { ...post, cookie, headers: { ...own, ...headers, 'x-csrf-token': token } });
    expect(body['reason'] ?? 'passed').toBe(passes ? 'passed' : 'cross-site');
    // Without a session too: nobody is signed in as somebody else from elsewhere.
    expect((await app.ask('/in/mallory', { ...post, headers: { ...own, ...headers } })).status).toBe(
      passes ? 200 : 403,
    );
  });

  test('is not looked at where that is said', async () => {
    const app = await appOf({ skip: ({ url }) => url === '/act' });
    const headers = { 'sec-fetch-site': 'cross-site' };
    expect((await app.ask('/act', { ...post, headers })).status).toBe(200);
    expect((await app.ask('/out', { ...post, headers })).status).toBe(403);
  });
});

describe('with express-session', () => {
  const { connect, serve: serveStore } = ownedApps();

  test('whoever is not signed in needs no token, and whoever is needs one', async () => {
    const { protect, tokenFor } = csrf<express.Request>({
      secret,
      session: (request) => (request.session.userId === undefined ? undefined : request.sessionID),
    });
    const { ask } = await serveStore(await connect({ url: server.url }), {}, {}, (app) => {
      app.use(protect);
      app.get('/form', (request, response) => void response.json({ token: tokenFor(request) }));
    });
    expect((await ask('/form')).body).toEqual({});
    const { status, cookie } = await ask('/login/ada', '', post);
    expect(status).toBe(200);
    const token = String((await ask('/form', cookie)).body['token']);
    expect((await ask('/views', cookie, post)).body['reason']).toBe('token-missing');
    expect((await ask('/views', cookie, { ...post, headers: { 'x-csrf-token': token } })).body['views']).toBe(1);
    const { cookie: bob } = await ask('/login/bob', '', post);
    expect((await ask('/views', bob, { ...post, headers: { 'x-csrf-token': token } })).body['reason']).toBe(
      'token-invalid',
    );
    expect((await ask('/login/mallory', '', { ...post, headers: { 'sec-fetch-site': 'cross-site' } })).status).toBe(
      403,
    );
  });
});

describe('the options', () => {
  test.each<[object, string]>([
    [{ secret: 'hunter2' }, 'secret: expected at least 32 characters, got a string'],
    [{ secret: [] }, 'secret'],
    [{}, 'secret'],
    [{ secret, origins: ['https://admin.example/'] }, 'origins[0]: expected an origin'],
    [{ secret, origins: ['*'] }, 'origins[0]: expected an origin'],
    [{ secret, header: 'x y' }, 'header: expected the name of a header'],
    [{ secret, skips: () => true }, 'unknown option skips, did you mean skip?'],
  ])('%o are refused', (options, message) => {
    expect(() => csrf(options as CsrfOptions)).toThrow(message);
    expect(() => csrf(options as CsrfOptions)).not.toThrow('hunter2');
  });
});
