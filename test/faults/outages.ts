/**
 * What holds when a server goes while jobs run, the same on each topology; and what does not.
 *
 * A standalone Redis that writes each change to its file before it answers loses nothing that it has answered. With replicas,
 * Redis answers before they have the write: a failover may lose the last writes, which no client can mend. A job is therefore
 * promised to survive one only from when the replicas have it; here the load pauses until they do, while the jobs go on running.
 * What the failover then loses of their ends is run again. So: each accepted job is done, and an outage repeats none more than once.
 */
import { expect, test } from 'vitest';
import type { RunningTopology } from '../contract/topologies.ts';
import { eventually } from '../support/eventually.ts';
import type { ownedByTest } from '../support/owned.ts';
import { tally } from './journal.ts';
import type { Load } from './load.ts';
import { isLong, setScene } from './scene.ts';

const WORKERS = 2;
const CONCURRENCY = 4;
/** Jobs that wait when the server goes: more than the workers do in the meantime. */
const BACKLOG = 120;

/** How a server goes. */
export interface Outage {
  name: string;
  /** How often, in the long form. */
  rounds: number;
  /** Whether the server answers only what it keeps. */
  keepsAll: boolean;
  /** Resolves when Redis can be used again. */
  happen(topology: RunningTopology, key: string): Promise<unknown>;
}

/** Adds the tests of an outage to those of the file. */
export function testOutage(own: ReturnType<typeof ownedByTest>, running: () => RunningTopology, outage: Outage): void {
  const rounds = isLong ? outage.rounds : 1;
  test(`${outage.name} under load, ${rounds} times: every accepted job is done, and the workers go on by themselves`, async () => {
    const topology = running();
    const worker = { concurrency: CONCURRENCY, lease: '3s', stalledCheck: '500ms', poisonAfter: 1_000 } as const;
    const scene = await setScene(own, topology.redis, worker, { backlog: BACKLOG });
    const { pool, load, key } = scene;
    const workers = Array.from({ length: WORKERS }, () => pool.start());
    for (let round = 0; round < rounds; round++) {
      load.start();
      await Promise.all(workers.map((one) => one.hasBegun(one.begun + 1)));
      if (!outage.keepsAll) await pauseUntilReplicated(load, topology, key('wait'));
      await outage.happen(topology, key('wait'));
      load.start();
      const [accepted, begun] = [load.accepted.length, workers.map((one) => one.begun)];
      await eventually(() => expect(load.accepted.length).toBeGreaterThan(accepted), 60_000);
      // Each of them, by itself, and more than it had in its slots: none is silent.
      await Promise.all(workers.map((one, index) => one.hasBegun((begun[index] ?? 0) + 2 * CONCURRENCY)));
    }
    const completed = await scene.settle();
    const steps = pool.steps();
    const [starts, ends, effects] = [tally(steps, 'start'), tally(steps, 'end'), tally(steps, 'effect')];
    if (isLong) {
      const { accepted, unsure } = load;
      console.log({
        outage: outage.name,
        rounds,
        jobs: accepted.length,
        unsure,
        runs: starts.total,
        repeated: starts.repeats,
        repeatedEffects: effects.repeats,
      });
    }
    expect(load.accepted.filter((id) => ends.of(id) === 0)).toEqual([]);
    expect(completed.size).toBeLessThanOrEqual(load.accepted.length + load.unsure);
    // once() fails while the server is away, and its job is tried again.
    const failures = tally(steps, 'failed');
    expect(starts.jobIds.filter((id) => starts.of(id) > 1 + rounds + failures.of(id))).toEqual([]);
    const mayRepeat = outage.keepsAll ? rounds * WORKERS * CONCURRENCY + failures.total : starts.total;
    expect(starts.repeats).toBeLessThanOrEqual(mayRepeat);
    expect(effects.repeats).toBeLessThanOrEqual(starts.repeats);
    // The processes are those that were started, and they stop as they should.
    for (const { child } of workers) child.signal('SIGTERM');
    expect(await Promise.all(workers.map(({ child }) => child.ended))).toEqual(workers.map(() => 0));
  }, 600_000);
}

/** Pauses the load with all of its jobs on each replica, and with enough of them left to run. */
async function pauseUntilReplicated(load: Load, topology: RunningTopology, key: string): Promise<void> {
  await load.isFull();
  await load.stop();
  const master = await topology.masterOf(key);
  const { fields } = await master.info();
  const written = Number(fields.get('master_repl_offset'));
  await eventually(async () => {
    for (const server of topology.servers) {
      const { fields: of } = await server.info();
      if (of.get('role') !== 'slave' || of.get('master_port') !== String(master.port)) continue;
      if (Number(of.get('slave_repl_offset')) < written) throw new Error(`the replica at ${server.address} is behind`);
    }
  });
}
