/** Leases: a worker that no longer holds the lease of a job is told, and what it did is dropped. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
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

const isIn = ({ jobs }: TestJobs, id: string, state: string): Promise<void> =>
  eventually(async () => expect((await jobs.get(id))?.state).toBe(state), 20_000);
const untilAborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason), { once: true }));

describe('a lease', () => {
  test('is renewed as long as the handler runs', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('lease.long');
    const { opened: ended, open: end } = gate();
    let isAborted = true;
    all.work({
      lease: '1s',
      handlers: [
        handle(contract, async (_input, { signal }) => {
          await ended;
          isAborted = signal.aborted;
        }),
      ],
    });
    const begun = performance.now();
    const { id } = await all.jobs.enqueue(contract, {});
    await eventually(() => expect(performance.now() - begun).toBeGreaterThan(2_500));
    end();
    await isIn(all, id, 'completed');
    expect(isAborted).toBe(false);
    expect((await all.jobs.get(id))?.attemptsMade).toBe(1);
  });

  test('that is lost aborts the signal, the result is dropped, and the job runs again', async () => {
    const lines = collectLog();
    const all = jobsOf({ redis: { url: server.url }, log: lines.log });
    const contract = contractOf('lease.lost', { attempts: 2 });
    const reasons: unknown[] = [];
    let runs = 0;
    all.work({
      lease: '1s',
      stalledCheck: '500ms',
      grace: '5s',
      handlers: [
        handle(contract, async (_input, { signal, progress, log }) => {
          if (++runs > 1) return 'second';
          reasons.push(await untilAborted(signal));
          progress(99);
          log.info('of the first');
          return 'first';
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await isIn(all, id, 'active');
    const lock = all.jobs.core.queues.get('lease').key(`${id}:lock`);
    await server.ask((redis) => redis.del(lock));
    await isIn(all, id, 'completed');
    expect(reasons).toMatchObject([{ code: 'LEASE_LOST', facts: { jobId: id } }]);
    const info = await all.jobs.get(id);
    expect(info).toMatchObject({ result: 'second', attemptsMade: 1, history: [{ attempt: 1, outcome: 'lost' }] });
    expect(info?.progress).toBeUndefined();
    expect(lines.warnings().some(({ jobId, msg }) => jobId === id && msg.includes('its lease'))).toBe(true);
    expect(all.dead).toEqual([]);
  });

  test('that runs out while Redis is away aborts the signal, though nobody says so', async () => {
    const frozen = own(await startRedis());
    const all = jobsOf({ redis: { url: frozen.url } });
    const contract = contractOf('lease.away', { attempts: 2 });
    const reasons: unknown[] = [];
    let runs = 0;
    all.work({
      lease: '1s',
      stalledCheck: '500ms',
      handlers: [
        handle(contract, async (_input, { signal }) => {
          if (++runs > 1) return 'second';
          reasons.push(await untilAborted(signal));
          throw signal.reason;
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await isIn(all, id, 'active');
    frozen.freeze();
    await eventually(() => expect(reasons).toHaveLength(1));
    frozen.thaw();
    expect(reasons).toMatchObject([{ code: 'LEASE_LOST' }]);
    await isIn(all, id, 'completed');
    expect(await all.jobs.get(id)).toMatchObject({ result: 'second', attemptsMade: 1 });
  });

  test('of a run that goes on here keeps the same job from running a second time beside it', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('lease.twice', { attempts: 3 });
    let running = 0;
    let most = 0;
    let runs = 0;
    all.work({
      lease: '1s',
      stalledCheck: '100ms',
      grace: '2s',
      concurrency: 5,
      handlers: [
        handle(contract, async (_input, { signal }) => {
          most = Math.max(most, ++running);
          if (++runs === 1) {
            await untilAborted(signal);
            await new Promise((resolve) => setTimeout(resolve, 1_000)); // Within the grace.
          }
          running--;
          return runs;
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await isIn(all, id, 'active');
    await server.ask((redis) => redis.del(all.jobs.core.queues.get('lease').key(`${id}:lock`)));
    await isIn(all, id, 'completed');
    expect(most).toBe(1);
    expect(runs).toBe(2);
  });
});
