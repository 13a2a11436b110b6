/** Effects of a job outlive every wait of the job, however long; and a wait that is too long is refused at once. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { handle, postpone } from '../../../src/jobs/handler.ts';
import { createJobKeys } from '../../../src/jobs/queue-names.ts';
import { keepEffects } from '../../../src/jobs/worker/once.ts';
import type { RedisClient } from '../../../src/redis/clients.ts';
import { createConnections } from '../../../src/redis/connect.ts';
import { commandCount } from '../../support/command-count.ts';
import { contractOf } from '../../support/contracts.ts';
import { eventually } from '../../support/eventually.ts';
import { ends, ownedJobs } from '../../support/jobs.ts';
import { collectLog, type LogLine } from '../../support/log-lines.ts';
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

const DAY = 86_400_000;

/** The key of the job's effects, and who may touch it. */
interface Effects {
  client: RedisClient;
  key: string;
}

interface Scene {
  /** What the first starts of the handler do; the first one and the one after them all run the effect. */
  acts: ReadonlyArray<(effects: Effects) => unknown>;
  /** How long ago it was enqueued. */
  ageMs?: number;
  backoffMs?: number;
}

/** A job that has an effect and then waits. */
async function waiting(name: string, { acts, ageMs = 0, backoffMs = 1 }: Scene) {
  const all = jobsOf({ redis: { url: server.url } });
  const contract = contractOf(name, { attempts: 5, backoff: backoffMs });
  const { id } = await all.jobs.enqueue(contract, {});
  const { queues } = all.jobs.core;
  const client = all.connections.commands();
  await client.hset(queues.get(contract.queue).key(id), 'timestamp', Date.now() - ageMs);
  const effects = { client, key: queues.keys.once(contract.queue, id) };
  let runs = 0;
  let starts = 0;
  all.work({
    handlers: [
      handle(contract, async (_input, { once }) => {
        if (starts === 0 || starts === acts.length) await once('charged', () => ++runs);
        return acts[starts++]?.(effects);
      }),
    ],
  });
  return {
    /** How long its effects are kept from now on, once it waits. */
    kept: async () => {
      await eventually(() => expect(starts).toBe(acts.length)); // It is delayed for a moment after each act before.
      await ends(all, id, 'delayed');
      return client.pttl(effects.key);
    },
    /** How often the effect has run once the job has ended, as if the wait were over. */
    runs: async () => {
      expect(await all.jobs.retry(id)).toEqual({ status: 'promoted' });
      await ends(all, id, 'completed');
      return runs;
    },
    info: () => ends(all, id, 'failed'),
  };
}

const toss = (error: unknown): never => {
  throw error;
};

describe('effects of a job', () => {
  test('that is put off for a year are there when it is due, and a month later', async () => {
    const { kept, runs } = await waiting('kept.postponed', { acts: [() => toss(postpone('365d'))] });
    expect(await kept()).toBeGreaterThan((365 + 29) * DAY);
    expect(await runs()).toBe(1);
  });

  test('outlive a long wait before the next attempt', async () => {
    const { kept, runs } = await waiting('kept.failed', { acts: [() => toss(new Error('no'))], backoffMs: 90 * DAY });
    expect(await kept()).toBeGreaterThan((90 + 29) * DAY);
    expect(await runs()).toBe(1);
  });

  test.each([
    ['put off', () => postpone('1h')],
    ['to be tried again', () => new Error('no')],
  ])('outlive a row of waits without a look at them, of a job that is %s', async (how, error) => {
    const acts = [
      () => toss(postpone(1)),
      async ({ client, key }: Effects) => {
        await client.pexpire(key, 5 * DAY); // What the waits have left of them.
        throw error();
      },
    ];
    const scene = await waiting(`kept.${how.replaceAll(' ', '-')}`, { acts, ageMs: 25 * DAY, backoffMs: 3_600_000 });
    expect(await scene.kept()).toBeGreaterThan(29 * DAY);
    expect(await scene.runs()).toBe(1);
  });

  test('of a young job with a short wait cost no command', async () => {
    const { kept } = await waiting('kept.young', { acts: [() => toss(postpone('1h'))] });
    const before = await commandCount([server], 'pexpire');
    expect(await kept()).toBeGreaterThan(30 * DAY);
    const again = await waiting('kept.again', { acts: [() => toss(postpone('2h'))] });
    await again.kept();
    // Storing them is one.
    expect((await commandCount([server], 'pexpire')) - before).toBeLessThanOrEqual(2);
  });
});

test('a server that does not answer for a moment is asked again to keep them; one that is gone is told of', async () => {
  const proxy = own(await startProxy(server.port));
  const client = own(createConnections({ url: proxy.url, commandTimeout: 300 })).commands();
  const key = 'effects-of-one';
  const keep = async (leaseMs: number): Promise<LogLine[]> => {
    const { log, warnings } = collectLog();
    const keeper = { client, clock: systemClock, keys: { ...createJobKeys('t'), once: () => key }, queue: 'q', log };
    await keepEffects({ ...keeper, leaseMs }, { id: 'one', timestamp: 0 }, 90 * DAY);
    return warnings();
  };
  await client.hset(key, 'charged', '1');
  await client.pexpire(key, DAY);
  proxy.freeze();
  expect(await keep(10)).toMatchObject([{ jobId: 'one', err: { code: 'REDIS_TIMEOUT' } }]);
  const keeping = keep(30_000);
  proxy.restore();
  proxy.cut();
  expect(await keeping).toEqual([]);
  expect(await client.pttl(key)).toBeGreaterThan(119 * DAY);
});

describe('a wait of over a year', () => {
  test('is refused where it is asked for, by a message with the bound', () => {
    expect(() => postpone('366d')).toThrow('postpone: expected at most 365 days, got "366d"');
    expect(() => postpone(365 * DAY + 1)).toThrow('365 days');
    expect(postpone('365d').facts).toEqual({ delayMs: 365 * DAY });
  });

  test('fails the attempt by that message, and loses nothing', async () => {
    const { info } = await waiting('kept.refused', {
      acts: Array.from({ length: 5 }, () => () => toss(postpone('400d'))),
    });
    const { history, reason } = await info();
    expect(reason).toContain('expected at most 365 days');
    expect(history.at(-1)).toMatchObject({ outcome: 'failed', error: { code: 'DURATION_INVALID' } });
  });
});
