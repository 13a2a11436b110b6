/** enqueueAndWait(): what comes back, and when. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle, unrecoverable } from '../../src/jobs/handler.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { ownedJobs } from '../support/jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type StartOptions, type TestServer } from '../support/servers.ts';

const own = ownedByTest(); // First, because what is opened first is closed last.
const jobsOf = ownedJobs();

/** What a handler waits for until the test lets it go. */
function gate(): { held: Promise<void>; release: () => void } {
  let release: (() => void) | undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  return { held, release: () => release?.() };
}

const sum = defineJob({
  name: 'sum.add',
  input: z.object({ of: z.array(z.number()) }),
  output: z.number(),
  retention: { count: 0 },
  attempts: 1,
});
const nothing = defineJob({ name: 'sum.nothing', input: z.null(), attempts: 1 });

const add = handle(sum, ({ of }) => of.reduce((total, value) => total + value, 0));

async function started(options?: StartOptions): Promise<TestServer> {
  return own(await startRedis(options));
}

describe('the result', () => {
  test('of the handler comes back, though its job keeps none', async () => {
    const { url } = await started();
    const { jobs, work } = jobsOf({ redis: { url } });
    work({ handlers: [add] });
    expect(await jobs.enqueueAndWait(sum, { of: [1, 2] })).toBe(3);
    expect(await jobs.enqueueAndWait(sum, { of: [] })).toBe(0);
  });

  test.each<[string, unknown]>([
    ['null', null],
    ['an empty text', ''],
    ['false', false],
    ['an object', { a: [1, { b: null }] }],
  ])('%s comes back as it is', async (_what, result) => {
    const { url } = await started();
    const { jobs, work } = jobsOf({ redis: { url } });
    work({ handlers: [handle(nothing, () => result)] });
    expect(await jobs.enqueueAndWait(nothing, null)).toEqual(result);
  });

  test('that is nothing is undefined where the contract says so, else null as in JSON', async () => {
    const { url } = await started();
    const { jobs, work } = jobsOf({ redis: { url } });
    const silent = defineJob({ name: 'sum.silent', input: z.null(), output: z.void() });
    const maybe = defineJob({ name: 'sum.maybe', input: z.null(), output: z.string().nullish() });
    work({ handlers: [handle(silent, () => undefined), handle(maybe, () => null), handle(nothing, () => undefined)] });
    expect(await jobs.enqueueAndWait(silent, null)).toBeUndefined();
    expect(await jobs.enqueueAndWait(maybe, null)).toBeNull();
    expect(await jobs.enqueueAndWait(nothing, null)).toBeNull();
  });

  test('comes as soon as it is there, not when it is asked for next', async () => {
    const { url } = await started();
    const { jobs, work } = jobsOf({ redis: { url } });
    work({ handlers: [add] });
    await jobs.enqueueAndWait(sum, { of: [1] });
    const { ms } = await timed(
      (async () => {
        for (let round = 0; round < 20; round++) await jobs.enqueueAndWait(sum, { of: [round] });
      })(),
    );
    expect(ms).toBeLessThan(10_000); // 20 s, if each were found by asking.
  });

  test('goes to each of many who wait at once', async () => {
    const { url } = await started();
    const { jobs, work } = jobsOf({ redis: { url } });
    work({ handlers: [add], concurrency: 20 });
    const numbers = Array.from({ length: 300 }, (_, index) => index);
    const sums = await Promise.all(numbers.map((number) => jobs.enqueueAndWait(sum, { of: [number, 1] })));
    expect(sums).toEqual(numbers.map((number) => number + 1));
  });

  test('of a duplicate is that of the job which was there', async () => {
    const { url } = await started();
    const { jobs, work } = jobsOf({ redis: { url } });
    const unique = defineJob({ name: 'sum.unique', input: z.number(), unique: { key: () => 'one' } });
    const first = jobs.enqueueAndWait(unique, 1);
    await eventually(async () => expect(await jobs.counts('sum')).toMatchObject({ waiting: 1 }));
    const second = jobs.enqueueAndWait(unique, 2);
    await jobs.enqueue(unique, 3);
    work({ handlers: [handle(unique, (input) => input)] });
    expect(await Promise.all([first, second])).toEqual([1, 1]);
  });
});

describe('a result whose record is gone at once', () => {
  test('because others of the queue complete, comes back all the same', async () => {
    const { url } = await started();
    const { jobs, work } = jobsOf({ redis: { url } });
    const quick = defineJob({ name: 'sum.quick', input: z.null(), retention: { count: 1 } });
    const asked = defineJob({ name: 'sum.asked', input: z.number(), output: z.number(), retention: { count: 1 } });
    work({ concurrency: 20, handlers: [handle(quick, () => 'quick'), handle(asked, (input) => input)] });
    const nulls = Array.from({ length: 10 }, () => null);
    const ended = new AbortController();
    const flood = (async () => {
      while (!ended.signal.aborted) await jobs.enqueueMany(quick, nulls);
    })();
    const results: number[] = [];
    for (let round = 0; round < 30; round++) results.push(await jobs.enqueueAndWait(asked, round));
    ended.abort();
    await flood;
    expect(results).toEqual(results.map((_result, round) => round));
  });

  test('and whose lease was taken away is not told: the job died elsewhere', async () => {
    const { url } = await started();
    const { jobs } = jobsOf({ redis: { url } });
    const { queues } = jobs.core;
    const waiting = failureOf(jobs.enqueueAndWait(nothing, null), 'JOB_FAILED');
    const { queue } = queues.get('sum');
    await eventually(async () => expect(await queue.getWaitingCount()).toBe(1));
    const [job] = await queue.getWaiting();
    const id = job?.id ?? '';
    await queues.client.set(queues.keys.ledger('sum', 'result', id), '"late"');
    await queues.get('sum.dead').queue.add('sum.nothing', { error: { message: 'died again' } }, { jobId: `${id}~3` });
    await job?.remove();
    expect((await waiting).facts).toMatchObject({ reason: 'died again' });
  });
});

describe('a job that does not succeed', () => {
  test('that fails for the last time is told with its reason', async () => {
    const { url } = await started();
    const { jobs, work } = jobsOf({ redis: { url } });
    work({
      handlers: [
        handle(sum, () => {
          throw unrecoverable('cannot add');
        }),
      ],
    });
    const error = await failureOf(jobs.enqueueAndWait(sum, { of: [1] }), 'JOB_FAILED');
    expect(error.message).toContain('failed: cannot add');
    expect(error.facts).toMatchObject({ queue: 'sum', reason: 'cannot add' });
  });

  test('that is cancelled while it waits, or while it runs', async () => {
    const { url } = await started();
    const { jobs, work } = jobsOf({ redis: { url } });
    const waiting = failureOf(jobs.enqueueAndWait(sum, { of: [1] }, { delay: '1h' }), 'JOB_CANCELLED');
    await eventually(async () => expect(await jobs.counts('sum')).toMatchObject({ delayed: 1 }));
    const [job] = await jobs.core.queues.get('sum').queue.getDelayed();
    expect(await jobs.cancel(job?.id ?? '', { reason: 'not needed' })).toEqual({ status: 'cancelled' });
    expect((await waiting).facts).toMatchObject({ reason: 'not needed' });

    const running: string[] = [];
    work({
      handlers: [
        handle(nothing, async (_input, { job: { id }, signal }) => {
          running.push(id);
          await new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason as Error));
          });
        }),
      ],
    });
    const stopped = failureOf(jobs.enqueueAndWait(nothing, null), 'JOB_CANCELLED');
    await eventually(() => expect(running).toHaveLength(1));
    await jobs.cancel(running[0] ?? '', { reason: 'too late' });
    expect((await stopped).facts).toMatchObject({ reason: 'too late' });
  });

  test('that nobody runs ends the wait at its time, and stays', async () => {
    const { url } = await started();
    const { jobs } = jobsOf({ redis: { url } });
    const { value, ms } = await timed(
      failureOf(jobs.enqueueAndWait(sum, { of: [1] }, { waitFor: '300ms' }), 'WAIT_TIMEOUT'),
    );
    expect(ms).toBeGreaterThan(290);
    expect(ms).toBeLessThan(2_000);
    expect(await jobs.get(String(value.facts['jobId']))).toMatchObject({ state: 'waiting' });
  });

  test('whose record is gone is not said to have failed', async () => {
    const { url } = await started();
    const { jobs } = jobsOf({ redis: { url } });
    const gone = failureOf(jobs.enqueueAndWait(sum, { of: [1] }), 'JOB_UNKNOWN');
    const { queue } = jobs.core.queues.get('sum');
    await eventually(async () => expect(await queue.getWaitingCount()).toBe(1));
    const [job] = await queue.getWaiting();
    await job?.remove();
    expect((await gone).message).toContain('no longer there');
  });
});

describe('an outage while somebody waits', () => {
  test('a message that is lost delays the result and loses nothing', async () => {
    const server = await started();
    const proxy = own(await startProxy(server.port));
    const { jobs, prefix } = jobsOf({ redis: { url: proxy.url }, options: { enqueueDeadline: '10s' } });
    const { work } = jobsOf({ redis: { url: server.url }, prefix });
    const { held, release } = gate();
    const running: string[] = [];
    work({
      handlers: [
        handle(nothing, async (_input, { job }) => {
          running.push(job.id);
          await held;
          return 'done';
        }),
      ],
    });
    const result = jobs.enqueueAndWait(nothing, null);
    await eventually(() => expect(running).toHaveLength(1));
    proxy.freeze();
    proxy.cut();
    release();
    await eventually(async () => {
      const finished = await server.ask(async (redis) => redis.keys('*:{sum}:sum:completed'));
      expect(finished).toHaveLength(1);
    });
    proxy.restore();
    proxy.cut();
    expect(await result).toBe('done');
  });

  test('Redis may be restarted', async () => {
    const server = await started({ persistent: true, config: { appendfsync: 'always' } });
    const { jobs, work } = jobsOf({ redis: { url: server.url }, options: { enqueueDeadline: '10s' } });
    const results = Array.from({ length: 5 }, (_, index) => jobs.enqueueAndWait(sum, { of: [index] }));
    await eventually(async () => expect(await jobs.counts('sum')).toMatchObject({ waiting: 5 }));
    await server.kill();
    await server.startAgain();
    work({ handlers: [add] });
    expect(await Promise.all(results)).toEqual([0, 1, 2, 3, 4]);
  });

  test('a frozen server does not hold up the end of the wait', async () => {
    const server = await started();
    const { jobs } = jobsOf({ redis: { url: server.url } });
    const waiting = timed(failureOf(jobs.enqueueAndWait(sum, { of: [1] }, { waitFor: '1500ms' }), 'WAIT_TIMEOUT'));
    await eventually(async () => expect(await jobs.counts('sum')).toMatchObject({ waiting: 1 }));
    server.freeze();
    const { value, ms } = await waiting;
    expect(ms).toBeLessThan(3_500);
    expect(value.cause).toMatchObject({ code: 'REDIS_TIMEOUT' });
    server.thaw();
  });
});
