/** How many jobs of a queue run at once, what the worker refuses at its start, and how it counts outcomes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { handle } from '../../../src/jobs/handler.ts';
import { JobsClient } from '../../../src/jobs/jobs.ts';
import { JobWorker } from '../../../src/jobs/worker/job-worker.ts';
import { workerOptionsSchema } from '../../../src/jobs/worker/worker-options.ts';
import { createMetrics } from '../../../src/metrics/registry.ts';
import { createConnections } from '../../../src/redis/connect.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { valueIn } from '../../support/exposition.ts';
import { ownedJobs } from '../../support/jobs.ts';
import { collectLog } from '../../support/log-lines.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

test.each(['grace', 'lease', 'stalledCheck', 'silentFor'] as const)(
  '%s is refused where a timer of Node would fire at once',
  (option) => {
    const handlers = [handle(contractOf('small.a'), () => undefined)];
    expect(() => workerOptionsSchema.parse({ handlers, [option]: '25d' })).toThrow(/expected at most 24 days/);
    expect(workerOptionsSchema.parse({ handlers, [option]: '24d' })[option]).toBe(24 * 86_400_000);
  },
);

describe('concurrency', () => {
  test('is that of each queue, shared by its handlers', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const [a, b, other] = [contractOf('small.a'), contractOf('small.b'), contractOf('large.c')] as const;
    const running = { small: 0, large: 0 };
    const most = { small: 0, large: 0 };
    const run = async (queue: 'small' | 'large'): Promise<void> => {
      most[queue] = Math.max(most[queue], ++running[queue]);
      await new Promise((resolve) => setTimeout(resolve, 50));
      running[queue]--;
    };
    all.work({
      concurrency: 6,
      queues: { small: { concurrency: 2 } },
      handlers: [handle(a, () => run('small')), handle(b, () => run('small')), handle(other, () => run('large'))],
    });
    const inputs = Array.from({ length: 12 }, () => ({}));
    await Promise.all([a, b, other].map((contract) => all.jobs.enqueueMany(contract, inputs)));
    await eventually(async () => expect((await all.jobs.counts('small')).completed).toBe(24));
    await eventually(async () => expect((await all.jobs.counts('large')).completed).toBe(12));
    expect(most).toEqual({ small: 2, large: 6 });
  });
});

describe('the options', () => {
  test('refuse two handlers of one job, and a queue without a handler', () => {
    const all = jobsOf({ redis: { url: server.url } });
    const handler = handle(contractOf('one.a'), () => 1);
    expect(() => all.work({ handlers: [handler, handler] })).toThrow('two of them handle one.a');
    expect(() => all.work({ handlers: [handler], queues: { tow: {} } })).toThrow('queues.tow: no handler works on it');
  });
});

describe('the outcomes', () => {
  test('are counted by how attempts ended: a cancelled job is no failed one', async () => {
    const connections = own(createConnections({ url: server.url }));
    const registry = createMetrics();
    const jobs = own(new JobsClient({ connections, prefix: 't-outcomes', registry }));
    const contract = contractOf('count.me', { attempts: 2, timeout: 200 });
    const worker = own(
      new JobWorker({
        core: jobs.core,
        options: workerOptionsSchema.parse({
          grace: 50,
          handlers: [
            handle(contract, async ({ how }, { signal, job }) => {
              if (how === 'fail') throw new Error('failed');
              if (how === 'retry' && job.attempt === 1) throw new Error('again');
              if (how === 'hang') await new Promise(() => undefined);
              if (how === 'wait') {
                await new Promise((_resolve, reject) =>
                  signal.addEventListener('abort', () => reject(signal.reason as Error)),
                );
              }
            }),
          ],
        }),
        modules: {},
        cancelChannel: jobs.cancelChannel,
        waitChannel: jobs.waitChannel,
        doneChannel: jobs.doneChannel,
        execute: (handler, input, attempt) => handler.run(input, attempt),
        version: 'test',
        onDead: () => undefined,
      }),
    );
    worker.start();
    for (const how of ['succeed', 'fail', 'retry', 'hang']) await jobs.enqueue(contract, { how });
    const { id } = await jobs.enqueue(contract, { how: 'wait' }, { timeout: '1h' });
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('active'));
    await jobs.cancel(id);
    await eventually(async () =>
      expect(await jobs.counts('count')).toMatchObject({ completed: 2, failed: 2, active: 0 }),
    );
    await eventually(async () => {
      const text = await registry.render();
      const counted = (outcome: string): number =>
        Number(new RegExp(`outcome="${outcome}"[^}]*} (\\d+)`).exec(text)?.[1] ?? Number.NaN);
      expect(['completed', 'retried', 'dead', 'timeout', 'cancelled', 'lost'].map(counted)).toEqual([2, 2, 1, 2, 1, 0]);
    });
  });

  test('count no completed job whose lease was gone, and no time that a clock has jumped', async () => {
    const lines = collectLog();
    const registry = createMetrics();
    let jumpedMs = 0;
    const clock = { ...systemClock, wallMs: () => systemClock.wallMs() + jumpedMs };
    const all = jobsOf({ redis: { url: server.url }, registry, clock, log: lines.log });
    const contract = contractOf('jump.job', { attempts: 1 });
    all.work({
      handlers: [
        handle(contract, async ({ isLost }, { job }) => {
          jumpedMs += 3_600_000;
          if (isLost === true)
            await all.connections.commands().del(all.jobs.core.queues.get('jump').key(`${job.id}:lock`));
        }),
      ],
    });
    await all.jobs.enqueue(contract, { isLost: true });
    await eventually(() => expect(JSON.stringify(lines.all())).toContain('Missing lock'));
    await all.jobs.enqueue(contract, {});
    await eventually(async () => {
      const text = await registry.render();
      expect(
        valueIn(text, 'millrace_jobs_finished_total', { queue: 'jump', contract: 'jump.job', outcome: 'completed' }),
      ).toBe(1);
      expect(valueIn(text, 'millrace_job_run_seconds_sum', { queue: 'jump', contract: 'jump.job' })).toBeLessThan(60);
    });
  });
});
