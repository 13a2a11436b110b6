/**
 * A worker in a process of its own: `job-process URL PREFIX OPTIONS`, the options of the worker as JSON. It runs `proc.kill`, which
 * kills the process, `proc.work`, which takes `ms`, and `proc.effect`, which stops the process in the middle of an effect.
 * It says each start of a job; SIGTERM stops the worker.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { handle } from '../../src/jobs/handler.ts';
import { JobsClient } from '../../src/jobs/jobs.ts';
import { JobWorker } from '../../src/jobs/worker/job-worker.ts';
import { workerOptionsSchema } from '../../src/jobs/worker/worker-options.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { contractOf } from './contracts.ts';

const [url = '', prefix = '', options = '{}'] = process.argv.slice(2);
const connections = createConnections({ url });
const jobs = new JobsClient({ connections, prefix });
const handlers = [
  handle(contractOf('proc.kill'), (_input, { job }) => {
    console.log(`killed by ${job.id}`);
    process.kill(process.pid, 'SIGKILL');
  }),
  handle(contractOf('proc.work'), async ({ ms }, { job, signal }) => {
    console.log(`start ${job.id} ${job.attempt}`);
    signal.addEventListener('abort', () => console.log(`aborted ${(signal.reason as { code: string }).code}`));
    await delay(Number(ms));
    return process.pid;
  }),
  handle(contractOf('proc.effect', { attempts: 1 }), (_input, { job, once }) => {
    console.log(`start ${job.id} ${job.attempt}`);
    return once('effect', async () => {
      console.log(`effect ${process.pid}`);
      if (process.argv[5] === 'stop') process.kill(process.pid, 'SIGSTOP');
      return process.pid;
    }).catch((error: unknown) => {
      console.log(`refused ${(error as { code: string }).code}`);
      throw error;
    });
  }),
];
const worker = new JobWorker({
  core: jobs.core,
  options: workerOptionsSchema.parse({ handlers, ...(JSON.parse(options) as object) }),
  modules: {},
  cancelChannel: jobs.cancelChannel,
  waitChannel: jobs.waitChannel,
  doneChannel: jobs.doneChannel,
  execute: (handler, input, attempt) => handler.run(input, attempt),
  version: 'test',
  onDead: () => undefined,
});
worker.start();
process.once('SIGTERM', () => {
  void (async () => {
    await worker.stop();
    await jobs.close();
    await connections.close();
    console.log('stopped');
  })();
});
console.log('ready');
