/** Parents of flows that died and are given back: nothing is left of their children but what went with the letter. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { flow } from '../../../src/jobs/flows.ts';
import { handle, type ChildResults } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedRuntimes } from '../../support/runtimes.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const runtimeOf = ownedRuntimes();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const parent = contractOf('family.parent', { attempts: 1 });
const child = contractOf('family.child', { attempts: 1 });

test('a parent sees in each life what its children had returned, as they did', async () => {
  const { runtime } = runtimeOf({ url: server.url });
  const seen: ChildResults[] = [];
  const returned = { none: [], nothing: null, exact: 0.1 + 0.2, large: 9_007_199_254_740_991, nested: { list: [[]] } };
  await runtime.work({
    handlers: [
      handle(child, ({ isBroken }) => {
        if (isBroken === true) throw new Error('broken');
        return returned;
      }),
      handle(parent, async (_input, { children, job }) => {
        seen.push(await children());
        if (job.redriven < 2) throw new Error(`life ${job.redriven}`);
      }),
    ],
  });
  const { id, children } = await runtime.jobs.enqueueFlow(
    flow(parent, {}, { children: [flow(child, {}), flow(child, { isBroken: true }, { onFailure: 'run-parent' })] }),
  );
  for (const life of [0, 1]) {
    await eventually(async () => expect((await runtime.deadLetters.get(id))?.redriven).toBe(life));
    await runtime.deadLetters.redrive({ contract: 'family.parent' });
  }
  await eventually(async () => expect((await runtime.jobs.get(id))?.state).toBe('completed'));
  const [good = '', bad = ''] = children.map((one) => one.id);
  const told = { results: { [good]: returned }, failures: { [bad]: 'broken' } };
  expect(seen).toEqual([told, told, told]);
});

test('a parent that died of a child is told of each that failed, or had not ended', async () => {
  const { runtime } = runtimeOf({ url: server.url });
  const seen: ChildResults[] = [];
  let good = '';
  await runtime.work({
    handlers: [
      handle(child, async ({ isBroken }) => {
        if (isBroken !== true) return 'good';
        await eventually(async () => expect((await runtime.jobs.get(good))?.state).toBe('completed'));
        throw new Error('broken');
      }),
      handle(parent, async (_input, { children }) => void seen.push(await children())),
    ],
  });
  const { id, children } = await runtime.jobs.enqueueFlow(
    flow(
      parent,
      {},
      { children: [flow(child, {}), flow(child, { isBroken: true }), flow(child, {}, { delay: '1h' })] },
    ),
  );
  const [first = '', bad = '', late = ''] = children.map((one) => one.id);
  good = first;
  const letter = await eventually(async () => {
    const found = await runtime.deadLetters.get(id);
    expect(found?.reason).toBe('child');
    return found;
  });
  await runtime.deadLetters.redrive(letter?.id ?? '');
  await eventually(() => expect(seen).toHaveLength(1));
  expect(seen[0]).toEqual({
    results: { [good]: 'good' },
    failures: { [bad]: 'failed', [late]: 'had not ended when its parent failed' },
  });
});

test('what was not written by BullMQ does not hold up the letter of a parent', async () => {
  const { runtime, connections } = runtimeOf({ url: server.url });
  const { queues } = runtime.jobs.core;
  await runtime.work({
    handlers: [
      handle(child, () => 'good'),
      handle(parent, async (_input, { job }) => {
        const returned = `${queues.get(job.queue).key(job.id)}:processed`;
        await connections.commands().hset(returned, 'by:hand', 'no JSON');
        throw new Error('first life');
      }),
    ],
  });
  const { id, children } = await runtime.jobs.enqueueFlow(flow(parent, {}, { children: [flow(child, {})] }));
  const letter = await eventually(async () => {
    const found = await runtime.deadLetters.get(id);
    expect(found).toBeDefined();
    return found;
  });
  expect(letter?.children?.results).toEqual({ [children[0]?.id ?? '']: 'good', hand: 'no JSON' });
});
