/** Sessions that end after a change of the password, and what is left of those that have run out. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createConnections,
  createPlatform,
  createSessions,
  handle,
  type Platform,
  type RealmOptions,
  type RedisOptions,
} from '../../src/index.ts';
import {
  createSessionRevokeUserHandler,
  createSessionSweepHandler,
  readStockEnv,
  sessionRevokeUser,
  sessionSweep,
  stockHandlers,
  type SweepResult,
} from '../../workers/index.ts';
import { sweepKeys } from '../../workers/session/sweep-keys.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startCluster, startRedis, type TestServer } from '../support/servers.ts';
import { ends, faultsOf, impatient, letterOf, QUICK, startPlatform } from './scene.ts';

const own = ownedByTest();
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

const pepper = 'a pepper that nobody guesses';

describe('session.revoke-user', () => {
  test('ends the sessions of the user in all realms but the one that stays; a retry leaves who has signed in since', async () => {
    const app = await startPlatform(own, redis.url);
    const { prefix } = app;
    const [web, admin] = [
      app.sessions.realm('web', { secret: pepper }),
      app.sessions.realm('admin', { secret: pepper }),
    ];
    const [here, there, above, other] = [
      await web.create('ada'),
      await web.create('ada'),
      await admin.create('ada'),
      await web.create('bob'),
    ];
    const worker = await startPlatform(own, redis.url, { prefix });
    const revoke = createSessionRevokeUserHandler({ realms: { web: { secret: pepper }, admin: { secret: pepper } } });
    let since: string | undefined;
    const losing = handle(revoke.contract, async (input, context) => {
      const result = await revoke.run(input, context);
      if (context.job.attempt > 1) return result;
      since = (await web.create('ada')).token;
      throw new Error('the answer was lost');
    });
    await worker.work({ ...QUICK, handlers: [impatient(losing)] });
    const { id } = await app.jobs.enqueue(sessionRevokeUser, { userId: 'ada', except: here.session.id });
    expect((await ends(app, id, 'completed')).result).toEqual({ ended: 2, realms: { web: 1, admin: 1 } });
    const tokens = [here.token, since ?? '', other.token, there.token];
    const checked = await Promise.all(tokens.map((token) => web.validate(token)));
    expect(checked.map(({ ok }) => ok)).toEqual([true, true, true, false]);
    expect((await admin.validate(above.token)).ok).toBe(false);
  });

  test('an unknown realm is a dead letter, a bad input is refused, and no fault tells a pepper', async () => {
    const platform = await startPlatform(own, redis.url);
    await platform.work({ ...QUICK, handlers: [createSessionRevokeUserHandler({ realms: { web: {} } })] });
    const { id } = await platform.jobs.enqueue(sessionRevokeUser, { userId: 'ada', realm: 'nope' });
    expect((await letterOf(platform, id)).error.message).toBe('there is no realm nope; this worker has: web');
    const token = `v1.${'a'.repeat(22)}.${'b'.repeat(22)}.${'c'.repeat(44)}`;
    expect(await faultsOf(sessionRevokeUser, { userId: '', except: token })).toEqual(['userId', 'except']);
    const short: RealmOptions = { secret: 'short-pepper' };
    const make = (): unknown => createSessionRevokeUserHandler({ realms: { web: short } });
    expect(make).toThrow(/realms\.web: .*secret/);
    expect(make).not.toThrow(/short-pepper/);
    const { settings, configuration } = readStockEnv({
      REDIS_URL: redis.url,
      MILLRACE_SESSION_REALMS: 'web, admin',
      MILLRACE_SESSION_SECRET: pepper.replaceAll(' ', '-'),
      MILLRACE_SESSION_SWEEP_EVERY: '1d',
    });
    const stock = stockHandlers(settings);
    expect(stock.summary).toEqual(expect.arrayContaining(['session.revoke-user: runs', 'session.sweep: runs']));
    expect(stock.schedules.map((one) => one.id)).toEqual(['session.sweep']);
    expect(configuration.platform.log).toMatchObject({
      secrets: expect.arrayContaining([pepper.replaceAll(' ', '-')]) as string[],
    });
    expect(() => readStockEnv({ MILLRACE_SESSION_SECRET: pepper })).toThrow(/MILLRACE_SESSION_REALMS: expected it/);
  });
});

/** A platform that keeps sessions as servers without field TTL do, one session without an index, and an entry without a session. */
async function scene(address: RedisOptions): Promise<{ platform: Platform; lost: string; kept: string }> {
  const prefix = `sweep-${crypto.randomUUID()}`;
  const platform = own(
    createPlatform({ redis: address, prefix, sessions: { layout: 'keys' }, log: { level: 'silent' } }),
  );
  await platform.start();
  const web = platform.sessions.realm('web');
  const [lost, kept] = [await web.create('ada'), await web.create('bob')];
  const commands = platform.redis.commands();
  const indexOf = (id: string): string => `${prefix}:session:{${id.slice(0, 22)}}:web:ids`;
  expect(await commands.del(indexOf(lost.session.id))).toBe(1); // As an eviction does.
  await commands.zadd(indexOf(kept.session.id), 1, 'x'.repeat(22)); // It has run out, and nobody has looked since.
  await commands.hset(`${prefix}:session:{${'s'.repeat(43)}}:store:ids`, 'data', 'of another store');
  return { platform, lost: lost.token, kept: kept.token };
}

describe('session.sweep', () => {
  test('ends sessions that no index knows, takes out entries without a session, in runs that are bounded, and doubles none', async () => {
    const { platform, lost, kept } = await scene({ url: redis.url });
    const commands = platform.redis.commands();
    await Promise.all(
      Array.from({ length: 1_500 }, (_none, at) => commands.set(`${platform.prefix}:filler:${at}`, '')),
    );
    const options = { redis: () => platform.redis, prefix: platform.prefix, layout: 'keys', most: 500 } as const;
    const sweep = createSessionSweepHandler(options);
    const runs: SweepResult[] = [];
    const losing = handle(sweep.contract, async (input, context) => {
      runs.push((await sweep.run(input, context)) as SweepResult);
      if (context.job.attempt === 1) throw new Error('the answer was lost');
      return runs.at(-1);
    });
    await platform.work({ ...QUICK, handlers: [impatient(losing)] });
    await platform.jobs.enqueue(sessionSweep, {});
    await eventually(async () => {
      expect(runs.filter(({ goesOn }) => !goesOn)).toHaveLength(2); // Each job runs twice, and a retry adds no second one.
      expect(await platform.jobs.counts('session')).toMatchObject({
        completed: runs.length / 2,
        waiting: 0,
        active: 0,
      });
    });
    expect(runs.length).toBeGreaterThanOrEqual(6);
    for (const what of ['forgotten', 'orphans'] as const)
      expect(
        runs.reduce((sum, run) => sum + run[what], 0),
        what,
      ).toBe(1);
    const web = platform.sessions.realm('web');
    expect([(await web.validate(lost)).ok, (await web.validate(kept)).ok]).toEqual([false, true]);
  });

  test('looks at each master of a Cluster', async () => {
    const cluster = own(await startCluster({ replicas: false }));
    const connections = own(createConnections({ cluster: cluster.addresses }));
    const sessions = own(createSessions(connections, { layout: 'keys', prefix: 'on-cluster' }));
    const web = sessions.realm('web');
    const users = Array.from({ length: 12 }, (_none, at) => `user ${at}`);
    const begun = await Promise.all(users.map((user) => web.create(user)));
    for (const { session } of begun.slice(0, 6))
      await connections.commands().del(`on-cluster:session:{${session.id.slice(0, 22)}}:web:ids`);
    const { signal } = new AbortController();
    const sums = { indexes: 0, orphans: 0 };
    let cursor: string | undefined;
    do {
      const where = { redis: connections, prefix: 'on-cluster' };
      const { counts, next } = await sweepKeys(where, { cursor, most: 1, signal, onStep: () => undefined });
      sums.indexes += counts.indexes;
      sums.orphans += counts.orphans;
      cursor = next;
    } while (cursor !== undefined);
    expect(sums).toEqual({ indexes: 6, orphans: 6 });
    const checked = await Promise.all(begun.map(({ token }) => web.validate(token)));
    expect(checked.filter(({ ok }) => ok)).toHaveLength(6);
  });

  test('does nothing where the server expires fields, over a connection of its own', async () => {
    const platform = await startPlatform(own, redis.url);
    await platform.work({ ...QUICK, handlers: [createSessionSweepHandler({ redis: { url: redis.url } })] });
    expect(await platform.jobs.enqueueAndWait(sessionSweep, {})).toMatchObject({ needed: false, scanned: 0 });
    const redisOptions = { url: 'http://x:horse@y' };
    const wrong = (): unknown => createSessionSweepHandler({ redis: redisOptions });
    expect(wrong).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }));
    expect(wrong).not.toThrow(/horse/);
  });
});
