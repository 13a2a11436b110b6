/** `millrace api`: the producer API, with health and metrics, until Ctrl-C. */
import express from 'express';
import { createPlatform, isMillraceError, readEnv, stopSignal, type JobContract, type Platform } from '../index.ts';
import { contractsIn, healthRouter, listen, metricsRouter, producerRouter } from '../http/index.ts';
import { CommandError, type Command, type Words } from './command.ts';
import { load } from './load-modules.ts';
import { progressLine } from './progress.ts';
import { listOf } from './read-flags.ts';
import { hello } from './sample.ts';

const LEAVE_START_AFTER_MS = 1_000;

export const api: Command = {
  summary:
    'Runs the producer API: jobs over HTTP for programs with an API key, with an OpenAPI document and a page of it.',
  flags: {
    contracts: {
      value: 'FILES',
      summary: 'Modules that export contracts, with commas between. Default: the sample job.',
    },
  },
  exitCodes: {
    0: 'stopped by Ctrl-C or SIGTERM',
    1: 'could not start, or a second Ctrl-C cut the stop short',
    2: 'wrong words',
  },
  async run({ flags }) {
    const { platform: options, http } = readEnv();
    const contracts = await contractsOf(flags);
    const progress = progressLine();
    const platform = createPlatform({ ...options, onProgress: progress.show });
    const stopped = stopSignal();
    // Listens before Redis is there, so that probes are answered meanwhile.
    const app = express()
      .disable('x-powered-by')
      .use(healthRouter(platform))
      .use(metricsRouter(platform.metrics))
      .use(producerRouter(platform, { contracts }));
    const listener = await listen(app, http);
    try {
      const started = platform.start();
      started.catch(() => undefined); // Awaited below, unless Ctrl-C comes first.
      if ((await Promise.race([started, stopped])) === undefined) {
        progress.clear();
        tell(platform, contracts);
        console.log(screen(platform, listener.url, contracts).join('\n'));
        await stopped;
      } else {
        // A start may wait for minutes, and stop() waits for the start; whoever pressed Ctrl-C should not.
        setTimeout(() => process.exit(0), LEAVE_START_AFTER_MS).unref();
      }
      console.log('stopping');
    } finally {
      progress.clear();
      await listener.close();
      await platform.stop();
    }
    console.log('stopped');
    return 0;
  },
};

/** Every contract that the modules export. */
async function contractsOf(flags: Words['flags']): Promise<readonly JobContract[]> {
  const files = listOf('contracts', flags);
  if (!files) return [hello];
  const found: JobContract[] = [];
  for (const file of files) found.push(...(await contractsOfFile(file)));
  return [...new Set(found)];
}

async function contractsOfFile(file: string): Promise<JobContract[]> {
  const exported = await load(file);
  try {
    return contractsIn(exported);
  } catch (error) {
    if (!isMillraceError(error, 'OPTIONS_INVALID')) throw error;
    throw new CommandError(`${file} exports no contract; export what defineJob() gives`, { cause: error });
  }
}

/** For those who look at jobs, so that secrets are masked from the first job on. The API goes on without. */
function tell(platform: Platform, contracts: readonly JobContract[]): void {
  platform.jobs
    .register(contracts)
    .catch((error: unknown) =>
      platform.log.warn({ err: error }, 'contracts not told; until a worker tells them, their secrets are shown'),
    );
}

function screen(platform: Platform, url: string, contracts: readonly JobContract[]): string[] {
  return [
    'The producer API is up.',
    '',
    ...platform.summary(),
    `Contracts  ${contracts.map(({ name }) => name).join(', ')}`,
    `Document   ${url}/openapi.json, as a page ${url}/docs`,
    `Health     ${url}/livez and ${url}/readyz`,
    `Metrics    ${url}/metrics`,
    '',
    'Next, in a second terminal:',
    "  npx millrace keys create me --scopes '*:*'",
    'Stop: Ctrl-C',
  ];
}
