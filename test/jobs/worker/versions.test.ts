/** Jobs that a worker cannot or must not run: of other versions, without a handler, expired, or of a bad input. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../../src/jobs/contract.ts';
import { handle } from '../../../src/jobs/handler.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { ends, ownedJobs } from '../../support/jobs.ts';
import { ownedRuntimes } from '../../support/runtimes.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const jobsOf = ownedJobs();
const runtimeOf = ownedRuntimes();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const old = contractOf('form.old', { attempts: 3 });
const current = contractOf('form.old', { attempts: 3, version: 3 });

describe('a job of an older version', () => {
  test('is upgraded before it is parsed, and the handler knows its version', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const seen: unknown[] = [];
    all.work({
      handlers: [
        handle(current, (input, { job }) => void seen.push(input, job.version), {
          upgrade: async (input, from) => ({ was: input, from }),
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(old, { a: 1 });
    await ends(all, id, 'completed');
    expect(seen).toEqual([{ was: { a: 1 }, from: 1 }, 1]);
  });

  test.each([
    ['without upgrade() is refused', undefined, 'and no upgrade()'],
    ['whose upgrade() throws is refused', () => Promise.reject(new Error('cannot')), 'upgrade() failed'],
  ])('%s at once', async (_what, upgrade, message) => {
    const all = jobsOf({ redis: { url: server.url } });
    all.work({ handlers: [handle(current, () => 'ran', { upgrade })] });
    const { id } = await all.jobs.enqueue(old, {});
    const { history } = await ends(all, id, 'failed');
    expect(history).toMatchObject([{ reason: 'version', error: { code: 'JOB_VERSION_UNSUPPORTED' } }]);
    expect(history[0]?.error?.message).toContain(message);
    expect(all.dead).toEqual([id]);
  });

  test('whose upgrade gives what the schema refuses is a bad input', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    all.work({ handlers: [handle(current, () => 'ran', { upgrade: () => 'no object' })] });
    const { id } = await all.jobs.enqueue(old, {});
    const { history } = await ends(all, id, 'failed');
    expect(history).toMatchObject([{ reason: 'input', error: { code: 'INPUT_INVALID' } }]);
  });
});

describe('a job of a newer version', () => {
  test('is left to a worker that has it, uses up no attempt, and expires no sooner for it', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const stale = all.work({ strangerGrace: '1500ms', handlers: [handle(old, () => 'old')] });
    const { id } = await all.jobs.enqueue(current, {}, { delay: 1_600 });
    // It had been delayed for longer than the grace, which begins when it is first met.
    await eventually(async () => {
      const keys = await server.ask((redis) => redis.keys(`${all.prefix}*:stranger:*`));
      expect(keys).toHaveLength(1);
    });
    expect((await all.jobs.get(id))?.state).toBe('delayed');
    await stale.stop();
    all.work({ handlers: [handle(current, () => 'new')] });
    expect(await ends(all, id, 'completed')).toMatchObject({ result: 'new', attemptsMade: 1 });
    expect(all.dead).toEqual([]);
  });

  test('is converted by an upgrade() that can', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    all.work({ handlers: [handle(old, (input) => input, { upgrade: (_input, from) => ({ from }) })] });
    const { id } = await all.jobs.enqueue(current, {});
    expect(await ends(all, id, 'completed')).toMatchObject({ result: { from: 3 } });
  });

  test('and a job without a handler are refused once nobody had one for the grace', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    all.work({ strangerGrace: '200ms', handlers: [handle(old, () => 'old')] });
    const { id } = await all.jobs.enqueue(current, {});
    const { id: unknown } = await all.jobs.enqueue(contractOf('form.unknown'), {});
    const { history } = await ends(all, id, 'failed');
    expect(history.at(-1)).toMatchObject({ reason: 'version', error: { code: 'JOB_VERSION_UNSUPPORTED' } });
    const missing = await ends(all, unknown, 'failed');
    expect(missing.history.at(-1)).toMatchObject({ reason: 'handler', error: { code: 'HANDLER_MISSING' } });
    expect(missing.attemptsMade).toBe(1);
  });

  test('that was redriven is left to other workers anew', async () => {
    const { runtime } = runtimeOf({ url: server.url });
    await runtime.work({ strangerGrace: '1s', handlers: [handle(old, () => 'old')] });
    const { id } = await runtime.jobs.enqueue(current, {});
    const letter = await eventually(async () => {
      const found = await runtime.deadLetters.get(id);
      expect(found?.reason).toBe('version');
      return found;
    });
    await runtime.deadLetters.redrive(letter?.id ?? '');
    await eventually(async () => expect((await runtime.jobs.get(id))?.state).toBe('delayed'));
  });

  test('that fails here long after it was met there is left to others anew', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const slow = contractOf('form.old', { attempts: 3, version: 3, backoff: { type: 'fixed', delay: 2_000 } });
    const stale = all.work({ strangerGrace: '1500ms', handlers: [handle(old, () => 'old')] });
    const { id } = await all.jobs.enqueue(slow, {});
    await ends(all, id, 'delayed');
    await stale.stop();
    const failing = all.work({
      handlers: [
        handle(slow, () => {
          throw new Error('first');
        }),
      ],
    });
    await eventually(async () => expect(await all.jobs.get(id)).toMatchObject({ state: 'delayed', attemptsMade: 1 }));
    await failing.stop();
    all.work({ strangerGrace: '1500ms', handlers: [handle(old, () => 'old')] });
    await eventually(async () => {
      const keys = await server.ask((redis) => redis.keys(`${all.prefix}*:stranger:*`));
      expect(keys).toHaveLength(2);
    });
    expect(all.dead).toEqual([]);
  });

  test('after a failed attempt elsewhere is still left to another worker', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const slow = contractOf('form.old', { attempts: 3, version: 3, backoff: { type: 'fixed', delay: 500 } });
    const failing = all.work({
      handlers: [
        handle(slow, () => {
          throw new Error('first');
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(slow, {});
    await ends(all, id, 'delayed');
    await failing.stop();
    const stale = all.work({ strangerGrace: '400ms', handlers: [handle(old, () => 'old')] });
    await eventually(async () => {
      const keys = await server.ask((redis) => redis.keys(`${all.prefix}*:stranger:*`));
      expect(keys).toHaveLength(1);
    });
    await ends(all, id, 'delayed');
    await stale.stop();
    all.work({ handlers: [handle(slow, () => 'new')] });
    expect(await ends(all, id, 'completed')).toMatchObject({ attemptsMade: 2 });
  });
});

describe('a job that must not run', () => {
  test('because it expired is refused with how long it waited', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('late.one', { expiresIn: '50ms' });
    let ran = false;
    const { id } = await all.jobs.enqueue(contract, {});
    const { timestamp } = (await all.jobs.core.queues.get('late').queue.getJob(id)) as { timestamp: number };
    await eventually(() => expect(Date.now() - timestamp).toBeGreaterThan(60));
    all.work({ handlers: [handle(contract, () => void (ran = true))] });
    const { history } = await ends(all, id, 'failed');
    expect(history).toMatchObject([{ reason: 'expired', error: { code: 'JOB_EXPIRED' } }]);
    expect(ran).toBe(false);
  });

  test('has its delay left out of what counts for its expiry', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('late.delayed', { expiresIn: '2s' });
    all.work({ handlers: [handle(contract, (_input, { job }) => job.waitedMs)] });
    const { id } = await all.jobs.enqueue(contract, {}, { delay: '2500ms' });
    const { result } = await ends(all, id, 'completed');
    expect(result).toBeLessThan(2_000);
  });

  test('because its input no longer fits is refused with path and reason, and is not tried again', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const strict = defineJob({ name: 'input.strict', input: z.object({ to: z.email() }) });
    let ran = false;
    all.work({ handlers: [handle(strict, () => void (ran = true))] });
    const { id } = await all.jobs.enqueue(contractOf('input.strict'), { to: 7 });
    const { history } = await ends(all, id, 'failed');
    expect(history).toMatchObject([{ reason: 'input', error: { code: 'INPUT_INVALID' } }]);
    expect(history[0]?.error?.message).toContain('to: ');
    expect(ran).toBe(false);
  });

  test('a schema that throws is a failed attempt, and no bad input', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    let asked = 0;
    const schema = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        async validate(value: unknown): Promise<{ value: object }> {
          if (asked++ === 1) throw new Error('database away');
          return { value: value as object };
        },
      },
    };
    const backoff = { type: 'fixed', delay: 1 } as const;
    const contract = defineJob({ name: 'input.asks', attempts: 2, backoff, input: schema });
    all.work({ handlers: [handle(contract, () => 'ran')] });
    const { id } = await all.jobs.enqueue(contract, {});
    expect(await ends(all, id, 'completed')).toMatchObject({
      result: 'ran',
      history: [{ outcome: 'failed', error: { message: 'database away' } }],
    });
  });
});
