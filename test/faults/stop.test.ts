/** A worker that is stopped past its lease finds its jobs run elsewhere, does no harm with its late results, and works on. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { hold, QUEUE, toil } from '../support/fault-jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { tally } from './journal.ts';
import { isLong, setScene } from './scene.ts';

const own = ownedByTest();
const ROUNDS = isLong ? 5 : 1;
const MORE_JOBS = 20;

test.each(Array.from({ length: ROUNDS }, (_, round) => round + 1))(
  'round %i: SIGSTOP of a worker past its lease: its jobs run elsewhere, its late results are dropped, and it works on',
  async () => {
    const server = own(await startRedis());
    const worker = { concurrency: 6, lease: '1s', stalledCheck: '300ms', poisonAfter: 1_000 } as const;
    const { platform, pool, settle, completions } = await setScene(own, { url: server.url }, worker);
    const { jobs } = platform;
    const releaseFile = join(pool.folder, 'release');
    const stopped = pool.start({ releaseFile });
    const held = await jobs.enqueueMany(hold, [{ until: 'released' }, { until: 'aborted' }, { until: 'stored' }]);
    const [late, aborted, stored] = held.map(({ id }) => id) as [string, string, string];
    await stopped.hasBegun(held.length);

    stopped.child.signal('SIGSTOP');
    const other = pool.start();
    await other.hasEnded([late, aborted, stored]);
    await eventually(async () => expect(await jobs.counts(QUEUE)).toMatchObject({ active: 0, completed: held.length }));
    writeFileSync(releaseFile, '');
    stopped.child.signal('SIGCONT');

    await stopped.hasEnded([late, aborted]);
    await stopped.until('was refused', () => stopped.steps().some(({ what }) => what.startsWith('refused:')));
    expect(stopped.steps().filter(({ what }) => what.includes(':'))).toEqual(
      expect.arrayContaining([
        { what: 'aborted:LEASE_LOST', jobId: aborted },
        { what: 'refused:LEASE_LOST', jobId: stored },
      ]),
    );

    // Now the one that was stopped is the only one.
    other.child.signal('SIGTERM');
    expect(await other.child.ended).toBe(0);
    const more = await jobs.enqueueMany(
      toil,
      Array.from({ length: MORE_JOBS }, () => ({ ms: 10, hasEffect: true })),
    );
    await stopped.hasEnded(more.map(({ id }) => id));
    await settle();
    expect(tally(pool.steps(), 'start').total).toBe(2 * held.length + more.length);
    for (const { id } of held) {
      const { state, result, attemptsMade, history } = (await jobs.get(id)) ?? {};
      expect({ state, result, attemptsMade }).toEqual({
        state: 'completed',
        result: { pid: other.child.pid },
        attemptsMade: 1,
      });
      expect(history).toHaveLength(1); // The attempt that was lost, and none that failed.
    }
    expect(await completions(held.map(({ id }) => id))).toEqual([1, 1, 1]);
  },
  120_000,
);
