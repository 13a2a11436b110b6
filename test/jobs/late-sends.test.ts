/** A send that takes several steps: what its deadline overtakes is not written later. */
import { expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { flow } from '../../src/jobs/flows.ts';
import type { JobsClient } from '../../src/jobs/jobs.ts';
import { contractOf } from '../support/contracts.ts';
import { failureOf } from '../support/failures.ts';
import { ownedJobs } from '../support/jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();

const NONE = { waiting: 0, delayed: 0, prioritized: 0, 'waiting-children': 0, active: 0 };
const parent = contractOf('late.parent');
const child = contractOf('late.child');

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Once these have been answered, what had waited for an answer before them has gone on. */
async function answersOf(jobs: JobsClient): Promise<void> {
  for (let round = 0; round < 5; round++) {
    await jobs.counts('late');
    await nextTurn();
  }
}

test('a flow whose deadline passes while its scripts are asked for is not added when the server wakes up', async () => {
  const server = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '500ms' } });
  const tree = flow(parent, {}, { children: [flow(child, {})] });
  await jobs.enqueueFlow(tree);
  const before = await jobs.counts('late');
  server.freeze();
  await failureOf(jobs.enqueueFlow(tree), 'ENQUEUE_TIMEOUT');
  server.thaw();
  await answersOf(jobs);
  expect(await jobs.counts('late')).toEqual(before);
});

test('a job whose deadline passes while it is looked for an earlier one is not added later', async () => {
  const server = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '500ms' } });
  const keyed = contractOf('late.keyed', { unique: { key: ({ to }) => String(to), onConflict: 'reschedule' } });
  await jobs.counts('late');
  server.freeze();
  await failureOf(jobs.enqueue(keyed, { to: 'a' }), 'ENQUEUE_TIMEOUT');
  server.thaw();
  await answersOf(jobs);
  expect(await jobs.counts('late')).toMatchObject(NONE);
});

test('many jobs that are still being built at their deadline are not sent', async () => {
  const server = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '200ms' } });
  await jobs.enqueueMany(child, [{}]);
  let isBusy = true;
  const block = (): void => {
    const until = systemClock.monotonicMs() + 30;
    while (systemClock.monotonicMs() < until);
    if (isBusy) setImmediate(block);
  };
  setImmediate(block);
  const inputs = Array.from({ length: 1_000 }, () => ({}));
  const error = await failureOf(jobs.enqueueMany(child, inputs), 'ENQUEUE_TIMEOUT');
  expect(error.message).toContain('1000 of 1000 jobs were not enqueued');
  for (let turn = 0; turn < 40; turn++) await nextTurn();
  isBusy = false;
  await answersOf(jobs);
  expect(await jobs.counts('late')).toMatchObject({ ...NONE, waiting: 1 });
});

test('the event loop goes on while many inputs are checked', async () => {
  const server = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: server.url } });
  let turns = 0;
  let isDone = false;
  const count = (): void => {
    turns++;
    if (!isDone) setImmediate(count);
  };
  setImmediate(count);
  const bad = [...Array.from({ length: 20_000 }, () => ({})), 'no object' as never];
  await failureOf(jobs.enqueueMany(child, bad), 'INPUT_INVALID');
  isDone = true;
  expect(turns).toBeGreaterThanOrEqual(19);
});
