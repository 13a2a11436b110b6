/** What a lock costs in Redis, counted by the server, inside scripts too. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Locks } from '../../src/lock/locks.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLocks } from './own-locks.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const locksOf = ownedLocks();

const take = async (owner: Locks): Promise<unknown> => (await owner.acquire('free')).release();

/** All commands that the server ran, but for those of who counts and of who connects. */
async function commands(): Promise<Map<string, number>> {
  const text = await server.ask((redis) => redis.info('commandstats'));
  const counts = new Map<string, number>();
  for (const [, name = '', calls] of text.matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)) {
    if (!/^(?:info|client|hello|ping|auth|select|command|config|cluster|unsubscribe|subscribe|quit)\b/.test(name)) {
      counts.set(name, Number(calls));
    }
  }
  return counts;
}

async function counted(act: () => Promise<unknown>): Promise<Record<string, number>> {
  const before = await commands();
  await act();
  const spent: Record<string, number> = {};
  for (const [name, calls] of await commands()) {
    const more = calls - (before.get(name) ?? 0);
    if (more > 0) spent[name] = more;
  }
  return spent;
}

const sum = (counts: Record<string, number>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0);

test('a hand-over costs five commands: a release and an acquire that queues', async () => {
  const { locks } = locksOf({ url: server.url });
  await locks.using('warm', () => undefined);
  const contend = async (rounds: number): Promise<void> => {
    for (let round = 0; round < rounds; round++) await (await locks.acquire('busy')).release();
  };
  const first = await locks.acquire('busy');
  // So many wait that the queue never runs empty while it is counted.
  const standing = Array.from({ length: 10 }, () => contend(60));
  await eventually(async () => expect((await locks.inspect('busy')).waiting).toBe(10));
  const spent = await counted(async () => {
    await first.release();
    await Promise.all(standing);
  });
  // Of 600 hand-overs the last ten have a shorter queue behind them.
  expect(spent['evalsha']).toBeLessThanOrEqual(2 * 600 + 12);
  expect(sum(spent) / 600).toBeLessThanOrEqual(5.05);
  expect(spent['publish']).toBeUndefined();
  const steady = sum(spent) - 10 * 12;
  expect(steady / 600).toBeLessThanOrEqual(5);
});

test('a free lock is two round trips, acquire and release, and nothing else', async () => {
  const { locks } = locksOf({ url: server.url });
  await take(locks);
  const spent = await counted(async () => {
    for (let round = 0; round < 100; round++) await take(locks);
  });
  expect(spent['evalsha']).toBe(200);
  expect(sum(spent)).toBe(800); // Six of each eight are steps within the two scripts.
});

test('who only waits asks about once a second, however many wait', async () => {
  const { locks } = locksOf({ url: server.url });
  const lock = await locks.acquire('long');
  const waiting = Array.from({ length: 50 }, () => locks.using('long', () => undefined));
  await eventually(async () => expect((await locks.inspect('long')).waiting).toBe(50));
  const spent = await counted(() => new Promise((resolve) => setTimeout(resolve, 2_500)));
  expect(spent['evalsha']).toBeGreaterThanOrEqual(2);
  expect(spent['evalsha']).toBeLessThanOrEqual(3);
  await lock.release();
  await Promise.all(waiting);
});
