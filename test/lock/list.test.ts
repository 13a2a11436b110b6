/** The list of all locks that are held or waited for, as operators see it. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LockListing, ListedLock } from '../../src/lock/list.ts';
import type { Locks } from '../../src/lock/locks.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { startCluster, startRedis, type TestCluster, type TestServer } from '../support/servers.ts';
import { ownedLocks } from './own-locks.ts';

const HOUR = '1h';

let server: TestServer;
let cluster: TestCluster;
beforeAll(async () => {
  [server, cluster] = await Promise.all([startRedis(), startCluster({ replicas: false })]);
});
afterAll(() => Promise.all([server.stop(), cluster.stop()]));

const locksOf = ownedLocks();
const namesOf = ({ locks }: LockListing): string[] => locks.map(({ name }) => name);

describe.each<[string, () => RedisOptions]>([
  ['a single server', () => ({ url: server.url })],
  ['a Cluster', () => ({ cluster: cluster.addresses })],
])('on %s', (what, redis) => {
  const prefix = what.replaceAll(' ', '-');
  const fresh = (): Locks => locksOf(redis(), { prefix, deadline: '20s' }).locks;

  test('it tells of mutexes, semaphores and read-write locks of all processes, and of nothing else', async () => {
    const [mine, others, operator] = [fresh(), fresh(), fresh()];
    await (await mine.acquire('let-go')).release();
    await mine.fence('ledger').check(1);
    const strange = 'report {7}: 100%';
    await using held = await mine.acquire(strange, { ttl: HOUR });
    const waiting = others.acquire(strange, { ttl: HOUR, wait: HOUR });
    await using exports = await others.semaphore('exports', { permits: 5 }).acquire({ weight: 2, ttl: HOUR });
    await using one = await mine.readWrite('prices').acquireRead({ ttl: HOUR });
    await using two = await others.readWrite('prices').acquireRead({ ttl: HOUR });

    const list = await eventually(async () => {
      const all = await operator.list();
      expect(all.locks[0]).toMatchObject({ name: strange, waiting: 1 });
      return all;
    });
    expect(list).toMatchObject({ isWhole: true, cursor: undefined });
    expect(namesOf(list)).toEqual([strange, 'exports', 'prices']);
    const [mutex, semaphore, readWrite] = list.locks as [ListedLock, ListedLock, ListedLock];
    expect(mutex).toMatchObject({ kind: 'mutex', holding: 1, holders: [{ token: held.token, mode: 'exclusive' }] });
    expect(mutex.holders[0]!.remainingMs).toBeGreaterThan(3_500_000);
    expect(mutex.holders[0]!.heldMs).toBeLessThan(60_000);
    expect(semaphore).toMatchObject({ kind: 'semaphore', waiting: 0, holders: [{ mode: 'permits', permits: 2 }] });
    expect(semaphore.holders[0]!.heldMs).toBeLessThan(60_000);
    expect(readWrite).toMatchObject({ kind: 'read-write', holding: 2, holders: [{ mode: 'read' }, { mode: 'read' }] });
    expect(new Set(readWrite.holders.map(({ token }) => token))).toEqual(new Set([one.token, two.token]));
    expect(exports.held).toBe(true);

    await held.release();
    await using next = await waiting;
    expect((await operator.list()).locks.find(({ name }) => name === strange)).toMatchObject({
      waiting: 0,
      holders: [{ token: next.token }],
    });
  });

  test('it goes on where the page before has ended, until every lock was told of', async () => {
    const locks = fresh();
    const names = Array.from({ length: 700 }, (_, index) => `page/${index}`);
    const set = await Promise.all(names.map((name) => locks.acquire(name, { ttl: HOUR, autoExtend: false })));
    const seen = new Set<string>();
    let pages = 0;
    for (let cursor: string | undefined; ; pages++) {
      const page = await locks.list({ limit: 100, cursor });
      expect(page.isWhole).toBe(page.cursor === undefined);
      for (const name of namesOf(page)) seen.add(name);
      if (page.isWhole) break;
      cursor = page.cursor;
    }
    expect(pages).toBeGreaterThan(0);
    expect([...seen].toSorted()).toEqual(names.toSorted());
    await Promise.all(set.map((lock) => lock.release()));
    expect(await locks.list()).toEqual({ locks: [], isWhole: true, cursor: undefined });
  });
});

test('it looks at so many keys and no more, and says that it is not whole', async () => {
  const { locks, connections } = locksOf({ url: server.url }, { prefix: `crowded-${randomUUID()}`, deadline: '20s' });
  const client = connections.commands();
  const populate = "for at = 1, 30000 do redis.call('SET', ARGV[1] .. at, '') end";
  for (const part of ['a', 'b', 'c', 'd']) await client.eval(populate, 0, `other:${part}:`);
  await using held = await locks.acquire('somewhere', { ttl: HOUR });
  const found: string[] = [];
  let pages = 0;
  for (let cursor: string | undefined, isWhole = false; !isWhole; pages++) {
    const page = await locks.list({ cursor });
    found.push(...namesOf(page));
    ({ cursor, isWhole } = page);
  }
  expect(pages).toBeGreaterThan(1);
  expect(found).toEqual(['somewhere']);
  expect(held.held).toBe(true);
});

test('a signal ends it, options are checked, and a server that is away is told of', async () => {
  const { locks } = locksOf({ url: server.url });
  await expect(locks.list({ signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone');
  expect((await failureOf(locks.list({ limit: 0 }), 'OPTIONS_INVALID')).message).toContain('limit');
  expect((await failureOf(locks.list({ cursor: 'x' }), 'OPTIONS_INVALID')).message).toContain('cursor');
  const away = locksOf({ url: 'redis://127.0.0.1:1' }, { deadline: '200ms' }).locks;
  await failureOf(away.list(), 'LOCK_UNAVAILABLE');
});
