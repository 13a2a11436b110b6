/** Locks of real processes: killed, paused, and with clocks that are an hour apart. */
import { describe, expect, test } from 'vitest';
import { ownedLocks } from '../lock/own-locks.ts';
import { startChild, type Child } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import { timed } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const isLong = process.env['FAULTS'] === 'long';
const ROUNDS = isLong ? 2_500 : 150;
const HOUR_MS = 3_600_000;

const own = ownedByTest();
const locksOf = ownedLocks();
const start = (server: TestServer, ...args: Array<string | number>): Child =>
  own(startChild('lock-process', [server.url, 'shared', ...args.map(String)]));

test('processes whose clocks are hours apart exclude each other, and tokens grow', { timeout: 300_000 }, async () => {
  const server = own(await startRedis());
  const children = [0, HOUR_MS, -HOUR_MS].map((aheadMs) => start(server, 'contend', ROUNDS, aheadMs));
  await Promise.all(children.map((child) => child.says('done', 250_000)));
  expect(await Promise.all(children.map(({ ended }) => ended))).toEqual([0, 0, 0]);
  const [count, tokens] = await server.ask(async (redis) => [
    Number(await redis.get('shared:count')),
    (await redis.lrange('shared:tokens', 0, -1)).map(Number),
  ]);
  expect(count).toBe(3 * ROUNDS);
  expect(tokens).toHaveLength(3 * ROUNDS);
  expect(tokens.filter((token, at) => at > 0 && token <= (tokens[at - 1] ?? 0))).toEqual([]);
});

describe('a process that is killed', () => {
  test('while it holds frees the lock with its lease', async () => {
    const server = own(await startRedis());
    const { locks } = locksOf({ url: server.url });
    const holder = start(server, 'hold', 1_500);
    const token = Number(await holder.says('holding '));
    holder.signal('SIGKILL');
    await holder.ended;
    const { value, ms } = await timed(locks.acquire('shared'));
    expect(ms).toBeLessThan(1_700);
    expect(value.token).toBeGreaterThan(token);
    await value.release();
  });

  test('while 20 of its waiters stand in the queue holds nobody up', async () => {
    const server = own(await startRedis());
    const { locks } = locksOf({ url: server.url });
    const lock = await locks.acquire('shared');
    const waiter = start(server, 'wait', 20);
    await waiter.says('waiting');
    const next = locks.acquire('shared', { wait: '60s' });
    await eventually(async () => expect((await locks.inspect('shared')).waiting).toBe(21));
    waiter.signal('SIGKILL');
    await waiter.ended;
    await eventually(async () => {
      const channels = await server.ask((redis) => redis.call('PUBSUB', 'CHANNELS', '*:lock:wake:*'));
      expect(channels).toHaveLength(1);
    });
    const { value, ms } = await timed(lock.release().then(() => next));
    expect(ms).toBeLessThan(500);
    await value.release();
  });
});

describe('a process that is paused', () => {
  test('past its lease learns of it when it goes on, and the fence refuses it', async () => {
    const server = own(await startRedis());
    const { locks } = locksOf({ url: server.url });
    const holder = start(server, 'hold', 600);
    const token = Number(await holder.says('holding '));
    holder.signal('SIGSTOP');
    const lock = await locks.acquire('shared');
    expect(lock.token).toBeGreaterThan(token);
    expect(await locks.fence('shared').check(lock.token)).toEqual({ accepted: true, latest: lock.token });
    holder.signal('SIGCONT');
    expect(await holder.says('lost ')).toBe('LOCK_LOST');
    expect(await holder.says('fence ')).toBe('false');
    expect(await lock.release()).toBe('released');
  });

  test('with 20 waiters in the queue costs one claim, and is served when it goes on', async () => {
    const server = own(await startRedis());
    const { locks } = locksOf({ url: server.url });
    const lock = await locks.acquire('shared');
    const waiter = start(server, 'wait', 20);
    await waiter.says('waiting');
    const next = locks.acquire('shared', { wait: '60s' });
    await eventually(async () => expect((await locks.inspect('shared')).waiting).toBe(21));
    waiter.signal('SIGSTOP');
    const { value, ms } = await timed(lock.release().then(() => next));
    expect(ms).toBeGreaterThan(1_500);
    expect(ms).toBeLessThan(4_000);
    waiter.signal('SIGCONT');
    await value.release();
    await waiter.says('served');
  });
});
