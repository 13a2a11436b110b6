/** Cancelling a job of a flow: its parent hears of it as of a child that failed. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { flow } from '../../../src/jobs/flows.ts';
import { handle } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { untilAborted } from '../../support/gate.ts';
import { ownedJobs, type TestJobs } from '../../support/jobs.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const parent = contractOf('tree.parent', { attempts: 1 });
const child = contractOf('tree.child', { attempts: 3 });
const isIn = ({ jobs }: TestJobs, id: string, state: string): Promise<void> =>
  eventually(async () => expect((await jobs.get(id))?.state).toBe(state));
const handlers = [
  handle(parent, (_input, { children }) => children()),
  handle(child, (_input, { signal }) => untilAborted(signal)),
];

describe('a child of a flow', () => {
  test('that runs and is cancelled fails its parent, and is itself no dead letter', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    all.work({ handlers });
    const { id, children } = await all.jobs.enqueueFlow(flow(parent, {}, { children: [flow(child, {})] }));
    const childId = children[0]?.id ?? '';
    await isIn(all, childId, 'active');
    expect(await all.jobs.cancel(childId, { reason: 'enough' })).toEqual({ status: 'cancelled' });
    expect(await all.jobs.get(childId)).toMatchObject({ state: 'cancelled', reason: 'enough' });
    await isIn(all, id, 'failed');
    expect(all.dead).toEqual([id]);
  });

  test('that its parent does not need lets it run, and tell why', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    all.work({ handlers });
    const { id, children } = await all.jobs.enqueueFlow(
      flow(parent, {}, { children: [flow(child, {}, { onFailure: 'run-parent' })] }),
    );
    const childId = children[0]?.id ?? '';
    await isIn(all, childId, 'active');
    expect(await all.jobs.cancel(childId, { reason: 'enough' })).toEqual({ status: 'cancelled' });
    await isIn(all, id, 'completed');
    expect((await all.jobs.get(id))?.result).toEqual({
      results: {},
      failures: { [childId]: expect.stringContaining('enough') },
    });
    expect(all.dead).toEqual([]);
  });

  test.each([
    ['waits', {}],
    ['is delayed', { delay: '1h' }],
  ] as const)(
    'that %s is let go by the worker that takes it, without being run, and fails its parent',
    async (_state, options) => {
      const all = jobsOf({ redis: { url: server.url } });
      const { id, children } = await all.jobs.enqueueFlow(flow(parent, {}, { children: [flow(child, {}, options)] }));
      const childId = children[0]?.id ?? '';
      let ran = false;
      const cancelled = all.jobs.cancel(childId, { reason: 'early' });
      await eventually(async () =>
        expect(await all.jobs.core.queues.client.hlen(all.jobs.core.queues.keys.cancels('tree'))).toBe(1),
      );
      all.work({ handlers: [handle(parent, () => 'ran'), handle(child, () => void (ran = true))] });
      expect(await cancelled).toEqual({ status: 'cancelled' });
      await isIn(all, id, 'failed');
      expect(ran).toBe(false);
      expect(all.dead).toEqual([id]);
    },
  );
});

describe('a parent', () => {
  test('that waits for its children is cancelled, and they go on', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const { id, children } = await all.jobs.enqueueFlow(flow(parent, {}, { children: [flow(child, {})] }));
    expect((await all.jobs.get(id))?.state).toBe('waiting-children');
    expect(await all.jobs.cancel(id)).toEqual({ status: 'cancelled' });
    all.work({ handlers: [handle(parent, () => 'parent'), handle(child, () => 'child')] });
    await isIn(all, children[0]?.id ?? '', 'completed');
    expect((await all.jobs.get(id))?.state).toBe('cancelled');
  });
});
