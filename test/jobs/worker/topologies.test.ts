/** The basics of a worker on a single server, behind Sentinels, and on a Cluster. */
import { describe, expect, test } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { startForFile } from '../../contract/topologies.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { untilAborted } from '../../support/gate.ts';
import { ownedJobs, type TestJobs } from '../../support/jobs.ts';

const jobsOf = ownedJobs();
const isIn = ({ jobs }: TestJobs, id: string, state: string): Promise<void> =>
  eventually(async () => expect((await jobs.get(id))?.state).toBe(state), 20_000);

describe.each(['standalone', 'sentinel', 'cluster'] as const)('on %s', (topology) => {
  const running = startForFile(topology);

  test('jobs of several queues run, are retried, have effects once, log and tell their progress', async () => {
    const all = jobsOf({ redis: running().redis });
    const contracts = ['one.a', 'two.b', 'three.c'].map((name) => contractOf(name, { attempts: 2 }));
    let effects = 0;
    all.work({
      handlers: contracts.map((contract) =>
        handle(contract, async (input, { job, once, log, progress }) => {
          await once('effect', () => ++effects);
          log.info(`attempt ${job.attempt}`);
          progress(job.attempt);
          if (job.attempt === 1) throw new Error('again');
          return input;
        }),
      ),
    });
    for (const contract of contracts) {
      const { id } = await all.jobs.enqueue(contract, { queue: contract.queue });
      await isIn(all, id, 'completed');
      const info = await all.jobs.get(id);
      expect(info).toMatchObject({ result: { queue: contract.queue }, progress: 2, attemptsMade: 2 });
      expect(info?.log).toHaveLength(2);
      expect(info?.history).toHaveLength(1);
    }
    expect(effects).toBe(3);
  });

  test('a running job is cancelled by another client, a waiting one is removed', async () => {
    const worker = jobsOf({ redis: running().redis });
    const other = jobsOf({ redis: running().redis, prefix: worker.prefix });
    const contract = contractOf('stop.me');
    const { id: waiting } = await other.jobs.enqueue(contract, {});
    expect(await other.jobs.cancel(waiting)).toEqual({ status: 'cancelled' });
    worker.work({ handlers: [handle(contract, (_input, { signal }) => untilAborted(signal))] });
    const { id } = await other.jobs.enqueue(contract, {});
    await isIn(other, id, 'active');
    expect(await other.jobs.cancel(id, { reason: 'enough' })).toEqual({ status: 'cancelled' });
    for (const one of [waiting, id]) expect((await other.jobs.get(one))?.state).toBe('cancelled');
  });

  test('a worker that stops hands its jobs to another one', async () => {
    const all = jobsOf({ redis: running().redis });
    const contract = contractOf('give.back', { attempts: 1 });
    const first = all.work({
      drainFor: '1s',
      handlers: [handle(contract, (_input, { signal }) => untilAborted(signal))],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await eventually(() => expect(first.activeCount).toBe(1), 20_000);
    await first.stop();
    all.work({ handlers: [handle(contract, () => 'second')] });
    await isIn(all, id, 'completed');
  });
});
