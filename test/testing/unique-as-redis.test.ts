/** Unique jobs and idempotent enqueues: FakeJobs against the scripts of BullMQ, by random sequences of what callers do. */
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { CONFLICT_POLICIES, defineJob, type JobContract } from '../../src/jobs/contract.ts';
import type { EnqueueOptions } from '../../src/jobs/enqueue-options.ts';
import type { Jobs } from '../../src/jobs/jobs.ts';
import { createFakeJobs } from '../../src/testing/index.ts';
import { ownedJobs } from '../support/jobs.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const jobsOf = ownedJobs();

type Step = { do: 'enqueue'; key: number; isDelayed: boolean } | { do: 'cancel'; nth: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('enqueue' as const), key: fc.nat(1), isDelayed: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('cancel' as const), nth: fc.nat(3) }) },
);

/** What the callers are told, with the ids numbered in the order in which they appear. */
async function told(
  jobs: Jobs,
  contract: JobContract<{ key: number }>,
  steps: readonly Step[],
  optionsOf: (key: number) => EnqueueOptions,
): Promise<unknown[]> {
  const ids: string[] = [];
  const answers: unknown[] = [];
  for (const one of steps) {
    if (one.do === 'cancel') {
      const id = ids[one.nth];
      if (id !== undefined) answers.push(await jobs.cancel(id));
      continue;
    }
    const { key, isDelayed } = one;
    const { id, status } = await jobs.enqueue(
      contract,
      { key },
      { ...optionsOf(key), ...(isDelayed && { delay: '1h' }) },
    );
    if (!ids.includes(id)) ids.push(id);
    answers.push([ids.indexOf(id), status]);
  }
  const { waiting, delayed } = await jobs.counts(contract.queue);
  const infos = await Promise.all(ids.map(async (id) => (await jobs.get(id))?.state));
  return [...answers, { waiting, delayed }, infos];
}

const input = z.object({ key: z.number() });
const idempotent = (key: number): EnqueueOptions => (key === 0 ? { idempotencyKey: 'a' } : {});

const uniques = CONFLICT_POLICIES.flatMap((onConflict) =>
  [undefined, '1h' as const]
    .filter((of) => of !== undefined || onConflict !== 'debounce')
    .map((of) => ({ onConflict, for: of, key: ({ key }: { key: number }) => `k${key}` })),
);

async function errorOf(answer: Promise<unknown>): Promise<{ code: unknown; message: string; facts: unknown }> {
  const { code, message, facts } = await answer.then(
    () => ({ code: 'none', message: 'no error', facts: {} }),
    (error: { code: unknown; message: string; facts: unknown }) => error,
  );
  return { code, message, facts };
}

describe('callers of FakeJobs are told what callers of Redis are told', () => {
  test.each(uniques)('unique, $onConflict, for $for', async (unique) => {
    const contract = defineJob({ name: 'unique.job', input, unique });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 10 }), async (steps) => {
        const { jobs } = jobsOf({ redis: { url: server.url } });
        const real = await told(jobs, contract, steps, () => ({}));
        expect(await told(createFakeJobs(), contract, steps, () => ({}))).toEqual(real);
      }),
      { numRuns: 20 },
    );
  });

  test('idempotency keys', async () => {
    const contract = defineJob({ name: 'idempotent.job', input });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 10 }), async (steps) => {
        const { jobs } = jobsOf({ redis: { url: server.url } });
        const real = await told(jobs, contract, steps, idempotent);
        expect(await told(createFakeJobs(), contract, steps, idempotent)).toEqual(real);
      }),
      { numRuns: 20 },
    );
  });
});

describe('what both refuse', () => {
  const contract = defineJob({ name: 'strict.job', input: z.object({ at: z.string(), list: z.array(z.number()) }) });
  const bad: Array<[string, (jobs: Jobs) => Promise<unknown>]> = [
    ['a bad input', (jobs) => jobs.enqueue(contract, { at: 1, list: ['x'] } as never)],
    ['an input without a JSON form', (jobs) => jobs.enqueue(contract, { at: 1n } as never)],
    ['an input that is too large', (jobs) => jobs.enqueue(contract, { at: 'x'.repeat(400_000), list: [] })],
    ['an unknown option', (jobs) => jobs.enqueue(contract, { at: '', list: [] }, { dely: 1 } as never)],
    ['delay and at', (jobs) => jobs.enqueue(contract, { at: '', list: [] }, { delay: 1, at: 1 })],
    ['one of many', (jobs) => jobs.enqueueMany(contract, [{ at: '', list: [] }, { at: '', list: 1 } as never])],
    ['a bad wait', (jobs) => jobs.enqueueAndWait(contract, { at: '', list: [] }, { waitFor: 'soon' } as never)],
    ['a bad cancel', (jobs) => jobs.cancel('x', { deadline: 'soon' } as never)],
  ];

  test.each(bad)('%s', async (_name, act) => {
    const { jobs } = jobsOf({ redis: { url: server.url } });
    const real = await errorOf(act(jobs));
    expect(real.code).not.toBe('none');
    expect(await errorOf(act(createFakeJobs()))).toEqual(real);
  });
});
