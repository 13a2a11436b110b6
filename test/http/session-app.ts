/** A real Express app with sessions of a real realm, and a client that sends exactly what it is told. */
import express from 'express';
import { once } from 'node:events';
import { request as send, type IncomingMessage } from 'node:http';
import { csrf, type CsrfOptions } from '../../src/http/csrf.ts';
import { listen } from '../../src/http/index.ts';
import {
  requireSession,
  sessionMiddleware,
  sessionOf,
  type HttpRealm,
  type SessionMiddlewareOptions,
} from '../../src/http/session.ts';
import { createConnections } from '../../src/redis/connect.ts';
import type { RealmOptions, SessionsOptions } from '../../src/session/options.ts';
import type { Realm } from '../../src/session/realm.ts';
import { createSessions } from '../../src/session/sessions.ts';
import { openAll } from '../contract/topologies.ts';
import { ownedByTest } from '../support/owned.ts';

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  /** The Set-Cookie fields. */
  cookies: string[];
  /** What to send as `cookie` from now on; empty after one was taken away. */
  cookie: string;
  body: Record<string, unknown>;
}

export interface Asked {
  method?: string;
  cookie?: string;
  headers?: Record<string, string>;
  body?: string;
}

export type Ask = (path: string, asked?: Asked) => Promise<Answer>;
export type Options = SessionMiddlewareOptions<express.Request>;

export interface Served {
  ask: Ask;
  /** Signs in, and gives the cookie. */
  signIn: (user: string, cookie?: string) => Promise<string>;
}

let prefixes = 0;
export const freshPrefix = (): string => `t-http-session-${prefixes++}`;

/** What is opened for the tests of a file. */
export function ownedSessions(): {
  realmAt: (url: string, options?: RealmOptions, common?: SessionsOptions) => Promise<Realm>;
  serve: (realm: HttpRealm, options?: Options, csrfOptions?: CsrfOptions<express.Request>) => Promise<Served>;
  /** An app with these routes alone. */
  serveRoutes: (addTo: (app: express.Express) => void) => Promise<Served>;
} {
  const own = ownedByTest();
  const serveRoutes = async (addTo: (app: express.Express) => void): Promise<Served> => {
    const app = express();
    app.set('trust proxy', 'loopback');
    addTo(app);
    app.use((error: Error, _request: express.Request, response: express.Response, _next: express.NextFunction) => {
      const { message, code } = error as Error & { code?: string };
      if (response.headersSent) response.end(JSON.stringify({ error: message, code }));
      else response.status(500).json({ error: message, code });
    });
    const { port } = own(await listen(app, { host: '127.0.0.1', port: 0 }));
    const ask: Ask = (path, asked) => askAt(port, path, asked);
    const signIn = async (user: string, cookie = ''): Promise<string> =>
      (await ask(`/in/${user}`, { method: 'POST', cookie })).cookie;
    return { ask, signIn };
  };
  return {
    serveRoutes,
    async realmAt(url, options = {}, common = {}) {
      const connections = own(createConnections({ url }));
      await Promise.all([openAll(connections.commands()), connections.subscriber().ping()]);
      return own(createSessions(connections, { prefix: freshPrefix(), deadline: '3s', ...common })).realm(
        'web',
        options,
      );
    },
    serve: (realm, options = {}, csrfOptions) =>
      serveRoutes((app) => {
        app.use(sessionMiddleware(realm, options), express.urlencoded());
        if (csrfOptions) addForms(app, csrf<express.Request>(csrfOptions));
        addRoutes(app);
      }),
  };
}

async function askAt(port: number, path: string, { method = 'GET', cookie = '', headers = {}, body }: Asked = {}) {
  const request = send({
    port,
    host: '127.0.0.1',
    path,
    method,
    agent: false,
    headers: { ...(cookie !== '' && { cookie }), ...headers },
  });
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  const cookies = response.headers['set-cookie'] ?? [];
  const pair = cookies.at(-1)?.split(';', 1)[0];
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    cookies,
    cookie: pair === undefined ? cookie : pair.replace(/^[^=]*=$/, ''),
    body: JSON.parse(Buffer.concat(pieces).toString() || '{}') as Record<string, unknown>,
  };
}

/** A handler that answers with what the act gives. */
export function eventual(
  act: (request: express.Request, response: express.Response) => Promise<unknown>,
): express.RequestHandler {
  return (request, response, next) =>
    void act(request, response).then((result) => response.headersSent || response.json({ result }), next);
}

export const me: express.RequestHandler = (request, response) => {
  const { current, userId, refusal, isUnavailable } = sessionOf(request);
  const { id, level, data, device } = current ?? {};
  response.json({ userId, id, level, data, device, refusal, isUnavailable });
};

export function addRoutes(app: express.Express): void {
  app.get(['/me', '/files/me'], me);
  app.post(
    '/in/:user',
    eventual((request) => sessionOf(request).signIn(String(request.params['user']), { data: { theme: 'light' } })),
  );
  app.post(
    '/out',
    eventual((request) => sessionOf(request).signOut()),
  );
  app.post(
    '/up/:level',
    eventual((request) => sessionOf(request).elevate(String(request.params['level']))),
  );
  app.post(
    '/theme/:theme',
    eventual((request) => sessionOf(request).update({ theme: request.params['theme'] }, { ifVersion: 1 })),
  );
  app.post(
    '/late/:user',
    eventual(async (request, response) => {
      response.write(' ');
      return sessionOf(request).signIn(String(request.params['user']));
    }),
  );
  app.get('/cached', (_request, response) => response.set('Cache-Control', 'public, max-age=60').json({}));
  app.get('/guarded', requireSession(), me);
  app.get('/strong', requireSession({ level: 'second-factor' }), me);
  app.get('/wrong', requireSession({ level: 'no-such-level' }), me);
}

function addForms(app: express.Express, { protect, tokenFor }: ReturnType<typeof csrf<express.Request>>): void {
  app.use(protect);
  app.get('/form', (request, response) => response.json({ token: tokenFor(request) }));
  app.all('/act', (_request, response) => response.json({ done: true }));
}
