/** Stopping a worker: nothing new is taken, what runs is waited for, and then handed back, all within a bound. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { timed } from '../../support/failures.ts';
import { gate, never } from '../../support/gate.ts';
import { ownedJobs, type TestJobs } from '../../support/jobs.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const isIn = ({ jobs }: TestJobs, id: string, state: string): Promise<void> =>
  eventually(async () => expect((await jobs.get(id))?.state).toBe(state));

describe('a worker that stops', () => {
  test('takes nothing new, waits for what runs, and is not ready meanwhile', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('drain.wait');
    const { opened, open } = gate();
    const ran: string[] = [];
    const worker = all.work({
      concurrency: 2,
      drainFor: '20s',
      handlers: [
        handle(contract, async (_input, { job }) => {
          ran.push(job.id);
          await opened;
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await eventually(() => expect(worker.activeCount).toBe(1));
    let isStopped = false;
    const stopped = worker.stop().then(() => (isStopped = true));
    expect(await worker.ready()).toBe('draining');
    const { id: next } = await all.jobs.enqueue(contract, {});
    expect((await all.jobs.get(next))?.state).toBe('waiting');
    expect(isStopped).toBe(false);
    open();
    await stopped;
    expect(ran).toEqual([id]);
    expect(await all.jobs.counts('drain')).toMatchObject({ completed: 1, waiting: 1, active: 0 });
  });

  test('aborts signals shortly before the bound, and hands jobs back that have used up no attempt', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('drain.back', { attempts: 2 });
    const reasons: unknown[] = [];
    const attempts: number[] = [];
    const worker = all.work({
      drainFor: '1s',
      handlers: [
        handle(contract, async (_input, { job, signal }) => {
          attempts.push(job.attempt);
          await new Promise((_resolve, reject) =>
            signal.addEventListener('abort', () => {
              reasons.push(signal.reason);
              reject(new Error('interrupted'));
            }),
          );
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    const { id: prior } = await all.jobs.enqueue(contract, {}, { priority: 5 });
    await eventually(() => expect(worker.activeCount).toBe(2));
    const { ms } = await timed(worker.stop());
    expect(ms).toBeGreaterThan(750);
    expect(ms).toBeLessThan(2_500);
    expect(reasons).toMatchObject([{ code: 'JOB_RELEASED' }, { code: 'JOB_RELEASED' }]);
    expect(await all.jobs.get(id)).toMatchObject({ state: 'waiting', attemptsMade: 0 });
    expect(await all.jobs.get(prior)).toMatchObject({ state: 'prioritized', attemptsMade: 0 });
    all.work({ handlers: [handle(contract, (_input, { job }) => void attempts.push(job.attempt))] });
    await isIn(all, id, 'completed');
    await isIn(all, prior, 'completed');
    expect(attempts).toEqual([1, 1, 1, 1]);
    expect((await all.jobs.get(id))?.history).toMatchObject([{ attempt: 1, outcome: 'returned' }]);
    expect(all.dead).toEqual([]);
  });

  test('ends within the bound for handlers that ignore everything, and their jobs run elsewhere', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('drain.deaf', { attempts: 1 });
    const worker = all.work({ drainFor: '1s', concurrency: 20, handlers: [handle(contract, never)] });
    const added = await all.jobs.enqueueMany(
      contract,
      Array.from({ length: 20 }, () => ({})),
    );
    await eventually(() => expect(worker.activeCount).toBe(20));
    const { ms } = await timed(worker.stop());
    expect(ms).toBeLessThan(2_500);
    expect(await all.jobs.counts('drain')).toMatchObject({ waiting: 20, active: 0 });
    all.work({ handlers: [handle(contract, () => 'elsewhere')] });
    for (const { id } of added) await isIn(all, id, 'completed');
  });

  test('twice is one stop; before its start it is stopped for good; in the middle of its start too', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('drain.twice');
    const handlers = [handle(contract, () => 'ran')];
    const worker = all.work({ handlers });
    expect(worker.stop()).toBe(worker.stop()); // In the middle of its start.
    await worker.stop();
    worker.start();
    expect(await worker.ready()).toBe('draining');
    await all.jobs.enqueue(contract, {});
    expect(await all.jobs.counts('drain')).toMatchObject({ waiting: 1, active: 0, completed: 0 });
  });

  test('hands a job back that was on its way to it', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('drain.race', { attempts: 1 });
    const ran: string[] = [];
    const handlers = [handle(contract, (_input, { job }) => void ran.push(job.id))];
    const added: string[] = [];
    for (let round = 0; round < 20; round++) {
      const worker = all.work({ handlers, concurrency: 5 });
      const sent = all.jobs.enqueueMany(
        contract,
        Array.from({ length: 10 }, () => ({})),
      );
      // Every other worker is stopped while it begins, the others in the middle of their work.
      if (round % 2 === 0) await eventually(() => mustHaveRun(ran, round * 3));
      await Promise.all([sent, worker.stop()]);
      added.push(...(await sent).map(({ id }) => id));
    }
    all.work({ handlers, concurrency: 5 });
    for (const id of added) await isIn(all, id, 'completed');
    expect(ran.toSorted()).toEqual(added.toSorted());
  });

  test('with Redis frozen ends within the bound, says so, and renews no lease afterwards', async () => {
    const lines = collectLog();
    const frozen = own(await startRedis());
    const all = jobsOf({ redis: { url: frozen.url }, log: lines.log });
    const contract = contractOf('drain.frozen');
    const worker = all.work({ drainFor: '1s', handlers: [handle(contract, never)] });
    await all.jobs.enqueue(contract, {});
    await eventually(() => expect(worker.activeCount).toBe(1));
    frozen.freeze();
    const { ms } = await timed(worker.stop());
    expect(ms).toBeLessThan(2_500);
    expect(lines.warnings().map(({ msg }) => msg)).toContain(
      'jobs could not be handed back; they run again once their leases are over',
    );
    frozen.thaw();
  });

  test('with Redis gone ends within the bound, running or never started', async () => {
    const gone = own(await startRedis());
    const all = jobsOf({ redis: { url: gone.url } });
    const contract = contractOf('drain.gone');
    const worker = all.work({ drainFor: '1s', handlers: [handle(contract, never)] });
    await all.jobs.enqueue(contract, {});
    await eventually(() => expect(worker.activeCount).toBe(1));
    await gone.kill();
    const { ms } = await timed(worker.stop());
    expect(ms).toBeLessThan(2_500);
    const second = all.work({ drainFor: '1s', handlers: [handle(contract, never)] });
    expect((await timed(second.stop())).ms).toBeLessThan(2_500);
  });
});

function mustHaveRun(ran: readonly string[], count: number): void {
  if (ran.length <= count) throw new Error(`${ran.length} have run`);
}
