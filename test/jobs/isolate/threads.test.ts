/** The threads themselves: how many there are, which is used, what they load, and that none is left. */
import { Worker as ThreadOfNode } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { handle } from '../../../src/jobs/handler.ts';
import { createThreads } from '../../../src/jobs/isolate/threads.ts';
import { eventually } from '../../support/eventually.ts';
import { gate } from '../../support/gate.ts';
import { begin, comesTo, compiledActs, enqueueAct, perform } from '../../support/isolated.ts';
import { compiledJobs, ownedJobs } from '../../support/jobs.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { astray } from './handlers/contracts.ts';
import ofPackage from './handlers/of-package.ts';

const noTimeout = { holdTimeout: () => undefined, startTimeout: () => undefined };
const sourcesOf = ownedJobs();
const jobsOf = ownedJobs(ownedByTest(), await compiledJobs());
const acts = compiledActs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe('threads', () => {
  test('are started when there is a job, no more than allowed, and used again', async () => {
    const all = jobsOf({ redis: { url: server.url }, threads: { max: 2 } });
    all.work({ handlers: [acts], concurrency: 10 });
    expect(all.threads.size).toBe(0);
    const ids = await Promise.all(Array.from({ length: 12 }, () => enqueueAct(all, 'thread')));
    const results = await Promise.all(ids.map((id) => comesTo(all, id, 'completed')));
    const used = new Set(results.map(({ result }) => result));
    expect(used.size).toBeLessThanOrEqual(2);
    expect(all.threads.size).toBeLessThanOrEqual(2);
    expect(used).toContain(await perform(all, 'thread'));
  });

  test('run one job at a time each', async () => {
    const all = jobsOf({ redis: { url: server.url }, threads: { max: 1 } });
    all.work({ handlers: [acts] });
    const first = await begin(all, 'await-abort');
    const second = await enqueueAct(all, 'thread');
    await comesTo(all, second, 'active');
    await all.jobs.cancel(first);
    expect(await comesTo(all, second, 'completed')).toMatchObject({ attemptsMade: 1 });
  });

  test('end when they had no job for a while, and start again', async () => {
    const all = jobsOf({ redis: { url: server.url }, threads: { max: 1, idleFor: '100ms' } });
    all.work({ handlers: [acts] });
    const before = await perform(all, 'thread');
    await eventually(() => expect(all.threads.size).toBe(0));
    expect(await perform(all, 'thread')).not.toBe(before);
  });

  test('are given no job once they are ending', async () => {
    const all = jobsOf({ redis: { url: server.url }, threads: { max: 1, idleFor: '50ms' } });
    const next = gate<unknown>();
    const spy = vi.spyOn(ThreadOfNode.prototype, 'terminate');
    onTestFinished(() => spy.mockRestore());
    spy.mockImplementationOnce(function (this: ThreadOfNode) {
      const ended = this.terminate(); // The real one, from the second call on.
      const attempt = { signal: new AbortController().signal, job: { id: 'next', name: 'isolated.act' }, ...noTimeout };
      next.open(all.threads.execute(acts, undefined, attempt as never, { act: 'thread' }));
      return ended;
    });
    all.work({ handlers: [acts] });
    const before = await perform(all, 'thread');
    expect(await next.opened).not.toBe(before);
  });

  test('are all gone after close(), whatever they run', async () => {
    const all = jobsOf({ redis: { url: server.url }, threads: { max: 2 } });
    all.work({ handlers: [acts], drainFor: 0 });
    await perform(all, 'thread');
    const id = await enqueueAct(all, 'spin');
    await comesTo(all, id, 'active');
    await all.threads.close();
    expect(all.threads.size).toBe(0);
    await comesTo(all, id, 'failed');
    await all.threads.close();
  });

  test('have options that are checked', () => {
    const { jobs } = jobsOf({ redis: { url: server.url } });
    const { producer } = jobs.core;
    expect(() => createThreads({ producer, options: { max: 0 } })).toThrow(/threads: max/);
    expect(() => createThreads({ producer, options: { idleFor: '30d' } })).toThrow(/idleFor: expected at most 24 days/);
    expect(() => createThreads({ producer, options: { loadWithin: '30d' } })).toThrow(/loadWithin: expected at most/);
    expect(() => createThreads({ producer, options: { maxx: 1 } as never })).toThrow(/maxx, did you mean max/);
  });
});

describe('the module of an isolated handler', () => {
  test('that is never done with loading fails the job in time', async () => {
    const all = sourcesOf({ redis: { url: server.url }, threads: { loadWithin: '200ms' } });
    const isolate = new URL('./handlers/endless.ts', import.meta.url);
    all.work({ handlers: [handle(astray, () => 'never', { isolate })] });
    const { id } = await all.jobs.enqueue(astray, {});
    const { history } = await comesTo(all, id, 'failed');
    const message = expect.stringMatching(/was not loaded in a thread within 200 ms: .*endless\.ts/);
    expect(history).toMatchObject([{ error: { code: 'THREAD_DIED', message } }]);
  });

  test('may import the package by its name, and parses the input itself', async () => {
    const all = sourcesOf({ redis: { url: server.url } });
    all.work({ handlers: [ofPackage] });
    const { id } = await all.jobs.enqueue(ofPackage.contract, { url: 'http://example.org/a' });
    expect(await comesTo(all, id, 'completed')).toMatchObject({ result: { host: 'example.org' } });
  });

  test.each([
    ['no-default.ts', /the default export of .*no-default\.ts is no handler of handle\(\)/],
    ['acts.ts', /the default export of .*acts\.ts handles name isolated\.act, expected isolated\.astray/],
    ['broken.ts', /broken\.ts cannot be loaded in a thread: no database here/],
    ['missing.ts', /missing\.ts cannot be loaded in a thread: Cannot find module/],
  ])('that is not what it should be fails the job with HANDLER_MISSING: %s', async (file, message) => {
    const all = sourcesOf({ redis: { url: server.url } });
    const isolate = new URL(`./handlers/${file}`, import.meta.url);
    all.work({ handlers: [handle(astray, () => 'never', { isolate })] });
    const { id } = await all.jobs.enqueue(astray, {});
    const { history } = await comesTo(all, id, 'failed');
    expect(history).toMatchObject([{ error: { code: 'HANDLER_MISSING', message: expect.stringMatching(message) } }]);
    await eventually(() => expect(all.threads.size).toBe(0));
  });
});
