/** A platform, worker processes and a load on one Redis, and what is asked of them at the end. */
import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { createJobKeys } from '../../src/jobs/queue-names.ts';
import type { WorkerOptions } from '../../src/jobs/worker/worker-options.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform, type Platform } from '../../src/platform.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import type { RedisClient } from '../../src/redis/clients.ts';
import { eventually } from '../support/eventually.ts';
import { QUEUE } from '../support/fault-jobs.ts';
import type { ownedByTest } from '../support/owned.ts';
import { Load, type LoadOptions } from './load.ts';
import { WorkerPool } from './pool.ts';

/** `npm run test:faults` asks for the long form; `npm test` has the short one. */
export const isLong = process.env['FAULTS'] === 'long';

/** What all that is left to do may take, on a machine that has other things to do too. */
const SETTLE_WITHIN_MS = 90_000;

const NOTHING_LEFT = { waiting: 0, active: 0, delayed: 0, prioritized: 0, 'waiting-children': 0, failed: 0 };

/** What a fault test works with. */
export interface Scene {
  platform: Platform;
  pool: WorkerPool;
  load: Load;
  /** A key of BullMQ's for the queue. */
  key: (suffix: string) => string;
  /** The jobs that Redis has as taken by the worker of the name. */
  activeOf: (worker: string) => Promise<string[]>;
  /** How often BullMQ told that each of the jobs was completed. */
  completions: (jobIds: readonly string[]) => Promise<number[]>;
  /** Waits until nothing is left to do, and looks whether every accepted job was completed, and none is dead. Gives all that were completed. */
  settle: () => Promise<Set<string>>;
}

/** Sets the scene; all of it ends with the test. */
export async function setScene(
  own: ReturnType<typeof ownedByTest>,
  redis: RedisOptions,
  worker: Omit<WorkerOptions, 'handlers'>,
  load: LoadOptions = { backlog: 60 },
): Promise<Scene> {
  const prefix = `f-${randomUUID()}`;
  const platform = createPlatform({ redis, prefix, log: silentLogger });
  own({ stop: () => platform.stop() });
  await platform.start();
  const pool = own(new WorkerPool({ redis, prefix, worker }));
  const books = own(new Load(platform, load));
  const commands = (): RedisClient => platform.redis.commands();
  const key = (suffix: string): string => `${createJobKeys(prefix).queuePrefix(QUEUE)}:${QUEUE}:${suffix}`;
  return {
    platform,
    pool,
    load: books,
    key,

    async activeOf(name) {
      const ids = await commands().lrange(key('active'), '0', '-1');
      const by = await Promise.all(ids.map((id) => commands().hget(key(id), 'pb')));
      return ids.filter((_, index) => by[index] === name);
    },

    async completions(jobIds) {
      const events = await commands().xrange(key('events'), '-', '+');
      const told = events.map(([, fields]) => `${fields.join(' ')} `);
      return jobIds.map((id) => told.filter((text) => text.startsWith(`event completed jobId ${id} `)).length);
    },

    async settle() {
      await books.stop();
      await eventually(
        async () => expect(await platform.jobs.counts(QUEUE)).toMatchObject(NOTHING_LEFT),
        SETTLE_WITHIN_MS,
      );
      expect(await platform.deadLetters.count()).toBe(0);
      const completed = new Set(await commands().zrange(key('completed'), '0', '-1'));
      expect(books.accepted.filter((id) => !completed.has(id))).toEqual([]);
      return completed;
    },
  };
}
