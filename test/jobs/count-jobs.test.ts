/** Counts and keys that are asked for without an object of BullMQ are those that BullMQ has. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob, handle } from '../../src/index.ts';
import { createJobKeys } from '../../src/jobs/queue-names.ts';
import { eventually } from '../support/eventually.ts';
import { contractOf } from '../support/contracts.ts';
import { ownedJobs } from '../support/jobs.ts';
import { startForFile } from '../contract/topologies.ts';

const jobsOf = ownedJobs();
const running = startForFile('standalone');

test('a queue in all states is counted as BullMQ counts it', async () => {
  const all = jobsOf({ redis: running().redis });
  const { jobs } = all;
  const run = defineJob({ name: 'mixed.run', input: z.object({ fails: z.boolean() }), attempts: 1 });
  const worker = all.work({
    handlers: [
      handle(run, ({ fails }) => {
        if (fails) throw new Error('as it was told');
      }),
    ],
  });
  await jobs.enqueueMany(run, [{ fails: false }, { fails: false }, { fails: true }]);
  await eventually(async () => expect(await jobs.counts('mixed')).toMatchObject({ completed: 2, failed: 1 }), 20_000);
  await worker.stop();
  const other = contractOf('mixed.other');
  await jobs.enqueueMany(other, [{}, {}, {}]);
  await jobs.enqueue(other, {}, { delay: '1h' });
  await jobs.enqueueMany(other, [{}, {}], { priority: 3 });
  const { queue, dead } = jobs.bullmq('mixed');
  await dead.add('mixed.run', {});
  const counts = await jobs.counts('mixed');
  expect(counts).toMatchObject({ waiting: 3, delayed: 1, prioritized: 2, completed: 2, failed: 1, dead: 1 });
  expect(await queue.getJobCounts()).toMatchObject(
    Object.fromEntries(Object.entries(counts).filter(([state]) => state !== 'dead')),
  );
  expect(await dead.getJobCounts('waiting')).toEqual({ waiting: 1 });
  expect(await jobs.isPaused('mixed')).toBe(false);
  await jobs.pause('mixed');
  expect([await jobs.isPaused('mixed'), await queue.isPaused()]).toEqual([true, true]);
});

test('a key is the one that BullMQ makes', () => {
  const all = jobsOf({ redis: running().redis });
  const keys = createJobKeys(all.prefix);
  for (const name of ['mail', 'mail.bulk', 'a{b}c', 'dots.and.{more}', 'ünïcode']) {
    const { queue, dead } = all.jobs.bullmq(name);
    expect(keys.bull(name, 'wait')).toBe(queue.toKey('wait'));
    expect(keys.bull(`${name}.dead`, 'id~0')).toBe(dead.toKey('id~0'));
  }
});
