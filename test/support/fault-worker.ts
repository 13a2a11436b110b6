/**
 * A worker process to be killed, stopped and cut off: `fault-worker OPTIONS`.
 *
 * Each step of each run is a line of its journal, written before the next step begins, so that the lines which are there tell
 * where it was when it died.
 */
import { existsSync, openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isMillraceError } from '../../src/errors.ts';
import { handle } from '../../src/jobs/handler.ts';
import type { WorkerOptions } from '../../src/jobs/worker/worker-options.ts';
import { createPlatform } from '../../src/platform.ts';
import { runWorker } from '../../src/run-worker.ts';
import { eventually } from './eventually.ts';
import { bane, hold, toil, type FaultWorkerOptions } from './fault-jobs.ts';

const { redis, prefix, journal, releaseFile, worker } = JSON.parse(process.argv[2] ?? '{}') as FaultWorkerOptions;
const file = openSync(journal, 'a');
const note = (what: string, id: string): void => void writeSync(file, `${what} ${id}\n`);
const result = { pid: process.pid };

const parent = process.ppid;
const LOOK_EVERY_MS = 500;
setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL'); // The test was killed, and cannot end it any more.
}, LOOK_EVERY_MS).unref();

const released = (): Promise<void> =>
  eventually(() => {
    if (!existsSync(releaseFile ?? '')) throw new Error('not released');
  }, 120_000);

const toiler = handle(toil, async ({ ms, hasEffect }, context) => {
  const { job } = context;
  note('start', job.id);
  if (hasEffect) {
    try {
      await context.once('effect', () => note('effect', job.id));
    } catch (error) {
      note('failed', job.id);
      throw error;
    }
    note('stored', job.id);
  }
  await delay(ms);
  note('end', job.id);
  return result;
});

const holder = handle(hold, async ({ until }, context) => {
  const { job, signal } = context;
  note('start', job.id);
  if (releaseFile === undefined) {
    if (until === 'stored') await context.once('effect', () => process.pid);
  } else if (until === 'released') {
    await released();
  } else if (until === 'aborted') {
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    note(`aborted:${isMillraceError(signal.reason) ? signal.reason.code : String(signal.reason)}`, job.id);
  } else {
    try {
      await context.once('effect', () => released().then(() => process.pid));
    } catch (error) {
      note(`refused:${isMillraceError(error) ? error.code : String(error)}`, job.id);
      throw error;
    }
  }
  note('end', job.id);
  return result;
});

const killer = handle(bane, async ({ afterMs }, { job }) => {
  note('start', job.id);
  await delay(afterMs);
  process.kill(process.pid, 'SIGKILL');
});

const platform = createPlatform({
  redis,
  prefix,
  log: { level: 'info', format: 'json', destination: process.stderr },
});
console.log(`process ${process.pid}`);
const exitCode = await runWorker(platform, {
  ...(worker as Omit<WorkerOptions, 'handlers'>),
  handlers: [toiler, holder, killer],
});
process.exit(exitCode); // Not by running out of work: a handler that ignores its signal may still have some.
