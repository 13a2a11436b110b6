/** The shared modules of a platform, wired as an application and a handler get them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createPlatform, defineJob, handle, type Platform, type PlatformOptions } from '../src/index.ts';
import { clientsOf } from './support/client-list.ts';
import { eventually } from './support/eventually.ts';
import { failureOf } from './support/failures.ts';
import { ownedByTest } from './support/owned.ts';
import { startRedis, type TestServer } from './support/servers.ts';

const exported = defineJob({ name: 'shop.export', input: z.object({ tenant: z.string() }), attempts: 1 });

describe('the modules of a platform', () => {
  const own = ownedByTest();
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  let count = 0;
  async function started(options: PlatformOptions = {}): Promise<Platform> {
    const prefix = options.prefix ?? `modules-${count++}`;
    const platform = own(createPlatform({ redis: { url: server.url }, log: { level: 'silent' }, ...options, prefix }));
    await platform.start();
    return platform;
  }

  test('nothing of them can be had before start() and after stop()', async () => {
    const platform = own(createPlatform({ redis: { url: server.url }, log: { level: 'silent' } }));
    const uses = [() => platform.cache, () => platform.locks, () => platform.limits];
    for (const use of uses) expect(use).toThrow('has not been started');
    await platform.start();
    for (const use of uses) expect(use()).toBeDefined();
    await platform.stop();
    for (const use of uses) expect(use).toThrow('has been stopped');
  });

  test('bad options of theirs are told by createPlatform(), all together', () => {
    const options = { cache: { tires: {} }, locks: { ttl: 'long' }, limits: { onError: 'maybe' } };
    expect(() => createPlatform(options as never)).toThrow(
      /unknown option cache\.tires, did you mean tiers\?.*locks\.ttl: expected.*limits\.onError: expected allow or deny or local/,
    );
  });

  test('a start that fails after they were made ends them, and nothing stays open', async () => {
    const alone = own(await startRedis());
    const platform = createPlatform({ redis: { url: alone.url }, log: { level: 'silent' } });
    platform.metrics.counter({ name: 'millrace_jobs_enqueued_total', help: 'Taken.', labels: ['mine'] });
    await failureOf(platform.start(), 'OPTIONS_INVALID');
    expect(() => platform.cache).toThrow('has not been started');
    await eventually(async () => expect(await clientsOf(alone)).toEqual([]));
    await platform.stop();
  });

  test('a handler has them in its context, and shares them with other processes', async () => {
    const [app, worker] = [await started({ prefix: 'shared' }), await started({ prefix: 'shared' })];
    await worker.work({
      handlers: [
        handle(exported, async ({ tenant }, { cache, locks, limits, signal }) => {
          const perTenant = limits.limiter('exports', { policies: [{ limit: 10, per: '1h' }] });
          await perTenant.require(tenant);
          return locks.using(`export:${tenant}`, { signal }, async ({ token }) => {
            const plan = await cache.getOrSet(`plan:${tenant}`, () => 'never asked', { ttl: '1m' });
            return { plan, isFenced: token > 0 };
          });
        }),
      ],
    });
    await app.cache.set('plan:acme', 'gold', { ttl: '1m' });
    expect(await app.jobs.enqueueAndWait(exported, { tenant: 'acme' })).toEqual({ plan: 'gold', isFenced: true });
    const perTenant = app.limits.limiter('exports', { policies: [{ limit: 10, per: '1h' }] });
    expect(await perTenant.peek('acme')).toMatchObject({ remaining: 9 });
  });

  test('a job that a rate limit refuses comes back for the right moment, with its attempt', async () => {
    const platform = await started();
    const attempts: number[] = [];
    await platform.work({
      handlers: [
        handle(exported, async ({ tenant }, { limits, job }) => {
          attempts.push(job.attempt);
          await limits.limiter('slow', { policies: [{ limit: 1, per: '300ms' }] }).require(tenant);
        }),
      ],
    });
    const ids = await platform.jobs.enqueueMany(exported, [{ tenant: 'a' }, { tenant: 'a' }, { tenant: 'a' }]);
    await eventually(async () => {
      const states = await Promise.all(ids.map(async ({ id }) => (await platform.jobs.get(id))?.state));
      expect(states).toEqual(['completed', 'completed', 'completed']);
    });
    expect(new Set(attempts)).toEqual(new Set([1]));
    expect(attempts.length).toBeGreaterThan(3);
  });

  test('options reach them: tiers of the cache, the wait of locks', async () => {
    const { cache, locks } = await started({ cache: { tiers: { short: { ttl: '1m' } } }, locks: { wait: '20ms' } });
    expect(await cache.getOrSet('a', () => 1, { ttl: 'short' })).toBe(1);
    await using held = await locks.acquire('one');
    expect(held.held).toBe(true);
    expect(await failureOf(locks.acquire('one'), 'LOCK_TIMEOUT')).toMatchObject({ facts: { name: 'one' } });
  });

  test('what they do is in the metrics of the process', async () => {
    const platform = await started();
    await platform.cache.getOrSet('a', () => 1, { ttl: '1m' });
    await platform.locks.using('a', () => undefined);
    await platform.limits.limiter('api', { policies: [{ limit: 1, per: '1m' }] }).consume('a');
    const text = await platform.metrics.render();
    for (const name of ['millrace_cache_', 'millrace_lock', 'millrace_rate_limit']) expect(text).toContain(name);
  });

  test('stopping the platform gives back what is held and ends what waits', async () => {
    const [one, other] = [await started({ prefix: 'stops' }), await started({ prefix: 'stops' })];
    await one.locks.acquire('job', { ttl: '1m' });
    const waiting = other.locks.acquire('job', { wait: '1m' });
    await eventually(async () => expect((await one.locks.inspect('job')).waiting).toBe(1));
    const [outcome] = await Promise.allSettled([waiting, other.stop()]);
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'CLOSED' } });
    await eventually(async () => expect((await one.locks.inspect('job')).waiting).toBe(0));
  });
});
