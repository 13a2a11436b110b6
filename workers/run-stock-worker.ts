/**
 * A worker process with the stock jobs, from its start to its exit code.
 *
 * It listens before Redis is there, so that probes are answered and a taken port is known at once.
 */
import express from 'express';
import { createPlatform, MillraceError, runWorker } from 'millrace';
import { healthRouter, listen, metricsRouter } from 'millrace/http';
import { readStockEnv } from './env.ts';
import { stockHandlers } from './stock.ts';

/**
 * Runs the stock jobs that the environment configures until SIGTERM or Ctrl-C, then drains. Serves `/livez`, `/readyz` and `/metrics`.
 *
 * @example
 * process.exit(await runStockWorker());
 * @returns 0 when it was told to stop, 1 when it went silent
 * @throws MillraceError ENV_INVALID, and what else cannot be started
 */
export async function runStockWorker(): Promise<number> {
  const { configuration, settings } = readStockEnv();
  const stock = stockHandlers(settings);
  if (stock.handlers.length === 0)
    throw new MillraceError('ENV_INVALID', `no stock job is configured: ${stock.summary.join('; ')}`, { faults: [] });
  const platform = createPlatform(configuration.platform);
  const app = express().disable('x-powered-by').use(healthRouter(platform)).use(metricsRouter(platform.metrics));
  const listener = await listen(app, configuration.http);
  try {
    for (const line of stock.summary) platform.log.info(line);
    platform.log.info({ url: listener.url }, 'health and metrics are served');
    return await runWorker(platform, { handlers: stock.handlers });
  } finally {
    stock.close();
    await listener.close();
  }
}
