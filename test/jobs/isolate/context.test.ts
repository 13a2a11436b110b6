/** What an isolated handler is given is what any handler is given, as far as it can cross. */
import { beforeAll, describe, expect, test } from 'vitest';
import { flow } from '../../../src/jobs/flows.ts';
import { handle } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { begin, comesTo, enqueueAct, perform, performAndFail } from '../../support/isolated.ts';
import { ownedJobs, type TestJobs } from '../../support/jobs.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByFile } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import acts from './handlers/acts.ts';
import { act, follow } from './handlers/contracts.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
  return () => server.stop();
});
const sharedJobsOf = ownedJobs(ownedByFile());
let shared: TestJobs;
beforeAll(async () => {
  shared = worker(sharedJobsOf);
  await perform(shared, 'thread');
});

/** Its thread is used by most of the tests: what they look at costs less than the start of one. */
const working = (): TestJobs => shared;

function worker(makeJobs: typeof jobsOf): TestJobs {
  const all = makeJobs({ redis: { url: server.url }, threads: { max: 1 } });
  all.work({ handlers: [acts] });
  return all;
}

describe('the context of an isolated handler', () => {
  test('has the facts of the job and a real AbortSignal', async () => {
    const all = working();
    const id = await enqueueAct(all, 'facts', undefined, { attempts: 3 });
    const { result } = await comesTo(all, id, 'completed');
    expect(result).toEqual({
      isSignal: true,
      job: expect.objectContaining({
        id,
        name: 'isolated.act',
        queue: 'isolated',
        version: 1,
        attempt: 1,
        attempts: 3,
      }),
    });
  });

  test('keeps log lines with the job and writes them to the log of the worker, errors as errors', async () => {
    const lines = collectLog();
    const all = jobsOf({ redis: { url: server.url }, threads: { max: 1 }, log: lines.log });
    all.work({ handlers: [acts] });
    const id = await enqueueAct(all, 'tell');
    const { log } = await comesTo(all, id, 'completed');
    expect(log.map((line) => line.replace(/^\S+ /, ''))).toEqual([
      expect.stringMatching(/^info fields .*"err":"bad"/),
      'warn text only',
      expect.stringMatching(/^error RangeError: an error alone\n\s+at .*acts\.ts/),
    ]);
    const ours = lines.all().filter(({ jobId }) => jobId === id);
    expect(ours.find(({ msg }) => msg === 'fields')).toMatchObject({
      n: 1,
      err: { type: 'TypeError', message: 'bad' },
    });
    expect(ours.map(({ msg }) => msg)).toContain('not kept');
  });

  test('writes the last progress of a loop that never waited', async () => {
    const all = working();
    const { progress } = await comesTo(all, await enqueueAct(all, 'tell'), 'completed');
    expect(progress).toEqual({ done: true });
  });

  test('runs the effect of once() in the thread, and gives a later attempt its result', async () => {
    const all = working();
    expect(await perform(all, 'once', undefined, { attempts: 2 })).toEqual({ first: { by: 1 }, isNothing: true });
  });

  test('hands the error of an effect back as the very same', async () => {
    expect(await perform(working(), 'once-fails')).toBe(true);
  });

  test('ends the job when the result of an effect has no JSON form, because every attempt would repeat it', async () => {
    const all = working();
    const { id } = await all.jobs.enqueue(act, { act: 'once-unstorable' }, { attempts: 3 });
    const { history, log } = await comesTo(all, id, 'failed');
    const message = expect.stringMatching(/the effect "paid" returned has no JSON form/);
    expect(history).toMatchObject([{ reason: 'unrecoverable', error: { code: 'JOB_UNRECOVERABLE', message } }]);
    expect(log.filter((line) => line.includes('paid'))).toHaveLength(1);
  });

  test('does not store the effect of an attempt that lost its lease', async () => {
    const all = worker(jobsOf);
    const id = await begin(all, 'once-slowly');
    const lock = all.jobs.core.queues.get('isolated').key(`${id}:lock`);
    await server.ask((redis) => redis.set(lock, 'somebody else'));
    await eventually(async () => expect((await all.jobs.get(id))?.log.join()).toContain('LEASE_LOST'));
    const keys = await server.ask((redis) => redis.keys(`*once*${id}*`));
    expect(keys).toEqual([]);
  });

  test('enqueues, with the checks and the uniqueness of the contract', async () => {
    const all = worker(jobsOf);
    const result = (await perform(all, 'enqueue')) as Record<string, { id: string; message: string }>;
    expect(result).toMatchObject({
      first: { status: 'added' },
      second: { status: 'duplicate', id: result['first']?.id },
      refused: { code: 'INPUT_INVALID' },
      unknownOption: { code: 'OPTIONS_INVALID' },
    });
    expect(result['unknownOption']?.message).toContain('did you mean delay?');
    expect(await all.jobs.get(result['first']?.id ?? '')).toMatchObject({
      name: follow.name,
      queue: 'isolated-follow',
      state: 'delayed',
      input: { n: 7 },
    });
  });

  test('gives the results of children', async () => {
    const all = jobsOf({ redis: { url: server.url }, threads: { max: 1 } });
    const child = contractOf('isolated.child');
    all.work({ handlers: [acts, handle(child, ({ n }) => ({ n }))] });
    const { id, children } = await all.jobs.enqueueFlow(
      flow(act, { act: 'children' }, { children: [flow(child, { n: 1 })] }),
    );
    const { result } = await comesTo(all, id, 'completed');
    expect(result).toEqual({ results: { [children[0]?.id ?? '']: { n: 1 } }, failures: {} });
  });

  test('has no modules of the platform, and says so', async () => {
    const { error } = await performAndFail(working(), 'cache');
    expect(error).toMatchObject({
      code: 'THREAD_BOUNDARY',
      message: expect.stringContaining('isolated.act is isolated: cache stays'),
    });
  });

  test('refuses what a handler left behind once it has ended', async () => {
    const all = working();
    await perform(all, 'late');
    await expect.poll(() => perform(all, 'late-outcome'), { timeout: 10_000 }).toBe('CLOSED');
  });
});

describe('what an isolated handler returns', () => {
  test('may be large', async () => {
    const result = (await perform(working(), 'result', 'big')) as { text: string };
    expect(result.text).toHaveLength(5_000_000);
  });

  test('is stored as it would be without a thread', async () => {
    expect(await perform(working(), 'result', 'classes')).toEqual({
      price: '12.5 EUR',
      bytes: { type: 'Buffer', data: [97, 98] },
      at: '1970-01-01T00:00:00.000Z',
      list: ['12.5 EUR'],
      nan: null,
    });
  });

  test('may not hold a function', async () => {
    const { error } = await performAndFail(working(), 'result', 'function');
    expect(error).toMatchObject({
      code: 'THREAD_BOUNDARY',
      message: expect.stringContaining('the result of isolated.act cannot cross from its thread; return plain data'),
    });
  });
});

describe('what an isolated handler throws', () => {
  test('keeps name, message, stack, code and causes', async () => {
    const { error } = await performAndFail(working(), 'throw', 'rich');
    expect(error).toMatchObject({ name: 'TypeError', message: 'rich', code: 'E_RICH' });
    const { stack } = error as { stack: string };
    expect(stack).toMatch(/acts\.ts:\d+/);
    expect(stack).toContain('caused by: RangeError: poor');
  });

  test('may be odd', async () => {
    const all = working();
    const thrown = {
      custom: { name: 'QuotaExceeded', message: 'too many' },
      text: { name: 'NonError', message: 'just text' },
      nothing: { name: 'NonError', message: 'undefined' },
      symbol: { name: 'NonError' },
      function: { name: 'NonError' },
      object: {},
      aggregate: { name: 'AggregateError', message: 'both', stack: expect.stringContaining('error 2: TypeError: two') },
      ring: { name: 'Error', message: 'ring' },
      proxy: { name: 'NonError' },
    };
    for (const [kind, expected] of Object.entries(thrown)) {
      const { error } = await performAndFail(all, 'throw', kind);
      expect(error, kind).toMatchObject(expected);
    }
  });

  test('may say that trying again is of no use', async () => {
    const all = working();
    const id = await enqueueAct(all, 'throw', 'unrecoverable', { attempts: 5 });
    const { history, attemptsMade } = await comesTo(all, id, 'failed');
    expect(attemptsMade).toBe(1);
    expect(history).toMatchObject([{ reason: 'unrecoverable', error: { name: 'Error', message: 'gone for good' } }]);
  });

  test('may put the job off without using up an attempt', async () => {
    expect(await perform(working(), 'postpone')).toBe(1);
  });
});
