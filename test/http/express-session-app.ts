/** A real Express app with the real express-session over our store, and a browser that keeps its cookie. */
import express from 'express';
import session, { type SessionOptions } from 'express-session';
import { expressSessionStore, type ExpressSessionStoreOptions } from '../../src/http/express-session-store.ts';
import { listen } from '../../src/http/index.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { openAll } from '../contract/topologies.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';

declare module 'express-session' {
  interface SessionData {
    views?: number;
    userId?: string;
    note?: string;
  }
}

export type Data = session.SessionData;
export type Options = ExpressSessionStoreOptions<Data>;
export type Store = ReturnType<typeof makeStore>;

export interface Answer {
  status: number;
  body: Record<string, unknown>;
  /** The cookie to send from now on. */
  cookie: string;
  setCookie: string | null;
}

export interface App {
  store: Store;
  connections: Connections;
  ask: (
    path: string,
    cookie?: string,
    asked?: { method?: string; headers?: Record<string, string> },
  ) => Promise<Answer>;
  /** The sessions of slow requests that have begun. */
  begun: string[];
  /** Lets the slow requests end. */
  open: () => void;
}

let prefixes = 0;
export const freshPrefix = (): string => `t-store-${prefixes++}`;

/** A session that nobody has stored yet. */
export const newSession = (data: Partial<Data> = {}): Data => ({ ...data, cookie: new session.Cookie() });

export function makeStore(connections: Connections, options: Options = {}) {
  return expressSessionStore(session, connections, { prefix: freshPrefix(), user: ({ userId }) => userId, ...options });
}

/** What connects and serves for the tests of a file. */
export function ownedApps(): {
  connect: (redis: Parameters<typeof createConnections>[0]) => Promise<Connections>;
  serve: (
    connections: Connections,
    options?: Options,
    sessions?: Partial<SessionOptions>,
    addTo?: (app: express.Express) => void,
  ) => Promise<App>;
} {
  const own = ownedByTest();
  return {
    async connect(redis) {
      const connections = own(createConnections(redis));
      await openAll(connections.commands());
      return connections;
    },
    async serve(connections, options = {}, sessions = {}, addTo = () => undefined) {
      const store = makeStore(connections, options);
      const slow = gate();
      const begun: string[] = [];
      const app = express();
      app.use(session({ store, secret: 'a secret', resave: false, saveUninitialized: false, ...sessions }));
      addTo(app);
      addRoutes(app, (id, then) => {
        begun.push(id);
        void slow.opened.then(then);
      });
      app.use((error: Error, _request: express.Request, response: express.Response, next: express.NextFunction) => {
        if (response.headersSent) next(error);
        else response.status(500).json({ error: error.message });
      });
      const { url } = own(await listen(app, { host: '127.0.0.1', port: 0 }));
      const ask: App['ask'] = async (path, cookie = '', { method = 'GET', headers = {} } = {}) => {
        const response = await fetch(`${url}${path}`, { method, headers: { ...headers, cookie, connection: 'close' } });
        const setCookie = response.headers.get('set-cookie');
        const body = (await response.json()) as Record<string, unknown>;
        return { status: response.status, body, setCookie, cookie: setCookie?.split(';', 1)[0] ?? cookie };
      };
      return { store, connections, ask, begun, open: () => slow.open() };
    },
  };
}

function addRoutes(app: express.Express, holdUp: (id: string, then: () => void) => void): void {
  app.all('/views', (request, response) => {
    request.session.views = (request.session.views ?? 0) + 1;
    response.json({ id: request.sessionID, views: request.session.views });
  });
  app.get('/look', (request, response) => {
    const { views, userId, note, cookie } = request.session;
    response.json({ id: request.sessionID, views, userId, note, maxAge: cookie.maxAge });
  });
  app.all('/login/:user', (request, response, next) => {
    request.session.regenerate((error) => {
      if (error) return next(error);
      request.session.userId = request.params.user;
      response.json({ id: request.sessionID });
    });
  });
  app.get('/logout', (request, response, next) => {
    request.session.destroy((error) => (error ? next(error) : response.json({})));
  });
  app.get('/unset', (request, response) => {
    Reflect.deleteProperty(request, 'session');
    response.json({});
  });
  app.get('/short', (request, response) => {
    request.session.cookie.maxAge = 0;
    response.json({});
  });
  app.get('/slow', (request, response) => {
    holdUp(request.sessionID, () => {
      request.session.note = 'late';
      response.json({});
    });
  });
  app.get('/save-twice', (request, response, next) => {
    request.session.note = 'first';
    request.session.save((error) => {
      if (error) return next(error);
      holdUp(request.sessionID, () => {
        request.session.note = 'second';
        response.json({});
      });
    });
  });
  app.get('/reload', (request, response, next) => {
    request.session.views = 1_000;
    request.session.reload((error) => {
      if (error) return next(error);
      request.session.note = 'reloaded';
      response.json({ views: request.session.views });
    });
  });
}
