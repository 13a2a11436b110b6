/** The shop's API: who may ask how much, who is signed in, and the routes. */
import express, { type Express, type Request } from 'express';
import type { Platform } from 'millrace';
import { healthRouter, rateLimit, requireSession, sessionMiddleware, sessionOf } from 'millrace/http';
import { serveNotifications, type Catalog } from 'millrace/workers';
import { accountRoutes, type shopRealm } from './accounts.ts';
import type { Database, Product } from './database.ts';
import { nowhere, problems, userOf } from './http.ts';
import { orderRoutes } from './orders.ts';
import { productRoutes } from './products.ts';
import { rankingRoutes } from './rankings.ts';
import { reportRoutes } from './reports.ts';

/** What the routes stand on. */
export interface AppParts {
  readonly database: Database;
  readonly catalog: Catalog<Product>;
  readonly realm: ReturnType<typeof shopRealm>;
  /** Where reports are written. */
  readonly reports: string;
}

/** How long the connection of a tab may last. */
const TAB_MS = 300_000;

/* eslint-disable oxc/no-async-endpoint-handlers -- Express 5 waits for them, and hands on what they throw. */
export function createApp(platform: Platform, { database, catalog, realm, reports }: AppParts): Express {
  const { limits } = platform;
  const limit = rateLimit<Request>({
    limiter: limits.limiter('shop.api', { policies: [{ name: 'user', limit: 20, per: '1s', burst: 40 }] }),
    user: (request) => sessionOf(request).userId,
    anonymous: limits.limiter('shop.anonymous', { policies: [{ name: 'address', limit: 5, per: '1s', burst: 20 }] }),
  });
  return express()
    .disable('x-powered-by')
    .set('trust proxy', 'loopback') // Whose X-Forwarded-For is believed: limits are told apart by address.
    .use(healthRouter(platform))
    .use(sessionMiddleware(realm, { secure: false })) // Plain HTTP on this machine; leave it out where there is TLS.
    .use(limit)
    .use(express.json())
    .use(accountRoutes(platform, database))
    .use(productRoutes(platform, database, catalog))
    .use(orderRoutes(platform, catalog))
    .use(reportRoutes(platform, reports))
    .use(rankingRoutes(platform))
    .get('/events', requireSession(), async (request, response) => {
      // A browser comes back by itself, and is asked anew who it is: a session that has ended is shown things no longer than this.
      const hangUp = setTimeout(() => response.destroy(), TAB_MS);
      response.once('close', () => clearTimeout(hangUp));
      await serveNotifications(platform, userOf(request), request, response);
    })
    .use(nowhere)
    .use(problems(platform.log));
}
