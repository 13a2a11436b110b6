/** What the dashboard's port says to browsers, proxies, machines, and to those who try it out. */
import express from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { PAGES } from '../../dashboard/pages.ts';
import { createDashboard } from '../../dashboard/index.ts';
import { listen } from '../../src/http/index.ts';
import { createPlatform } from '../../src/index.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { freshPrefix, openBrowser, ownedDashboards, ownedPlatform, PASSWORD, signIn, userLine } from './support.ts';

const lines = collectLog();
const platform = ownedPlatform({ log: lines.log });
const open = ownedDashboards(platform);
const own = ownedByTest();

describe('every answer', () => {
  test('has the headers that keep browsers from doing harm, and nothing that tells of the inside', async () => {
    const { browser, browserAs } = await open();
    const viewer = await browserAs('viewer');
    const answers = [
      await viewer.get('/'),
      await viewer.get('/nowhere'),
      await browser().get('/sign-in'),
      await browser().get('/livez'),
      await browser().ask('POST', '/sign-in', {
        body: 'x'.repeat(10_000),
        headers: { 'content-type': 'application/json' },
      }),
    ];
    for (const { headers } of answers) {
      expect(headers['content-security-policy']).toContain("script-src 'self'");
      expect(headers['content-security-policy']).toContain("frame-ancestors 'none'");
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['referrer-policy']).toBe('same-origin');
      expect(headers['cache-control']).toBe('no-store');
      expect(headers['x-powered-by']).toBeUndefined();
    }
    for (const { body } of answers) expect(body).not.toMatch(/<script(?![^>]* src=)|\sstyle=|\son\w+=/);
  });

  test('files are found without a session, under a link that may be kept for good', async () => {
    const { browser } = await open();
    const [, link = ''] = /href="([^"]*styles\.css[^"]*)"/.exec((await browser().get('/sign-in')).body) ?? [];
    const styles = await browser().get(link);
    expect([styles.status, styles.headers['content-type']]).toEqual([200, 'text/css; charset=utf-8']);
    expect(styles.headers['cache-control']).toContain('immutable');
    const again = await browser().get(link, {
      headers: { 'if-none-match': String(styles.headers.etag), 'cache-control': 'max-age=0' },
    });
    expect(again.status).toBe(304);
    expect((await browser().get('/assets/page.js')).headers['cache-control']).toBe('no-cache');
    for (const path of ['/assets/..%2fpackage.json', '/assets/../package.json', '/assets/%00', '/assets/page.ts'])
      expect((await browser().get(path)).status, path).not.toBe(200);
  });
});

describe('who is not signed in', () => {
  test('finds no page, by no path and no method', async () => {
    const { browser } = await open();
    const paths = [
      '/',
      '/audit',
      '/theme',
      '/sign-out',
      '/nowhere',
      '//audit',
      '/%2e%2e/audit',
      '/AUDIT/',
      '/audit/.',
      '/sign-in/../audit',
      '/sign-in%2f..%2faudit',
      '/assets/../audit',
      ...PAGES.map(({ path }) => path),
    ];
    for (const path of paths)
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'QUERY']) {
        const { status, headers, body } = await browser().ask(method, path, { headers: { accept: 'text/html' } });
        const answer = `${status} ${headers.location ?? ''}`;
        expect(answer, `${method} ${path}`).toMatch(/^(403 |404 |303 \/sign-in(\?.*)?)$/);
        expect(body).not.toContain('<nav');
      }
  });

  test('is told so in JSON, unless a page was asked for', async () => {
    const { browser } = await open();
    const answer = await browser().get('/audit', { headers: { accept: 'application/json' } });
    expect([answer.status, JSON.parse(answer.body)]).toMatchObject([401, { code: 'SESSION_MISSING' }]);
  });
});

describe('requests that change something', () => {
  test('need the token of the session: none, a wrong one and that of another session are refused', async () => {
    const { browserAs } = await open();
    const [admin, other] = [await browserAs('admin'), await browserAs('operator')];
    const { token } = admin;
    for (const wrong of ['', 'x', other.token, `${token}x`]) {
      admin.token = '';
      expect((await admin.post('/theme', { theme: 'dark', ...(wrong !== '' && { _csrf: wrong }) })).status).toBe(403);
    }
    const json = await admin.ask('POST', '/theme', { headers: { accept: 'application/json' } });
    expect([json.status, JSON.parse(json.body)]).toMatchObject([
      403,
      { code: 'CSRF_REFUSED', reason: 'token-missing' },
    ]);
    const accepted = { 'x-csrf-token': token };
    expect((await admin.ask('POST', '/theme', { headers: accepted })).status).toBe(303);
    expect((await admin.ask('POST', '/theme', { headers: { 'x-xsrf-token': token } })).status).toBe(303);
  });

  test('are refused when they come from a page of another site, the sign-in too', async () => {
    const { browser, browserAs } = await open();
    const admin = await browserAs('admin');
    for (const headers of [
      { origin: 'https://evil.example' },
      { 'sec-fetch-site': 'cross-site' },
      { origin: 'null' },
    ]) {
      expect((await admin.post('/theme', { theme: 'dark' }, { headers })).status).toBe(403);
      const signedIn = await browser().post('/sign-in', { name: 'viewer', password: PASSWORD }, { headers });
      expect(signedIn.status).toBe(403);
      expect(signedIn.headers['set-cookie']).toBeUndefined();
    }
  });

  test('a message is shown once, to the session that it is for', async () => {
    const page = { path: '/test', title: 'Test', needs: 'viewer', acts: 'viewer' } as const;
    const { browserAs, browser } = await openWith([
      {
        ...page,
        routes: (router, desk) =>
          void router.post('/', (_request, response) =>
            desk.redirect(response, '/', { tone: 'good', text: '<b>Done</b>' }),
          ),
      },
    ]);
    const viewer = await browserAs('viewer');
    expect((await viewer.post('/test')).headers.location).toBe('/');
    const flash = viewer.cookies.get('millrace-flash') ?? '';
    expect((await viewer.get('/')).body).toContain('&lt;b>Done&lt;/b>');
    expect((await viewer.get('/')).body).not.toContain('Done');
    const other = await browserAs('operator');
    other.cookies.set('millrace-flash', flash);
    expect((await other.get('/')).body).not.toContain('Done');
    const stranger = browser();
    stranger.cookies.set('millrace-flash', flash);
    expect((await stranger.get('/sign-in')).body).not.toContain('Done');
  });

  test('the colours that were chosen stay', async () => {
    const { browserAs } = await open();
    const viewer = await browserAs('viewer');
    expect((await viewer.get('/')).body).toMatch(/<html lang="en" data-base/);
    expect((await viewer.post('/theme', { theme: 'dark', next: '/?a=1' })).headers.location).toBe('/?a=1');
    expect((await viewer.get('/')).body).toContain('<html lang="en" data-theme="dark"');
    await viewer.post('/theme', { theme: 'auto', next: '//evil.example' });
    expect((await viewer.get('/')).body).toMatch(/<html lang="en" data-base/);
  });
});

/** Pages of a test beside the real ones. */
const added: Array<(typeof PAGES)[number]> = [];
const pages = PAGES as Array<(typeof PAGES)[number]>;
afterEach(() => {
  for (const page of added.splice(0)) pages.splice(pages.indexOf(page), 1);
});

function openWith(more: ReadonlyArray<(typeof PAGES)[number]>) {
  added.push(...more);
  pages.push(...more);
  return open();
}

describe('what goes wrong', () => {
  test('gives away a reference only, under which the log has the rest', async () => {
    const { browserAs } = await openWith([
      {
        path: '/broken',
        title: 'Broken',
        needs: 'viewer',
        routes: (router) => void router.get('/', () => Promise.reject(new Error('the secret inside'))),
      },
    ]);
    const answer = await (await browserAs('viewer')).get('/broken');
    expect(answer.status).toBe(500);
    expect(answer.body).not.toContain('secret');
    const [, reference] = /reference ([0-9a-f]{12})/.exec(answer.body) ?? [];
    expect(lines.warnings()).toContainEqual(
      expect.objectContaining({ reference, path: '/broken', msg: 'a request failed' }),
    );
  });

  test('a path that is not there is 404, a method that is not there 405, and HEAD is as GET', async () => {
    const { browserAs } = await open();
    const admin = await browserAs('admin');
    const none = await admin.get('/nowhere');
    expect([none.status, none.body.includes('<a href="/">Back to Overview</a>')]).toEqual([404, true]);
    expect((await admin.get('/jobs/none?x')).body).toContain('<a href="/jobs">Back to Jobs</a>');
    const head = await admin.ask('HEAD', '/');
    expect([head.status, head.body]).toEqual([200, '']);
    const refused = await admin.post('/audit');
    expect([refused.status, refused.headers.allow]).toEqual([405, 'GET, HEAD']);
    const told = lines.warnings().length;
    expect((await admin.get('/%ff')).status).toBe(404);
    expect((await admin.get('/assets/%zz')).status).toBe(400);
    expect(lines.warnings().slice(told)).toEqual([]);
    expect(
      (await admin.ask('POST', '/theme', { body: '{', headers: { 'content-type': 'application/json' } })).status,
    ).toBe(400);
  });

  test('before the start and after the stop the pages are not there, and probes are answered', async () => {
    const stopped = createPlatform({ redis: { url: 'redis://127.0.0.1:1' }, log: { level: 'silent' } });
    const dashboard = createDashboard(stopped);
    const listener = own(await listen(dashboard.router, { host: '127.0.0.1', port: 0 }));
    const browser = openBrowser(listener.port);
    expect((await browser.get('/')).status).toBe(503);
    expect((await browser.get('/livez')).status).toBe(200);
    expect((await browser.get('/readyz')).status).toBe(503);
    expect((await browser.get('/metrics')).status).toBe(404);
    await dashboard.stop();
    expect((await browser.get('/')).status).toBe(503);
    const running = await open();
    await running.dashboard.stop();
    expect((await running.browser().get('/')).status).toBe(503);
  });
});

describe('while Redis is down', () => {
  test('pages answer 503, and nobody loses his session', async () => {
    const server = own(await startRedis());
    const redis = { url: server.url, commandTimeout: '500ms' } as const;
    const cut = own(createPlatform({ redis, log: { level: 'silent' }, prefix: freshPrefix() }));
    await cut.start();
    const dashboard = own(createDashboard(cut, { users: [userLine('ada', 'admin')] }));
    await dashboard.start();
    const listener = own(await listen(dashboard.router, { host: '127.0.0.1', port: 0 }));
    const user = openBrowser(listener.port);
    await signIn(user, 'ada', PASSWORD);
    const cookies = new Map(user.cookies);
    await server.stop();
    expect((await user.get('/audit')).status).toBe(503);
    expect(user.cookies).toEqual(cookies);
    const stranger = await openBrowser(listener.port).post('/sign-in', { name: 'ada', password: PASSWORD });
    expect([stranger.status, stranger.headers['set-cookie']]).toEqual([503, undefined]);
  });
});

describe('for machines', () => {
  test('probes are open, and /metrics asks for its token', async () => {
    const closed = await open();
    expect((await closed.browser().get('/livez')).status).toBe(200);
    expect((await closed.browser().get('/readyz')).status).toBe(200);
    expect((await closed.browser().get('/metrics')).status).toBe(404);
    const { browser, browserAs } = await open({ metricsToken: 'a-token-for-the-metrics' });
    const ask = (authorization: string) => browser().get('/metrics', { headers: { authorization } });
    expect((await ask('')).status).toBe(401);
    for (const wrong of ['Bearer x', 'Bearer', 'a-token-for-the-metrics', 'Basic YTpi'])
      expect((await ask(wrong)).status).toBe(401);
    expect((await (await browserAs('admin')).get('/metrics')).status).toBe(401);
    const told = await ask('bearer a-token-for-the-metrics');
    expect([told.status, told.headers['content-type']]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
    expect(told.body).toContain('# TYPE millrace_');
  });
});

function prefix(value: string) {
  return { headers: { 'x-forwarded-prefix': value } };
}

describe('where it stands', () => {
  test('in another app its links begin where it is mounted, and the app answers what is not below', async () => {
    const { browser } = await open({ mount: '/ops' });
    const user = browser();
    expect((await user.get('/ops/')).headers.location).toBe('/ops/sign-in');
    await signIn(user, 'viewer', PASSWORD, '/ops');
    const page = await user.get('/ops/');
    expect(page.body).toContain('action="/ops/sign-out"');
    expect(page.body).toContain('href="/ops/assets/styles.css?v=');
    expect(page.body).toContain('data-base="/ops"');
    expect(page.body).not.toMatch(/(?:href|action|src)="\/(?!ops)/);
    expect((await user.get('/')).status).toBe(404);
  });

  test('X-Forwarded-Prefix is believed from a trusted proxy, and only what is a path', async () => {
    const { browser } = await open({ trustProxy: 'loopback', mount: '/app' });
    expect((await browser().get('/app/', prefix('/ops/'))).headers.location).toBe('/ops/app/sign-in');
    for (const bad of ['//evil.example', 'https://evil.example', '/a b', '/a/../b"', '/\\evil.example'])
      expect((await browser().get('/app/', prefix(bad))).headers.location, bad).toBe('/app/sign-in');
    const trusting = await open();
    expect((await trusting.browser().get('/', prefix('/ops'))).headers.location).toBe('/sign-in');
    const fixed = await open({ basePath: '/fixed/' });
    expect((await fixed.browser().get('/')).headers.location).toBe('/fixed/sign-in');
  });

  test('behind a proxy that ends TLS the cookie is for TLS alone; a stranger cannot say so', async () => {
    const tls = { headers: { 'x-forwarded-proto': 'https' } };
    const form = { name: 'viewer', password: PASSWORD };
    const { browser } = await open({ trustProxy: 'loopback' });
    const secure = await browser().post('/sign-in', form, tls);
    expect(secure.headers['set-cookie']?.[0]).toMatch(/^__Host-millrace-dashboard=.*; HttpOnly; Secure; SameSite=Lax/);
    const plain = await browser().post('/sign-in', form);
    expect(plain.headers['set-cookie']?.[0]).toMatch(/^millrace-dashboard=.*; HttpOnly; SameSite=Lax/);
    const untrusted = await (await open()).browser().post('/sign-in', form, tls);
    expect(untrusted.headers['set-cookie']?.[0]).not.toContain('Secure');
    const always = (await open({ secureCookies: true })).browser();
    const signed = await always.post('/sign-in', form);
    expect(signed.headers['set-cookie']?.[0]).toContain('__Host-');
    await always.get('/');
    const others = [
      await always.post('/theme', { theme: 'dark' }),
      await always.get('/queues/'),
      await always.post('/sign-out'),
    ];
    for (const { headers } of others)
      for (const line of headers['set-cookie'] ?? []) expect(line).toContain('; Secure');
    expect(others.map(({ headers }) => headers['set-cookie']?.length)).toEqual([1, 1, 2]);
    expect(always.cookies.has('XSRF-TOKEN')).toBe(false);
  });

  test('an app that trusts its proxy is followed', async () => {
    const dashboard = own(createDashboard(platform()));
    await dashboard.start();
    const app = express()
      .set('trust proxy', 1)
      .use('/ops', dashboard.router as express.Express);
    const listener = own(await listen(app, { host: '127.0.0.1', port: 0 }));
    const headers = { 'x-forwarded-prefix': '/public' };
    expect((await openBrowser(listener.port).get('/ops/', { headers })).headers.location).toBe('/public/ops/sign-in');
  });
});
