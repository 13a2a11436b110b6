/** Cancelling from anywhere: in every state, from another process's client, heard or not. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { gate, never, untilAborted } from '../../support/gate.ts';
import { ownedJobs, type TestJobs } from '../../support/jobs.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const isIn = ({ jobs }: TestJobs, id: string, state: string): Promise<void> =>
  eventually(async () => expect((await jobs.get(id))?.state).toBe(state));

/** Two clients of one prefix: one with the worker, one that cancels. */
function two(): [TestJobs, TestJobs] {
  const worker = jobsOf({ redis: { url: server.url } });
  return [worker, jobsOf({ redis: { url: server.url }, prefix: worker.prefix })];
}

describe('a job that does not run', () => {
  test.each([
    ['waiting', {}],
    ['delayed', { delay: '1h' }],
    ['prioritized', { priority: 3 }],
  ] as const)('%s: is removed at once, and known as cancelled with the reason', async (state, options) => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('cancel.idle', { version: 3 });
    const { id } = await all.jobs.enqueue(contract, { a: 1 }, options);
    expect((await all.jobs.get(id))?.state).toBe(state);
    expect(await all.jobs.cancel(id, { reason: 'changed my mind' })).toEqual({ status: 'cancelled' });
    expect(await all.jobs.get(id)).toMatchObject({
      id,
      name: 'cancel.idle',
      queue: 'cancel',
      state: 'cancelled',
      reason: 'changed my mind',
      input: { a: 1 },
      version: 3,
      attempts: 5,
      attemptsMade: 0,
      history: [],
    });
    expect(await all.jobs.cancel(id)).toEqual({ status: 'cancelled' });
    let ran = false;
    all.work({
      handlers: [handle(contract, () => void (ran = true)), handle(contractOf('cancel.next'), () => 'next')],
    });
    expect(await all.jobs.enqueueAndWait(contractOf('cancel.next'), {})).toBe('next');
    expect(ran).toBe(false);
  });

  test.each([
    ['it is looked at', 1],
    ['it is removed', 2],
  ])('that runs and completes while %s has finished, and stays', async (_when, look) => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('cancel.overtaken');
    const { id } = await all.jobs.enqueue(contract, {});
    const { queue } = all.jobs.core.queues.get('cancel');
    const getJob = queue.getJob.bind(queue);
    let looks = 0;
    vi.spyOn(queue, 'getJob').mockImplementation(async (jobId) => {
      const job = await getJob(jobId);
      if (++looks !== look) return job;
      all.work({ handlers: [handle(contract, () => 'ran')] });
      await eventually(async () => expect(await queue.getCompletedCount()).toBe(1));
      return job;
    });
    expect(await all.jobs.cancel(id)).toEqual({ status: 'finished' });
    vi.restoreAllMocks();
    expect(await all.jobs.get(id)).toMatchObject({ state: 'completed', result: 'ran' });
  });

  test('what BullMQ keeps beside its jobs is no job', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    await all.jobs.enqueue(contractOf('cancel.beside'), {});
    for (const key of ['wait', 'meta', 'events', 'marker', 'id']) {
      expect(await all.jobs.get(key)).toBeUndefined();
      expect(await all.jobs.cancel(key)).toEqual({ status: 'unknown' });
    }
  });

  test('that is between two attempts is removed, and its history is kept', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('cancel.between', { backoff: { type: 'fixed', delay: '1h' } });
    all.work({
      handlers: [
        handle(contract, () => {
          throw new Error('first');
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await isIn(all, id, 'delayed');
    expect(await all.jobs.cancel(id)).toEqual({ status: 'cancelled' });
    expect(await all.jobs.get(id)).toMatchObject({
      state: 'cancelled',
      attemptsMade: 1,
      history: [{ attempt: 1, outcome: 'failed', error: { message: 'first' } }],
    });
  });

  test('is cancelled once by many at the same time, and stays known', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const { id } = await all.jobs.enqueue(contractOf('cancel.many'), {});
    const answers = await Promise.all(Array.from({ length: 10 }, () => all.jobs.cancel(id)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set(['cancelled']));
    expect((await all.jobs.get(id))?.state).toBe('cancelled');
  });

  test('and is not there is unknown, one that has finished stays as it is', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    expect(await all.jobs.cancel('nobody')).toEqual({ status: 'unknown' });
    const contract = contractOf('cancel.done', { attempts: 1 });
    all.work({
      handlers: [
        handle(contract, ({ fails }) => {
          if (fails) throw new Error('failed');
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    const { id: failing } = await all.jobs.enqueue(contract, { fails: true });
    await isIn(all, id, 'completed');
    await isIn(all, failing, 'failed');
    expect(await all.jobs.cancel(id)).toEqual({ status: 'finished' });
    expect(await all.jobs.cancel(failing)).toEqual({ status: 'finished' });
    expect((await all.jobs.get(id))?.state).toBe('completed');
    expect((await all.jobs.get(failing))?.state).toBe('failed');
  });

  test('frees its unique key', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('cancel.unique', { unique: { key: () => 'one' } });
    const { id } = await all.jobs.enqueue(contract, {});
    expect((await all.jobs.enqueue(contract, {})).status).toBe('duplicate');
    await all.jobs.cancel(id);
    expect((await all.jobs.enqueue(contract, {})).status).toBe('added');
  });
});

describe('a job that runs in another process', () => {
  test('has its signal aborted with the reason; it is cancelled, not failed, and no dead letter', async () => {
    const [worker, other] = two();
    const contract = contractOf('stop.obedient');
    let reason: unknown;
    worker.work({
      handlers: [
        handle(contract, async (_input, { signal, log }) => {
          log.info('halfway');
          try {
            await untilAborted(signal);
          } catch (error) {
            reason = error;
            throw error;
          }
        }),
      ],
    });
    const { id } = await other.jobs.enqueue(contract, {});
    await isIn(other, id, 'active');
    expect(await other.jobs.cancel(id, { reason: 'not needed' })).toEqual({ status: 'cancelled' });
    expect(reason).toMatchObject({ code: 'JOB_CANCELLED', facts: { jobId: id, reason: 'not needed' } });
    const left = await other.jobs.get(id);
    expect(left).toMatchObject({ state: 'cancelled', reason: 'not needed', attemptsMade: 0 });
    const attempt = { attempt: 1, outcome: 'cancelled', worker: expect.any(String), startedAt: expect.any(Number) };
    expect(left?.history).toEqual([expect.objectContaining(attempt)]);
    expect(JSON.stringify(left?.history[0]?.log)).toContain('halfway');
    expect(await other.jobs.counts('stop')).toMatchObject({ active: 0, failed: 0, completed: 0, dead: 0 });
    expect(worker.dead).toEqual([]);
    expect(await marksOf(worker)).toEqual({});
  });

  test('is let go after the grace when its handler ignores the signal', async () => {
    const [worker, other] = two();
    const contract = contractOf('stop.deaf');
    worker.work({ grace: 100, handlers: [handle(contract, never)] });
    const { id } = await other.jobs.enqueue(contract, {});
    await isIn(other, id, 'active');
    expect(await other.jobs.cancel(id)).toEqual({ status: 'cancelled' });
    expect((await other.jobs.get(id))?.state).toBe('cancelled');
  });

  test('and is awaited tells its waiter that it was cancelled', async () => {
    const [worker, other] = two();
    const contract = contractOf('stop.awaited');
    let id = '';
    worker.work({
      handlers: [
        handle(contract, async (_input, { job, signal }) => {
          id = job.id;
          await untilAborted(signal);
        }),
      ],
    });
    const waiting = other.jobs.enqueueAndWait(contract, {}).catch((error: unknown) => error);
    await eventually(() => expect(id).not.toBe(''));
    await other.jobs.cancel(id, { reason: 'no more' });
    expect(await waiting).toMatchObject({ code: 'JOB_CANCELLED', facts: { reason: 'no more' } });
  });

  test('past the deadline is requested, and is cancelled as soon as its worker lets go', async () => {
    const [worker, other] = two();
    const contract = contractOf('stop.slowly');
    worker.work({ grace: '1s', handlers: [handle(contract, never)] });
    const { id } = await other.jobs.enqueue(contract, {});
    await isIn(other, id, 'active');
    expect(await other.jobs.cancel(id, { deadline: 100 })).toEqual({ status: 'requested' });
    await isIn(other, id, 'cancelled');
    await eventually(async () => expect(await marksOf(worker)).toEqual({}));
  });

  test('and was told while its worker could not hear is found by the mark', async () => {
    const proxy = own(await startProxy(server.port));
    const deaf = jobsOf({ redis: { url: proxy.url } });
    const other = jobsOf({ redis: { url: server.url }, prefix: deaf.prefix });
    const contract = contractOf('stop.unheard');
    deaf.work({ handlers: [handle(contract, (_input, { signal }) => untilAborted(signal))] });
    const { id } = await other.jobs.enqueue(contract, {});
    await isIn(other, id, 'active');
    await deaf.connections.subscriber().unsubscribe(); // Nothing subscribes again: only the mark is left.
    expect(await other.jobs.cancel(id, { reason: 'mark' })).toEqual({ status: 'cancelled' });
    expect(await other.jobs.get(id)).toMatchObject({ state: 'cancelled', reason: 'mark' });
  });

  test('hears of it again after its connections were cut', async () => {
    const proxy = own(await startProxy(server.port));
    const cut = jobsOf({ redis: { url: proxy.url } });
    const other = jobsOf({ redis: { url: server.url }, prefix: cut.prefix });
    const contract = contractOf('stop.cut');
    cut.work({ handlers: [handle(contract, (_input, { signal }) => untilAborted(signal))] });
    const { id } = await other.jobs.enqueue(contract, {});
    await isIn(other, id, 'active');
    proxy.cut();
    expect(await other.jobs.cancel(id)).toEqual({ status: 'cancelled' });
  });

  test('twice is told cancelled twice', async () => {
    const [worker, other] = two();
    const contract = contractOf('stop.twice');
    worker.work({ handlers: [handle(contract, (_input, { signal }) => untilAborted(signal))] });
    const { id } = await other.jobs.enqueue(contract, {});
    await isIn(other, id, 'active');
    const answers = await Promise.all([other.jobs.cancel(id), worker.jobs.cancel(id)]);
    expect(answers).toEqual([{ status: 'cancelled' }, { status: 'cancelled' }]);
  });

  test('and finishes its work all the same has finished', async () => {
    const [worker, other] = two();
    const contract = contractOf('stop.done');
    worker.work({
      grace: '5s',
      handlers: [handle(contract, (_input, { signal }) => untilAborted(signal).catch(() => 'done'))],
    });
    const { id } = await other.jobs.enqueue(contract, {});
    await isIn(other, id, 'active');
    expect(await other.jobs.cancel(id)).toEqual({ status: 'finished' });
    expect(await other.jobs.get(id)).toMatchObject({ state: 'completed', result: 'done' });
    expect(await marksOf(worker)).toEqual({});
  });

  test('and finishes after the deadline of the order leaves no mark', async () => {
    const [worker, other] = two();
    const contract = contractOf('stop.late');
    const { opened, open } = gate();
    worker.work({ grace: '1m', handlers: [handle(contract, () => opened)] });
    const { id } = await other.jobs.enqueue(contract, {});
    await isIn(other, id, 'active');
    expect(await other.jobs.cancel(id, { deadline: 100 })).toEqual({ status: 'requested' });
    open();
    await isIn(other, id, 'completed');
    await eventually(async () => expect(await marksOf(worker)).toEqual({}));
  });

  test('is logged as cancelled, without a warning', async () => {
    const lines = collectLog();
    const worker = jobsOf({ redis: { url: server.url }, log: lines.log });
    const contract = contractOf('stop.logged');
    worker.work({ handlers: [handle(contract, (_input, { signal }) => untilAborted(signal))] });
    const { id } = await worker.jobs.enqueue(contract, {});
    await isIn(worker, id, 'active');
    await worker.jobs.cancel(id);
    expect(lines.told().some(({ jobId, msg }) => jobId === id && msg.includes('was cancelled'))).toBe(true);
    expect(lines.warnings()).toEqual([]);
  });
});

function marksOf({ jobs }: TestJobs): Promise<Record<string, string>> {
  const { queues } = jobs.core;
  return queues.client.hgetall(queues.keys.cancels('stop'));
}
