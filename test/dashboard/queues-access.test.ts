/** Who may do what at Bull Board, by its endpoints, and what it costs when there is much. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createBoard } from '../../dashboard/queues/board-server.ts';
import { ENDPOINTS, endpointOf } from '../../dashboard/queues/endpoints.ts';
import { Memo } from '../../dashboard/memo.ts';
import { defineJob, type Platform } from '../../src/index.ts';
import { createJobKeys } from '../../src/jobs/queue-names.ts';
import { ownedDashboards, ownedPlatform, type Browser } from './support.ts';

const platformOf = ownedPlatform();
const open = ownedDashboards(platformOf);

const ROLES = ['viewer', 'operator', 'admin'] as const;
const JSON_HEADERS = { accept: 'application/json', 'content-type': 'application/json' };

function ask(
  browser: Browser,
  method: string,
  path: string,
  headers: Record<string, string> = { 'x-xsrf-token': browser.token },
) {
  return browser.ask(method, path, {
    headers: { ...JSON_HEADERS, ...headers },
    ...(method.startsWith('P') && {
      body: '{"jobData":{},"concurrency":1,"max":1,"duration":1,"runAt":1,"priority":1,"every":1}',
    }),
  });
}

/** How many commands the server has run. */
async function commandsOf({ redis }: Platform): Promise<number> {
  const info = await redis.commands().info('stats');
  return Number(/total_commands_processed:(\d+)/.exec(info)?.[1]);
}

async function addQueues({ redis, prefix }: Platform, names: readonly string[]): Promise<void> {
  await redis.commands().sadd(createJobKeys(prefix).queues, ...names);
}

describe('roles', () => {
  test('every endpoint of the installed release is in the table', () => {
    const history = { getHistory: async () => Promise.resolve([]), getLatency: async () => Promise.resolve([]) };
    const { routes } = createBoard(history, {}, true);
    const installed = routes.map(({ method, route }) => `${String(method)} ${String(route)}`);
    expect(installed.toSorted()).toEqual(Object.keys(ENDPOINTS).toSorted());
    expect(endpointOf('put /api/queues/:queueName/surprise', {})).toMatchObject({ refused: expect.any(String) });
  });

  test('each endpoint is held to its role', async () => {
    const { browserAs } = await open();
    for (const role of ROLES) {
      const browser = await browserAs(role);
      for (const [route, endpoint] of Object.entries(ENDPOINTS)) {
        const [method = '', path = ''] = route.split(' ');
        const at = path.replace(':queueName', 'nobody').replace(':queueStatus', 'failed').replace(/:\w+/, 'x1');
        const { status, body } = await ask(browser, method.toUpperCase(), `/queues${at}`);
        const mayDo = ROLES.indexOf(role) >= ROLES.indexOf(endpoint.role) && endpoint.refused === undefined;
        expect([role, route, status === 403], body).toEqual([role, route, !mayDo]);
        expect(status, `${route}: ${body}`).not.toBe(500);
      }
      const completed = await ask(browser, 'PUT', '/queues/api/queues/nobody/retry/completed');
      expect([role, completed.status]).toEqual([role, role === 'admin' ? 404 : 403]);
    }
  });

  test('a viewer is shown no buttons, and what was refused is in the audit', async () => {
    const { browserAs, platform } = await open();
    await platform.jobs.enqueue(defineJob({ name: 'shown.work', input: z.object({}) }), {});
    const viewer = await browserAs('viewer');
    const list = JSON.parse((await ask(viewer, 'GET', '/queues/api/queues')).body) as {
      queues: Array<{ readOnlyMode: boolean }>;
    };
    expect(list.queues.length).toBeGreaterThan(0);
    expect(list.queues.every(({ readOnlyMode }) => readOnlyMode)).toBe(true);
    const refused = await ask(viewer, 'PUT', '/queues/api/queues/shown/pause');
    expect(refused.body).toContain('This takes the role operator. You are signed in as viewer.');
    const audit = (await (await browserAs('admin')).get('/audit?action=queue.pause&user=viewer')).body;
    expect(audit).toContain('refused');
    expect(await platform.jobs.isPaused('shown')).toBe(false);
  });

  test('nothing is answered to strangers, and nothing done without the token of the page', async () => {
    const { browser, browserAs, platform } = await open({ mount: '/ops' });
    await platform.jobs.enqueue(defineJob({ name: 'guarded.work', input: z.object({}) }), {});
    for (const path of ['/ops/queues/api/queues', '/ops/queues/static/js/x.js', '/ops/queues/find']) {
      expect((await ask(browser(), 'GET', path, {})).status).toBe(401);
    }
    expect((await browser().get('/ops/queues/')).status).toBe(303);
    const operator = await browserAs('operator');
    const pause = '/ops/queues/api/queues/guarded/pause';
    expect((await ask(operator, 'PUT', pause, {})).status).toBe(403);
    expect((await ask(operator, 'PUT', pause, { 'x-xsrf-token': 'wrong' })).status).toBe(403);
    const elsewhere = { 'x-xsrf-token': operator.token, origin: 'https://elsewhere.example' };
    expect((await ask(operator, 'PUT', pause, elsewhere)).status).toBe(403);
    expect(await platform.jobs.isPaused('guarded')).toBe(false);
    // The page gives the token, as axios reads it.
    const page = await operator.get('/ops/queues/');
    const cookie = page.headers['set-cookie']?.find((line) => line.startsWith('XSRF-TOKEN='));
    expect(cookie).toMatch(/; Path=\/ops\/queues; SameSite=Strict$/);
    const token = decodeURIComponent(operator.cookies.get('XSRF-TOKEN') ?? '');
    expect((await ask(operator, 'PUT', pause, { 'x-xsrf-token': token })).status).toBe(200);
    expect(await platform.jobs.isPaused('guarded')).toBe(true);
  });

  test('paths that climb or are made up lead nowhere', async () => {
    const { browserAs } = await open();
    const viewer = await browserAs('viewer');
    const paths = [
      '/queues/../audit',
      '/queues/%2e%2e/audit',
      '/queues/static/../../audit',
      '/queues/static/%2e%2e/index.ejs',
      '/queues/static/..%2f..%2fpackage.json',
      '/queues/static/%2e%2e%2findex.ejs',
      '/queues//api/queues',
      '/queues/api/queues/../../audit',
      '/queues/api/surprise',
      '/queues/index.ejs',
    ];
    for (const path of paths) {
      const { status, body } = await viewer.get(path);
      expect([path, status]).toEqual([
        path,
        expect.toSatisfy((one: number) => one === 404 || one === 403 || one === 400),
      ]);
      expect(body).not.toContain('<%');
    }
    const other = await ask(await browserAs('admin'), 'DELETE', '/queues/api/queues/nobody/pause');
    expect([404, 405]).toContain(other.status);
  });
});

describe('the page', () => {
  test('it is ours: no other host, a strict policy, our bar, the address it is at', async () => {
    const { browserAs } = await open({ mount: '/ops' });
    const viewer = await browserAs('viewer');
    const moved = await viewer.get('/ops/queues');
    expect([moved.status, moved.headers.location]).toEqual([303, '/ops/queues/']);
    const own = await open();
    const { headers, body } = await viewer.get('/ops/queues/');
    expect(body).not.toMatch(/(?:href|src)="(?:https?:)?\/\//);
    expect(body).toContain('<base href="/ops/queues/"');
    expect(body).toContain('<a href="/ops/queues" aria-current="page">Queues</a>');
    expect(body).not.toContain('href="/ops/audit"');
    expect(headers['content-security-policy']).toContain("script-src 'self'; style-src 'self' 'unsafe-inline'");
    expect((await (await own.browserAs('viewer')).get('/queues/')).headers['x-powered-by']).toBeUndefined();
    for (const [, file = ''] of body.matchAll(/(?:src|href)="((?:static|\/ops\/assets)\/[^"]+)"/g)) {
      const answer = await viewer.get(file.startsWith('/') ? file : `/ops/queues/${file}`);
      expect([file, answer.status, answer.headers['cache-control']]).toEqual([
        file,
        200,
        expect.stringContaining('immutable'),
      ]);
    }
    expect((await viewer.get('/ops')).headers['content-security-policy']).not.toContain('unsafe-inline');
  });

  test('the colours that were chosen go with it', async () => {
    const { browserAs } = await open();
    const viewer = await browserAs('viewer');
    await viewer.post('/theme', { theme: 'dark', next: '/' });
    expect((await viewer.get('/queues/')).body).toContain('data-theme="dark"');
  });

  test('a plain name in a link leads to the jobs of the queue', async () => {
    const { browserAs } = await open();
    const viewer = await browserAs('viewer');
    const moved = await viewer.get('/queues/queue/shop.orders?status=delayed');
    expect([moved.status, moved.headers.location]).toEqual([303, '/queues/queue/shop.orders.(jobs)?status=delayed']);
    expect((await viewer.get('/queues/queue/shop.orders.dead')).status).toBe(200);
  });
});

describe('much', () => {
  test('ten tabs cost Redis what one costs', async () => {
    const { browserAs, platform } = await open();
    await addQueues(
      platform,
      Array.from({ length: 30 }, (_, n) => `tab${n}`),
    );
    const viewer = await browserAs('viewer');
    const before = await commandsOf(platform);
    await ask(viewer, 'GET', '/queues/api/queues?activeQueue=tab0');
    const one = (await commandsOf(platform)) - before;
    const ten = await open();
    const other = await ten.browserAs('viewer');
    const start = await commandsOf(platform);
    await Promise.all(Array.from({ length: 10 }, () => ask(other, 'GET', '/queues/api/queues?activeQueue=tab0')));
    const all = (await commandsOf(platform)) - start;
    // What is left is finding the session, with each request.
    expect(one).toBeGreaterThan(100);
    expect(all).toBeLessThan(one * 1.2 + 40);
  });

  test('a page is kept once, whatever else its address says, and few are kept', async () => {
    const { browserAs } = await open();
    const viewer = await browserAs('viewer');
    const first = await ask(viewer, 'GET', '/queues/api/queues?page=1');
    const before = await commandsOf(platformOf());
    await Promise.all(
      ['x=1', 'x=2', 'activeQueue=nobody1', 'activeQueue=nobody2'].map(async (more) =>
        expect((await ask(viewer, 'GET', `/queues/api/queues?page=1&${more}`)).body).toBe(first.body),
      ),
    );
    // What is left is finding the session, and that there is no such queue.
    expect((await commandsOf(platformOf())) - before).toBeLessThan(100);
    const memo = new Memo(3);
    for (const name of ['a', 'b', 'c', 'd']) await memo.get(name, async () => Promise.resolve(name));
    expect(memo.size).toBe(3);
    expect(await memo.get('d', async () => Promise.resolve('again'))).toBe('d');
    expect(await memo.get('a', async () => Promise.resolve('again'))).toBe('again');
  });

  test('of ten thousand queues two hundred are shown, and any other when it is asked for', async () => {
    const { browserAs, platform } = await open();
    const names = Array.from({ length: 10_000 }, (_, n) => `many${String(n).padStart(5, '0')}`);
    const viewer = await browserAs('viewer');
    await addQueues(platform, names);
    const first = await ask(viewer, 'GET', '/queues/api/queues');
    const { queues } = JSON.parse(first.body) as { queues: Array<{ name: string }> };
    expect(queues).toHaveLength(400);
    const asked = await ask(viewer, 'GET', '/queues/api/queues?activeQueue=many09999');
    const { queues: more } = JSON.parse(asked.body) as { queues: Array<{ name: string }> };
    expect(more).toHaveLength(400);
    expect(more.map(({ name }) => name)).toContain('many09999.dead');
    expect((await viewer.get('/queues/queue/many08000.dead')).body).toMatch(/200 of 10,0\d\d queues are shown/);
    const found = (await viewer.get('/queues/find?text=many0999')).body;
    expect(found).toContain('/queues/queue/many09990"');
    expect(found.match(/queues\/queue\/many/g)).toHaveLength(10);
  });
});
