/** What the kit simulates is held to what a real worker on a real Redis does: one table, three ways to run it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { CASES, type Case, type Fate } from './cases.ts';
import type { AttemptRecord } from '../../src/jobs/attempt-record.ts';
import { defineJob } from '../../src/jobs/contract.ts';
import { flow } from '../../src/jobs/flows.ts';
import { handle } from '../../src/jobs/handler.ts';
import { letterOf, type DeadLetter } from '../../src/jobs/dead-letters/letter.ts';
import type { JobInfo } from '../../src/jobs/inspect.ts';
import type { Jobs } from '../../src/jobs/jobs.ts';
import { createFakeJobs, drainQueue, runHandler, waitForJob } from '../../src/testing/index.ts';
import { eventually } from '../support/eventually.ts';
import { ownedJobs } from '../support/jobs.ts';
import { ownedRuntimes } from '../support/runtimes.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const GRACE = 100;

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const jobsOf = ownedJobs();
const runtimeOf = ownedRuntimes();

/** Ids differ from run to run. */
function withoutIds(message: string | undefined, id: string): string | undefined {
  return message?.replaceAll(id, 'ID');
}

function failuresOf(history: readonly AttemptRecord[], id: string): Fate['failures'] {
  return history
    .filter(({ outcome }) => outcome === 'failed' || outcome === 'timeout')
    .map(({ outcome, error }) => ({
      outcome,
      name: error?.name,
      code: error?.code,
      message: withoutIds(error?.message, id),
    }));
}

function fateOf(info: JobInfo, reason: string | undefined, enqueued: unknown[]): Fate {
  const { id, state, result, attemptsMade, history, log, progress } = info;
  return {
    state: state === 'failed' ? 'dead' : (state as Fate['state']),
    ...(state === 'completed' && { result }),
    reason,
    attemptsMade,
    failures: failuresOf(history, id),
    log: log.map((line) => line.slice(line.indexOf(' ') + 1)),
    progress,
    enqueued,
  };
}

function deadFate(letter: DeadLetter, enqueued: unknown[]): Fate {
  const { jobId, attempts, reason } = letter;
  const failures = failuresOf(attempts, jobId);
  return { state: 'dead', reason, attemptsMade: failures.length, failures, log: [], progress: undefined, enqueued };
}

async function byWorker({ make }: Case): Promise<Fate> {
  const { contract, handler, input, options, enqueuedBy } = make();
  const { jobs, work } = jobsOf({ redis: { url: server.url } });
  work({ handlers: [handler], grace: GRACE });
  const { id } = await jobs.enqueue(contract, input, options);
  const info = await waitForJob(jobs, id);
  const children = enqueuedBy ? await jobs.core.queues.get(enqueuedBy.queue).queue.getJobs() : [];
  const reason = info.state === 'failed' ? await reasonOf(jobs, contract.queue, id) : undefined;
  return fateOf(
    info,
    reason,
    children.map(({ name, data }) => ({ name, input: data as unknown })),
  );
}

/** As the mover makes a dead letter of the job. */
async function reasonOf(jobs: ReturnType<typeof jobsOf>['jobs'], queueName: string, id: string): Promise<string> {
  const { queue } = jobs.core.queues.get(queueName);
  const job = await queue.getJob(id);
  if (!job) throw new Error('the job is gone');
  const stored = { ...job.asJSON(), failedReason: job.failedReason }; // As it is in Redis; asJSON() puts quotes around it.
  return letterOf(stored, queueName, id, `${id}~0`).reason;
}

async function byFake({ make }: Case): Promise<Fate> {
  const { contract, handler, input, options, enqueuedBy } = make();
  const jobs = createFakeJobs({ grace: GRACE, patience: 30 });
  const { id } = await jobs.enqueue(contract, input, options);
  await jobs.drain([handler]);
  const enqueued = enqueuedBy ? jobs.enqueued(enqueuedBy).map(({ name, input: of }) => ({ name, input: of })) : [];
  const info = await jobs.get(id);
  if (info) return fateOf(info, undefined, enqueued);
  const [letter] = jobs.deadLetters(contract);
  if (!letter) throw new Error('neither a job nor a dead letter');
  return deadFate(letter, enqueued);
}

/** Attempt after attempt, as a worker would make them. */
async function byRunHandler({ make }: Case): Promise<Fate> {
  const { contract, handler, input, options, enqueuedBy } = make();
  const id = 'job-of-a-test';
  const attempts = options?.attempts ?? contract.attempts;
  const failures: Fate['failures'] = [];
  let effects: Readonly<Record<string, unknown>> = {};
  for (let attempt = 1; ;) {
    const run = await runHandler(handler, input, {
      id,
      attempt,
      attempts,
      version: contract.version,
      effects,
      grace: GRACE,
    });
    effects = run.effects;
    if (run.outcome === 'postponed') continue;
    const log = run.log
      .filter(({ level }) => level !== 'debug')
      .map(({ level, message, fields }) =>
        [level, message, fields && JSON.stringify(fields)].filter(Boolean).join(' '),
      );
    const seen = {
      reason: run.reason,
      attemptsMade: attempt,
      failures,
      log,
      progress: run.progress.at(-1),
      enqueued: enqueuedBy ? run.enqueued.map(({ name, input: of }) => ({ name, input: of })) : [],
    };
    if (run.outcome === 'completed') return { state: 'completed', result: run.result, ...seen };
    const { error, outcome, reason } = run;
    failures.push({ outcome, name: error?.name, code: error?.code, message: withoutIds(error?.message, id) });
    if (reason) return { state: 'dead', ...seen };
    attempt += 1;
  }
}

/** A dead letter keeps no log and no progress but those of its attempts. */
function comparable(fate: Fate): Fate {
  return fate.state === 'dead' ? { ...fate, log: [], progress: undefined } : fate;
}

describe.each(CASES)('$name', (one) => {
  test('by fake jobs as by a worker, and by runHandler() too', { timeout: 20_000 }, async () => {
    const real = comparable(await byWorker(one));
    expect(comparable(await byFake(one))).toEqual(real);
    expect(comparable(await byRunHandler(one))).toEqual(real);
    expect(real).toMatchSnapshot();
  });
});

describe('flows', () => {
  const input = z.object({ id: z.number() });
  const child = defineJob({ name: 'flows.child', input, attempts: 1 });
  const parent = defineJob({ name: 'flows.parent', input, attempts: 1 });
  const hasty = defineJob({ name: 'flows.hasty', input, attempts: 1, expiresIn: '300ms' });
  const handlers = [
    handle(child, ({ id }) => {
      if (id < 0) throw new Error('bad child');
      return id * 2;
    }),
    handle(hasty, () => 'ran'),
    handle(parent, async (_input, context) => {
      const { results, failures } = await context.children();
      return { results: Object.values(results).length, failures: Object.values(failures) };
    }),
  ];
  const flows = {
    'all children succeed': flow(parent, { id: 1 }, { children: [flow(child, { id: 2 }), flow(child, { id: 3 })] }),
    'a child that may fail does': flow(
      parent,
      { id: 1 },
      { children: [flow(child, { id: 2 }), flow(child, { id: -1 }, { onFailure: 'run-parent' })] },
    ),
    'children take longer than their parent may wait': flow(
      hasty,
      { id: 1 },
      { children: [flow(child, { id: 2 }, { delay: '500ms' })] },
    ),
    'a child that may not fail does': flow(parent, { id: 1 }, { children: [flow(child, { id: -1 })] }),
  };

  test.each(Object.entries(flows))('%s: the same by fake jobs as by a worker', async (_name, root) => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    work({ handlers });
    const { id } = await jobs.enqueueFlow(root);
    const real = await waitForJob(jobs, id);
    const reason = real.state === 'failed' ? await reasonOf(jobs, 'flows', id) : undefined;

    const fakes = createFakeJobs({ handlers });
    const fake = await fakes.enqueueFlow(root);
    await fakes.drain();
    expect((await fakes.get(fake.id))?.result).toEqual(real.result);
    expect(fakes.deadLetters(parent)[0]?.reason).toBe(reason);
  });
});

describe('the waits of the kit on real queues', () => {
  test('drainQueue resolves once nothing waits, runs or is delayed', async () => {
    const { make } = CASES.find(({ name }) => name === 'a job that fails once is tried again') ?? CASES[0]!;
    const { contract, handler, input } = make();
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const { id } = await jobs.enqueue(contract, input, { delay: '1h' });
    work({ handlers: [handler] });
    await drainQueue(jobs, contract.queue, { within: '10s', includeDelayed: false });
    expect((await jobs.get(id))?.state).toBe('delayed');
    await jobs.retry(id);
    await drainQueue({ jobs }, [contract], { within: '10s' });
    expect((await jobs.get(id))?.state).toBe('completed');
  });

  test('drainQueue says what is left', async () => {
    const [{ make }] = CASES as [Case];
    const { contract, input } = make();
    const { jobs } = jobsOf({ redis: { url: server.url } });
    await jobs.enqueue(contract, input);
    await jobs.enqueue(contract, input, { delay: '1h' });
    await expect(drainQueue(jobs, contract, { within: 50 })).rejects.toMatchObject({
      code: 'WAIT_TIMEOUT',
      message: 'not idle after 50 ms: queue cases has 1 waiting, 1 delayed',
    });
  });

  test('waitForJob tells a job that does not finish from one that is not known', async () => {
    const [{ make }] = CASES as [Case];
    const { contract, input } = make();
    const { jobs }: { jobs: Jobs } = jobsOf({ redis: { url: server.url } });
    const { id } = await jobs.enqueue(contract, input);
    await expect(waitForJob(jobs, id, { within: 30 })).rejects.toMatchObject({ code: 'WAIT_TIMEOUT' });
    await expect(waitForJob(jobs, 'nobody', { within: 30 })).rejects.toMatchObject({ code: 'JOB_UNKNOWN' });
    await jobs.cancel(id, { reason: 'not needed' });
    expect(await waitForJob(jobs, id)).toMatchObject({ state: 'cancelled', reason: 'not needed' });
  });

  test('waitForJob finds the letter of a job that was redriven and died again', async () => {
    const { runtime } = runtimeOf({ url: server.url });
    const contract = defineJob({ name: 'again.dies', input: z.object({}), attempts: 1 });
    const handler = handle(contract, (_input, { job }) => {
      throw new Error(`life ${job.redriven}`);
    });
    await runtime.work({ handlers: [handler] });
    const { id } = await runtime.jobs.enqueue(contract, {});
    expect(await waitForJob(runtime, id)).toMatchObject({ state: 'failed', reason: 'life 0' });
    const dead = (life: number) =>
      eventually(async () => expect((await runtime.deadLetters.get(id))?.redriven).toBe(life));
    await dead(0);
    await runtime.deadLetters.redrive({ queue: 'again' });
    await dead(1);
    expect(await waitForJob(runtime, id)).toMatchObject({ state: 'failed', reason: 'life 1' });
  });
});
