/** An isolated handler that must end does: by itself, or with its thread. The worker's own loop is not held up by either. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { begin, comesTo, compiledActs, enqueueAct, perform, performAndFail } from '../../support/isolated.ts';
import { compiledJobs, ownedJobs, type TestJobs } from '../../support/jobs.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const jobsOf = ownedJobs(ownedByTest(), await compiledJobs());
const acts = compiledActs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const other = contractOf('other.job');
const otherHandler = handle(other, () => 'done');

/** With a thread that has loaded the handler, so that a timeout does not meet its start. */
async function working(threads = 1): Promise<TestJobs> {
  const all = jobsOf({ redis: { url: server.url }, threads: { max: threads } });
  all.work({ handlers: [acts, otherHandler], grace: '150ms' });
  await perform(all, 'thread');
  return all;
}

describe('at its timeout', () => {
  test('a handler that spins is ended with its thread, while other jobs of the process run', async () => {
    const all = await working();
    const before = await perform(all, 'thread');
    const id = await enqueueAct(all, 'spin', undefined, { timeout: '1s' });
    await comesTo(all, id, 'active');
    const others = await Promise.all(Array.from({ length: 20 }, () => all.jobs.enqueueAndWait(other, {})));
    expect(others).toHaveLength(20);
    expect(await all.jobs.get(id)).toMatchObject({ state: 'active' });
    const { history } = await comesTo(all, id, 'failed');
    expect(history).toMatchObject([{ outcome: 'timeout', error: { code: 'JOB_TIMEOUT' } }]);
    expect((history[0]?.endedAt ?? 0) - (history[0]?.startedAt ?? 0)).toBeGreaterThanOrEqual(1_140);
    expect(await perform(all, 'thread')).not.toBe(before);
  });

  test('each attempt is ended, and the job has as many as it may', async () => {
    const all = await working();
    const id = await enqueueAct(all, 'spin', undefined, { timeout: 100, attempts: 2 });
    const { history } = await comesTo(all, id, 'failed');
    expect(history.map(({ outcome }) => outcome)).toEqual(['timeout', 'timeout']);
    expect(all.dead).toEqual([id]);
  });

  test('a handler that listens to its signal ends by itself, and its thread stays', async () => {
    const all = await working();
    const before = await perform(all, 'thread');
    const id = await enqueueAct(all, 'await-abort', undefined, { timeout: 100 });
    expect((await comesTo(all, id, 'completed')).result).toMatchObject({
      code: 'JOB_TIMEOUT',
      facts: { jobId: id, timeoutMs: 100 },
    });
    expect(await perform(all, 'thread')).toBe(before);
  });

  test('a loop that asks `signal.aborted` is told, although it never waits', async () => {
    const all = await working();
    const before = await perform(all, 'thread');
    expect(await perform(all, 'spin-politely', undefined, { timeout: 100 })).toMatchObject({ code: 'JOB_TIMEOUT' });
    const { history } = await comesTo(
      all,
      await enqueueAct(all, 'spin-until-thrown', undefined, { timeout: 100 }),
      'failed',
    );
    expect(history).toMatchObject([{ outcome: 'timeout' }]);
    expect(await perform(all, 'thread')).toBe(before);
  });

  test('neither the wait for a thread nor its start counts', async () => {
    const all = await working();
    const first = await enqueueAct(all, 'spin', undefined, { timeout: 800 });
    await comesTo(all, first, 'active');
    const second = await enqueueAct(all, 'facts', undefined, { timeout: 100 });
    await comesTo(all, first, 'failed');
    expect(await comesTo(all, second, 'completed')).toMatchObject({ attemptsMade: 1 });
  });
});

describe('a cancelled job', () => {
  test.each(['ignore-abort', 'await-abort', 'spin-politely'])('ends: %s', async (name) => {
    const all = await working();
    const id = await begin(all, name);
    await all.jobs.cancel(id, { reason: 'not needed' });
    await comesTo(all, id, name === 'ignore-abort' ? 'cancelled' : 'completed');
    expect(await perform(all, 'thread')).toBeTypeOf('number');
  });

  test('that spins is ended with its thread', async () => {
    const all = await working();
    const id = await enqueueAct(all, 'spin');
    await comesTo(all, id, 'active');
    await all.jobs.cancel(id);
    await comesTo(all, id, 'cancelled');
    await eventually(() => expect(all.threads.size).toBe(0));
  });

  test('that waits for a thread does not wait any more', async () => {
    const all = await working();
    const first = await begin(all, 'ignore-abort');
    const second = await enqueueAct(all, 'thread');
    await comesTo(all, second, 'active');
    await all.jobs.cancel(second);
    await comesTo(all, second, 'cancelled');
    expect(await all.jobs.get(first)).toMatchObject({ state: 'active' });
    await all.jobs.cancel(first);
  });
});

describe('a drain', () => {
  test('hands back what spins, and what waits for a thread, without using up an attempt', async () => {
    const all = jobsOf({ redis: { url: server.url }, threads: { max: 1 } });
    const worker = all.work({ handlers: [acts], drainFor: '500ms' });
    await perform(all, 'thread');
    const spinning = await enqueueAct(all, 'spin');
    await comesTo(all, spinning, 'active');
    const waiting = await enqueueAct(all, 'thread');
    await comesTo(all, waiting, 'active');
    await worker.stop();
    for (const id of [spinning, waiting]) {
      expect(await all.jobs.get(id)).toMatchObject({ state: 'waiting', attemptsMade: 0 });
    }
    await eventually(() => expect(all.threads.size).toBe(0));
  });
});

describe('a thread that dies by itself', () => {
  test.each([
    ['exit', /exit code 3, as of process\.exit/],
    ['uncaught', /uncaught TypeError: loose/],
  ])('fails the attempt that it ran, and no other: %s', async (name, message) => {
    const all = await working(2);
    const bystander = await begin(all, 'await-abort');
    const { error } = await performAndFail(all, name);
    expect(error).toMatchObject({ code: 'THREAD_DIED', message: expect.stringMatching(message) });
    expect(await perform(all, 'thread')).toBeTypeOf('number');
    expect(await all.jobs.get(bystander)).toMatchObject({ state: 'active' });
  });

  test('because it used too much memory says so', async () => {
    const all = jobsOf({
      redis: { url: server.url },
      threads: { max: 1, resourceLimits: { maxOldGenerationSizeMb: 64 } },
    });
    all.work({ handlers: [acts] });
    const { error } = await performAndFail(all, 'memory');
    expect(error).toMatchObject({ code: 'THREAD_DIED', message: expect.stringContaining('out of memory') });
    expect(await perform(all, 'thread')).toBeTypeOf('number');
  });
});
