/** Effects that a job has once, over all its attempts. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { MillraceError } from '../../../src/errors.ts';
import { handle, unrecoverable } from '../../../src/jobs/handler.ts';
import { runOnce, type EffectStore } from '../../../src/jobs/worker/once.ts';
import { createConnections } from '../../../src/redis/connect.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { failureOf } from '../../support/failures.ts';
import { gate, untilAborted } from '../../support/gate.ts';
import { ends, ownedJobs } from '../../support/jobs.ts';
import { ownedByTest } from '../../support/owned.ts';
import { startProxy } from '../../support/proxy.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';

const own = ownedByTest();
const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

/** A store for a job whose lock is `mine`. */
async function storeOf(url: string, jobId: string): Promise<EffectStore> {
  const connections = own(createConnections({ url }));
  const store = {
    client: connections.commands(),
    clock: systemClock,
    lock: `{o}:${jobId}:lock`,
    effects: `{o}:${jobId}:effects`,
    token: 'mine',
    jobId,
    leaseMs: 2_000,
    mustGoOn: () => undefined,
  };
  await server.ask((redis) => redis.set(store.lock, 'mine'));
  return store;
}

describe('once()', () => {
  test('gives a later attempt what the effect returned, as JSON, and does not run it again', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('once.again', { attempts: 2 });
    const runs: string[] = [];
    const results: unknown[] = [];
    const values = { nothing: undefined, null: null, zero: 0, no: false, empty: '', list: [1, { a: 'b' }] };
    all.work({
      handlers: [
        handle(contract, async (_input, { once, job }) => {
          for (const [key, value] of Object.entries(values)) {
            results.push(
              await once(key, () => {
                runs.push(key);
                return value;
              }),
            );
          }
          if (job.attempt === 1) throw new Error('after the effects');
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await ends(all, id, 'completed');
    expect(runs).toEqual(Object.keys(values));
    expect(results).toEqual([...Object.values(values), ...Object.values(values)]);
    await eventually(async () => expect(await server.ask((redis) => redis.keys(`*ledger*${id}*`))).toEqual([]));
  });

  test('runs one effect for calls of one key at the same time, and each key on its own', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('once.together');
    let runs = 0;
    const effect = async (): Promise<number> => ++runs;
    all.work({
      handlers: [
        handle(contract, (_input, { once }) =>
          Promise.all([once('a', effect), once('a', effect), once('a', effect), once('b', effect)]),
        ),
      ],
    });
    expect(await all.jobs.enqueueAndWait(contract, {})).toEqual([1, 1, 1, 2]);
  });

  test('stores nothing of an effect that throws: the same attempt may try again', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('once.throws');
    let runs = 0;
    const effect = (): number => {
      if (++runs === 1) throw new Error('first');
      return runs;
    };
    all.work({
      handlers: [
        handle(contract, async (_input, { once }) => {
          const first = await once('a', effect).catch((error: unknown) => (error as Error).message);
          return [first, await once('a', effect), await once('a', effect)];
        }),
      ],
    });
    expect(await all.jobs.enqueueAndWait(contract, {})).toEqual(['first', 2, 2]);
  });

  test('ends the job when the result cannot be stored, because every attempt would repeat the effect', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('once.bigint', { attempts: 5 });
    let runs = 0;
    all.work({
      handlers: [handle(contract, (_input, { once }) => once('a', () => BigInt(++runs)).then(() => 'done'))],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    const { history } = await ends(all, id, 'failed');
    expect(history).toMatchObject([{ reason: 'unrecoverable', error: { code: 'JOB_UNRECOVERABLE' } }]);
    expect(runs).toBe(1);
  });

  test('keeps the results of a job that failed for good, for its redrive', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('once.dead');
    all.work({
      handlers: [
        handle(contract, async (_input, { once }) => {
          await once('paid', () => 'receipt');
          throw unrecoverable('later');
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await ends(all, id, 'failed');
    const { queues } = all.jobs.core;
    expect(await queues.client.hgetall(queues.keys.once('once', id))).toEqual({ paid: '"receipt"' });
    expect(await queues.client.pttl(queues.keys.once('once', id))).toBeGreaterThan(29 * 86_400_000);
  });

  test('refuses a key that is empty, too long, or no text', async () => {
    const store = await storeOf(server.url, 'bad-keys');
    for (const key of ['', 'x'.repeat(1_001), 7 as never])
      await failureOf(
        runOnce(store, key, () => 1),
        'OPTIONS_INVALID',
      );
  });
});

describe('a holder that lost its lease', () => {
  test.each([
    ['expired', null],
    ["is another's", 'yours'],
  ])('because the lock %s cannot store, and is told', async (_what, lock) => {
    const store = await storeOf(server.url, `lost-${String(lock)}`);
    const error = await failureOf(
      runOnce(store, 'a', async () => {
        await server.ask(async (redis) => (lock === null ? redis.del(store.lock) : redis.set(store.lock, lock)));
        return 'stale';
      }),
      'LEASE_LOST',
    );
    expect(error.facts).toMatchObject({ jobId: store.jobId, effect: 'a' });
    expect(await server.ask((redis) => redis.exists(store.effects))).toBe(0);
  });

  test.each([
    ['expired', null],
    ["is another's", 'yours'],
  ])('because the lock %s begins no effect, and is given no result', async (_what, lock) => {
    const store = await storeOf(server.url, `late-${String(lock)}`);
    await runOnce(store, 'done', () => 1);
    await server.ask(async (redis) => (lock === null ? redis.del(store.lock) : redis.set(store.lock, lock)));
    let runs = 0;
    for (const key of ['done', 'a']) {
      const error = await failureOf(
        runOnce(store, key, () => ++runs),
        'LEASE_LOST',
      );
      expect(error.facts).toMatchObject({ jobId: store.jobId, effect: key });
    }
    expect(runs).toBe(0);
  });
});

describe('an attempt that was given up', () => {
  test('begins no effect, and says why', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('once.overdue', { attempts: 1, timeout: '50ms' });
    const late = gate();
    const outcome = gate<unknown>();
    let runs = 0;
    all.work({
      grace: '10ms',
      handlers: [
        handle(contract, async (_input, { once }) => {
          await once('in-time', () => 1);
          await late.opened;
          outcome.open(await once('a', () => ++runs).catch((error: unknown) => error));
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await ends(all, id, 'failed');
    late.open();
    expect(await outcome.opened).toMatchObject({ code: 'JOB_TIMEOUT' });
    expect(runs).toBe(0);
  });

  test('still begins one while its grace lasts', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('once.grace', { timeout: '50ms' });
    all.work({
      grace: '10s',
      handlers: [
        handle(contract, async (_input, { once, signal }) => {
          await untilAborted(signal).catch(() => undefined);
          return once('a', () => 'undone');
        }),
      ],
    });
    expect(await all.jobs.enqueueAndWait(contract, {})).toBe('undone');
  });

  test('whose handler has returned begins none', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const contract = contractOf('once.loose');
    const late = gate();
    const outcome = gate<unknown>();
    all.work({
      handlers: [
        handle(contract, (_input, { once }) => {
          void late.opened.then(async () => outcome.open(await once('a', () => 1).catch((error: unknown) => error)));
        }),
      ],
    });
    const { id } = await all.jobs.enqueue(contract, {});
    await ends(all, id, 'completed');
    late.open();
    expect(await outcome.opened).toMatchObject({ code: 'CLOSED' });
  });

  test('asks Redis no longer', async () => {
    const gone = own(await startRedis());
    const connections = own(createConnections({ url: gone.url }));
    await connections.commands().ping();
    await gone.kill();
    const lost = new MillraceError('LEASE_LOST', 'it is gone', {});
    let asked = 0;
    const store = {
      ...(await storeOf(server.url, 'no-longer')),
      client: connections.commands(),
      leaseMs: 3_600_000,
      mustGoOn: () => {
        if (++asked > 2) throw lost;
      },
    };
    expect(await runOnce(store, 'a', () => 1).catch((error: unknown) => error)).toBe(lost);
  });
});

describe('what is kept of effects', () => {
  test('lives longer with each look, and never shorter', async () => {
    const store = await storeOf(server.url, 'renewed');
    const leftMs = (): Promise<number> => server.ask((redis) => redis.pttl(store.effects));
    await runOnce(store, 'a', () => 1);
    await server.ask((redis) => redis.pexpire(store.effects, 1_000));
    await runOnce(store, 'a', () => 2);
    expect(await leftMs()).toBeGreaterThan(29 * 86_400_000);
    await server.ask((redis) => redis.pexpire(store.effects, 90 * 86_400_000));
    await runOnce(store, 'a', () => 3);
    await runOnce(store, 'b', () => 3);
    expect(await leftMs()).toBeGreaterThan(89 * 86_400_000);
  });
});

describe('with Redis in trouble', () => {
  test('a reply that was lost is asked for again, and the effect runs once', async () => {
    const proxy = own(await startProxy(server.port));
    const store = await storeOf(proxy.url, 'lost-reply');
    let runs = 0;
    const result = runOnce({ ...store, leaseMs: 20_000 }, 'a', () => {
      proxy.loseAnswers();
      return ++runs;
    });
    await eventually(async () => expect(await server.ask((redis) => redis.hget(store.effects, 'a'))).toBe('1'));
    proxy.restore();
    proxy.cut();
    expect(await result).toBe(1);
    expect(await runOnce(store, 'a', () => ++runs)).toBe(1);
  });

  test('storing is given up once the lease must have run out', async () => {
    const gone = own(await startRedis());
    const connections = own(createConnections({ url: gone.url }));
    const store = { ...(await storeOf(server.url, 'given-up')), client: connections.commands(), leaseMs: 500 };
    await gone.ask((redis) => redis.set(store.lock, 'mine'));
    const error = await runOnce(store, 'a', async () => {
      await gone.kill();
      return 1;
    }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'MillraceError', code: expect.stringMatching(/^REDIS_/) });
  });
});
