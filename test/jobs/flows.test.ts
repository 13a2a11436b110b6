/** Flows: a parent that runs when its children have ended. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { MillraceError } from '../../src/errors.ts';
import { defineJob } from '../../src/jobs/contract.ts';
import { flow, type Flow } from '../../src/jobs/flows.ts';
import { handle, unrecoverable, type ChildResults } from '../../src/jobs/handler.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { eventually } from '../support/eventually.ts';
import { valueIn } from '../support/exposition.ts';
import { failureOf } from '../support/failures.ts';
import { ownedJobs } from '../support/jobs.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const report = defineJob({ name: 'report.build', input: z.object({ month: z.number() }), attempts: 1 });
const fetch = defineJob({
  name: 'report.fetch',
  queue: 'report.io',
  input: z.object({ source: z.string() }),
  attempts: 1,
});

const fetches = handle(fetch, ({ source }) => {
  if (source === 'broken') throw unrecoverable('the source is broken');
  return { source, rows: 3 };
});

function reportOf(...children: Flow[]): Flow {
  return flow(report, { month: 7 }, { children });
}

test('the parent runs after its children, and sees what they returned', async () => {
  const { jobs, work } = jobsOf({ redis: { url: server.url } });
  const seen: ChildResults[] = [];
  work({
    handlers: [fetches, handle(report, async (_input, { children }) => void seen.push(await children()))],
  });
  const { id, children } = await jobs.enqueueFlow(
    reportOf(flow(fetch, { source: 'sales' }), flow(fetch, { source: 'costs' }, { delay: 200 })),
  );
  await eventually(async () => expect(await jobs.get(id)).toMatchObject({ state: 'completed' }));
  expect(children.map(({ id: childId }) => seen[0]?.results[childId])).toEqual([
    { source: 'sales', rows: 3 },
    { source: 'costs', rows: 3 },
  ]);
  expect(seen[0]?.failures).toEqual({});
});

test('a flow of three levels, and a parent without children, run', async () => {
  const { jobs, work } = jobsOf({ redis: { url: server.url } });
  const order: number[] = [];
  work({ handlers: [handle(report, ({ month }) => void order.push(month))] });
  const nested = flow(
    report,
    { month: 1 },
    {
      children: [flow(report, { month: 2 }, { children: [flow(report, { month: 3 })] })],
    },
  );
  const { children } = await jobs.enqueueFlow(nested);
  expect(children[0]?.children[0]?.id).toEqual(expect.any(String));
  await eventually(() => expect(order).toEqual([3, 2, 1]));
  const alone = await jobs.enqueueFlow(flow(report, { month: 4 }));
  expect(alone.children).toEqual([]);
  await eventually(() => expect(order).toEqual([3, 2, 1, 4]));
});

test('the options of each job count', async () => {
  const { jobs } = jobsOf({ redis: { url: server.url } });
  const { children } = await jobs.enqueueFlow(
    reportOf(flow(fetch, { source: 'a' }, { delay: '1h', attempts: 3 }), flow(fetch, { source: 'b' }, { priority: 4 })),
  );
  expect(await jobs.get(children[0]?.id ?? '')).toMatchObject({ state: 'delayed', attempts: 3 });
  expect(await jobs.get(children[1]?.id ?? '')).toMatchObject({ state: 'prioritized', attempts: 1 });
});

test('a parent does not expire, nor is its wait counted, for the time that its children take', async () => {
  const registry = createMetrics();
  const { jobs, work } = jobsOf({ redis: { url: server.url }, registry });
  const hasty = defineJob({ name: 'hasty.report', input: z.object({}), expiresIn: '1s', attempts: 1 });
  work({ handlers: [fetches, handle(hasty, () => 'built')] });
  const children = [flow(fetch, { source: 'sales' }, { delay: '1200ms' })];
  const { id } = await jobs.enqueueFlow(flow(hasty, {}, { children }));
  await eventually(async () => expect(await jobs.get(id)).toMatchObject({ state: 'completed', result: 'built' }));
  const text = await registry.render();
  expect(valueIn(text, 'millrace_job_wait_seconds_count', { queue: 'hasty', contract: 'hasty.report' })).toBe(0);
});

describe('when a child fails for good', () => {
  test('fail-parent, the default: the parent fails without being run', async () => {
    const { jobs, work, dead } = jobsOf({ redis: { url: server.url } });
    let runs = 0;
    work({ handlers: [fetches, handle(report, () => void runs++)] });
    const { id, children } = await jobs.enqueueFlow(
      reportOf(flow(fetch, { source: 'broken' }), flow(fetch, { source: 'sales' })),
    );
    await eventually(async () => expect(await jobs.get(id)).toMatchObject({ state: 'failed' }));
    await eventually(() => expect(dead).toEqual(expect.arrayContaining([children[0]?.id, id])));
    expect(runs).toBe(0);
    expect((await jobs.get(id))?.reason).toContain(children[0]?.id);
  });

  test('run-parent: the parent runs, and is told', async () => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const seen: ChildResults[] = [];
    work({
      handlers: [fetches, handle(report, async (_input, { children }) => void seen.push(await children()))],
    });
    const { children } = await jobs.enqueueFlow(
      reportOf(flow(fetch, { source: 'broken' }, { onFailure: 'run-parent' }), flow(fetch, { source: 'sales' })),
    );
    await eventually(() => expect(seen).toHaveLength(1));
    expect(seen[0]?.results).toEqual({ [children[1]?.id ?? '']: { source: 'sales', rows: 3 } });
    expect(seen[0]?.failures).toEqual({ [children[0]?.id ?? '']: 'the source is broken' });
  });
});

describe('a flow that is refused leaves nothing', () => {
  const unique = defineJob({ name: 'report.unique', input: z.object({}), unique: { key: () => 'one' } });

  test.each<[string, () => Flow, string, string]>([
    ['a bad input of a child', () => reportOf(flow(fetch, { source: 7 as never })), 'INPUT_INVALID', 'source'],
    ['a bad input of the root', () => flow(report, { month: 'July' as never }), 'INPUT_INVALID', 'month'],
    ['too much input', () => reportOf(flow(fetch, { source: 'x'.repeat(300_000) })), 'PAYLOAD_TOO_LARGE', 'bytes'],
    [
      'a unique child',
      () => reportOf(flow(fetch, { source: 'a' }), flow(unique, {})),
      'OPTIONS_INVALID',
      'cannot be unique',
    ],
    ['a unique root', () => flow(unique, {}), 'OPTIONS_INVALID', 'cannot be unique'],
    [
      'an idempotencyKey',
      () => reportOf(flow(fetch, { source: 'a' }, { idempotencyKey: 'a' })),
      'OPTIONS_INVALID',
      'cannot be unique or have an idempotencyKey',
    ],
  ])('%s', async (_what, make, code, message) => {
    const { jobs } = jobsOf({ redis: { url: server.url } });
    const error = await failureOf(jobs.enqueueFlow(make()), code as 'OPTIONS_INVALID');
    expect(error.message).toContain(message);
    const none = { waiting: 0, delayed: 0, prioritized: 0, 'waiting-children': 0 };
    for (const queue of ['report', 'report.io']) expect(await jobs.counts(queue)).toMatchObject(none);
  });

  test.each<[string, () => Flow, string]>([
    [
      'a policy',
      () => flow(fetch, { source: 'a' }, { onFailure: 'ignore' as never }),
      'onFailure: expected fail-parent or run-parent',
    ],
    [
      'a typo',
      () => flow(fetch, { source: 'a' }, { onFailur: 'run-parent' } as never),
      'onFailur, did you mean onFailure?',
    ],
    ['an option of the enqueue', () => flow(fetch, { source: 'a' }, { delay: -1 }), 'delay: expected'],
    [
      'a child that is no flow',
      () => flow(report, { month: 1 }, { children: [fetch as never] }),
      'children[0]: expected a flow',
    ],
  ])('%s that is wrong is refused by flow() itself', (_what, make, message) => {
    expect(make).toThrow(MillraceError);
    expect(make).toThrow(message);
  });
});
