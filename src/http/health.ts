/**
 * `GET /livez` and `GET /readyz`, for probes of a container platform and for people: 200 when all is well, 503 with the
 * reasons otherwise. Open to all: they say nothing that an attacker could use, and probes carry no token.
 */
import { Router, type Request, type Response } from 'express';
import type { Health } from '../health.ts';

/** What the router asks. A Platform is one. */
export interface HealthSource {
  alive(): Promise<Health>;
  ready(): Promise<Health>;
}

/**
 * A router with `/livez` and `/readyz`.
 *
 * @example
 * const app = express();
 * app.use(healthRouter(platform));
 */
export function healthRouter(source: HealthSource): Router {
  const router = Router();
  router.get(
    '/livez',
    answer(() => source.alive()),
  );
  router.get(
    '/readyz',
    answer(() => source.ready()),
  );
  return router;
}

function answer(question: () => Promise<Health>) {
  return async (_request: Request, response: Response): Promise<void> => {
    const health = await question();
    response
      .status(health.ok ? 200 : 503)
      .set('Cache-Control', 'no-store')
      .json({ status: health.ok ? 'ok' : 'unavailable', checks: health.checks });
  };
}
