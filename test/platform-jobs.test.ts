/** The jobs of a platform, wired as an application gets them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createPlatform, defineJob, handle, schedule, unrecoverable, type Platform } from '../src/index.ts';
import { eventually } from './support/eventually.ts';
import { failureOf } from './support/failures.ts';
import { ownedByTest } from './support/owned.ts';
import { startRedis, type TestServer } from './support/servers.ts';

const greet = defineJob({ name: 'shop.greet', input: z.object({ name: z.string() }), attempts: 1 });

describe('jobs on a platform', () => {
  const own = ownedByTest();
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  let count = 0;
  async function started(options: object = {}): Promise<Platform> {
    const platform = createPlatform({
      redis: { url: server.url },
      prefix: `wired-${count++}`,
      log: { level: 'silent' },
      ...options,
    });
    own(platform);
    await platform.start();
    return platform;
  }

  test('nothing of them can be had before start() and after stop()', async () => {
    const platform = own(createPlatform({ redis: { url: server.url }, log: { level: 'silent' } }));
    for (const use of [() => platform.jobs, () => platform.deadLetters, () => platform.schedules])
      expect(use).toThrow('has not been started');
    await expect(platform.work({ handlers: [] })).rejects.toMatchObject({ code: 'CLOSED' });
    await platform.start();
    await platform.stop();
    expect(() => platform.jobs).toThrow('has been stopped');
  });

  test('a job is run, a dead letter is made and sent back, and all of it is counted', async () => {
    const platform = await started();
    let mayPass = false;
    await platform.work({
      handlers: [
        handle(greet, ({ name }) => {
          if (name === 'Bob' && !mayPass) throw unrecoverable('not yet');
          return `Hello, ${name}!`;
        }),
      ],
    });
    expect(await platform.jobs.enqueueAndWait(greet, { name: 'Ada' })).toBe('Hello, Ada!');

    const { id } = await platform.jobs.enqueue(greet, { name: 'Bob' });
    await eventually(async () =>
      expect(await platform.deadLetters.get(`${id}~0`)).toMatchObject({ reason: 'unrecoverable' }),
    );
    expect(await platform.jobs.counts('shop')).toMatchObject({ failed: 0, dead: 1 });
    mayPass = true;
    expect(await platform.deadLetters.redrive(`${id}~0`)).toMatchObject({ redriven: 1 });
    await eventually(async () => expect(await platform.jobs.get(id)).toMatchObject({ state: 'completed' }));

    const text = await platform.metrics.render();
    for (const line of [
      'millrace_jobs_enqueued_total{queue="shop",contract="shop.greet",status="added"} 2',
      'millrace_jobs_finished_total{queue="shop",contract="shop.greet",outcome="completed"} 2',
      'millrace_dead_letters_total{queue="shop",contract="shop.greet",reason="unrecoverable"} 1',
      'millrace_dead_letters_redriven_total{queue="shop"} 1',
      'millrace_queue_jobs{queue="shop",state="completed"} 2',
      'millrace_queue_oldest_waiting_seconds{queue="shop"} 0',
    ])
      expect(text).toContain(line);
  });

  test('schedules that a worker declares are there when work() has resolved, and run', async () => {
    const platform = await started();
    const names: string[] = [];
    await platform.work({
      handlers: [handle(greet, ({ name }) => void names.push(name))],
      schedules: [schedule(greet, { name: 'tick' }, { every: '100ms' })],
    });
    expect(await platform.schedules.list()).toMatchObject([{ id: 'shop.greet', everyMs: 100 }]);
    await eventually(() => expect(names.length).toBeGreaterThan(1));
  });

  test('a schedule whose input is bad makes work() fail, and nothing is worked on', async () => {
    const platform = await started();
    const work = platform.work({
      handlers: [handle(greet, () => undefined)],
      schedules: [schedule(greet, { name: 7 } as never, { every: '1s' })],
    });
    await failureOf(work, 'INPUT_INVALID');
    expect(await platform.schedules.list()).toEqual([]);
  });

  test('options are checked when the platform is made, and when work begins', async () => {
    expect(() => createPlatform({ jobs: { enqueueDeadlin: '1s' } } as never)).toThrow('did you mean');
    expect(() => createPlatform({ deadLetters: { count: 0 } })).toThrow('deadLetters.count');
    const platform = await started();
    await expect(platform.work({ handlers: [handle(greet, () => 1)], drainfor: '1s' } as never)).rejects.toThrow(
      'did you mean drainFor?',
    );
    await expect(platform.work({ handlers: [] })).rejects.toMatchObject({ code: 'OPTIONS_INVALID' });
  });

  test('health asks the workers too; stop() drains them', async () => {
    const platform = await started();
    let ended = false;
    let isRunning = false;
    await platform.work({
      handlers: [
        handle(greet, async (_input, { signal }) => {
          isRunning = true;
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, 300);
            signal.addEventListener('abort', () => clearTimeout(timer));
          });
          ended = true;
        }),
      ],
    });
    await eventually(async () =>
      expect(await platform.ready()).toMatchObject({ ok: true, checks: { workers: { ok: true } } }),
    );
    expect(await platform.alive()).toMatchObject({ ok: true, checks: { workers: { ok: true } } });
    await platform.jobs.enqueue(greet, { name: 'slow' });
    await eventually(() => expect(isRunning).toBe(true));
    await platform.stop();
    expect(ended).toBe(true);
  });
});
