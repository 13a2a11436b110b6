/** `millrace dev`, which is what `npm start` runs: the platform on this machine, until Ctrl-C. */
import express from 'express';
import { createPlatform, formatReport, readEnv, stopSignal, type Platform } from '../index.ts';
import { healthRouter, listen, metricsRouter, type Listener } from '../http/index.ts';
import type { Command } from './command.ts';
import { progressLine } from './progress.ts';
import { hello, helloHandler } from './sample.ts';

const LEAVE_START_AFTER_MS = 1_000;

export const dev: Command = {
  summary:
    'Runs the platform on this machine: Redis (an embedded one unless REDIS_URL is set), a worker with a sample job, health and metrics.',
  flags: {},
  exitCodes: { 0: 'stopped by Ctrl-C or SIGTERM', 1: 'could not start, or a second Ctrl-C cut the stop short' },
  async run() {
    const { platform: options, http } = readEnv();
    const progress = progressLine();
    const platform = createPlatform({ ...options, onProgress: progress.show });
    const stopped = stopSignal();
    // Started before the platform, so that probes are answered while a server is downloaded or loads its data, and a
    // taken port is known at once.
    const app = express().disable('x-powered-by').use(healthRouter(platform)).use(metricsRouter(platform.metrics));
    const listener = await listen(app, http);
    try {
      const started = platform.start();
      started.catch(() => undefined); // Awaited below, unless Ctrl-C comes first.
      if ((await Promise.race([started, stopped])) === undefined) {
        progress.clear();
        await platform.work({ handlers: [helloHandler] });
        await say(platform, listener);
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
      await listener.close();
      await platform.stop();
    }
    console.log('stopped');
    return 0;
  },
};

/**
 * A start may wait for minutes, for a download or for another process, and stop() waits for the start. Whoever pressed
 * Ctrl-C should not: what was begun ends with this process, and the next start takes it up.
 */
function leaveStart(): void {
  console.log('stopped');
  process.exit(0);
}

async function say(platform: Platform, listener: Listener): Promise<void> {
  const report = await platform.diagnose();
  const lines = [
    'Millrace is up.',
    '',
    ...platform.summary(),
    `Worker     this process, queue ${hello.queue}: ${hello.name}`,
    `Health     ${listener.url}/livez and ${listener.url}/readyz`,
    `Metrics    ${listener.url}/metrics`,
    '',
    'Doctor:',
    ...formatReport(report).map((line) => `  ${line}`),
    '',
    'Next, in a second terminal:',
    `  npx millrace enqueue ${hello.name} '{"name":"Ada"}'`,
    'Stop: Ctrl-C',
  ];
  console.log(lines.join('\n'));
}
