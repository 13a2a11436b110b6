/**
 * `GET /metrics`, for Prometheus. Open to all who reach the port, as scrapers carry no token by default; names of queues
 * and contracts stand there, inputs of jobs never do.
 */
import { Router } from 'express';
import type { Middleware } from './health.ts';

/** What the router asks. A Metrics registry is one. */
export interface MetricsSource {
  render(): Promise<string>;
}

const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/**
 * A router with `/metrics`: 200 with the metrics as text; 500 with the reason when the source fails, which Prometheus shows as a
 * failed scrape.
 *
 * @example
 * const app = express();
 * app.use(metricsRouter(metrics));
 */
export function metricsRouter(source: MetricsSource): Middleware {
  const router = Router();
  router.get('/metrics', async (_request, response) => {
    const { status, contentType, text } = await ask(source);
    // Written by hand: Express would put the parameters of the content type in an order of its own.
    response
      .writeHead(status, {
        'Content-Type': contentType,
        'Content-Length': Buffer.byteLength(text),
        'Cache-Control': 'no-store',
      })
      .end(text);
  });
  return router as unknown as Middleware;
}

async function ask(source: MetricsSource): Promise<{ status: number; contentType: string; text: string }> {
  try {
    return { status: 200, contentType: CONTENT_TYPE, text: await source.render() };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { status: 500, contentType: 'text/plain; charset=utf-8', text: `${reason}\n` };
  }
}
