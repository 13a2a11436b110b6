/** How attempts end and what follows: backoff, postponing, giving up, and the history that tells of it. */
import { hostname } from 'node:os';
import { UnrecoverableError } from 'bullmq';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../../src/jobs/contract.ts';
import { handle, postpone, unrecoverable } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { ends, ownedJobs } from '../../support/jobs.ts';
import { collectLog } from '../../support/log-lines.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe('an attempt that fails', () => {
  test('is told with its start, end, worker, host, version, error and the end of its log', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('history.tell', { attempts: 3, version: 4 });
    all.work({
      handlers: [
        handle(contract, (_input, { job, log }) => {
          log.info(`attempt ${job.attempt}`);
          throw new TypeError(`no ${job.attempt}`);
        }),
      ],
    });
    const before = Date.now();
    const { id } = await all.jobs.enqueue(contract, {});
    const { history, reason, attemptsMade } = await ends(all, id, 'failed');
    expect({ reason, attemptsMade }).toEqual({ reason: 'no 3', attemptsMade: 3 });
    expect(history).toHaveLength(3);
    for (const [index, record] of history.entries()) {
      expect(record).toMatchObject({
        attempt: index + 1,
        outcome: 'failed',
        worker: `${hostname()}:${process.pid}`,
        host: hostname(),
        version: 'test',
        contractVersion: 4,
        error: { name: 'TypeError', message: `no ${index + 1}`, stack: expect.stringContaining('retry.test.ts') },
        log: [expect.stringContaining(`attempt ${index + 1}`)],
      });
      expect(record.startedAt).toBeGreaterThanOrEqual(before);
      expect(record.endedAt).toBeGreaterThanOrEqual(record.startedAt ?? Number.NaN);
    }
    expect(history.map((record) => record.reason)).toEqual([undefined, undefined, 'attempts']);
    expect(all.dead).toEqual([id]);
  });

  test('leaves no more with its job than a history shows, however many there are', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('history.long', { attempts: 40 });
    all.work({
      handlers: [
        handle(contract, (_input, { job }) => {
          throw new Error(`no ${job.attempt}`);
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    const { history } = await ends(all, id, 'failed', 20_000);
    const shown = [1, 2, 3, 4, 5, ...Array.from({ length: 15 }, (_, index) => 26 + index)];
    expect(history.map(({ error }) => error?.message)).toEqual(shown.map((attempt) => `no ${attempt}`));
    expect((await all.jobs.core.queues.get('history').queue.getJob(id))?.stacktrace).toHaveLength(20);
  });

  test('waits as long as the backoff function says, which sees the error, and is asked no more once it says stop', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const asked: unknown[] = [];
    const contract = contractOf('backoff.own', {
      attempts: 10,
      backoff: (attempt, error) => {
        asked.push([attempt, error.message]);
        return attempt === 1 ? 300 : false;
      },
    });
    const startedAt: number[] = [];
    all.work({
      handlers: [
        handle(contract, (_input, { job }) => {
          startedAt.push(Date.now());
          throw new Error(`boom ${job.attempt}`);
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await ends(all, id, 'delayed');
    await ends(all, id, 'failed');
    expect(asked).toEqual([
      [1, 'boom 1'],
      [2, 'boom 2'],
    ]);
    const [first = 0, second = 0] = startedAt;
    expect(second - first).toBeGreaterThanOrEqual(299);
  });

  test.each([
    ['unrecoverable()', () => unrecoverable('gone')],
    ["BullMQ's UnrecoverableError", () => new UnrecoverableError('gone')],
  ])('with %s is the last one', async (_what, thrown) => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('give.up', { attempts: 5 });
    let runs = 0;
    all.work({
      handlers: [
        handle(contract, () => {
          runs++;
          throw thrown();
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    const { history } = await ends(all, id, 'failed');
    expect(history).toMatchObject([{ reason: 'unrecoverable', error: { message: 'gone' } }]);
    expect(runs).toBe(1);
  });

  test.each([['a string'], [undefined], [Object.create(null) as unknown], [new Error('bullmq:rateLimitExceeded')]])(
    'fails whatever was thrown: %o',
    async (thrown) => {
      const all = jobsOf({ redis: { url: server.url } });
      const contract = contractOf('throw.anything', { attempts: 2 });
      all.work({
        handlers: [
          handle(contract, () => {
            throw thrown;
          }),
        ],
      });
      const { id } = await all.jobs.enqueue(contract, {});
      const { history } = await ends(all, id, 'failed');
      expect(history).toHaveLength(2);
    },
  );

  test('leaves the slots of others free while it waits for its next attempt', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('slots.free', { attempts: 2, backoff: { type: 'fixed', delay: '1h' } });
    all.work({
      concurrency: 1,
      handlers: [
        handle(contract, ({ fails }) => {
          if (fails) throw new Error('boom');
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, { fails: true });
    const { id: next } = await all.jobs.enqueue(contract, { fails: false });
    await ends(all, next, 'completed');
    expect(await ends(all, id, 'delayed')).toMatchObject({ attemptsMade: 1 });
  });
});

describe('a job that is postponed', () => {
  test('runs again later with the same attempt number, and has used up none', async () => {
    const lines = collectLog();
    const all = jobsOf({ redis: { url: server.url }, log: lines.log });
    const contract = contractOf('later.again', { attempts: 1 });
    const attempts: number[] = [];
    all.work({
      handlers: [
        handle(contract, (_input, { job }) => {
          attempts.push(job.attempt);
          if (attempts.length < 3) throw postpone(50, 'not yet');
          return 'done';
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    expect(await ends(all, id, 'completed')).toMatchObject({ result: 'done', attemptsMade: 1 });
    expect(attempts).toEqual([1, 1, 1]);
    expect(lines.warnings()).toEqual([]);
    expect(all.dead).toEqual([]);
  });
});

describe('the schema of the output', () => {
  test('fails an attempt that returns something else, and is no reason to give up at once', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = defineJob({
      name: 'output.check',
      input: z.object({}),
      output: z.object({ total: z.number() }),
      attempts: 2,
      backoff: { type: 'fixed', delay: 1 },
    });
    all.work({
      handlers: [handle(contract, (_input, { job }) => ({ total: job.attempt === 1 ? ('7' as never) : 7 }))],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    const { result, history } = await ends(all, id, 'completed');
    expect(result).toEqual({ total: 7 });
    expect(history[0]?.error?.message).toContain('the result of output.check');
    expect(history[0]?.error?.message).toContain('total');
  });
});
