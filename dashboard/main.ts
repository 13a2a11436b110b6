/**
 * The dashboard as a process of its own, from its start to its exit code. `millrace dashboard` runs it.
 *
 * It listens before Redis is there, so that probes are answered and a taken port is known at once.
 */
import express from 'express';
import { createPlatform, stopSignal, type Configuration, type Platform } from 'millrace';
import { autoscaleRouter, listen, metricsRouter, type Listener } from 'millrace/http';
import { createDashboard, type Dashboard } from './create-dashboard.ts';

/** Options of runDashboard(). */
export interface RunDashboardOptions {
  /** Told what is up and where, once it is. */
  say: (lines: readonly string[]) => void;
  /** Told each step of a long start. */
  onProgress?: ((line: string) => void) | undefined;
}

/**
 * Runs the dashboard until this process is told to stop.
 *
 * @example
 * process.exit(await runDashboard(readEnv(), { say: (lines) => console.log(lines.join('\n')) }));
 * @returns the exit code
 * @throws MillraceError for what cannot be started
 */
export async function runDashboard(
  configuration: Configuration,
  { say, onProgress }: RunDashboardOptions,
): Promise<number> {
  const { http, dashboard: settings } = configuration;
  const { metricsPort, ...options } = settings;
  const stopped = stopSignal();
  const platform = createPlatform({ ...configuration.platform, onProgress });
  const dashboard = createDashboard(platform, options);
  const app = express().disable('x-powered-by');
  // Proxies take the base path away or leave it on: both find the pages.
  if (options.basePath !== undefined && options.basePath !== '/') app.use(options.basePath, dashboard.router);
  app.use(dashboard.router);
  const listeners: Listener[] = [];
  try {
    listeners.push(await listen(app, http));
    if (metricsPort !== undefined) listeners.push(await listenForMetrics(platform, http.host, metricsPort));
    const started = platform.start();
    started.catch(() => undefined); // Awaited here, unless the signal comes first.
    if ((await Promise.race([started, stopped])) === undefined) {
      await dashboard.start();
      say(await linesOf({ platform, dashboard, configuration, listeners }));
      await stopped;
    }
    return 0;
  } finally {
    await dashboard.stop();
    for (const listener of listeners.toReversed()) await listener.close();
    await platform.stop();
  }
}

/**
 * A link that signs in as admin, once: for the dashboard that this configuration runs elsewhere.
 *
 * @throws MillraceError OPTIONS_INVALID when users are listed
 */
export async function dashboardLink(platform: Platform, { dashboard, http }: Configuration): Promise<string> {
  const { metricsPort: _, ...options } = dashboard;
  return createDashboard(platform, options).signInLink(
    dashboard.url ?? `http://${shownHost(http.host)}:${http.port}${dashboard.basePath ?? ''}`,
  );
}

function listenForMetrics(platform: Platform, host: string, port: number): Promise<Listener> {
  const app = express().disable('x-powered-by').use(metricsRouter(platform.metrics), autoscaleRouter(platform));
  return listen(app, { host, port });
}

interface Told {
  platform: Platform;
  dashboard: Dashboard;
  configuration: Configuration;
  listeners: readonly Listener[];
}

async function linesOf({ platform, dashboard, configuration, listeners }: Told): Promise<string[]> {
  const { users, usersFile, basePath = '', url: given, metricsToken } = configuration.dashboard;
  const [pages, metrics] = listeners;
  const url = given ?? `${pages?.url}${basePath}`;
  const hasUsers = users !== undefined || usersFile !== undefined;
  return [
    'The dashboard of Millrace is up.',
    '',
    ...platform.summary(),
    `Dashboard  ${url}`,
    hasUsers
      ? `Sign in    as one of the users of ${usersFile ?? 'MILLRACE_DASHBOARD_USERS'}`
      : `Sign in    once, within 15 minutes: ${await dashboard.signInLink(url)}`,
    `Health     ${pages?.url}/livez and ${pages?.url}/readyz`,
    metricsLine(metricsToken === undefined ? undefined : pages, metrics),
    'Stop: Ctrl-C',
  ];
}

function metricsLine(withToken: Listener | undefined, alone: Listener | undefined): string {
  const ways = [
    ...(alone ? [`${alone.url}/metrics, open to all who reach that port`] : []),
    ...(withToken ? [`${withToken.url}/metrics, with METRICS_TOKEN as bearer token`] : []),
  ];
  return `Metrics    ${ways.length > 0 ? ways.join(', and ') : 'closed; METRICS_TOKEN or METRICS_PORT opens them'}`;
}

/** What is listened on for all is no address that can be opened. */
function shownHost(host: string): string {
  return host === '0.0.0.0' || host === '::' ? 'localhost' : host;
}
