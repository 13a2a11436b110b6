/**
 * One of many worker processes that join, leave and die: `scale-worker OPTIONS`.
 *
 * It runs `load.toil` and declares a schedule, as each process of a fleet does. Each step of each run is a line of its journal, as
 * fault-worker has it.
 */
import { openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { handle } from '../../src/jobs/handler.ts';
import { schedule } from '../../src/jobs/schedules/schedule.ts';
import type { WorkerOptions } from '../../src/jobs/worker/worker-options.ts';
import { createPlatform } from '../../src/platform.ts';
import { runWorker } from '../../src/run-worker.ts';
import { toil, type FaultWorkerOptions } from './fault-jobs.ts';
import { tick, TICK_EVERY_MS } from './scale-jobs.ts';

const { redis, prefix, journal, worker } = JSON.parse(process.argv[2] ?? '{}') as FaultWorkerOptions;
const file = openSync(journal, 'a');
const note = (what: string, id: string): void => void writeSync(file, `${what} ${id}\n`);

const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL'); // The test was killed, and cannot end it any more.
}, 500).unref();

const handlers = [
  handle(toil, async ({ ms }, { job }) => {
    note('start', job.id);
    await delay(ms);
    note('end', job.id);
  }),
  handle(tick, (_input, { job }) => note('tick', job.id)),
];
const platform = createPlatform({
  redis,
  prefix,
  log: { level: 'info', format: 'json', destination: process.stderr },
});
const exitCode = await runWorker(platform, {
  ...(worker as Omit<WorkerOptions, 'handlers'>),
  handlers,
  schedules: [schedule(tick, {}, { every: TICK_EVERY_MS, missed: 'all', missedLimit: 1_000 })],
});
process.exit(exitCode);
