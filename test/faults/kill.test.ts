/** Workers that are killed at any moment lose no job, and repeat no more than what they had begun. */
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { between, Tally, tally } from './journal.ts';
import { isLong, setScene, type Scene } from './scene.ts';
import { PATIENCE_MS, type PoolWorker } from './pool.ts';

const own = ownedByTest();
const ROUNDS = isLong ? 200 : 4;
const WORKERS = 3;
/** Between two kills there are up to so many runs, so that work is done too, and each kill meets other ones. */
const MOST_RUNS = 40;

test(`${ROUNDS} rounds of kill -9 of a random worker under load lose no job, and repeat only those that were active`, async () => {
  const server = own(await startRedis());
  // The lease is long beside what a busy machine keeps a living worker from renewing it, which would repeat jobs too.
  const worker = { concurrency: 4, lease: '3s', stalledCheck: '500ms', poisonAfter: 1_000 } as const;
  const scene = await setScene(own, { url: server.url }, worker, { backlog: 60, enqueue: { attempts: 1 } });
  const { pool, load } = scene;
  const living = Array.from({ length: WORKERS }, () => pool.start());
  load.start();
  const orphans = new Tally();
  const cutEffects = new Tally();
  for (let round = 0; round < ROUNDS; round++) {
    const victim = await pickBusy(living);
    victim.child.signal('SIGKILL');
    expect(await victim.child.ended).toBe('SIGKILL');
    for (const id of await orphansOf(scene, victim)) orphans.add(id);
    for (const id of between(victim.steps(), 'effect', 'stored')) cutEffects.add(id);
    living[living.indexOf(victim)] = pool.start();
  }
  const completed = await scene.settle();
  const steps = pool.steps();
  const [starts, ends, effects] = [tally(steps, 'start'), tally(steps, 'end'), tally(steps, 'effect')];
  const counts = {
    rounds: ROUNDS,
    jobs: load.accepted.length,
    runs: starts.total,
    repeated: starts.repeats,
    activeAtKills: orphans.total,
    effects: effects.total,
    repeatedEffects: effects.repeats,
    killedBeforeStore: cutEffects.total,
  };
  if (isLong) console.log(counts);
  expect(load.unsure).toBe(0);
  expect(completed.size).toBe(load.accepted.length);
  expect(load.accepted.filter((id) => ends.of(id) === 0)).toEqual([]);
  expect(orphans.total, 'kills hit running jobs').toBeGreaterThan(ROUNDS / 2);
  expect(starts.jobIds.filter((id) => starts.of(id) > 1 + orphans.of(id))).toEqual([]);
  expect(effects.jobIds.filter((id) => effects.of(id) > 1 + cutEffects.of(id))).toEqual([]);
  expect(counts.repeated).toBeLessThanOrEqual(counts.activeAtKills);
}, 1_800_000);

/** A random one of those that are in the middle of a run, once some more work was done; those that are still starting are spared. */
function pickBusy(workers: readonly PoolWorker[]): Promise<PoolWorker> {
  const begun = (): number => workers.reduce((sum, worker) => sum + worker.begun, 0);
  const due = begun() + Math.floor(Math.random() * MOST_RUNS);
  return eventually(() => {
    const busy = begun() < due ? [] : workers.filter((worker) => worker.running().length > 0);
    const picked = busy[Math.floor(Math.random() * busy.length)];
    if (picked) return picked;
    throw new Error(`the workers do not go on; they say:\n${workers.map(({ child }) => child.err()).join('\n')}`);
  }, PATIENCE_MS);
}

/** What it had begun and not finished, as it wrote itself, and what Redis has as taken by it: that may not have begun, or not been told to be done. */
async function orphansOf(scene: Scene, victim: PoolWorker): Promise<Set<string>> {
  return new Set([...(await scene.activeOf(victim.name)), ...victim.running()]);
}
