/** What the second level costs the server: commands and round trips. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandCount } from '../support/command-count.ts';
import { ownedByTest } from '../support/owned.ts';
import { MINUTE, openSecondLevel, shown, type TestSecondLevel } from '../support/second-level.ts';
import { startCluster, startRedis, type TestServer } from '../support/servers.ts';

const SENT = ['mget', 'evalsha', 'eval', 'get', 'time', 'unlink', 'publish'] as const;

/** How often each command was run while `act` ran; those that scripts run count too. */
async function commandsOf(
  servers: readonly TestServer[],
  act: () => Promise<unknown>,
): Promise<Record<string, number>> {
  const count = async () => Promise.all(SENT.map((command) => commandCount(servers, command)));
  const before = await count();
  await act();
  const after = await count();
  const counts = SENT.map((command, index) => [command, (after[index] ?? 0) - (before[index] ?? 0)] as const);
  return Object.fromEntries(counts.filter(([, more]) => more > 0));
}

describe('on a single server', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());
  const own = ownedByTest();
  let opened = 0;
  const open = async (prefix = `t${++opened}`): Promise<TestSecondLevel> => {
    const level = own(openSecondLevel({ url: server.url }, { prefix }));
    // It connects, and learns the server's time, which it then knows for a second.
    await level.level.read('warm', 'warm');
    return level;
  };
  const during = (act: () => Promise<unknown>) => commandsOf([server], act);

  test('a hit is one command, with its tags', async () => {
    const writer = await open('hit');
    await writer.level.set('shop', 'a', 1, { ...MINUTE, tags: ['t', 'u', 'v'] });
    const { level } = await open('hit');
    const counts = await during(async () => expect(shown(await level.read('shop', 'a'))).toBe(1));
    expect(counts).toEqual({ mget: 1 });
  });

  test('the reads of one tick are one command or two, over all buckets and namespaces', async () => {
    const { level } = await open();
    const entries = Array.from({ length: 100 }, (_, index) => ({ key: `k${index}`, value: index }));
    await level.setMany('shop', entries, MINUTE);
    await level.setMany('else', entries, { ...MINUTE, tags: ['t'] });
    const readAll = (some: typeof entries) => () =>
      Promise.all(
        some.flatMap(({ key }) => [level.read('shop', key), level.read('else', key), level.read('shop', key)]),
      );
    expect(await during(readAll(entries.slice(0, 30)))).toEqual({ mget: 1 });
    expect(await during(readAll(entries))).toEqual({ mget: 2 });
  });

  test('the first of many reads are sent before the tick ends, so that the server looks for them meanwhile', async () => {
    const { level, connections } = await open();
    const entries = Array.from({ length: 100 }, (_, index) => ({ key: `k${index}`, value: index }));
    await level.setMany('shop', entries, MINUTE);
    const { commandQueue } = connections.commands() as unknown as { commandQueue: { length: number } };
    const sentOf = (count: number) => {
      const reads = entries.slice(0, count).map(({ key }) => level.read('shop', key));
      return { sent: commandQueue.length, reads: Promise.all(reads) };
    };
    const few = sentOf(30);
    expect((await few.reads).map(shown)).toEqual(entries.slice(0, 30).map(({ value }) => value));
    const many = sentOf(100);
    expect((await many.reads).map(shown)).toEqual(entries.map(({ value }) => value));
    expect([few.sent, many.sent]).toEqual([0, 1]);
  });

  test('the reads that follow on the answers of one tick are joined again', async () => {
    const { level } = await open();
    const readThrice = async (key: string): Promise<void> => {
      for (let round = 0; round < 3; round++) await level.read('shop', key);
    };
    const keys = Array.from({ length: 50 }, (_, index) => `k${index}`);
    expect(await during(() => Promise.all(keys.map(readThrice)))).toEqual({ mget: 3 });
  });

  test('reads of one key in one tick share one answer', async () => {
    const { level } = await open();
    await level.set('shop', 'a', { n: 1 }, MINUTE);
    const [one, two] = await Promise.all([level.read('shop', 'a'), level.read('shop', 'a')]);
    expect(one).toBe(two);
  });

  test('the time is asked for once a second', async () => {
    const { level } = await open();
    const counts = await during(async () => {
      const start = performance.now();
      while (performance.now() - start < 1_500) await level.read('shop', 'a');
    });
    expect(counts['time']).toBeGreaterThanOrEqual(1);
    expect(counts['time']).toBeLessThanOrEqual(2);
  });

  test('after an invalidation of another tag, the first read looks at the tags, and those that follow need not', async () => {
    const { level } = await open();
    await level.set('shop', 'a', 1, { ...MINUTE, tags: ['t', 'u'] });
    await level.invalidateTags('shop', ['other']);
    const read = async () => expect(shown(await level.read('shop', 'a'))).toBe(1);
    expect(await during(read)).toMatchObject({ evalsha: 1 });
    expect(await during(read)).toEqual({ mget: 1 });
    await level.invalidateTags('shop', ['u']);
    expect(shown(await level.read('shop', 'a'))).toBe('missing');
  });

  test('a clear and an invalidation cost as much for many values as for none', async () => {
    const { level } = await open();
    const entries = Array.from({ length: 1_000 }, (_, index) => ({ key: `k${index}`, value: index }));
    await level.setMany('shop', entries, { ...MINUTE, tags: ['t'] });
    expect(await during(() => level.clear('shop'))).toEqual({ unlink: 32, publish: 1 });
    expect(await during(() => level.invalidateTags('shop', ['t', 'u']))).toEqual({ unlink: 32, publish: 2 });
  });

  test('every key goes away by itself', async () => {
    const { level, leaseOf } = await open('expiring');
    await level.set('shop', 'a', 1, { ...MINUTE, tags: ['t'] });
    const lease = await leaseOf('shop', 'b', ['u']);
    await lease.capture(['v']);
    await leaseOf('shop', 'c', ['w']);
    await lease.store(1, { ...MINUTE, tags: ['u'] });
    const ttls = await server.ask(async (redis) => {
      const keys = await redis.keys('expiring:*');
      return Promise.all(keys.map(async (key) => ({ key, ttlMs: await redis.pttl(key) })));
    });
    expect(ttls.length).toBeGreaterThan(8);
    for (const { key, ttlMs } of ttls) {
      expect(ttlMs, key).toBeGreaterThan(0);
      expect(ttlMs, key).toBeLessThanOrEqual(3_600_000);
    }
  });

  test('a version lives as long as the longest-lived value that carries it', async () => {
    const { level, leaseOf } = await open('long');
    const how = { ...MINUTE, freshMs: 7_200_000, graceMs: 3_600_000, tags: ['t'] };
    await level.set('shop', 'a', 1, how);
    const lease = await leaseOf('shop', 'b', ['t']);
    await lease.store(1, how);
    await level.set('shop', 'a', 1, { ...MINUTE, tags: ['t'] });
    const versions = await server.ask(async (redis) => {
      const keys = await redis.keys('long:cache:*');
      const versionKeys = keys.filter((key) => /\}:(e|g|t:t)$/.test(key) && key.includes('{shop/'));
      return Promise.all(versionKeys.map((key) => redis.pttl(key)));
    });
    expect(versions).toHaveLength(6);
    for (const ttlMs of versions) expect(ttlMs).toBeGreaterThan(10_700_000);
  });
});

describe('on a Cluster', () => {
  let cluster: Awaited<ReturnType<typeof startCluster>>;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterAll(() => cluster.stop());
  const own = ownedByTest();

  test('the reads of one tick are one call a bucket', async () => {
    const { level } = own(openSecondLevel({ cluster: cluster.addresses }, { prefix: 'joined' }));
    const entries = Array.from({ length: 200 }, (_, index) => ({ key: `k${index}`, value: index }));
    await level.setMany('shop', entries, { ...MINUTE, tags: ['t'] });
    await Promise.all(entries.map(({ key }) => level.read('shop', key)));
    const counts = await commandsOf(cluster.nodes, async () => {
      const found = await Promise.all(entries.map(({ key }) => level.read('shop', key)));
      expect(found.map(shown)).toEqual(entries.map(({ value }) => value));
    });
    expect(counts).toMatchObject({ evalsha: 32, get: 200 });
  });
});
