/** What an enqueue says and does. */
import { assert, integer, property } from 'fast-check';
import { beforeAll, afterAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { createJobIds } from '../../src/jobs/job-id.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedJobs } from '../support/jobs.ts';
import { startProxy } from '../support/proxy.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const own = ownedByTest(); // First, because what is opened first is closed last.
const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const mail = defineJob({ name: 'mail.send', input: z.object({ to: z.string() }) });

const redis = (): { url: string } => ({ url: server.url });

test('a job is added once, as it was given', async () => {
  const { jobs } = jobsOf({ redis: redis() });
  const { id, status } = await jobs.enqueue(mail, { to: 'a' });
  expect(status).toBe('added');
  expect(await jobs.get(id)).toMatchObject({
    id,
    name: 'mail.send',
    queue: 'mail',
    state: 'waiting',
    input: { to: 'a' },
    attempts: 5,
  });
  expect(await jobs.queues()).toEqual(['mail']);
});

describe('a bad option is refused by name, and nothing is added', () => {
  const cases: ReadonlyArray<[string, object, string]> = [
    ['a typo', { dellay: '1s' }, 'unknown option dellay, did you mean delay?'],
    ['delay and at', { delay: '1s', at: new Date() }, 'expected delay or at, got both'],
    ['a delay in words', { delay: '1 minute' }, 'delay: expected'],
    ['a negative delay', { delay: -1 }, 'delay: expected'],
    ['an at that is no time', { at: new Date(Number.NaN) }, 'at: expected a Date'],
    ['an at in words', { at: 'tomorrow' }, 'at: expected a Date'],
    ['a priority of 0', { priority: 0 }, 'priority: expected at least 1'],
    ['no attempts', { attempts: 0 }, 'attempts: expected at least 1'],
    ['a timeout of 0', { timeout: 0 }, 'timeout: expected more than 0 ms'],
    ['a timeout beyond a timer', { timeout: '25d' }, 'timeout: expected at most 24 days'],
    ['a deadline of 0', { deadline: 0 }, 'deadline: expected more than 0 ms'],
    ['an empty idempotencyKey', { idempotencyKey: '' }, 'idempotencyKey: expected at least 1 character'],
    ['idempotentFor alone', { idempotentFor: '1h' }, 'idempotentFor says how long an idempotencyKey counts'],
  ];
  test.each(cases)('%s', async (_what, options, message) => {
    const { jobs } = jobsOf({ redis: redis() });
    const ways = [
      jobs.enqueue(mail, { to: 'a' }, options),
      jobs.enqueueMany(mail, [{ to: 'a' }], options),
      jobs.enqueueAndWait(mail, { to: 'a' }, options),
    ];
    for (const way of ways) expect((await failureOf(way, 'OPTIONS_INVALID')).message).toContain(message);
    expect(await jobs.counts('mail')).toMatchObject({ waiting: 0, delayed: 0 });
  });

  test('all of them at once; also waitFor', async () => {
    const { jobs } = jobsOf({ redis: redis() });
    const options = { dellay: 1, attempts: 0, waitfor: '1s' } as never;
    const { message } = await failureOf(jobs.enqueueAndWait(mail, { to: 'a' }, options), 'OPTIONS_INVALID');
    for (const named of ['dellay, did you mean delay?', 'attempts:', 'waitfor, did you mean waitFor?'])
      expect(message).toContain(named);
  });
});

describe('when a job runs', () => {
  test('delay and at put it off; a time that has passed means now', async () => {
    const { jobs } = jobsOf({ redis: redis() });
    await jobs.enqueue(mail, { to: 'a' }, { delay: '1h' });
    await jobs.enqueue(mail, { to: 'b' }, { at: new Date(Date.now() + 3_600_000) });
    await jobs.enqueue(mail, { to: 'c' }, { at: Date.now() - 1_000 });
    await jobs.enqueue(mail, { to: 'd' }, { delay: 0 });
    const far = await jobs.enqueue(mail, { to: 'e' }, { at: new Date('2150-01-01') });
    expect(await jobs.counts('mail')).toMatchObject({ waiting: 2, delayed: 3 });
    expect(await jobs.get(far.id)).toMatchObject({ state: 'delayed' });
  });

  test('a delayed one runs when it is due, and not before', async () => {
    const { jobs, work } = jobsOf({ redis: redis() });
    work({ handlers: [handle(mail, (_input, { job }) => Date.now() - job.enqueuedAt)] });
    const afterMs = (await jobs.enqueueAndWait(mail, { to: 'a' }, { delay: 300 })) as number;
    expect(afterMs).toBeGreaterThanOrEqual(295);
  });

  test('those without a priority come first, then 1, 2, 3; equal ones in order', async () => {
    const { jobs, work } = jobsOf({ redis: redis() });
    const second = defineJob({ name: 'mail.second', input: mail.input, priority: 2 });
    await jobs.enqueue(mail, { to: '3' }, { priority: 3 });
    await jobs.enqueue(second, { to: '2a' });
    await jobs.enqueue(second, { to: '1' }, { priority: 1 });
    await jobs.enqueue(mail, { to: '2b' }, { priority: 2 });
    await jobs.enqueue(mail, { to: 'none' });
    const order: string[] = [];
    const run = ({ to }: { to: string }): void => void order.push(to);
    work({ handlers: [handle(mail, run), handle(second, run)], concurrency: 1 });
    await eventually(() => expect(order).toEqual(['none', '1', '2a', '2b', '3']));
  });
});

describe('ids', () => {
  test('are never integers, url-safe, and never twice, over processes and counts', () => {
    assert(
      property(integer({ min: 1, max: 20 }), integer({ min: 1, max: 200 }), (processes, each) => {
        const makers = Array.from({ length: processes }, createJobIds);
        const ids = makers.flatMap((next) => Array.from({ length: each }, next));
        for (const id of ids) expect(id).toMatch(/^[a-z][A-Za-z0-9]{10,}$/);
        expect(new Set(ids).size).toBe(ids.length);
      }),
      { numRuns: 50 },
    );
  });
});

function many(count: number): Array<{ to: string }> {
  return Array.from({ length: count }, (_, index) => ({ to: `${index}` }));
}

describe('enqueueMany()', () => {
  test.each([0, 1, 2_500])('adds %d jobs, with their results in order', async (count) => {
    const { jobs } = jobsOf({ redis: redis() });
    const results = await jobs.enqueueMany(mail, many(count), { deadline: '20s' });
    expect(results).toHaveLength(count);
    expect(new Set(results.map(({ id }) => id)).size).toBe(count);
    expect(results.every(({ status }) => status === 'added')).toBe(true);
    expect(await jobs.counts('mail')).toMatchObject({ waiting: count });
    for (const index of [0, 999, 1_000, count - 1].filter((at) => at >= 0 && at < count)) {
      expect(await jobs.get(results[index]?.id ?? '')).toMatchObject({ input: { to: `${index}` } });
    }
  });

  test('those of one queue run in the order given', async () => {
    const { jobs, work } = jobsOf({ redis: redis() });
    await jobs.enqueueMany(mail, many(50));
    const order: string[] = [];
    work({ handlers: [handle(mail, ({ to }) => void order.push(to))], concurrency: 1 });
    await eventually(() => expect(order).toEqual(many(50).map(({ to }) => to)));
  });

  test('one input that is refused, or one option, refuses all, and says which', async () => {
    const { jobs } = jobsOf({ redis: redis() });
    const inputs = many(2_500).map((input, index) => (index === 2_400 ? { to: 7 } : input)) as Array<{ to: string }>;
    const error = await failureOf(jobs.enqueueMany(mail, inputs), 'INPUT_INVALID');
    expect(error.message).toContain('job 2400 of 2500');
    expect(error.message).toContain('nothing was enqueued');
    expect(error.facts).toMatchObject({ index: 2_400, faults: [{ path: 'to' }] });
    await failureOf(
      jobs.enqueueMany(mail, many(2), (_input, index) => ({ delay: index === 1 ? -1 : 0 })),
      'OPTIONS_INVALID',
    );
    expect(await jobs.counts('mail')).toMatchObject({ waiting: 0, delayed: 0 });
  });

  test('options may be given for each', async () => {
    const { jobs } = jobsOf({ redis: redis() });
    await jobs.enqueueMany(mail, many(3), ({ to }) => (to === '1' ? { delay: '1h' } : { priority: 1 }));
    expect(await jobs.counts('mail')).toMatchObject({ prioritized: 2, delayed: 1 });
  });

  test('duplicates inside are told, each with the id of the first', async () => {
    const { jobs } = jobsOf({ redis: redis() });
    const once = defineJob({ name: 'mail.once', input: mail.input, unique: { key: ({ to }) => to } });
    const [first, second, third] = await jobs.enqueueMany(once, [{ to: 'a' }, { to: 'b' }, { to: 'a' }]);
    expect(first).toMatchObject({ status: 'added' });
    expect(second).toMatchObject({ status: 'added' });
    expect(third).toEqual({ id: first?.id, status: 'duplicate' });
  });

  test('takes one round trip for a thousand', async () => {
    const alone = own(await startRedis());
    const proxy = own(await startProxy(alone.port));
    const { jobs } = jobsOf({ redis: { url: proxy.url } });
    await jobs.enqueue(mail, { to: 'first' });
    const before = await commandCount([alone], 'evalsha', 'eval');
    proxy.slowDown(250);
    const start = performance.now();
    await jobs.enqueueMany(mail, many(1_000), { deadline: '20s' });
    // A round trip each would take minutes; the answers of one come in a few pieces, all 250 ms late.
    expect(performance.now() - start).toBeLessThan(2_000);
    expect((await commandCount([alone], 'evalsha', 'eval')) - before).toBe(1_000);
  });

  test('loses none and doubles none when the connection breaks in the middle', async () => {
    const alone = own(await startRedis());
    const proxy = own(await startProxy(alone.port));
    const { jobs } = jobsOf({ redis: { url: proxy.url }, options: { enqueueDeadline: '20s' } });
    await jobs.counts('mail');
    proxy.loseAnswers();
    const added = jobs.enqueueMany(mail, many(2_500));
    await eventually(async () => expect(await alone.ask((client) => client.dbsize())).toBeGreaterThan(500));
    proxy.restore();
    proxy.cut();
    const results = await added;
    expect(new Set(results.map(({ id }) => id)).size).toBe(2_500);
    expect(await jobs.counts('mail')).toMatchObject({ waiting: 2_500 });
  });

  test('says which were not enqueued when Redis is lost for good on the way', async () => {
    const alone = own(await startRedis());
    const { jobs } = jobsOf({ redis: { url: alone.url }, options: { enqueueDeadline: '500ms' } });
    await jobs.counts('mail');
    alone.freeze();
    const error = await failureOf(jobs.enqueueMany(mail, many(4_500)), 'ENQUEUE_TIMEOUT');
    expect(error.message).toContain('4500 of 4500 jobs were not enqueued');
    expect(error.facts).toMatchObject({ notEnqueued: [{ from: 0, to: 4_500 }] });
    alone.thaw();
    await eventually(async () => expect(await jobs.counts('mail')).toMatchObject({ waiting: 0 }), 20_000);
  });
});

test('the queue is known again after the server has lost its data', async () => {
  const alone = own(await startRedis());
  const { jobs } = jobsOf({ redis: { url: alone.url }, options: { enqueueDeadline: '10s' } });
  await jobs.enqueue(mail, { to: 'a' });
  await alone.restart();
  const { id } = await jobs.enqueue(mail, { to: 'b' });
  expect(await jobs.queues()).toEqual(['mail']);
  expect(await jobs.get(id)).toMatchObject({ state: 'waiting' });
});
