/**
 * What machines ask for. `/livez` and `/readyz` are open, as probes carry no token; `/metrics` and `/autoscale` are there with a bearer token
 * only, as names of queues stand in them.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { Router, type Request } from 'express';
import type { Platform } from 'millrace';
import { autoscaleRouter, healthRouter, metricsRouter } from 'millrace/http';

const GUARDED = ['/metrics', '/autoscale'];

/** The endpoints; without a token those that it opens are not there. */
export function endpoints(platform: Platform, metricsToken: string | undefined): Router {
  const router = Router();
  router.use(healthRouter(platform));
  if (metricsToken === undefined) {
    router.use(GUARDED, (_request, response) => void response.status(404).type('text').send('Not found\n'));
    return router;
  }
  router.use(GUARDED, (request, response, next) => {
    if (bears(request, metricsToken)) next();
    else response.status(401).set('WWW-Authenticate', 'Bearer').type('text').send('A bearer token is asked for.\n');
  });
  router.use(metricsRouter(platform.metrics), autoscaleRouter(platform));
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
