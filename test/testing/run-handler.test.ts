import { expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { createFakeJobs, createVirtualClock, runHandler } from '../../src/testing/index.ts';

const input = z.object({ id: z.number(), at: z.coerce.date().optional() });
const contract = defineJob({ name: 'order.ship', input, timeout: '30s', expiresIn: '1h', attempts: 2 });

test('the input is read from JSON, as a worker reads it', async () => {
  const handler = handle(contract, ({ at }) => at?.toISOString());
  const run = await runHandler<string>(handler, { id: 1, at: new Date(0), extra: undefined });
  expect(run).toMatchObject({ outcome: 'completed', result: '1970-01-01T00:00:00.000Z' });
  await expect(runHandler(handler, { id: 1n })).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  expect(await runHandler(handler, { id: 'one' })).toMatchObject({ outcome: 'failed', reason: 'input' });
});

test('the facts of the job are those that the test gives', async () => {
  const handler = handle(contract, (_input, { job }) => job);
  const { result } = await runHandler(handler, { id: 1 }, { id: 'j1', attempt: 2, waited: '5s', redriven: 1 });
  expect(result).toMatchObject({ id: 'j1', name: 'order.ship', queue: 'order', version: 1, attempt: 2, attempts: 2 });
  expect(result).toMatchObject({ waitedMs: 5_000, redriven: 1 });
});

test('a second attempt is given the effects of the first', async () => {
  let charged = 0;
  const handler = handle(contract, async (_input, context) => {
    await context.once('charge', () => ({ number: ++charged }));
    if (context.job.attempt === 1) throw new Error('later');
    return charged;
  });
  const first = await runHandler(handler, { id: 1 });
  expect(first).toMatchObject({ outcome: 'failed', ran: ['charge'], effects: { charge: { number: 1 } } });
  const second = await runHandler(handler, { id: 1 }, { attempt: 2, effects: first.effects });
  expect(second).toMatchObject({ outcome: 'completed', result: 1, ran: [] });
});

test('log lines, progress and enqueued jobs are told', async () => {
  const jobs = createFakeJobs();
  await jobs.enqueue(contract, { id: 0 });
  const handler = handle(contract, async ({ id }, context) => {
    context.log.info({ id }, 'shipping');
    context.log.debug('detail');
    context.progress(10);
    await context.enqueue(contract, { id: id + 1 }, { delay: '1d' });
  });
  const run = await runHandler(handler, { id: 1 }, { jobs });
  expect(run.log).toEqual([
    { level: 'info', message: 'shipping', fields: { id: 1 } },
    { level: 'debug', message: 'detail', fields: undefined },
  ]);
  expect(run.progress).toEqual([10]);
  expect(run.enqueued).toMatchObject([{ input: { id: 2 }, options: { delay: '1d' } }]);
  jobs.assertEnqueued(contract, {}, { times: 2 });
});

test('modules stand in for those of the platform; one that is missing is named', async () => {
  const handler = handle(contract, (_input, context) => {
    const { mailer } = context as unknown as { mailer: { send(): string } };
    return mailer.send();
  });
  expect(await runHandler(handler, { id: 1 }, { modules: { mailer: { send: () => 'sent' } } })).toMatchObject({
    result: 'sent',
  });
  expect((await runHandler(handler, { id: 1 })).error?.message).toBe(
    'the handler asks for mailer, which is no part of this test; give it one with modules: { mailer }',
  );
});

test('children are what the test says', async () => {
  const handler = handle(contract, async (_input, context) => context.children());
  const { result } = await runHandler(handler, { id: 1 }, { children: { results: { a: 1 } } });
  expect(result).toEqual({ results: { a: 1 }, failures: {} });
});

test('a timeout counts on the clock that the test moves', async () => {
  const clock = createVirtualClock();
  const handler = handle(contract, () => new Promise(() => undefined));
  const running = runHandler(handler, { id: 1 }, { clock, grace: '5s' });
  await clock.advance('35s');
  expect(await running).toMatchObject({ outcome: 'timeout', error: { code: 'JOB_TIMEOUT' }, retryInMs: 1_000 });
});

test.each([
  ['released', 'JOB_RELEASED'],
  ['cancelled', 'JOB_CANCELLED'],
  ['lost', 'LEASE_LOST'],
] as const)('an attempt is %s when the test says so', async (abortAs, code) => {
  const clock = createVirtualClock();
  const handler = handle(contract, async (_input, { signal }) => clock.sleep(60_000, { signal }));
  const running = runHandler(handler, { id: 1 }, { clock, abortAfter: '1s', abortAs });
  await clock.advance('1s');
  expect(await running).toMatchObject({ outcome: abortAs, error: { code }, reason: undefined, retryInMs: undefined });
});

test('a signal of the test interrupts the attempt', async () => {
  const stop = new AbortController();
  const handler = handle(contract, (_input, { signal }) => {
    return new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
      stop.abort();
    });
  });
  expect(await runHandler(handler, { id: 1 }, { signal: stop.signal })).toMatchObject({ outcome: 'released' });
});

test('the lease is lost before an effect is stored: it is told, and not stored', async () => {
  const stop = new AbortController();
  const handler = handle(contract, async (_input, context) =>
    context.once('charge', () => {
      stop.abort();
      return 1;
    }),
  );
  const run = await runHandler(handler, { id: 1 }, { signal: stop.signal, abortAs: 'lost' });
  expect(run).toMatchObject({ outcome: 'lost', effects: {}, ran: ['charge'] });
});

test('a job that waited too long has expired, one of a newer version is left to others', async () => {
  const handler = handle(contract, () => 1);
  expect(await runHandler(handler, { id: 1 }, { waited: '2h' })).toMatchObject({
    outcome: 'failed',
    reason: 'expired',
  });
  expect(await runHandler(handler, { id: 1 }, { version: 2 })).toMatchObject({
    outcome: 'postponed',
    retryInMs: 5_000,
  });
});

test('an unknown option names itself', async () => {
  const handler = handle(contract, () => 1);
  await expect(runHandler(handler, { id: 1 }, { atempt: 2 } as never)).rejects.toThrow(
    'runHandler order.ship: unknown option atempt, did you mean attempt?',
  );
});
