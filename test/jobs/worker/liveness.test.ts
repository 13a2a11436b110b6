/** A worker that takes no jobs though it could is rebuilt, and says so when that does not help; one that has a reason is alive. */
import { Worker } from 'bullmq';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import type { JobWorker } from '../../../src/jobs/worker/job-worker.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { gate } from '../../support/gate.ts';
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
afterEach(() => vi.restoreAllMocks());

/** The workers of BullMQ that have begun to run since, the latest last. */
function bullWorkers(): () => Worker[] {
  const { mock } = vi.spyOn(Worker.prototype, 'run');
  return () => mock.contexts as Worker[];
}
const isIn = ({ jobs }: TestJobs, id: string, state: string): Promise<void> =>
  eventually(async () => expect((await jobs.get(id))?.state).toBe(state));
/** Long enough for the watch to have looked several times, and to rebuild what it takes for silent. */
async function looks(worker: JobWorker, silentForMs: number): Promise<void> {
  const begun = performance.now();
  await eventually(async () => {
    expect(await worker.alive()).toBeUndefined();
    expect(performance.now() - begun).toBeGreaterThan(silentForMs * 4);
  });
}

describe('a silent worker', () => {
  test('is rebuilt and takes jobs again; what the old one ran, it finishes', async () => {
    const lines = collectLog();
    const all = jobsOf({ redis: { url: server.url }, log: lines.log });
    const contract = contractOf('silent.one');
    const begun = bullWorkers();
    const { opened, open } = gate();
    const worker = all.work({
      silentFor: '400ms',
      concurrency: 2,
      handlers: [handle(contract, ({ waits }) => (waits ? opened : 'ran'))],
    });
    const { id: long } = await all.jobs.enqueue(contract, { waits: true });
    await isIn(all, long, 'active');
    await eventually(() => expect(begun()).toHaveLength(1));
    await begun()[0]?.pause(true);
    expect(await worker.ready()).toBe('queue silent takes no jobs for now');
    // A fetch that was under way may still take the first one.
    for (const { id } of await all.jobs.enqueueMany(contract, [{}, {}, {}])) await isIn(all, id, 'completed');
    expect(begun()).toHaveLength(2);
    expect(begun()[1]?.concurrency).toBe(1); // The other slot is taken by what the old one runs.
    expect((await all.jobs.get(long))?.state).toBe('active');
    open();
    await isIn(all, long, 'completed');
    await eventually(() => expect(begun()[1]?.concurrency).toBe(2));
    expect(await worker.alive()).toBeUndefined();
    expect(await worker.ready()).toBeUndefined();
    expect(lines.warnings().map(({ msg }) => msg)).toEqual([expect.stringContaining("the queue's worker is rebuilt")]);
  });

  test('that only leaves delayed jobs past their time is rebuilt too', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('silent.delayed');
    const begun = bullWorkers();
    all.work({ silentFor: '300ms', handlers: [handle(contract, () => 'ran')] });
    await eventually(() => expect(begun()).toHaveLength(1));
    await begun()[0]?.pause(true);
    const { id } = await all.jobs.enqueue(contract, {}, { delay: '1s' });
    await isIn(all, id, 'completed');
    expect(begun()).toHaveLength(2);
  });

  test('that stays silent after that is not alive, and says why, once', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('silent.dead');
    const told: string[] = [];
    vi.spyOn(Worker.prototype, 'run').mockResolvedValue(undefined); // No worker ever runs.
    const worker = all.work({
      silentFor: '200ms',
      onSilent: (reason) => told.push(reason),
      handlers: [handle(contract, () => 'ran')],
    });
    await all.jobs.enqueue(contract, {});
    expect(await worker.alive()).toBeUndefined();
    await eventually(async () =>
      expect(await worker.alive()).toMatch(/^queue silent: jobs wait, and none was taken for /),
    );
    await eventually(() => expect(told).toHaveLength(1));
    expect(told[0]).toMatch(/^queue silent: jobs wait/);
    expect(await worker.ready()).toBe('queue silent does not run');
    await all.jobs.pause('silent'); // Now it has a reason.
    await eventually(async () => expect(await worker.alive()).toBeUndefined());
    expect(told).toHaveLength(1);
  });
});

describe('a worker that is not silent', () => {
  const SILENT_FOR_MS = 200;
  const options = { silentFor: SILENT_FOR_MS, concurrency: 1 };

  test('because nothing waits', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('calm.idle');
    const begun = bullWorkers();
    const worker = all.work({ ...options, handlers: [handle(contract, () => 'ran')] });
    await all.jobs.enqueue(contract, {}, { delay: '1h' });
    await looks(worker, SILENT_FOR_MS);
    expect(begun()).toHaveLength(1);
  });

  test('because the queue is paused', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('calm.paused');
    const begun = bullWorkers();
    const worker = all.work({ ...options, handlers: [handle(contract, () => 'ran')] });
    await all.jobs.pause('calm');
    const { id } = await all.jobs.enqueue(contract, {});
    await looks(worker, SILENT_FOR_MS);
    expect(begun()).toHaveLength(1);
    await all.jobs.resume('calm');
    await isIn(all, id, 'completed');
  });

  test('because a limit holds the queue back', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('calm.maxed');
    const { queue } = all.jobs.core.queues.get('calm');
    await queue.setGlobalConcurrency(1);
    const begun = bullWorkers();
    const { opened, open } = gate();
    const handlers = [handle(contract, () => opened)];
    const workers = [all.work({ ...options, concurrency: 5, handlers }), all.work({ ...options, handlers })];
    await all.jobs.enqueueMany(contract, [{}, {}, {}]);
    await eventually(() => expect(workers.reduce((sum, { activeCount }) => sum + activeCount, 0)).toBe(1));
    await Promise.all(workers.map((worker) => looks(worker, SILENT_FOR_MS)));
    expect(begun()).toHaveLength(2);
    open();
    await eventually(async () => expect((await all.jobs.counts('calm')).completed).toBe(3));
  });

  test('because all of its slots are taken', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('calm.busy');
    const begun = bullWorkers();
    const { opened, open } = gate();
    const worker = all.work({ ...options, handlers: [handle(contract, () => opened)] });
    await all.jobs.enqueueMany(contract, [{}, {}]);
    await eventually(() => expect(worker.activeCount).toBe(1));
    await looks(worker, SILENT_FOR_MS);
    expect(begun()).toHaveLength(1);
    open();
    await eventually(async () => expect((await all.jobs.counts('calm')).completed).toBe(2));
  });

  test('because Redis is away', async () => {
    const gone = own(await startRedis({ persistent: true }));
    const all = jobsOf({ redis: { url: gone.url } });
    const contract = contractOf('calm.away');
    const begun = bullWorkers();
    const worker = all.work({ ...options, handlers: [handle(contract, () => 'ran')] });
    await all.jobs.enqueue(contract, {}, { delay: '1h' });
    await eventually(() => expect(begun()).toHaveLength(1));
    await gone.kill();
    await looks(worker, SILENT_FOR_MS);
    expect(begun()).toHaveLength(1);
    await gone.startAgain();
    const { id } = await all.jobs.enqueue(contract, {}, { deadline: '20s' });
    await eventually(async () => expect((await all.jobs.get(id))?.state).toBe('completed'), 20_000);
    await all.connections.subscriber().ping(); // Closed while it still subscribes again, ioredis leaves a rejection unhandled.
  });
});
