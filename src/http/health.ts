/**
 * `GET /livez` and `GET /readyz`, for probes of a container platform and for people: 200 when all is well, 503 with the
 * reasons otherwise. Open to all, because probes carry no token; a reason may name the server's address, never a secret.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Router, type Request, type Response } from 'express';
import type { Health } from '../health.ts';

/** Something for `app.use()`. Its own type, so that whoever imports us needs no type package of Express. */
export type Middleware = (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void;

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
export function healthRouter(source: HealthSource): Middleware {
  const router = Router();
  const alive = answer(() => source.alive());
  const ready = answer(() => source.ready());
  router.get('/livez', alive).get('/readyz', ready);
  return router as unknown as Middleware;
}

function answer(question: () => Promise<Health>) {
  return async (_request: Request, response: Response): Promise<void> => {
    const health = await ask(question);
    response
      .status(health.ok ? 200 : 503)
      .set('Cache-Control', 'no-store')
      .json({ status: health.ok ? 'ok' : 'unavailable', checks: health.checks });
  };
}

/** To a probe a question that fails is an answer too, not a stack trace. */
async function ask(question: () => Promise<Health>): Promise<Health> {
  try {
    return await question();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { ok: false, checks: { health: { ok: false, reason } } };
  }
}
