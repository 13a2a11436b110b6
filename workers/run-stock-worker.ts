/**
 * A worker process with the stock jobs, from its start to its exit code.
 *
 * It listens before Redis is there, so that probes are answered and a taken port is known at once.
 */
import express from 'express';
import { createPlatform, runWorker, stopSignal, type Platform } from 'millrace';
import { autoscaleRouter, healthRouter, listen, metricsRouter } from 'millrace/http';
import { readStockEnv } from './env.ts';
import { declareSchedules, stockHandlers, type Stock } from './stock.ts';

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
  const platform = createPlatform(configuration.platform);
  const app = express().disable('x-powered-by');
  app.use(healthRouter(platform), metricsRouter(platform.metrics), autoscaleRouter(platform));
  const listener = await listen(app, configuration.http);
  try {
    for (const line of stock.summary) platform.log.info(line);
    platform.log.info({ url: listener.url }, 'health and metrics are served');
    return await work(platform, stock);
  } finally {
    stock.close();
    await platform.stop();
    await listener.close();
  }
}

async function work(platform: Platform, { handlers, consumers, schedules }: Stock): Promise<number> {
  const begun = platform.start().then(() => declareSchedules(platform, schedules));
  begun.catch(() => undefined); // Awaited below, unless the signal comes first.
  const signal = await Promise.race([begun, stopSignal()]);
  return signal === undefined ? runWorker(platform, { handlers, consumers }) : 0;
}
