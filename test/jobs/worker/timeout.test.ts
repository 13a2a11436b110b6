/** An attempt that runs too long: its signal aborts, and it ends after the grace whatever its handler does. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { gate, never } from '../../support/gate.ts';
import { ends, ownedJobs } from '../../support/jobs.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const aborted = (signal: AbortSignal): Promise<unknown> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason), { once: true }));
const isAbortedSoon = async (_input: unknown, { signal }: { signal: AbortSignal }): Promise<boolean> => {
  await new Promise((resolve) => setTimeout(resolve, 100));
  return signal.aborted;
};

describe('the timeout of an attempt', () => {
  test('aborts the signal with JOB_TIMEOUT; a handler that then throws has timed out', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('slow.obedient', { attempts: 1, timeout: 100 });
    let reason: unknown;
    all.work({
      handlers: [
        handle(contract, async (_input, { signal }) => {
          reason = await aborted(signal);
          throw new Error('stopped in the middle');
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await ends(all, id, 'failed');
    expect(reason).toMatchObject({
      code: 'JOB_TIMEOUT',
      facts: { jobId: id, contract: 'slow.obedient', timeoutMs: 100 },
    });
    const info = await all.jobs.get(id);
    expect(info?.history).toMatchObject([
      { attempt: 1, outcome: 'timeout', reason: 'attempts', error: { code: 'JOB_TIMEOUT' } },
    ]);
    expect(all.dead).toEqual([id]);
  });

  test('fails an attempt whose handler ignores it after the grace, drops its late result, and the retry runs', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('slow.deaf', { attempts: 2, timeout: 100 });
    const { opened: late, open: finishLate } = gate<string>();
    all.work({
      grace: 100,
      concurrency: 1,
      handlers: [handle(contract, async (_input, { job }) => (job.attempt === 1 ? late : 'second'))],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await ends(all, id, 'completed');
    finishLate('first');
    await late;
    const info = await all.jobs.get(id);
    expect(info).toMatchObject({ result: 'second', attemptsMade: 2 });
    const [first] = info?.history ?? [];
    expect(first).toMatchObject({ attempt: 1, outcome: 'timeout', error: { code: 'JOB_TIMEOUT' } });
    expect((first?.endedAt ?? 0) - (first?.startedAt ?? 0)).toBeGreaterThanOrEqual(195);
  });

  test('leaves a handler that finishes within the grace its result', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('slow.finishing', { attempts: 1, timeout: 100 });
    all.work({
      grace: '5s',
      handlers: [
        handle(contract, async (_input, { signal }) => {
          await aborted(signal);
          return 'made it';
        }),
      ],
    });
    expect(await all.jobs.enqueueAndWait(contract, {})).toBe('made it');
  });

  test('of the enqueue counts before that of the contract', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('slow.own', { attempts: 1, timeout: '1h' });
    all.work({ grace: 10, handlers: [handle(contract, never)] });
    const { id } = await all.jobs.enqueue(contract, {}, { timeout: 50 });
    await ends(all, id, 'failed');
    expect((await all.jobs.get(id))?.reason).toContain('ran longer than its timeout of 50 ms');
  });

  test('may be weeks, or none', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const endless = contractOf('slow.endless', { attempts: 1, timeout: false });
    const long = contractOf('slow.long', { attempts: 1, timeout: '24d' });
    all.work({ handlers: [handle(endless, isAbortedSoon), handle(long, isAbortedSoon)] });
    expect(await all.jobs.enqueueAndWait(endless, {})).toBe(false);
    expect(await all.jobs.enqueueAndWait(long, {})).toBe(false);
  });

  test('counts for an upgrade() that hangs, too', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const old = contractOf('slow.upgrade', { attempts: 1 });
    const current = contractOf('slow.upgrade', { attempts: 1, version: 2, timeout: 100 });
    all.work({ grace: 10, handlers: [handle(current, () => 'ran', { upgrade: never })] });
    const { id } = await all.jobs.enqueue(old, {});
    await ends(all, id, 'failed');
    expect((await all.jobs.get(id))?.history).toMatchObject([{ outcome: 'timeout' }]);
  });
});
