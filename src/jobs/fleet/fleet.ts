/**
 * All worker processes of a platform, on whatever machine they run.
 *
 * Promise: a process that runs is there, and seen within the time of one heartbeat; one that stopped is gone; one that was killed is shown as
 * silent and forgotten after an hour. At most 1 000 are kept, those heard of last.
 * Keys: `fleet:{workers}:reports` HASH and `fleet:{workers}:seen` ZSET, written by each process's heartbeat; both expire after an hour.
 * Redis down: workers() throws; a process that cannot tell of itself works on and tells again.
 */
import { createKeySpace } from '../../redis/keys.ts';
import { defineScript, type ScriptClient } from '../../redis/script.ts';
import { readReport, type WorkerInfo } from './report.ts';

/** The worker processes of a platform. */
export interface Fleet {
  /**
   * All worker processes, the oldest first: those heard of, and those silent for up to an hour.
   *
   * @example
   * const silent = (await platform.fleet.workers()).filter(({ state }) => state === 'silent');
   * @throws MillraceError what is wrong with Redis
   */
  workers(): Promise<WorkerInfo[]>;
}

/** Where what the processes tell is kept. */
export interface FleetKeys {
  workers: string;
  seen: string;
}

/** How long a silent process is remembered. */
export const FORGET_MS = 3_600_000;

/** The keys of the fleet under a prefix. */
export function createFleetKeys(prefix: string): FleetKeys {
  const key = createKeySpace(prefix, 'fleet');
  return { workers: key('workers', 'reports'), seen: key('workers', 'seen') };
}

const listWorkers = defineScript({
  file: 'jobs/fleet/list.lua',
  keys: ['workers', 'seen'],
  args: ['forgetMs'],
  reply: ([nowMs, ...rest]: [number, ...string[]]) => ({ nowMs, rest }),
});

/** The fleet, as any process sees it. */
export function createFleet(client: () => ScriptClient, keys: FleetKeys): Fleet {
  return {
    async workers() {
      const { nowMs, rest } = await listWorkers(client(), { ...keys }, { forgetMs: FORGET_MS });
      const workers: WorkerInfo[] = [];
      for (let place = 0; place < rest.length; place += 3) {
        const [id = '', seenAt = '', json = ''] = rest.slice(place, place + 3);
        const worker = readReport(id, json, Number(seenAt), nowMs);
        if (worker) workers.push(worker);
      }
      return workers.toSorted((one, other) => one.startedAt - other.startedAt);
    },
  };
}
