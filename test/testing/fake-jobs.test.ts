import { AssertionError } from 'node:assert';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { flow } from '../../src/jobs/flows.ts';
import { handle, unrecoverable } from '../../src/jobs/handler.ts';
import { createFakeJobs, waitForJob } from '../../src/testing/index.ts';

const input = z.object({ id: z.number(), to: z.object({ name: z.string(), city: z.string() }).optional() });
const mail = defineJob({ name: 'mail.send', input, attempts: 3, backoff: { type: 'exponential', delay: '1m' } });
const report = defineJob({ name: 'report.build', input, output: z.object({ pages: z.number() }), attempts: 1 });

/** Runs nothing but remembers the order. */
function recorder(seen: number[]): ReturnType<typeof handle> {
  return handle(mail, ({ id }) => void seen.push(id));
}

describe('virtual time', () => {
  test('jobs run by priority and by time, and delays cost none', async () => {
    const jobs = createFakeJobs({ start: 0 });
    const seen: number[] = [];
    await jobs.enqueue(mail, { id: 1 }, { delay: '2h' });
    await jobs.enqueue(mail, { id: 2 }, { priority: 5 });
    await jobs.enqueue(mail, { id: 3 }, { priority: 1 });
    await jobs.enqueue(mail, { id: 4 });
    await jobs.enqueue(mail, { id: 5 }, { at: new Date(3_600_000) });
    const { elapsedMs, left, runs } = await jobs.drain([recorder(seen)]);
    expect(seen).toEqual([4, 3, 2, 5, 1]);
    expect({ elapsedMs, left }).toEqual({ elapsedMs: 7_200_000, left: 0 });
    expect(runs.map(({ startedAt }) => startedAt)).toEqual([0, 0, 0, 3_600_000, 7_200_000]);
  });

  test('advance() runs what becomes due on the way, runDue() what is due now', async () => {
    const seen: number[] = [];
    const jobs = createFakeJobs({ handlers: [recorder(seen)] });
    await jobs.enqueueMany(mail, [{ id: 10 }, { id: 60 }], ({ id }) => ({ delay: id * 1_000 }));
    expect(await jobs.runDue()).toMatchObject({ runs: [], left: 2 });
    expect(await jobs.advance('10s')).toMatchObject({ left: 1, elapsedMs: 10_000 });
    expect(seen).toEqual([10]);
    await jobs.advance('49s');
    expect(seen).toEqual([10]);
    await jobs.advance('1s');
    expect(seen).toEqual([10, 60]);
  });

  test('retries wait for their backoff on the virtual clock', async () => {
    const jobs = createFakeJobs();
    const { id } = await jobs.enqueue(mail, { id: 1 });
    const handler = handle(mail, (_input, { job }) => {
      if (job.attempt < 3) throw new Error(`attempt ${job.attempt}`);
      return 'sent';
    });
    const { runs, elapsedMs } = await jobs.drain([handler]);
    expect(runs.map(({ outcome, retryInMs }) => [outcome, retryInMs])).toEqual([
      ['failed', 60_000],
      ['failed', 120_000],
      ['completed', undefined],
    ]);
    expect(elapsedMs).toBe(180_000);
    expect(await waitForJob(jobs, id)).toMatchObject({ state: 'completed', result: 'sent', attemptsMade: 3 });
  });

  test('a handler may sleep for hours on the clock, and times out on it', async () => {
    const jobs = createFakeJobs();
    await jobs.enqueue(mail, { id: 1 }, { timeout: '3h' });
    await jobs.enqueue(mail, { id: 2 }, { timeout: '1h', attempts: 1 });
    const handler = handle(mail, async (_input, { signal }) => {
      await jobs.clock.sleep(2 * 3_600_000, { signal });
      return 'rested';
    });
    const { runs, elapsedMs } = await jobs.drain([handler]);
    expect(runs.map(({ outcome, reason }) => [outcome, reason])).toEqual([
      ['completed', undefined],
      ['timeout', 'attempts'],
    ]);
    expect(elapsedMs).toBe(3 * 3_600_000);
  });

  test('a handler that hangs is moved on to its timeout', async () => {
    const jobs = createFakeJobs({ patience: 20 });
    await jobs.enqueue(report, { id: 1 }, { timeout: '30s' });
    await jobs.drain([handle(report, () => new Promise<never>(() => undefined))]);
    expect(jobs.deadLetters(report)).toMatchObject([{ error: { code: 'JOB_TIMEOUT' }, reason: 'attempts' }]);
  });

  test('a handler that hangs without a timeout ends the drain', async () => {
    const jobs = createFakeJobs({ patience: 20 });
    const endless = defineJob({ name: 'mail.endless', input, timeout: false });
    await jobs.enqueue(endless, { id: 1 });
    await expect(jobs.drain([handle(endless, () => new Promise(() => undefined))])).rejects.toThrow(
      'the handler of mail.endless has been silent for 20 ms, and no timeout would end it',
    );
  });

  test('an expired job is a dead letter', async () => {
    const jobs = createFakeJobs();
    await jobs.enqueue(mail, { id: 1 }, { delay: '1h', expiresIn: '5m' });
    await jobs.pause('mail');
    await jobs.advance('66m', [recorder([])]);
    await jobs.resume('mail');
    await jobs.drain([recorder([])]);
    expect(jobs.deadLetters()).toMatchObject([{ reason: 'expired', error: { code: 'JOB_EXPIRED' } }]);
  });
});

describe('what does not end by itself', () => {
  test('a job that enqueues itself ends with a clear error', async () => {
    const jobs = createFakeJobs();
    const poll = handle(mail, ({ id }, context) => context.enqueue(mail, { id }, { delay: '1m' }));
    await jobs.enqueue(mail, { id: 1 });
    await expect(jobs.drain([poll], { maxRuns: 50 })).rejects.toMatchObject({
      code: 'WAIT_TIMEOUT',
      message:
        '50 attempts were run (mail.send 50 times) and there is still more to run: does a job enqueue or postpone itself for ever? Raise maxRuns, or move on with advance()',
    });
    expect(await jobs.advance('5m', [poll])).toMatchObject({ left: 1 });
  });

  test('jobs without a handler are left', async () => {
    const jobs = createFakeJobs();
    await jobs.enqueue(report, { id: 1 });
    expect(await jobs.drain([recorder([])])).toMatchObject({ runs: [], left: 1 });
    await expect(jobs.drain()).rejects.toMatchObject({ code: 'OPTIONS_INVALID' });
  });
});

describe('the spy', () => {
  test('tells what was enqueued, by contract', async () => {
    const jobs = createFakeJobs({ start: 1_000 });
    const { id } = await jobs.enqueue(mail, { id: 1 }, { delay: '5m' });
    await jobs.enqueue(report, { id: 2 });
    expect(jobs.enqueued(mail)).toEqual([
      {
        id,
        name: 'mail.send',
        queue: 'mail',
        status: 'added',
        input: { id: 1 },
        options: { delay: '5m' },
        enqueuedAt: 1_000,
        dueAt: 301_000,
      },
    ]);
    expect(jobs.enqueued().map(({ name }) => name)).toEqual(['mail.send', 'report.build']);
    const typed: Array<{ id: number }> = jobs.enqueued(mail).map((job) => job.input);
    expect(typed).toHaveLength(1);
  });

  test('assertEnqueued() takes some fields, a function, a count, options, and gives what matched', async () => {
    const jobs = createFakeJobs();
    await jobs.enqueue(mail, { id: 1, to: { name: 'Ada', city: 'London' } }, { delay: '5m' });
    await jobs.enqueue(mail, { id: 2 });
    expect(jobs.assertEnqueued(mail, { to: { city: 'London' } })).toHaveLength(1);
    expect(jobs.assertEnqueued(mail, ({ id }) => id > 1)).toMatchObject([{ input: { id: 2 } }]);
    jobs.assertEnqueued(mail, {}, { times: 2 });
    jobs.assertEnqueued(mail, { id: 1 }, { options: { delay: '5m' }, status: 'added' });
    jobs.assertNotEnqueued(report);
    jobs.assertNotEnqueued(mail, { id: 3 });
  });

  test('a failed assertion shows what was enqueued and where it differs', async () => {
    const jobs = createFakeJobs();
    await jobs.enqueue(mail, { id: 1, to: { name: 'Ada', city: 'London' } });
    await jobs.enqueue(report, { id: 2 });
    const fail = (): unknown => jobs.assertEnqueued(mail, { to: { city: 'Paris' } }, { options: { delay: '5m' } });
    expect(fail).toThrow(AssertionError);
    expect(fail).toThrow(
      [
        "expected mail.send to be enqueued at least once with { input: { to: { city: 'Paris' } }, options: { delay: '5m' } }",
        'Enqueued of mail.send:',
        "  1. { id: 1, to: { name: 'Ada', city: 'London' } } added",
        "       input.to.city: expected 'Paris', got 'London'",
        "       options.delay: expected '5m', got nothing",
        'Enqueued besides: report.build',
      ].join('\n'),
    );
    expect(() => jobs.assertEnqueued(report, {}, { times: 2 })).toThrow('2 times, and it was 1 times');
    expect(() => jobs.assertNotEnqueued(report)).toThrow('expected no report.build to be enqueued');
  });
});

describe('jobs as an app sees them', () => {
  test('enqueueAndWait() runs the handlers it was given, and gives the result', async () => {
    const handlers = [handle(report, ({ id }) => ({ pages: id }))];
    const jobs = createFakeJobs({ handlers });
    expect(await jobs.enqueueAndWait(report, { id: 7 })).toEqual({ pages: 7 });
  });

  test('enqueueAndWait() waits for a drain, and tells failure, cancellation and lateness', async () => {
    const jobs = createFakeJobs();
    const failing = handle(report, () => {
      throw unrecoverable('no data');
    });
    const answer = jobs.enqueueAndWait(report, { id: 1 });
    await jobs.drain([failing]);
    await expect(answer).rejects.toMatchObject({ code: 'JOB_FAILED', facts: { reason: 'no data' } });

    const cancelled = jobs.enqueueAndWait(report, { id: 2 });
    await jobs.advance(1);
    const [, { id } = { id: '' }] = jobs.enqueued(report);
    expect(await jobs.cancel(id, { reason: 'not needed' })).toEqual({ status: 'cancelled' });
    await expect(cancelled).rejects.toMatchObject({ code: 'JOB_CANCELLED' });

    const late = jobs.enqueueAndWait(report, { id: 3 }, { waitFor: '10s' });
    await jobs.advance('10s');
    await expect(late).rejects.toMatchObject({ code: 'WAIT_TIMEOUT' });
  });

  test('waitFor() waits for a job by its id, whatever becomes of it', async () => {
    const jobs = createFakeJobs();
    const works = handle(report, ({ id }) => ({ pages: id }));
    const { id } = await jobs.enqueue(report, { id: 5 });
    const answer = jobs.waitFor(id, { contract: report });
    await jobs.drain([works]);
    expect(await answer).toEqual({ pages: 5 });
    expect(await jobs.waitFor(id)).toEqual({ pages: 5 });
    await expect(jobs.waitFor('nobody')).rejects.toMatchObject({ code: 'JOB_UNKNOWN' });
    await expect(jobs.waitFor(id, { contract: mail })).rejects.toMatchObject({ code: 'JOB_UNKNOWN' });

    const { id: other } = await jobs.enqueue(report, { id: 6 });
    const stop = new AbortController();
    const left = jobs.waitFor(other, { signal: stop.signal });
    const late = jobs.waitFor(other, { deadline: '10s' });
    stop.abort(new Error('enough'));
    await expect(left).rejects.toThrow('enough');
    await expect(jobs.waitFor(other, { signal: stop.signal })).rejects.toThrow('enough');
    await jobs.advance('10s');
    await expect(late).rejects.toMatchObject({ code: 'WAIT_TIMEOUT' });

    const running = createFakeJobs({ handlers: [works] });
    const { id: own } = await running.enqueue(report, { id: 7 });
    expect(await running.waitFor(own)).toEqual({ pages: 7 });
  });

  test('a running job is cancelled through its signal', async () => {
    const jobs = createFakeJobs();
    const { id } = await jobs.enqueue(mail, { id: 1 });
    const handler = handle(mail, async (_input, { signal, job }) => {
      void jobs.cancel(job.id, { reason: 'stop' });
      await jobs.clock.sleep(60_000, { signal });
    });
    await jobs.drain([handler]);
    expect(await jobs.get(id)).toMatchObject({ state: 'cancelled', reason: 'stop' });
    expect(jobs.deadLetters()).toEqual([]);
    expect(await jobs.cancel(id)).toEqual({ status: 'cancelled' });
    expect(await jobs.cancel('nobody')).toEqual({ status: 'unknown' });
  });

  test('a flow runs its children first; what becomes of the parent is said by each child', async () => {
    const jobs = createFakeJobs();
    const children = [flow(mail, { id: 1 }), flow(mail, { id: 2 }, { onFailure: 'run-parent' })];
    const added = await jobs.enqueueFlow(flow(report, { id: 9 }, { children }));
    const mails = handle(mail, ({ id }) => {
      if (id === 2) throw unrecoverable('bounced');
      return `sent ${id}`;
    });
    let seen: unknown;
    const reports = handle(report, async (_input, context) => {
      seen = await context.children();
      return { pages: 1 };
    });
    expect(await jobs.counts('report')).toMatchObject({ 'waiting-children': 1 });
    await jobs.drain([mails, reports]);
    const [first, second] = added.children.map(({ id }) => id);
    expect(seen).toEqual({ results: { [`${first}`]: 'sent 1' }, failures: { [`${second}`]: 'bounced' } });

    const bounces = [flow(mail, { id: 2 }), flow(mail, { id: 3 }, { delay: '1h' })];
    const [bounced, late] = (await jobs.enqueueFlow(flow(report, { id: 9 }, { children: bounces }))).children;
    await jobs.runDue([mails, reports]);
    const failures = { [`${bounced?.id}`]: 'failed', [`${late?.id}`]: 'had not ended when its parent failed' };
    expect(jobs.deadLetters(report)).toMatchObject([{ reason: 'child', children: { results: {}, failures } }]);
    await jobs.drain([mails, reports]);
    expect(await jobs.queues()).toEqual(['mail', 'report']);
    expect(await jobs.counts('report')).toMatchObject({ completed: 1, dead: 1, 'waiting-children': 0 });
  });

  test('a dead letter has all that a real one has', async () => {
    const jobs = createFakeJobs({ start: 0 });
    const { id } = await jobs.enqueue(mail, { id: 1 });
    await jobs.drain([
      handle(mail, (_input, { log }) => {
        log.warn('about to fail');
        throw new TypeError('boom');
      }),
    ]);
    expect(jobs.deadLetters(mail)).toMatchObject([
      {
        id: `${id}~0`,
        jobId: id,
        queue: 'mail',
        contract: 'mail.send',
        reason: 'attempts',
        input: { id: 1 },
        error: { name: 'TypeError', message: 'boom' },
        attempts: [{ attempt: 1 }, { attempt: 2 }, { attempt: 3, log: [expect.stringContaining('about to fail')] }],
        diedAt: 180_000,
      },
    ]);
    expect(await jobs.get(id)).toBeUndefined();
  });
});
