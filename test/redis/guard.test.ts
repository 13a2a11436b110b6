import { afterEach, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import type { MillraceError } from '../../src/errors.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { Guard, type GuardOptions } from '../../src/redis/guard.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';

const own = ownedByTest();
const guards: Guard[] = [];
afterEach(() => {
  for (const guard of guards.splice(0)) guard.close();
});

const fails = (message: string) => () => Promise.reject(new Error(message));

const throws = (): never => {
  throw new Error('Connection is closed.');
};

function guardOf(options: Partial<GuardOptions> = {}): Guard {
  const guard = new Guard({ deadlineMs: 100, failures: 3, pauseMs: 200, label: 'Redis', ...options });
  guards.push(guard);
  return guard;
}

test('a frozen server costs a few deadlines, then nothing, and is noticed when it is back', async () => {
  const server = own(await startRedis());
  const redis = own(createConnections({ url: server.url })).commands();
  await redis.ping();
  const told: string[] = [];
  const guard = guardOf({ onOpen: ({ code }) => told.push(code), onClose: () => told.push('closed') });
  const ping = (): Promise<string> => guard.run(() => redis.ping());
  expect(await ping()).toBe('PONG');

  server.freeze();
  for (let call = 0; call < 3; call++) await failureOf(ping(), 'REDIS_TIMEOUT');
  expect(guard.isOpen).toBe(true);
  const { ms } = await timed(failureOf(ping(), 'REDIS_TIMEOUT'));
  expect(ms).toBeLessThan(100); // A deadline.

  server.thaw();
  await eventually(async () => expect(await ping()).toBe('PONG'));
  expect(guard.isOpen).toBe(false);
  expect(told).toEqual(['REDIS_TIMEOUT', 'closed']);
});

test('one call tries while the others are refused', async () => {
  let nowMs = 0;
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const guard = guardOf({ failures: 1, pauseMs: 50, clock });
  await failureOf(guard.run(fails('connect ECONNREFUSED')), 'REDIS_UNREACHABLE');
  let tries = 0;
  const { opened, open } = gate<string>();
  const tried = (): Promise<string> => {
    tries++;
    return opened;
  };
  nowMs = 49;
  await failureOf(guard.run(tried), 'REDIS_UNREACHABLE');
  expect(tries).toBe(0);
  nowMs = 50; // The pause is over.
  const outcomes = Promise.allSettled([guard.run(tried), guard.run(tried), guard.run(tried)]);
  open('back');
  expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
  expect(tries).toBe(1);
  expect(await guard.run(tried)).toBe('back');
});

test("an answer that is an error of the call's own keeps it closed", async () => {
  const guard = guardOf({ failures: 1 });
  await failureOf(
    guard.run(() => Promise.reject(new Error('WRONGTYPE Operation against a key'))),
    'REDIS_FAILED',
  );
  expect(guard.isOpen).toBe(false);
});

test('a call that throws at once is told as one that fails, and nobody waits for it', async () => {
  const guard = guardOf({ failures: 1 });
  const failures: string[] = [];
  const tell = ({ code }: MillraceError): number => failures.push(code);
  guard.watch(throws, () => expect.unreachable(), tell);
  await failureOf(guard.run(throws), 'REDIS_UNREACHABLE');
  expect(failures).toEqual(['REDIS_UNREACHABLE']);
  expect(guard.isOpen).toBe(false); // Nothing was sent.
});

test('the failure that it tells is the last one that it met', async () => {
  const guard = guardOf({ failures: 2 });
  await failureOf(guard.run(fails('connect ECONNREFUSED')), 'REDIS_UNREACHABLE');
  await failureOf(guard.run(fails('LOADING Redis is loading the dataset in memory')), 'REDIS_NOT_READY');
  await failureOf(guard.run(fails('connect ECONNREFUSED')), 'REDIS_NOT_READY');
});

test('closing ends what is under way', async () => {
  const guard = guardOf({ deadlineMs: 60_000 });
  const call = guard.run(() => new Promise(() => undefined));
  guard.close();
  await failureOf(call, 'CLOSED');
  expect(guard.isOpen).toBe(false);
});

test('an answer that came while the event loop was blocked is not too late', async () => {
  const server = own(await startRedis());
  const redis = own(createConnections({ url: server.url })).commands();
  await redis.ping();
  const guard = guardOf({ deadlineMs: 50 });
  const answer = guard.run(() => redis.ping());
  await new Promise((resolve) => setImmediate(resolve)); // It is sent.
  const untilMs = performance.now() + 300;
  while (performance.now() < untilMs); // The answer comes, and nobody can read it.
  expect(await answer).toBe('PONG');
});
