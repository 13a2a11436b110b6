/** waitFor(): a job that was enqueued elsewhere, waited for by its id. */
import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle, unrecoverable, type Handler } from '../../src/jobs/handler.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { gate, untilAborted } from '../support/gate.ts';
import { ends, ownedJobs } from '../support/jobs.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type StartOptions, type TestServer } from '../support/servers.ts';
import { apart, heardBy, noTime, warmUp } from '../support/waits.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();

const double = defineJob({ name: 'sum.double', input: z.number(), output: z.number(), attempts: 1 });
const unkept = defineJob({ name: 'sum.unkept', input: z.number(), attempts: 1, retention: { count: 0 } });
const other = defineJob({ name: 'other.job', input: z.number(), attempts: 1 });

async function started(options?: StartOptions): Promise<TestServer> {
  return own(await startRedis(options));
}

/** Handlers that run until the test opens the gate; `running` has the ids of their jobs. */
function gated(): { handlers: Handler[]; running: string[]; open: () => void } {
  const { opened, open } = gate();
  const running: string[] = [];
  const run = async (input: number, { job }: { job: { id: string } }): Promise<number> => {
    running.push(job.id);
    await opened;
    return input * 2;
  };
  return { handlers: [handle(double, run), handle(unkept, run)], running, open };
}

describe('a job that has ended before', () => {
  test('is told of at once, by its id alone or with its contract', async () => {
    const { worker, waiter } = apart(jobsOf, await started(), { clock: noTime });
    worker.work({ handlers: [handle(double, (input) => input * 2)] });
    const { id } = await worker.jobs.enqueue(double, 4);
    await ends(worker, id, 'completed');
    expect(await waiter.jobs.waitFor(id)).toBe(8);
    const typed: number = await waiter.jobs.waitFor(id, { contract: double, deadline: 0 });
    expect(typed).toBe(8);
  });

  test('for good is told with its reason, also when it is a dead letter already', async () => {
    const { worker, waiter } = apart(jobsOf, await started());
    worker.work({
      handlers: [
        handle(double, () => {
          throw unrecoverable('cannot double');
        }),
      ],
    });
    const { id } = await worker.jobs.enqueue(double, 4);
    await ends(worker, id, 'failed');
    expect((await failureOf(waiter.jobs.waitFor(id), 'JOB_FAILED')).facts).toMatchObject({ reason: 'cannot double' });
    const { queues } = worker.jobs.core;
    const letter = { error: { message: 'died' } };
    await queues.get('sum.dead').queue.add('sum.double', letter, { jobId: `${id}~2` });
    await (await queues.get('sum').queue.getJob(id))?.remove();
    for (const options of [{}, { contract: double }]) {
      const { facts } = await failureOf(waiter.jobs.waitFor(id, options), 'JOB_FAILED');
      expect(facts).toMatchObject({ jobId: id, queue: 'sum', reason: 'died' });
    }
  });

  test('by a cancellation is told with its reason', async () => {
    const { worker, waiter } = apart(jobsOf, await started());
    const { id } = await worker.jobs.enqueue(double, 4);
    await worker.jobs.cancel(id, { reason: 'not needed' });
    const { facts } = await failureOf(waiter.jobs.waitFor(id), 'JOB_CANCELLED');
    expect(facts).toMatchObject({ jobId: id, reason: 'not needed' });
  });
});

describe('an id of no job', () => {
  test('is told at once, and so is one of another queue', async () => {
    const { worker, waiter } = apart(jobsOf, await started(), { clock: noTime });
    const { id } = await worker.jobs.enqueue(other, 1);
    const { message, facts } = await failureOf(waiter.jobs.waitFor('nobody'), 'JOB_UNKNOWN');
    expect(message).toBe('there is no job nobody: none of that id was enqueued, or it has ended and is kept no longer');
    expect(facts).toEqual({ jobId: 'nobody' });
    await failureOf(waiter.jobs.waitFor('nobody', { contract: double }), 'JOB_UNKNOWN');
    await failureOf(waiter.jobs.waitFor(id, { contract: double }), 'JOB_UNKNOWN');
  });

  test('is not said of a job that was sent back from the dead letters between two questions', async () => {
    const { worker, waiter } = apart(jobsOf, await started());
    const { queues } = waiter.jobs.core;
    const { backend } = queues.get('sum');
    const isFinished = backend.isFinished.bind(backend);
    const id = 'redriven';
    backend.isFinished = async (...args) => {
      backend.isFinished = isFinished;
      const answer = await isFinished(...args);
      await worker.jobs.core.queues.get('sum').queue.add('sum.double', 4, { jobId: id });
      return answer;
    };
    const waiting = waiter.jobs.waitFor(id, { contract: double });
    await eventually(async () => expect(await worker.jobs.counts('sum')).toMatchObject({ waiting: 1 }));
    worker.work({ handlers: [handle(double, (input) => input * 2)] });
    expect(await waiting).toBe(8);
  });
});

describe('a job that ends later', () => {
  test('is told of by its worker, though it was enqueued for nobody to wait and keeps no record', async () => {
    const both = apart(jobsOf, await started(), { clock: noTime });
    const { worker, waiter } = both;
    const { handlers, running, open } = gated();
    worker.work({ handlers });
    await warmUp(both);
    const ids = await Promise.all([1, 2].map((input) => worker.jobs.enqueue(unkept, input)));
    await eventually(() => expect(running).toHaveLength(2));
    const [first, second] = ids.map(({ id }) => id) as [string, string];
    const waits = Promise.all([waiter.jobs.waitFor(first), waiter.jobs.waitFor(second, { contract: unkept })]);
    await heardBy(worker, first, second);
    open();
    expect(await waits).toEqual([2, 4]);
  });

  test('between the look and its answer is told of all the same', async () => {
    const both = apart(jobsOf, await started(), { clock: noTime });
    const { worker, waiter } = both;
    const { handlers, running, open } = gated();
    worker.work({ handlers });
    await warmUp(both);
    const { id } = await worker.jobs.enqueue(double, 5);
    await eventually(() => expect(running).toEqual([id]));
    const heard = heardBy(worker, id);
    const told: string[] = [];
    waiter.jobs.doneChannel.listen((message) => void told.push(message.id));
    const { backend } = waiter.jobs.core.queues.get('sum');
    const isFinished = backend.isFinished.bind(backend);
    let looks = 0;
    backend.isFinished = async (...args) => {
      const answer = await isFinished(...args);
      if (looks++ > 0) return answer;
      await heard;
      open();
      await eventually(() => expect(told).toContain(id));
      return answer; // Of before its end.
    };
    expect(await waiter.jobs.waitFor(id, { contract: double })).toBe(10);
    expect(looks).toBe(2);
  });

  test('is told of when it fails for good, and when it is cancelled while it waits or runs', async () => {
    const both = apart(jobsOf, await started(), { clock: noTime });
    const { worker, waiter } = both;
    const running: string[] = [];
    worker.work({
      handlers: [
        handle(double, async (input, { job, signal }) => {
          running.push(job.id);
          if (input === 0) await untilAborted(signal);
          await eventually(() => expect(running).toContain('go on'));
          throw unrecoverable('cannot double');
        }),
      ],
    });
    await warmUp(both);
    const [failing, stopped, delayed] = await Promise.all([
      worker.jobs.enqueue(double, 1),
      worker.jobs.enqueue(double, 0),
      worker.jobs.enqueue(double, 0, { delay: '1h' }),
    ]);
    const outcomes = Promise.all([
      failureOf(waiter.jobs.waitFor(failing.id), 'JOB_FAILED'),
      failureOf(waiter.jobs.waitFor(stopped.id), 'JOB_CANCELLED'),
      failureOf(waiter.jobs.waitFor(delayed.id), 'JOB_CANCELLED'),
    ]);
    await heardBy(worker, failing.id, stopped.id, delayed.id);
    await eventually(() => expect(running).toHaveLength(2));
    running.push('go on');
    await worker.jobs.cancel(stopped.id, { reason: 'too late' });
    await worker.jobs.cancel(delayed.id, { reason: 'not needed' });
    expect((await outcomes).map(({ facts }) => facts['reason'])).toEqual(['cannot double', 'too late', 'not needed']);
  });

  test('at a worker that began after the wait is told of, too', async () => {
    const server = await started();
    const { worker, waiter } = apart(jobsOf, server);
    const { id } = await worker.jobs.enqueue(unkept, 1);
    const waiting = waiter.jobs.waitFor(id);
    await eventually(async () => expect(await commandCount([server], 'publish')).toBeGreaterThan(0));
    const { handlers, open } = gated();
    worker.work({ handlers });
    await heardBy(worker, id);
    open();
    expect(await waiting).toBe(2);
  });
});

describe('an outage while somebody waits', () => {
  test('hides the message and not the end', async () => {
    const server = await started();
    const proxy = own(await startProxy(server.port));
    const both = apart(jobsOf, server, { clock: noTime, url: proxy.url });
    const { worker, waiter } = both;
    const { handlers, running, open } = gated();
    worker.work({ handlers });
    await warmUp(both);
    const { id } = await worker.jobs.enqueue(double, 1);
    await eventually(() => expect(running).toEqual([id]));
    const waiting = waiter.jobs.waitFor(id);
    await heardBy(worker, id);
    proxy.freeze();
    proxy.cut();
    open();
    await ends(worker, id, 'completed');
    proxy.restore();
    proxy.cut();
    expect(await waiting).toBe(2);
  });

  test('may be a restart of Redis', async () => {
    const server = await started({ persistent: true, config: { appendfsync: 'always' } });
    const { worker, waiter } = apart(jobsOf, server);
    const { handlers, running, open } = gated();
    worker.work({ handlers });
    const { id } = await worker.jobs.enqueue(double, 1);
    const waiting = Promise.all([waiter.jobs.waitFor(id), waiter.jobs.waitFor(id, { contract: double })]);
    await eventually(() => expect(running).toEqual([id]));
    await server.kill();
    const during = waiter.jobs.waitFor(id);
    await server.startAgain();
    open();
    expect(await waiting).toEqual([2, 2]);
    expect(await during).toBe(2);
  });

  test('that does not end makes the wait late, with the reason', async () => {
    const server = await started();
    const { worker, waiter } = apart(jobsOf, server);
    const { id } = await worker.jobs.enqueue(double, 1);
    await failureOf(waiter.jobs.waitFor(id, { deadline: 0 }), 'WAIT_TIMEOUT');
    server.freeze();
    const { cause } = await failureOf(waiter.jobs.waitFor(id, { deadline: '100ms' }), 'WAIT_TIMEOUT');
    server.thaw();
    expect(cause).toMatchObject({ code: 'REDIS_TIMEOUT' });
  });
});

describe('a wait', () => {
  test('ends with its deadline, and the job goes on', async () => {
    const { worker, waiter } = apart(jobsOf, await started());
    const { id } = await worker.jobs.enqueue(double, 1);
    const late = await failureOf(waiter.jobs.waitFor(id, { deadline: '50ms' }), 'WAIT_TIMEOUT');
    expect(late.message).toBe(`job ${id} of queue sum did not finish within 50 ms; it goes on`);
    expect(late.facts).toMatchObject({ jobId: id, queue: 'sum', deadlineMs: 50 });
    expect(await worker.jobs.get(id)).toMatchObject({ state: 'waiting' });
  });

  test('ends with its signal, and leaves nothing behind', async () => {
    const { worker, waiter } = apart(jobsOf, await started());
    const { id } = await worker.jobs.enqueue(double, 1);
    const stop = new AbortController();
    const { signal } = stop;
    const waits = Array.from({ length: 5 }, () => waiter.jobs.waitFor(id, { signal }));
    const stays = waiter.jobs.waitFor(id);
    stop.abort(new Error('enough'));
    for (const wait of waits) await expect(wait).rejects.toThrow('enough');
    await expect(waiter.jobs.waitFor(id, { signal })).rejects.toThrow('enough');
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    expect(waiter.jobs.waits.size).toBe(1);
    worker.work({ handlers: [handle(double, (input) => input * 2)] });
    const unused = new AbortController();
    expect(await waiter.jobs.waitFor(id, { signal: unused.signal })).toBe(2);
    expect(getEventListeners(unused.signal, 'abort')).toEqual([]);
    expect(await stays).toBe(2);
    expect(waiter.jobs.waits.size).toBe(0);
  });

  test('ends when the jobs are closed', async () => {
    const { worker, waiter } = apart(jobsOf, await started());
    const { id } = await worker.jobs.enqueue(double, 1);
    const closed = failureOf(waiter.jobs.waitFor(id), 'CLOSED');
    await eventually(() => expect(waiter.jobs.waits.size).toBe(1));
    await waiter.jobs.close();
    await closed;
    await failureOf(waiter.jobs.waitFor(id), 'CLOSED');
  });

  test('takes no options that it does not know, and no handler for a contract', async () => {
    const { waiter } = apart(jobsOf, await started());
    const { message } = await failureOf(waiter.jobs.waitFor('id', { within: '1s' } as object), 'OPTIONS_INVALID');
    expect(message).toContain('within');
    const contract = handle(double, (input) => input) as never;
    await failureOf(waiter.jobs.waitFor('id', { contract }), 'OPTIONS_INVALID');
  });

  test('gives each who waits a result of his own', async () => {
    const { worker, waiter } = apart(jobsOf, await started());
    const listed = defineJob({ name: 'sum.listed', input: z.null() });
    const { id } = await worker.jobs.enqueue(listed, null);
    const waits = [waiter.jobs.waitFor<number[]>(id), waiter.jobs.waitFor<number[]>(id)];
    worker.work({ handlers: [handle(listed, () => [1])] });
    const [one, same] = await Promise.all(waits);
    one?.push(2);
    expect(same).toEqual([1]);
  });
});
