/** Operations on many letters: who may write, what a limit means after a crash, those of streams, what the audit has. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { AuditLog } from '../../dashboard/audit/audit.ts';
import { NOTHING_DONE, OperationStore } from '../../dashboard/dead-letters/operation-store.ts';
import type { OperationState, Plan } from '../../dashboard/dead-letters/operation.ts';
import { Operations } from '../../dashboard/dead-letters/operations.ts';
import { Quota, stepOf } from '../../dashboard/dead-letters/quota.ts';
import { checkDashboard } from '../../dashboard/options.ts';
import { consume, defineStream, unrecoverable } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { bury, warmUp, workOn } from './letters.ts';
import { ownedDashboards, ownedPlatform } from './support.ts';

const platformOf = ownedPlatform();
const open = ownedDashboards(platformOf);
const own = ownedByTest();
const SHORT_MS = 50;
const FOREVER_MS = 60_000;
const nobodyAsks = () => Promise.resolve();

/** Another dashboard process. */
function operationsOf(store = new OperationStore(platformOf(), FOREVER_MS)): Operations {
  return own(new Operations({ platform: platformOf(), log: platformOf().log, store }));
}

async function reached(operations: Operations, id: string, state: OperationState): Promise<void> {
  await eventually(async () => expect((await operations.store.get(id))?.state).toBe(state));
}

const planOf = (more: Partial<Plan>) => ({
  kind: 'discard' as const,
  target: {},
  words: 'all',
  expected: 0,
  by: 'operator',
  ...more,
});

/** A handler that lets each entry die. */
async function refuse({ note }: { note: string }): Promise<void> {
  throw unrecoverable(new Error(note));
}

/** That of a process that dies before it tells how far it is. */
class Silent extends OperationStore {
  override beat = async () => ({ abortedBy: undefined, isTaken: false });
  override end = async () => true;
}

async function buried(customers: readonly string[]): Promise<string[]> {
  const worker = await workOn(platformOf());
  const ids = await bury(platformOf(), customers);
  await worker.stop();
  return ids.map((id) => `${id}~0`);
}

const leftOf = async (ids: string[]): Promise<number> =>
  (await platformOf().deadLetters.redrive(ids, { dryRun: true })).matched;

beforeAll(async () => {
  const worker = await workOn(platformOf());
  await warmUp(platformOf());
  await worker.stop();
});

describe('a start of an operation', () => {
  test('that was taken for dead writes nothing over the one after it', async () => {
    const store = new OperationStore(platformOf(), SHORT_MS);
    const plan = { ...planOf({ limit: 5 }), startedAt: await store.now() };
    const id = await store.add(plan, 'slow');
    expect(await store.spend(id, 'slow', 2)).toBe(true);
    await eventually(async () => expect((await store.get(id))?.state).toBe('cut-off'));
    const later = new OperationStore(platformOf(), FOREVER_MS);
    expect(await later.take(id, plan, 'next')).toBe(2);
    expect(await later.take(id, plan, 'third')).toBeUndefined();
    const progress = { ...NOTHING_DONE, done: 99 };
    expect(await store.beat(id, 'slow', progress)).toEqual({ isTaken: true, abortedBy: undefined });
    expect(await store.spend(id, 'slow', 1)).toBe(false);
    expect(await store.end(id, 'slow', { state: 'failed', note: 'slow', progress, unspent: 2 })).toBe(false);
    expect(await store.get(id)).toMatchObject({ state: 'running', note: undefined, progress: { done: 0 } });
    await store.askToAbort(id, 'ada');
    expect(await later.beat(id, 'next', NOTHING_DONE)).toEqual({ isTaken: false, abortedBy: 'ada' });
    expect(await later.end(id, 'next', { state: 'done', note: undefined, progress, unspent: 0 })).toBe(true);
    expect(await later.take(id, plan, 'again')).toBeUndefined();
  });

  test('stops once another process has taken its operation', async () => {
    const store = new OperationStore(platformOf(), FOREVER_MS);
    const operations = operationsOf(store);
    const letters = await buried(['kate', 'karl']);
    let told: unknown;
    const id = await operations.start(planOf({ kind: 'redrive', target: letters, rate: 0.1 }), async (end) => {
      told = end;
    });
    const operation = await store.get(id);
    const keys = `${platformOf().prefix}:dashboard:{operations}:${id}`;
    await platformOf().redis.commands().del(`${keys}:alive`);
    if (operation) await store.take(id, operation.plan, 'next');
    await eventually(() => expect(told).toEqual({ state: 'cut-off', note: 'It was started again elsewhere.' }));
    expect((await store.get(id))?.state).toBe('running');
  });
});

describe('the limit of an operation', () => {
  test('holds for all its starts, though one has died before it told what it had moved', async () => {
    const ids = await buried(['l1', 'l2', 'l3', 'l4', 'l5', 'l6']);
    const dying = operationsOf(new Silent(platformOf(), SHORT_MS));
    let hasEnded = false;
    const id = await dying.start(planOf({ target: ids, limit: 3, expected: 3 }), async () => void (hasEnded = true));
    await eventually(() => expect(hasEnded).toBe(true));
    expect(await leftOf(ids)).toBe(3);
    const next = operationsOf();
    await reached(next, id, 'cut-off');
    expect(await next.again(id, 'operator', nobodyAsks)).toBe(true);
    await reached(next, id, 'done');
    expect(await leftOf(ids)).toBe(3);
  });

  test('is used up by starts that were ended before', async () => {
    const ids = await buried(['u1', 'u2', 'u3', 'u4']);
    const operations = operationsOf();
    const plan = planOf({ kind: 'redrive', target: ids, limit: 3, rate: 3, expected: 3 });
    const id = await operations.start(plan, nobodyAsks);
    await eventually(async () => expect(await leftOf(ids)).toBeLessThan(4));
    await operations.abort(id, 'operator');
    await reached(operations, id, 'aborted');
    expect(await leftOf(ids)).toBeGreaterThan(1);
    await operations.again(id, 'operator', nobodyAsks);
    await reached(operations, id, 'done');
    expect(await leftOf(ids)).toBe(1);
  });

  test('counts on steps that are no smaller than those of the platform, at any rate', async () => {
    const rates = [undefined, 30, 75, 120, 100_000];
    const ids = await buried(Array.from({ length: rates.length * 60 }, (_item, index) => `s${index}`));
    for (const rate of rates) {
      const steps: number[] = [];
      await platformOf().deadLetters.redrive(ids.splice(0, rate === 30 ? 5 : 60), {
        ...(rate !== undefined && { rate }),
        onProgress: ({ jobs }) => steps.push(jobs.length),
      });
      expect(steps.length, `${rate} a second`).toBeGreaterThan(1);
      expect(Math.max(...steps), `${rate} a second`).toBeLessThanOrEqual(stepOf(rate));
    }
    await platformOf().deadLetters.discard(ids);
    await platformOf().jobs.bullmq('billing').queue.drain();
  });

  test('lets no step begin that could move more than was spent', async () => {
    let spent = 0;
    let goOn: (() => void) | undefined;
    const answer = new Promise<void>((resolve) => (goOn = resolve));
    const quota = new Quota(1_000, undefined, async (count) => {
      if (spent > 0) await answer;
      spent += count;
      return true;
    });
    const late = await quota.open();
    let moved = 0;
    for (; !late.aborted; moved += 50) quota.moved(50);
    expect([moved, spent, quota.left]).toEqual([200, 200, 800]);
    goOn?.();
    await quota.settle();
    expect((await quota.open()).aborted).toBe(false);
    expect([spent, quota.left, quota.unspent]).toEqual([350, 800, 150]);
  });
});

describe('operations on letters of a stream', () => {
  const orders = defineStream({ name: 'orders.sent', schema: z.object({ note: z.string() }), groups: ['billing'] });
  const lettersOf = () => platformOf().streams.deadLetters(orders, 'billing');
  const target = planOf({ kind: 'discard', of: { stream: 'orders.sent', group: 'billing' } });

  async function die(notes: readonly string[]): Promise<void> {
    const { streams } = platformOf();
    const consumer = await streams.run([consume(orders, { group: 'billing' }, refuse)]);
    for (const note of notes) await streams.publish(orders, { note });
    await eventually(async () => expect(await lettersOf().count()).toBe(notes.length));
    await consumer.stop();
  }

  test('are cut off with their process, and started again by another', async () => {
    await die(['a', 'b', 'c']);
    const first = operationsOf();
    const id = await first.start(target, nobodyAsks);
    await first.stop();
    await reached(first, id, 'cut-off');
    const next = operationsOf();
    expect(await next.again(id, 'operator', nobodyAsks)).toBe(true);
    await reached(next, id, 'done');
    expect((await next.store.get(id))?.progress).toMatchObject({ total: 3, done: 3 });
    expect(await lettersOf().count()).toBe(0);
  });

  test('are begun by acting on many, and told to the audit; discarding all takes an admin each time', async () => {
    await die(['d', 'e', 'f']);
    const { browserAs } = await open();
    const [operator, admin] = [await browserAs('operator'), await browserAs('admin')];
    const to = '/dead-letters/streams/orders.sent/billing';
    const [first = '', second = ''] = (await lettersOf().list()).letters.map(({ id }) => id);
    const { headers } = await operator.post(`${to}/redrive`, { id: [first, second] });
    expect(headers.location).toMatch(/^\/dead-letters\/operations\//);
    const operations = operationsOf();
    await reached(operations, headers.location?.split('/').at(-1) ?? '', 'done');
    expect(await lettersOf().count()).toBe(1);
    const started = await admin.post(`${to}/discard`, { all: 'yes' });
    const path = started.headers.location ?? '';
    expect((await operator.post(`${path}/again`)).status).toBe(403);
    await reached(operations, path.split('/').at(-1) ?? '', 'done');
    const audit = new AuditLog(platformOf(), platformOf().log, checkDashboard({}));
    await eventually(async () => {
      const { records } = await audit.page({ action: 'stream-dead-letters.redrive' });
      expect(records.map(({ detail, count }) => [detail, count])).toEqual([
        ['ended: done', 2],
        ['started', undefined],
      ]);
    });
  });
});

describe('starting an operation', () => {
  test('counts nothing in the audit: its end does', async () => {
    const id = await buried(['nora', 'nils']);
    const { browserAs } = await open();
    expect((await (await browserAs('operator')).post('/dead-letters/act', { act: 'start-discard', id })).status).toBe(
      303,
    );
    const audit = new AuditLog(platformOf(), platformOf().log, checkDashboard({}));
    await eventually(async () => {
      const { records } = await audit.page({ action: 'dead-letters.discard' });
      expect(records.map(({ detail, count }) => [detail, count])).toContainEqual([
        'started: 2 meant, without limits',
        undefined,
      ]);
      expect(records.map(({ detail, count }) => [detail, count])).toContainEqual(['ended: done', 2]);
    });
  });

  test('refuses ids that none can have', async () => {
    const { browserAs } = await open();
    const operator = await browserAs('operator');
    for (const act of ['redrive', 'start-redrive']) {
      const { status, body } = await operator.post('/dead-letters/act', { act, id: 'x'.repeat(201) });
      expect(status).toBe(400);
      expect(body).toContain('An id has at most 200 characters.');
    }
  });
});
