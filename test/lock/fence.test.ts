import { expect, test } from 'vitest';
import { Fence } from '../../src/lock/fence.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { Guard } from '../../src/redis/guard.ts';
import { createKeySpace } from '../../src/redis/keys.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type StartOptions, type TestServer } from '../support/servers.ts';

const own = ownedByTest();
const keys = createKeySpace('test', 'lock');
/** Microseconds since 1970, as tokens are. */
const NOW = 1_763_689_012_345_678;

async function fenceOn(options: StartOptions = {}): Promise<{ server: TestServer; fence: Fence; other: Fence }> {
  const server = own(await startRedis(options));
  const connections = own(createConnections({ url: server.url, commandTimeout: 500 }));
  await connections.commands().ping();
  const guard = new Guard({ deadlineMs: 1_000, label: server.url });
  own({ close: async () => guard.close() });
  const parts = { connections, keys, guard };
  return { server, fence: new Fence(parts, 'ledger'), other: new Fence(parts, 'catalogue') };
}

test('a fence accepts newer tokens and the newest again, and refuses older ones', async () => {
  const { fence, other } = await fenceOn();
  expect(await fence.check(NOW)).toEqual({ accepted: true, latest: NOW });
  expect(await fence.check(NOW)).toEqual({ accepted: true, latest: NOW });
  expect(await fence.check(NOW + 1)).toEqual({ accepted: true, latest: NOW + 1 });
  expect(await fence.check(NOW)).toEqual({ accepted: false, latest: NOW + 1 });
  expect(await fence.check(0)).toEqual({ accepted: false, latest: NOW + 1 });
  expect(await other.check(NOW)).toEqual({ accepted: true, latest: NOW });
});

test('a fence remembers over a restart', async () => {
  const { server, fence } = await fenceOn({ persistent: true, config: { appendfsync: 'always' } });
  await fence.check(NOW);
  await server.kill();
  await server.startAgain();
  await expect.poll(() => fence.check(NOW - 1).catch(() => 'not yet')).toEqual({ accepted: false, latest: NOW });
  expect(await fence.check(NOW + 1)).toEqual({ accepted: true, latest: NOW + 1 });
});

test('of many tokens that come at once, none passes after a newer one', async () => {
  const { fence } = await fenceOn();
  const tokens = Array.from({ length: 500 }, (_, index) => NOW + ((index * 7_919) % 500));
  // All go by one connection, so they are answered in the order in which the server took them.
  const verdicts = await Promise.all(tokens.map((token) => fence.check(token)));
  let newest = 0;
  for (const [index, { accepted, latest }] of verdicts.entries()) {
    const token = tokens[index] ?? 0;
    expect(accepted).toBe(token >= newest);
    newest = Math.max(newest, token);
    expect(latest).toBe(newest);
  }
});

test('a fence is remembered for a week after anybody came, also after one that it refused', async () => {
  const { server, fence } = await fenceOn();
  await server.ask(async (redis) => {
    const week = 7 * 86_400_000;
    await fence.check(NOW);
    expect(await redis.pttl('test:lock:{ledger}:checked')).toBeGreaterThan(week - 10_000);
    await redis.pexpire('test:lock:{ledger}:checked', 5_000);
    await fence.check(NOW - 1);
    expect(await redis.pttl('test:lock:{ledger}:checked')).toBeGreaterThan(week - 10_000);
  });
});

test('what is no token is refused before Redis is asked', async () => {
  const { fence } = await fenceOn();
  for (const token of [Number.NaN, -1, 1.5, 2 ** 53, '12' as unknown as number]) {
    const error = await failureOf(fence.check(token), 'OPTIONS_INVALID');
    expect(error.message).toMatch(/^fence ledger: expected the token of a lock, got /);
  }
});

test('nobody passes a fence that cannot be asked', async () => {
  const { server, fence } = await fenceOn();
  server.freeze();
  const error = await failureOf(fence.check(NOW), 'LOCK_UNAVAILABLE');
  expect(error).toMatchObject({ facts: { resource: 'ledger', fence: NOW }, cause: { code: 'REDIS_TIMEOUT' } });
  server.thaw();
});
