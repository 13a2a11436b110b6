/** A worker process that is told to stop hands back what it cannot finish, and is gone within its bound. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { timed } from '../support/failures.ts';
import { hold, QUEUE } from '../support/fault-jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { tally } from './journal.ts';
import { isLong, setScene } from './scene.ts';

const own = ownedByTest();
const ROUNDS = isLong ? 5 : 1;
const DRAIN_MS = 3_000;

test.each(Array.from({ length: ROUNDS }, (_, round) => round + 1))(
  'round %i: SIGTERM under load: exit code 0 within drainFor, jobs handed back, no attempt burnt',
  async () => {
    const server = own(await startRedis());
    const worker = { concurrency: 20, lease: '30s', drainFor: DRAIN_MS } as const;
    const { platform, pool, load, settle } = await setScene(own, { url: server.url }, worker);
    const { jobs } = platform;
    const held = await jobs.enqueueMany(hold, [{ until: 'released' }, { until: 'stored' }, { until: 'aborted' }]);
    const [released, stored, aborted] = held.map(({ id }) => id) as [string, string, string];
    const drained = pool.start({ releaseFile: join(pool.folder, 'never') });
    await drained.hasBegun(held.length);
    load.start();
    await drained.hasBegun(held.length + 20);

    drained.child.signal('SIGTERM');
    const { value: code, ms } = await timed(drained.child.ended);
    expect(code).toBe(0);
    expect(ms).toBeLessThan(DRAIN_MS + 1_000); // What is beyond the drain is the end of the process itself.
    await load.stop();
    // Done is what was short, and what made an end when its signal aborted; the rest waits again.
    const [starts, ends] = [tally(drained.steps(), 'start'), tally(drained.steps(), 'end')];
    expect(starts.jobIds.filter((id) => ends.of(id) === 0)).toEqual([released, stored]);
    expect(drained.steps()).toContainEqual({ what: 'aborted:JOB_RELEASED', jobId: aborted });
    const done = { active: 0, delayed: 0, failed: 0, completed: ends.total };
    expect(await jobs.counts(QUEUE)).toMatchObject(done);
    for (const id of [released, stored])
      expect(await jobs.get(id)).toMatchObject({ state: 'waiting', attemptsMade: 0 });

    // The lease of 30 s is not waited for: what was handed back runs at once, and with `attempts: 1` a burnt one would show.
    const next = pool.start();
    await next.hasEnded([released, stored]);
    await settle();
    for (const id of [released, stored])
      expect(await jobs.get(id)).toMatchObject({ state: 'completed', attemptsMade: 1 });
    expect(tally(pool.steps(), 'start').repeats).toBe(2);

    next.child.signal('SIGTERM');
    const idle = await timed(next.child.ended);
    expect(idle.value).toBe(0);
    expect(idle.ms, 'with nothing to do it stops at once').toBeLessThan(DRAIN_MS);
  },
  120_000,
);

test('a second SIGTERM ends the process at once, with exit code 1', async () => {
  const server = own(await startRedis());
  const { platform, pool } = await setScene(own, { url: server.url }, { lease: '1s', drainFor: '10m' });
  const worker = pool.start({ releaseFile: join(pool.folder, 'never') });
  await platform.jobs.enqueue(hold, { until: 'released' });
  await worker.hasBegun(1);
  worker.child.signal('SIGTERM');
  await worker.until('drains', () => worker.child.err().includes('draining'));
  // One that comes right after the first counts as the same, so it is sent until it counts.
  await eventually(() => {
    worker.child.signal('SIGTERM');
    expect(worker.child.process.exitCode).toBe(1);
  });
  expect(await worker.child.ended).toBe(1);
  // Its job was not handed back; it is still its lease's, as that of a worker that was killed.
  expect(await platform.jobs.counts(QUEUE)).toMatchObject({ active: 1, waiting: 0 });
}, 60_000);
