/** What a handler is given: facts of its job, modules, a way to enqueue; and that it may take all of it apart. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { handle, type JobContext, type JobFacts } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { ownedJobs } from '../../support/jobs.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

describe('the context of a handler', () => {
  test('can be taken apart in the parameters', async () => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const other = contractOf('mail.other');
    const contract = contractOf('mail.send');
    const seen: unknown[] = [];
    work({
      handlers: [
        handle(other, () => 'other'),
        handle(contract, async (input, { job, signal, log, progress, once, enqueue, children }) => {
          const { info } = log;
          info('taken apart');
          progress(50);
          const effect = await once('effect', () => 7);
          const { status } = await enqueue(other, { from: job.id });
          seen.push(input, signal.aborted, effect, status, await children());
        }),
      ],
    });
    const { id } = await jobs.enqueue(contract, { to: 'a' });
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('completed'));
    expect(seen).toEqual([{ to: 'a' }, false, 7, 'added', { results: {}, failures: {} }]);
    const info = await jobs.get(id);
    expect(info?.progress).toBe(50);
    expect(info?.log).toEqual([expect.stringMatching(/ info taken apart$/)]);
  });

  test('tells the facts of the job, and which attempt this is', async () => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('facts.tell', { attempts: 3, version: 2 });
    const facts: JobFacts[] = [];
    work({
      handlers: [
        handle(contract, (_input, { job }) => {
          facts.push(job);
          if (job.attempt < 3) throw new Error('again');
        }),
      ],
    });
    const before = Date.now();
    const { id } = await jobs.enqueue(contract, {}, { delay: 300 });
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('completed'));
    expect(facts.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    const [first, , third] = facts;
    expect(first).toMatchObject({ id, name: 'facts.tell', queue: 'facts', version: 2, attempts: 3, redriven: 0 });
    expect(first?.enqueuedAt).toBeGreaterThanOrEqual(before);
    expect(first?.waitedMs).toBeLessThan(Date.now() - before - 299);
    expect(third?.waitedMs).toBeGreaterThanOrEqual(first?.waitedMs ?? Number.NaN);
    expect(Object.isFrozen(first)).toBe(true);
  });

  test('has every module that was passed in, also those made on first use', async () => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('modules.use');
    let made = 0;
    const modules = {
      cache: { get: () => 'cached' },
      get locks() {
        made++;
        return 'locks';
      },
    };
    const seen: unknown[] = [];
    const run = (_input: unknown, { cache, locks }: JobContext & typeof modules): void => {
      seen.push(cache.get(), locks);
    };
    work({ handlers: [handle(contract, run as never)] }, modules);
    expect(made).toBe(0);
    const { id } = await jobs.enqueue(contract, {});
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('completed'));
    expect(seen).toEqual(['cached', 'locks']);
  });

  test('gives the input as the schema parsed it, and stores what the handler returns', async () => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('result.give');
    work({ handlers: [handle(contract, (input) => ({ got: input }))] });
    expect(await jobs.enqueueAndWait(contract, { a: [1, { b: null }] })).toEqual({ got: { a: [1, { b: null }] } });
  });

  test('a result without a JSON form is a failed attempt like any other, with its record and its backoff', async () => {
    const { jobs, work } = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('result.ring', { attempts: 2 });
    const ring: Record<string, unknown> = {};
    ring['ring'] = ring;
    work({ handlers: [handle(contract, () => ring)] });
    const { id } = await jobs.enqueue(contract, {});
    const info = await eventually(async () => {
      const now = await jobs.get(id);
      expect(now?.state).toBe('failed');
      return now;
    });
    expect(info?.history).toHaveLength(2);
    expect(info?.history[1]).toMatchObject({ outcome: 'failed', reason: 'attempts', error: { code: 'INPUT_INVALID' } });
  });
});
