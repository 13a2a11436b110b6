/** Jobs that kill their process, and processes that are stopped and continued: real ones. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JobInfo } from '../../../src/jobs/inspect.ts';
import { startChild, type Child } from '../../support/child.ts';
import { contractOf } from '../../support/contracts.ts';
import { ends, ownedJobs, type TestJobs } from '../../support/jobs.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const kill = contractOf('proc.kill');
const work = contractOf('proc.work');
const effect = contractOf('proc.effect', { attempts: 1 });
const OPTIONS = { lease: '1s', stalledCheck: '200ms', concurrency: 10, drainFor: '2s' };

const workerOf = ({ prefix }: TestJobs, options: object = {}, mode = ''): Child =>
  own(startChild('job-process', [server.url, prefix, JSON.stringify({ ...OPTIONS, ...options }), mode]));

describe('a job that kills its process', () => {
  test('more than poisonAfter times is poison; those that ran beside it survive', { timeout: 90_000 }, async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const innocent = await all.jobs.enqueueMany(
      work,
      Array.from({ length: 6 }, () => ({ ms: 100 })),
    );
    const { id } = await all.jobs.enqueue(kill, {});
    const more = await all.jobs.enqueueMany(
      work,
      Array.from({ length: 3 }, () => ({ ms: 100 })),
    );
    let kills = 0;
    let isOver = false;
    const keepOneAlive = (async (): Promise<void> => {
      while (!isOver) {
        const child = workerOf(all, { poisonAfter: 2 });
        const ended = child.ended.then((how) => how === 'SIGKILL' && kills++);
        await Promise.race([ended, ends(all, id, 'failed', 60_000).catch(() => undefined)]);
        isOver ||= (await all.jobs.get(id))?.state === 'failed';
        if (isOver) {
          for (const job of [...innocent, ...more]) await ends(all, job.id, 'completed', 20_000);
          child.signal('SIGTERM');
        }
        await ended;
      }
    })();
    await keepOneAlive;
    expect(kills).toBe(3);
    const { history, attemptsMade } = (await all.jobs.get(id)) as JobInfo;
    expect(history.at(-1)).toMatchObject({ reason: 'poison', error: { code: 'JOB_UNRECOVERABLE' } });
    // Starts without a text: three deaths, and perhaps one that put it off while another suspect ran.
    expect(history.length).toBeGreaterThanOrEqual(4);
    for (const { outcome } of history.slice(0, -1)) expect(['lost', 'postponed', 'unrecorded']).toContain(outcome);
    expect(attemptsMade).toBe(1);
    expect(await all.jobs.counts('proc')).toMatchObject({ completed: 9, failed: 1, active: 0, waiting: 0, delayed: 0 });
  });
});

describe('a worker that is stopped past its lease', () => {
  test('is told when it goes on, its result is dropped, and the job has run elsewhere', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const first = workerOf(all);
    const { id } = await all.jobs.enqueue(work, { ms: 3_000 });
    await first.says(`start ${id}`);
    first.signal('SIGSTOP');
    const second = workerOf(all);
    await second.says(`start ${id}`);
    first.signal('SIGCONT');
    await first.says('aborted LEASE_LOST');
    const { result, attemptsMade } = await ends(all, id, 'completed', 20_000);
    expect(result).toBe(second.pid);
    expect(attemptsMade).toBe(1);
    for (const child of [first, second]) child.signal('SIGTERM');
    expect(await Promise.all([first.ended, second.ended])).toEqual([0, 0]);
  });

  test('in the middle of an effect cannot store its result beside that of the worker that has the job now', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const first = workerOf(all, {}, 'stop');
    const { id } = await all.jobs.enqueue(effect, {});
    await first.says('effect');
    const second = workerOf(all);
    await second.says('effect');
    first.signal('SIGCONT');
    await first.says('refused LEASE_LOST');
    const { result } = await ends(all, id, 'completed', 20_000);
    expect(result).toBe(second.pid);
    for (const child of [first, second]) child.signal('SIGTERM');
    expect(await Promise.all([first.ended, second.ended])).toEqual([0, 0]);
  });
});
