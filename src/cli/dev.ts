/** `millrace dev`, which is what `npm start` runs: all of the platform on this machine, in one process, until Ctrl-C. */
import { existsSync } from 'node:fs';
import express, { type Express } from 'express';
import { createPlatform, formatReport, stopSignal, type Configuration, type Platform } from '../index.ts';
import { autoscaleRouter, healthRouter, listen, metricsRouter, producerRouter, type Listener } from '../http/index.ts';
import type { Command } from './command.ts';
import { loadDashboard, type Dashboard } from './dashboard-package.ts';
import { progressLine } from './progress.ts';
import { hello, helloHandler } from './sample.ts';
import { loadWorkers, type Stock, type WorkersPackage } from './workers-package.ts';

/** There in a checkout alone. */
const DEMO = new URL('../../examples/shop/demo.ts', import.meta.url);
const LEAVE_START_AFTER_MS = 1_000;
/** Where the producer API is: the dashboard has all other paths. */
const API_PATH = '/api';

/** What runs in this process. */
interface Parts {
  readonly configuration: Configuration;
  readonly platform: Platform;
  readonly stock: Stock;
  readonly dashboard: Dashboard;
  readonly declareSchedules: WorkersPackage['declareSchedules'];
}

export const dev: Command = {
  summary:
    'Runs the platform on this machine: Redis (an embedded one unless REDIS_URL is set), a worker with the stock jobs and a sample, the dashboard, the producer API.',
  flags: {},
  exitCodes: {
    0: 'stopped by Ctrl-C or SIGTERM',
    1: 'could not start, or a second Ctrl-C cut the stop short',
    2: 'wrong words',
  },
  async run() {
    const progress = progressLine();
    const parts = await assemble(progress.show);
    const { configuration, platform, stock, dashboard } = parts;
    const handlers = [helloHandler, ...stock.handlers];
    const stopped = stopSignal();
    // Started before the platform, so that probes are answered while a server is downloaded or loads its data, and a
    // taken port is known at once.
    const listener = await listen(appOf(parts), configuration.http);
    try {
      const started = platform.start();
      started.catch(() => undefined); // Awaited below, unless Ctrl-C comes first.
      if ((await Promise.race([started, stopped])) === undefined) {
        progress.clear();
        await parts.declareSchedules(platform, stock.schedules);
        await platform.work({ handlers, consumers: stock.consumers });
        await dashboard.start();
        await say(parts, listener);
        await stopped;
      } else {
        setTimeout(leaveStart, LEAVE_START_AFTER_MS).unref();
      }
      progress.clear();
      console.log('stopping');
    } catch (error) {
      progress.clear();
      throw error;
    } finally {
      await dashboard.stop();
      await listener.close();
      await platform.stop();
      stock.close();
    }
    console.log('stopped');
    return 0;
  },
};

async function assemble(onProgress: (line: string) => void): Promise<Parts> {
  const [{ readStockEnv, stockHandlers, declareSchedules }, { createDashboard }] = await Promise.all([
    loadWorkers(),
    loadDashboard(),
  ]);
  const { configuration, settings } = readStockEnv();
  const { metricsPort: _, ...dashboardOptions } = configuration.dashboard;
  const platform = createPlatform({ ...configuration.platform, onProgress });
  return {
    configuration,
    platform,
    stock: stockHandlers(settings),
    dashboard: createDashboard(platform, dashboardOptions),
    declareSchedules,
  };
}

function appOf({ configuration, platform, stock, dashboard }: Parts): Express {
  const { basePath, metricsToken } = configuration.dashboard;
  const contracts = [helloHandler, ...stock.handlers].map(({ contract }) => contract);
  const app = express().disable('x-powered-by').use(healthRouter(platform));
  // Else the dashboard has them, behind the token.
  if (metricsToken === undefined) app.use(metricsRouter(platform.metrics), autoscaleRouter(platform));
  app.use(API_PATH, producerRouter(platform, { contracts }));
  if (basePath !== undefined && basePath !== '/') app.use(basePath, dashboard.router);
  return app.use(dashboard.router);
}

/**
 * A start may wait for minutes, for a download or for another process, and stop() waits for the start. Whoever pressed
 * Ctrl-C should not: what was begun ends with this process, and the next start takes it up.
 */
function leaveStart(): void {
  console.log('stopped');
  process.exit(0);
}

async function say(parts: Parts, listener: Listener): Promise<void> {
  const { configuration, platform, stock } = parts;
  const { metricsToken } = configuration.dashboard;
  const report = await platform.diagnose();
  const lines = [
    'Millrace is up.',
    '',
    ...platform.summary(),
    ...workerLines(stock),
    ...(await dashboardLines(parts, listener)),
    `API        ${listener.url}${API_PATH}/docs`,
    `Health     ${listener.url}/livez and ${listener.url}/readyz`,
    `Metrics    ${listener.url}/metrics${metricsToken === undefined ? '' : ', with METRICS_TOKEN as bearer token'}`,
    '',
    'Doctor:',
    ...formatReport(report).map((line) => `  ${line}`),
    '',
    'Next, in a second terminal:',
    `  npx millrace enqueue ${hello.name} '{"name":"Ada"}'`,
    ...(existsSync(DEMO) ? ['  npm run demo        a shop with visitors, which gives the dashboard life'] : []),
    'Stop: Ctrl-C',
  ];
  console.log(lines.join('\n'));
}

/** Of a line of the summary. */
function nameOf(line: string): string {
  return line.slice(0, line.indexOf(':'));
}

/** What runs, and the names of the stock jobs that lack something. */
function workerLines({ summary }: Stock): string[] {
  const running = summary.filter((line) => line.endsWith(': runs')).map(nameOf);
  const others = summary.filter((line) => !line.endsWith(': runs')).map(nameOf);
  return [
    `Worker     this process: ${[hello.name, ...running].join(', ')}`,
    ...(others.length > 0 ? [`           not configured (docs/stock-jobs.md): ${others.join(', ')}`] : []),
  ];
}

async function dashboardLines({ configuration, dashboard }: Parts, listener: Listener): Promise<string[]> {
  const { users, usersFile, basePath = '', url: given } = configuration.dashboard;
  const url = given ?? `${listener.url}${basePath}`;
  const listed = usersFile ?? (users && 'MILLRACE_DASHBOARD_USERS');
  return [
    `Dashboard  ${url}`,
    listed === undefined
      ? `Sign in    once, within 15 minutes: ${await dashboard.signInLink(url)}`
      : `Sign in    as one of the users of ${listed}`,
  ];
}
