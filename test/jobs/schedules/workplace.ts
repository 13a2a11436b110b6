/** Processes of an application that declare schedules, each with connections of its own, and a time that the test sets. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { defineJob } from '../../../src/jobs/contract.ts';
import { JobsClient } from '../../../src/jobs/jobs.ts';
import { createSchedules, type SchedulesClient, type SchedulesOptions } from '../../../src/jobs/schedules/schedules.ts';
import type { Settled } from '../../../src/jobs/schedules/settler.ts';
import { silentLogger } from '../../../src/log.ts';
import type { RedisOptions } from '../../../src/redis/address.ts';
import { createConnections } from '../../../src/redis/connect.ts';

export const report = defineJob({ name: 'report.build', input: z.object({ kind: z.string() }) });
export const sweep = defineJob({ name: 'carts.sweep', input: z.object({}), version: 3, attempts: 2 });

/** The server's time, as the test sets it. */
export class TestTime {
  atMs: number;
  readonly nowMs = async (): Promise<number> => this.atMs;

  constructor(text: string) {
    this.atMs = Date.parse(text);
  }

  set(text: string): void {
    this.atMs = Date.parse(text);
  }

  pass(ms: number): void {
    this.atMs += ms;
  }
}

/** One process. */
export class Workplace {
  readonly jobs: JobsClient;
  readonly schedules: SchedulesClient;
  readonly settled: Settled[] = [];
  readonly prefix: string;
  readonly #connections: ReturnType<typeof createConnections>;

  constructor(
    redis: RedisOptions,
    { prefix = `t-${randomUUID()}`, ...options }: SchedulesOptions & { prefix?: string },
  ) {
    this.prefix = prefix;
    this.#connections = createConnections(redis, silentLogger);
    this.jobs = new JobsClient({ connections: this.#connections, prefix });
    this.schedules = createSchedules(this.jobs.core, {
      onSettled: (settled) => this.settled.push(settled),
      ...options,
    });
  }

  /** One look of the ticker. */
  async tick(): Promise<void> {
    await this.schedules.ticker.round();
  }

  /** The ids of the jobs that wait or are put off, the oldest first. */
  async waiting(queue: string): Promise<string[]> {
    const open = this.jobs.core.queues.get(queue).queue;
    const found = await open.getJobs(['waiting', 'delayed', 'prioritized'], 0, -1, true);
    return found.map(({ id = '' }) => id);
  }

  async close(): Promise<void> {
    await this.schedules.close();
    await this.jobs.close();
    await this.#connections.close();
  }
}
