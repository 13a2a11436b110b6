/** Jobs and workers for tests: each call makes a client with a prefix of its own on a server that the test gives. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, inject } from 'vitest';
import type { Clock } from '../../src/clock.ts';
import { createThreads, type ThreadOptions, type Threads } from '../../src/jobs/isolate/threads.ts';
import type { JobMetricsRegistry } from '../../src/jobs/job-metrics.ts';
import { JobsClient, type Jobs, type JobsOptions } from '../../src/jobs/jobs.ts';
import type { JobInfo, JobState } from '../../src/jobs/inspect.ts';
import { JobWorker } from '../../src/jobs/worker/job-worker.ts';
import { workerOptionsSchema, type WorkerOptions } from '../../src/jobs/worker/worker-options.ts';
import { silentLogger, type Logger } from '../../src/log.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { eventually } from './eventually.ts';
import { ownedByTest, type Own } from './owned.ts';

export interface TestJobsOptions {
  redis: RedisOptions;
  /** Default: one that nobody else has. */
  prefix?: string;
  options?: JobsOptions;
  log?: Logger;
  registry?: JobMetricsRegistry;
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
  work: (options: WorkerOptions, modules?: object) => JobWorker;
}

/** What jobs are made of. */
export interface JobsCode {
  createConnections: typeof createConnections;
  createThreads: typeof createThreads;
  JobsClient: typeof JobsClient;
  JobWorker: typeof JobWorker;
}

/** The same as it was compiled: its threads load in a third of the time that those of the sources take. */
export async function compiledJobs(): Promise<JobsCode> {
  const files = ['redis/connect.js', 'jobs/isolate/threads.js', 'jobs/jobs.js', 'jobs/worker/job-worker.js'];
  const urls = files.map((file) => pathToFileURL(join(inject('compiled'), 'src', file)).href);
  const modules = await Promise.all(urls.map((url) => import(url) as Promise<object>));
  return Object.assign({}, ...modules) as JobsCode;
}

/**
 * Makes jobs for the tests of the file that called it, and stops them after each test, or when `own` says.
 *
 * @example
 * const jobsOf = ownedJobs();
 * test('...', async () => {
 *   const { jobs, work } = jobsOf({ redis: { url: server.url } });
 *   work({ handlers: [handle(contract, run)] });
 * });
 */
export function ownedJobs(
  own: Own = ownedByTest(),
  code: JobsCode = { createConnections, createThreads, JobsClient, JobWorker },
): (options: TestJobsOptions) => TestJobs {
  return ({
    redis,
    prefix = `t-${randomUUID()}`,
    options,
    log = silentLogger,
    clock,
    registry,
    threads: threadOptions,
  }) => {
    const connections = own(code.createConnections(redis, log));
    const jobs = own(new code.JobsClient({ connections, prefix, log, clock, registry, options }));
    const { producer } = jobs.core;
    const threads = own(code.createThreads({ producer, modules: ['cache'], options: threadOptions }));
    const dead: string[] = [];
    const work = (workerOptions: WorkerOptions, modules: object = {}): JobWorker => {
      const worker = own(
        new code.JobWorker({
          core: jobs.core,
          options: workerOptionsSchema.parse({ drainFor: '2s', grace: '200ms', ...workerOptions }),
          modules,
          cancelChannel: jobs.cancelChannel,
          waitChannel: jobs.waitChannel,
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

/**
 * All that is known of the job, once it is in the state.
 *
 * @example
 * const { history } = await ends(all, id, 'failed');
 */
export function ends(
  { jobs }: { jobs: Pick<Jobs, 'get'> },
  id: string,
  state: JobState,
  withinMs?: number,
): Promise<JobInfo> {
  return eventually(async () => {
    const info = await jobs.get(id);
    expect(info?.state).toBe(state);
    return info as JobInfo;
  }, withinMs);
}
