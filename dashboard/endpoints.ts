/**
 * What machines ask for. `/livez` and `/readyz` are open, as probes carry no token; `/metrics` is there with a bearer token only, as names of
 * queues stand in it.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { Router, type Request } from 'express';
import type { Platform } from 'millrace';
import { healthRouter, metricsRouter } from 'millrace/http';

/** The endpoints; without a token there is no `/metrics`. */
export function endpoints(platform: Platform, metricsToken: string | undefined): Router {
  const router = Router();
  router.use(healthRouter(platform));
  if (metricsToken === undefined) {
    router.all('/metrics', (_request, response) => void response.status(404).type('text').send('Not found\n'));
    return router;
  }
  router.use('/metrics', (request, response, next) => {
    if (bears(request, metricsToken)) next();
    else response.status(401).set('WWW-Authenticate', 'Bearer').type('text').send('A bearer token is asked for.\n');
  });
  router.use(metricsRouter(platform.metrics));
  return router;
}

/** Whether the request bears the token; takes the same time whatever it bears. */
function bears({ headers }: Request, token: string): boolean {
  const [, given = ''] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '') ?? [];
  return timingSafeEqual(digestOf(given), digestOf(token));
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
