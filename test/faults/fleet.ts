/** Worker processes of one fleet that come and go, and the platform that watches them. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import express from 'express';
import { expect } from 'vitest';
import { autoscaleRouter, listen, type QueueFigures } from '../../src/http/index.ts';
import { createJobKeys } from '../../src/jobs/queue-names.ts';
import type { WorkerOptions } from '../../src/jobs/worker/worker-options.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform, type Platform } from '../../src/platform.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { startChild } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import { QUEUE, toil } from '../support/fault-jobs.ts';
import type { Own } from '../support/owned.ts';
import type { Step } from './journal.ts';
import { PoolWorker } from './pool.ts';

const PATIENCE_MS = 90_000;

/** A fleet of one test. */
export interface TestFleet {
  platform: Platform;
  /** All processes that were ever started. */
  started: readonly PoolWorker[];
  /** Everything that all of them wrote. */
  steps(): Step[];
  /** Starts processes; resolves once the fleet counts so many that run. */
  join(count: number): Promise<PoolWorker[]>;
  /** Ends a process by SIGTERM; resolves with its exit code once it is gone. */
  leave(worker: PoolWorker): Promise<number | NodeJS.Signals>;
  /** Kills a process. @returns the jobs that were on it: what it had begun, and what Redis has as taken by it */
  die(worker: PoolWorker): Promise<Set<string>>;
  /** Enqueues jobs of 100 to 300 ms. @returns their ids */
  load(count: number): Promise<string[]>;
  /** What the endpoint tells an autoscaler of the load. */
  figures(): Promise<QueueFigures>;
  /** Resolves when nothing of the load is left. */
  done(): Promise<void>;
}

/** Makes a fleet without a process; all of it ends with the test. */
export async function createTestFleet(
  own: Own,
  redis: RedisOptions,
  worker: Omit<WorkerOptions, 'handlers'>,
): Promise<TestFleet> {
  const prefix = `s-${randomUUID()}`;
  const folder = mkdtempSync(join(tmpdir(), 'millrace-fleet-'));
  own({ stop: () => rm(folder, { recursive: true, force: true }) });
  const platform = createPlatform({ redis, prefix, log: silentLogger });
  own({ stop: () => platform.stop() });
  await platform.start();
  const listener = own(await listen(express().use(autoscaleRouter(platform)), { host: '127.0.0.1', port: 0 }));
  const started: PoolWorker[] = [];
  const running = async (): Promise<number[]> =>
    (await platform.fleet.workers()).flatMap(({ state, pid }) => (state === 'running' ? [pid] : []));
  const key = (suffix: string): string => `${createJobKeys(prefix).queuePrefix(QUEUE)}:${QUEUE}:${suffix}`;
  return {
    platform,
    started,
    steps: () => started.flatMap((one) => one.steps()),

    async join(count) {
      const joined = Array.from({ length: count }, () => {
        const journal = join(folder, `${started.length}.journal`);
        const child = own(startChild('scale-worker', [JSON.stringify({ redis, prefix, journal, worker })]));
        const one = new PoolWorker(child, journal);
        started.push(one);
        return one;
      });
      await eventually(async () => {
        const pids = await running();
        for (const { child } of joined) expect(pids, child.err()).toContain(child.pid);
      }, PATIENCE_MS);
      return joined;
    },

    async leave({ child }) {
      child.signal('SIGTERM');
      return child.ended;
    },

    async die(victim) {
      victim.child.signal('SIGKILL');
      await victim.child.ended;
      const client = platform.redis.commands();
      const ids = await client.lrange(key('active'), '0', '-1');
      const by = await Promise.all(ids.map((id) => client.hget(key(id), 'pb')));
      return new Set([...ids.filter((_, index) => by[index] === victim.name), ...victim.running()]);
    },

    async load(count) {
      const inputs = Array.from({ length: count }, () => ({ ms: 100 + Math.random() * 200 }));
      return (await platform.jobs.enqueueMany(toil, inputs)).map(({ id }) => id);
    },

    async figures() {
      const response = await fetch(`${listener.url}/autoscale/${QUEUE}`, { headers: { connection: 'close' } });
      expect(response.status).toBe(200);
      return (await response.json()) as QueueFigures;
    },

    done: () =>
      eventually(
        async () =>
          expect(await platform.jobs.counts(QUEUE)).toMatchObject({ waiting: 0, active: 0, delayed: 0, failed: 0 }),
        PATIENCE_MS,
      ),
  };
}
