/** Jobs that run again later without having used up an attempt: put off by their handler, or refused by a rate limit. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MillraceError } from '../../../src/errors.ts';
import { handle, postpone } from '../../../src/jobs/handler.ts';
import { createMetrics } from '../../../src/metrics/registry.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { valueIn } from '../../support/exposition.ts';
import { ends, ownedJobs, type TestJobs } from '../../support/jobs.ts';
import { collectLog } from '../../support/log-lines.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const refused = (facts: Record<string, unknown>): MillraceError =>
  new MillraceError('RATE_LIMITED', 'api: the limit of mail/ada is used up', { limiter: 'api', ...facts });

const outcomesOf = (history: ReadonlyArray<{ attempt: number; outcome: string }>): string =>
  history.map(({ attempt, outcome }) => `${attempt} ${outcome}`).join(', ');

/** A job whose handler throws these, one a start, and then returns. */
async function throwing(all: TestJobs, name: string, errors: readonly unknown[], attempts = 1): Promise<Thrower> {
  const contract = contractOf(name, { attempts, backoff: { type: 'fixed', delay: 1 } });
  const starts: Array<{ atMs: number; attempt: number }> = [];
  all.work({
    handlers: [
      handle(contract, (_input, { job, log }) => {
        starts.push({ atMs: Date.now(), attempt: job.attempt });
        log.info(`start ${starts.length}`);
        if (starts.length <= errors.length) throw errors[starts.length - 1];
        return 'done';
      }),
    ],
  });
  const { id } = await all.jobs.enqueue(contract, {});
  return { id, starts };
}

interface Thrower {
  id: string;
  starts: Array<{ atMs: number; attempt: number }>;
}

describe('a job that a rate limit refuses', () => {
  test('runs again when the limit said, with the same attempt number, and is no failure', async () => {
    const lines = collectLog();
    const all = jobsOf({ redis: { url: server.url }, log: lines.log });
    const { id, starts } = await throwing(all, 'limited.later', [
      refused({ retryAfterMs: 250 }),
      refused({ retryAfterMs: 0.2 }),
    ]);
    expect(await ends(all, id, 'completed')).toMatchObject({ result: 'done', attemptsMade: 1 });
    expect(starts.map(({ attempt }) => attempt)).toEqual([1, 1, 1]);
    const [first, second] = starts;
    expect(second!.atMs - first!.atMs).toBeGreaterThanOrEqual(250);
    expect(lines.warnings()).toEqual([]);
    expect(all.dead).toEqual([]);
  });

  test('waits as a delayed job, and does not hold the slot of another', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('limited.slot');
    all.work({
      concurrency: 1,
      handlers: [
        handle(contract, ({ limited }) => {
          if (limited) throw refused({ retryAfterMs: 3_600_000 });
        }),
      ],
    });
    const before = Date.now();
    const { id } = await all.jobs.enqueue(contract, { limited: true });
    const { id: next } = await all.jobs.enqueue(contract, { limited: false });
    await ends(all, next, 'completed');
    const info = await ends(all, id, 'delayed');
    expect(info).toMatchObject({ attemptsMade: 0 });
    expect(info.reason).toBeUndefined();
    const { queue } = all.jobs.core.queues.get('limited');
    const { delay: delayMs } = (await queue.getJob(id))!;
    expect(delayMs).toBe(3_600_000);
    expect(info.startedAt! + delayMs).toBeGreaterThanOrEqual(before + 3_600_000);
  });

  test.each([
    ['for ever', { retryAfterMs: Infinity }],
    ['for longer than a year', { retryAfterMs: 366 * 86_400_000 }],
    ['without a time', {}],
    ['with a time that is none', { retryAfterMs: Number.NaN }],
    ['with a time in the past', { retryAfterMs: -1 }],
    ['with a time as text', { retryAfterMs: '5s' }],
  ])('%s fails, as by any other error', async (_how, facts) => {
    const all = jobsOf({ redis: { url: server.url } });
    const { id, starts } = await throwing(all, 'limited.never', [refused(facts), refused(facts)], 2);
    const { history, attemptsMade } = await ends(all, id, 'failed');
    expect(attemptsMade).toBe(2);
    expect(starts).toHaveLength(2);
    expect(outcomesOf(history)).toBe('1 failed, 2 failed');
    expect(history.at(-1)).toMatchObject({ reason: 'attempts', error: { code: 'RATE_LIMITED' } });
  });

  test('is run by another worker when its own has stopped', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('limited.handed');
    const one = all.work({
      handlers: [
        handle(contract, () => {
          throw refused({ retryAfterMs: 300 });
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await ends(all, id, 'delayed');
    await one.stop();
    all.work({ handlers: [handle(contract, () => 'by the other')] });
    expect(await ends(all, id, 'completed')).toMatchObject({ result: 'by the other' });
  });
});

describe('the history of a postponed job', () => {
  test('tells each start as postponed, the last of a row with why, where and when', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const { id } = await throwing(
      all,
      'told.row',
      [postpone(1, 'not yet'), refused({ retryAfterMs: 1 }), new Error('boom'), refused({ retryAfterMs: 1 })],
      2,
    );
    const { history } = await ends(all, id, 'completed');
    expect(outcomesOf(history)).toBe('1 postponed, 2 postponed, 3 failed, 4 postponed');
    expect(history[1]).toMatchObject({
      worker: `${(await import('node:os')).hostname()}:${process.pid}`,
      version: 'test',
      contractVersion: 1,
      error: { name: 'MillraceError', code: 'RATE_LIMITED', message: 'api: the limit of mail/ada is used up' },
      log: [expect.stringContaining('start 2')],
    });
    expect(history[1]!.error!.stack).not.toContain('    at ');
    expect(history[1]!.endedAt).toBeGreaterThanOrEqual(history[1]!.startedAt ?? Number.NaN);
  });

  test('takes no more room however often it was', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const errors = Array.from({ length: 40 }, () => refused({ retryAfterMs: 1 }));
    const { id } = await throwing(all, 'told.often', errors);
    const { history } = await ends(all, id, 'completed');
    expect(history).toHaveLength(20);
    expect(new Set(history.map(({ outcome }) => outcome))).toEqual(new Set(['postponed']));
    const job = await all.jobs.core.queues.get('told').queue.getJob(id);
    expect(job!.stacktrace).toHaveLength(1);
  });

  test('of one that fails in the end, its letter tells the failure and not the refusal', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const { id } = await throwing(all, 'told.letter', [refused({ retryAfterMs: 1 }), new Error('boom')]);
    const { history } = await ends(all, id, 'failed');
    expect(outcomesOf(history)).toBe('1 postponed, 2 failed');
    expect(history[1]).toMatchObject({ reason: 'attempts', error: { message: 'boom' } });
  });
});

test('a postponed attempt is counted as that, and as no other outcome', async () => {
  const registry = createMetrics();
  const all = jobsOf({ redis: { url: server.url }, registry });
  const { id } = await throwing(all, 'counted.once', [refused({ retryAfterMs: 1 }), postpone(1)]);
  await ends(all, id, 'completed');
  const counted = async (outcome: string): Promise<number | undefined> =>
    valueIn(await registry.render(), 'millrace_jobs_finished_total', {
      queue: 'counted',
      contract: 'counted.once',
      outcome,
    });
  await eventually(async () => expect(await counted('completed')).toBe(1));
  expect(await counted('postponed')).toBe(2);
  for (const outcome of ['failed', 'retried', 'dead', 'released', 'lost']) expect(await counted(outcome)).toBe(0);
});

test('a refusal after the timeout of the attempt is a timeout', async () => {
  const all = jobsOf({ redis: { url: server.url } });
  const contract = contractOf('limited.late', { attempts: 1, timeout: 30 });
  all.work({
    handlers: [
      handle(contract, async () => {
        await new Promise((resolve) => setTimeout(resolve, 80));
        throw refused({ retryAfterMs: 1 });
      }),
    ],
  });
  const { id } = await all.jobs.enqueue(contract, {});
  const { history } = await ends(all, id, 'failed');
  expect(outcomesOf(history)).toBe('1 timeout');
});
