/** All of the jobs of a process, as the platform makes it, for tests: workers, dead letters and schedules together. */
import { randomUUID } from 'node:crypto';
import type { JobModules } from '../../src/jobs/handler.ts';
import { JobsRuntime, type JobsRuntimeParts } from '../../src/jobs/runtime.ts';
import { silentLogger, type Logger } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { ownedByTest } from './owned.ts';

export interface TestRuntime {
  runtime: JobsRuntime;
  connections: Connections;
  prefix: string;
}

export interface TestRuntimeOptions extends Partial<Pick<JobsRuntimeParts, 'appVersion' | 'heartbeatMs'>> {
  log?: Logger;
  prefix?: string;
}

/**
 * Makes runtimes for the tests of the file that called it, and closes them after each test.
 *
 * @example
 * const runtimeOf = ownedRuntimes();
 * test('...', async () => {
 *   const { runtime } = runtimeOf({ url: server.url });
 *   await runtime.work({ handlers });
 * });
 */
export function ownedRuntimes(): (redis: RedisOptions, options?: TestRuntimeOptions) => TestRuntime {
  const own = ownedByTest();
  return (redis, { log = silentLogger, prefix = `t-${randomUUID()}`, ...rest } = {}) => {
    const connections = own(createConnections(redis, log));
    const runtime = own(
      new JobsRuntime({
        connections,
        prefix,
        log,
        registry: createMetrics(),
        modules: {} as JobModules,
        options: {},
        deadLetters: {},
        version: 'test',
        ...rest,
      }),
    );
    return { runtime, connections, prefix };
  };
}
