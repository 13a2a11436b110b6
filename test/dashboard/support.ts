/** A real dashboard over a real platform, and browsers that keep their cookies and know the token of the page they see. */
import { randomBytes, scryptSync } from 'node:crypto';
import { request as send, type IncomingHttpHeaders } from 'node:http';
import express from 'express';
import { afterAll, beforeAll } from 'vitest';
import { createDashboard, type Dashboard, type DashboardOptions, type Role } from '../../dashboard/index.ts';
import { listen } from '../../src/http/index.ts';
import { createPlatform, type Platform, type PlatformOptions } from '../../src/index.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Asked {
  headers?: Record<string, string>;
  /** The fields of a form; the token is added unless there is one. */
  form?: Record<string, string | string[]>;
  /** In the place of a form. */
  body?: string;
}

/** Something that asks as a browser does. */
export interface Browser {
  cookies: Map<string, string>;
  get(path: string, asked?: Asked): Promise<Answer>;
  post(path: string, form?: Record<string, string | string[]>, asked?: Asked): Promise<Answer>;
  ask(method: string, path: string, asked?: Asked): Promise<Answer>;
  /** The CSRF token of the page it saw last. */
  token: string;
}

export interface Opened {
  dashboard: Dashboard;
  platform: Platform;
  url: string;
  /** Nobody is signed in. */
  browser: () => Browser;
  /** The browser of a user of that role, signed in; the first time it signs in, later it is a copy. */
  browserAs: (role: Role) => Promise<Browser>;
}

export const PASSWORD = 'correct horse battery';
/** A hash that is made and checked in a millisecond: tests sign in often. */
export function cheapHash(password: string): string {
  const salt = randomBytes(16);
  const hash = scryptSync(password, salt, 32, { N: 2 ** 10, r: 8, p: 1 });
  const [saltText, hashText] = [salt, hash].map((bytes) => bytes.toString('base64').replace(/=+$/, ''));
  return `$scrypt$ln=10,r=8,p=1$${saltText}$${hashText}`;
}

/** A line of the list of users. */
export const userLine = (name: string, role: string, password = PASSWORD): string =>
  `${name}:${role}:${cheapHash(password)}`;

export interface OpenOptions extends DashboardOptions {
  /** Where an embedding app mounts it. */
  mount?: string;
}

let prefixes = 0;
export const freshPrefix = (): string => `t-dashboard-${process.pid}-${prefixes++}`;

/** A platform on a server of its own, for the tests of a file. */
export function ownedPlatform(options: PlatformOptions = {}): () => Platform {
  let server: TestServer | undefined;
  let platform: Platform | undefined;
  beforeAll(async () => {
    server = await startRedis();
    platform = createPlatform({
      redis: { url: server.url },
      log: { level: 'silent' },
      prefix: freshPrefix(),
      // On a busy machine an answer may be late, which the limits take for an outage.
      limits: { deadline: '10s' },
      sessions: { deadline: '10s' },
      ...options,
    });
    await platform.start();
    // Opened on first use, and kept: to the test that comes first they would look as if it had left them.
    await Promise.all([platform.redis.subscriber().ping(), platform.jobs.queues()]);
  });
  afterAll(async () => {
    await platform?.stop();
    await server?.stop();
  });
  return () => platform as Platform;
}

/** What opens dashboards that are closed after the test. Users are `viewer`, `operator` and `admin`, each of its role, unless the options say. */
export function ownedDashboards(platform: () => Platform): (options?: OpenOptions) => Promise<Opened> {
  const own = ownedByTest();
  return async ({ mount, ...options } = {}) => {
    const users = ['viewer', 'operator', 'admin'].map((role) => userLine(role, role));
    const dashboard = own(createDashboard(platform(), { users, ...options }));
    const app = mount === undefined ? dashboard.router : express().use(mount, dashboard.router as express.Express);
    const listener = own(await listen(app, { host: '127.0.0.1', port: 0 }));
    await dashboard.start();
    const base = mount ?? '';
    const browser = (): Browser => openBrowser(listener.port);
    const signedIn = new Map<Role, Browser>();
    return {
      dashboard,
      platform: platform(),
      url: `${listener.url}${base}`,
      browser,
      async browserAs(role) {
        const known = signedIn.get(role);
        const fresh = browser();
        if (known) {
          fresh.cookies = new Map(known.cookies);
          fresh.token = known.token;
          return fresh;
        }
        const { status } = await signIn(fresh, role, PASSWORD, base);
        if (status !== 303) throw new Error(`the ${role} could not sign in: ${status}`);
        signedIn.set(role, fresh);
        return fresh;
      },
    };
  };
}

/** The fields of a proxy that speaks for an address. */
export function forwardedFor(address: string): Asked {
  return { headers: { 'x-forwarded-for': address } };
}

/** Signs in, and looks at the first page, whose token later requests have. */
export async function signIn(browser: Browser, name: string, password: string, base = ''): Promise<Answer> {
  const answer = await browser.post(`${base}/sign-in`, { name, password });
  if (answer.status === 303) await browser.get(`${base}/`);
  return answer;
}

export function openBrowser(port: number): Browser {
  const browser: Browser = {
    cookies: new Map(),
    token: '',
    get: (path, asked) => browser.ask('GET', path, asked),
    post: (path, form = {}, asked = {}) => browser.ask('POST', path, { ...asked, form }),
    async ask(method, path, { headers = {}, form, body } = {}) {
      const cookie = [...browser.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
      const isForm = form !== undefined;
      const text = isForm ? formText({ ...(browser.token !== '' && { _csrf: browser.token }), ...form }) : body;
      const answer = await exchange(port, method, path, text, {
        accept: 'text/html',
        ...(cookie !== '' && { cookie }),
        ...(isForm && { 'content-type': 'application/x-www-form-urlencoded' }),
        ...headers,
      });
      for (const line of answer.headers['set-cookie'] ?? []) keep(browser.cookies, line);
      const [, token] = / data-csrf="([^"]+)"/.exec(answer.body) ?? [];
      if (token !== undefined) browser.token = token;
      return answer;
    },
  };
  return browser;
}

function keep(cookies: Map<string, string>, line: string): void {
  const [pair = '', ...attributes] = line.split('; ');
  const [name = '', ...value] = pair.split('=');
  const isGone = attributes.some((one) => /^(max-age=0|expires=thu, 01 jan 1970.*)$/i.test(one));
  if (isGone) cookies.delete(name);
  else cookies.set(name, value.join('='));
}

function formText(form: Record<string, string | string[]>): string {
  const pairs = Object.entries(form).flatMap(([name, value]) =>
    [value].flat().map((one): [string, string] => [name, one]),
  );
  return new URLSearchParams(pairs).toString();
}

/** One request, sent as it is: no client of ours that would tidy up a path. */
function exchange(
  port: number,
  method: string,
  path: string,
  body: string | undefined,
  headers: Record<string, string>,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = send({ host: '127.0.0.1', port, method, path, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
