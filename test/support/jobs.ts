/** Jobs and workers for tests: each call makes a client with a prefix of its own on a server that the test gives. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../src/clock.ts';
import { createThreads, type ThreadOptions, type Threads } from '../../src/jobs/isolate/threads.ts';
import { JobsClient, type JobsOptions } from '../../src/jobs/jobs.ts';
import type { JobModules } from '../../src/jobs/handler.ts';
import { JobWorker } from '../../src/jobs/worker/job-worker.ts';
import { workerOptionsSchema, type WorkerOptions } from '../../src/jobs/worker/worker-options.ts';
import { silentLogger, type Logger } from '../../src/log.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { ownedByTest } from './owned.ts';

export interface TestJobsOptions {
  redis: RedisOptions;
  /** Default: one that nobody else has. */
  prefix?: string;
  options?: JobsOptions;
  log?: Logger;
  clock?: Clock;
  threads?: ThreadOptions;
}

/** What a test of jobs works with; all of it is stopped when the test ends. */
export interface TestJobs {
  jobs: JobsClient;
  connections: Connections;
  prefix: string;
  /** The ids of jobs that failed for good, as the workers reported them. */
  dead: string[];
  /** Where isolated handlers run. */
  threads: Threads;
  /** A worker that has been started. */
  work: (options: WorkerOptions, modules?: JobModules) => JobWorker;
}

/**
 * Makes jobs for the tests of the file that called it, and stops them after each test.
 *
 * @example
 * const jobsOf = ownedJobs();
 * test('...', async () => {
 *   const { jobs, work } = jobsOf({ redis: { url: server.url } });
 *   work({ handlers: [handle(contract, run)] });
 * });
 */
export function ownedJobs(): (options: TestJobsOptions) => TestJobs {
  const own = ownedByTest();
  return ({ redis, prefix = `t-${randomUUID()}`, options, log = silentLogger, clock, threads: threadOptions }) => {
    const connections = own(createConnections(redis, log));
    const jobs = own(new JobsClient({ connections, prefix, log, clock, options }));
    const { producer } = jobs.core;
    const threads = own(createThreads({ producer, modules: ['cache'], options: threadOptions }));
    const dead: string[] = [];
    const work = (workerOptions: WorkerOptions, modules: JobModules = {}): JobWorker => {
      const worker = own(
        new JobWorker({
          core: jobs.core,
          options: workerOptionsSchema.parse({ drainFor: '2s', grace: '200ms', ...workerOptions }),
          modules,
          cancelChannel: jobs.cancelChannel,
          doneChannel: jobs.doneChannel,
          execute: threads.execute,
          version: 'test',
          onDead: (_queue, jobId) => dead.push(jobId),
        }),
      );
      worker.start();
      return worker;
    };
    return { jobs, connections, prefix, dead, threads, work };
  };
}
