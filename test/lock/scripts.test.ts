/** The scripts of a mutex where they race: hand-over, expiry, cancel, a lost answer, a holder put out. Each process here is pretended. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import type { AcquireHow, LockRequest, ReleaseHow } from '../../src/lock/lock-scripts.ts';
import { MutexScripts } from '../../src/lock/mutex-scripts.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { Guard } from '../../src/redis/guard.ts';
import { createKeySpace } from '../../src/redis/keys.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

let server: TestServer;
let connections: Connections;
let guard: Guard;
beforeAll(async () => {
  server = await startRedis();
  connections = createConnections({ url: server.url });
  guard = new Guard({ deadlineMs: 2_000, label: 'test' });
  await connections.commands().ping();
  for (const process of ['a', 'b']) await connections.subscriber().subscribe(`wake:${process}`);
});
afterAll(async () => {
  guard.close();
  await connections.close();
  await server.stop();
});

const keys = createKeySpace('millrace', 'lock');
/** The scripts as a process runs them; of `dead` ones nobody has subscribed the channel. */
const scriptsOf = (processId: string, countsReceivers = true): MutexScripts =>
  new MutexScripts({
    connections,
    keys,
    guard,
    clock: systemClock,
    waiting: { processId, channelPrefix: 'wake:', countsReceivers },
  });
let a: MutexScripts;
let b: MutexScripts;
let dead: MutexScripts;
beforeAll(() => {
  [a, b, dead] = [scriptsOf('a'), scriptsOf('b'), scriptsOf('dead')];
});

const queueing: AcquireHow = { again: false, mayQueue: true, look: true };
const asking: AcquireHow = { again: true, mayQueue: true, look: true };
const trying: AcquireHow = { again: false, mayQueue: false, look: true };
const inTime: ReleaseHow = { heldMs: 5, isInTime: true, again: false };
const late: ReleaseHow = { ...inTime, isInTime: false };
const again: ReleaseHow = { ...inTime, again: true };

let name = '';
let count = 0;
beforeEach(() => (name = `race-${++count}`));
const request = (waiterId: string, ttlMs = 5_000): LockRequest => ({ name, waiterId, ttlMs });

async function held(scripts: MutexScripts, who: LockRequest): Promise<number> {
  const answer = await scripts.acquire(who, queueing);
  if (answer.status !== 'granted') throw new Error(`expected a grant, got ${answer.status}`);
  return answer.token;
}
const lookAt = () => a.inspect(name, 10);
const holder = async (): Promise<string | undefined> => (await lookAt()).holder?.split('|', 2).join(' ');
const mustQueue = async (scripts: MutexScripts, who: LockRequest): Promise<void> =>
  expect((await scripts.acquire(who, queueing)).status).toBe('queued');

describe('an acquire that is asked again after a lost answer', () => {
  test('finds itself the holder, with its token and a new lease', async () => {
    const token = await held(a, request('m1', 60_000));
    await a.extend(request('m1', 60_000), token, 10_000); // As if most of it had gone by.
    expect((await lookAt()).leaseMs).toBeLessThanOrEqual(10_000);
    expect(await a.acquire(request('m1', 60_000), asking)).toMatchObject({ status: 'granted', token });
    expect((await lookAt()).leaseMs).toBeGreaterThan(10_000);
  });

  test('does not shorten a lease that was made longer meanwhile', async () => {
    const token = await held(a, request('m1', 3_000));
    await a.extend(request('m1', 3_000), token, 60_000);
    expect(await a.acquire(request('m1', 3_000), asking)).toMatchObject({ status: 'granted', token });
    expect(await a.watch(request('m1', 3_000))).toMatchObject({ status: 'granted', token });
    expect((await lookAt()).leaseMs).toBeGreaterThan(50_000);
  });

  test('finds itself in the queue, once', async () => {
    await held(a, request('m1'));
    await mustQueue(b, request('m2'));
    expect(await b.acquire(request('m2'), asking)).toMatchObject({ status: 'queued' });
    expect((await lookAt()).waiting).toBe(1);
  });

  test('finds that the lock was handed to it meanwhile', async () => {
    const token = await held(a, request('m1'));
    await mustQueue(b, request('m2'));
    await a.release(request('m1'), token, inTime);
    expect(await b.acquire(request('m2'), asking)).toMatchObject({ status: 'granted' });
    expect(await lookAt()).toMatchObject({ holder: expect.not.stringContaining('claim') as string });
  });

  test('of which a frozen server runs the first call last, leaves an entry that is given back', async () => {
    const token = await held(a, request('m1'));
    await mustQueue(a, request('m1'));
    const { granted } = await a.release(request('m1'), token, inTime);
    expect(granted).toMatchObject([{ waiterId: 'm1' }]);
    await a.cancel(request('m1', 1)); // As Waiting does for a waiter that it does not know, with another ttl.
    expect(await holder()).toBeUndefined();
  });
});

describe('a release', () => {
  test('gives the next of its own process the full lease and a greater token, and tells by the answer', async () => {
    const token = await held(a, request('m1'));
    await mustQueue(a, request('m2', 7_000));
    const { outcome, granted } = await a.release(request('m1'), token, { ...inTime, heldMs: 2.5 });
    expect({ outcome, granted }).toEqual({ outcome: 'released', granted: [{ waiterId: 'm2', token: token + 2_500 }] });
    expect((await lookAt()).leaseMs).toBeGreaterThan(6_500);
  });

  test('gives the next of another process a claim, which it confirms by looking', async () => {
    const token = await held(a, request('m1'));
    await mustQueue(b, request('m2', 9_000));
    expect(await a.release(request('m1'), token, inTime)).toMatchObject({ outcome: 'released', granted: [] });
    expect((await lookAt()).leaseMs).toBeLessThanOrEqual(2_000);
    const confirmed = await b.watch(request('m2', 9_000));
    expect(confirmed).toMatchObject({ status: 'granted' });
    expect((await lookAt()).leaseMs).toBeGreaterThan(8_500);
    expect(await b.watch(request('m2', 9_000))).toMatchObject({ status: 'granted' });
  });

  test('passes over the waiters of processes that are gone', async () => {
    const token = await held(a, request('m1'));
    for (let index = 0; index < 20; index++) await mustQueue(dead, request(`d${index}`));
    await mustQueue(a, request('m2'));
    const { granted } = await a.release(request('m1'), token, inTime);
    expect(granted).toMatchObject([{ waiterId: 'm2' }]);
  });

  test('leaves the lock free when only the dead wait', async () => {
    const token = await held(a, request('m1'));
    await mustQueue(dead, request('d1'));
    expect(await a.release(request('m1'), token, inTime)).toMatchObject({ outcome: 'released', granted: [] });
    expect(await lookAt()).toMatchObject({ holder: null, waiting: 0, lastToken: token });
  });

  test.each(['same', 'other'])('after it was put out changes nothing, while the %s process waits', async (where) => {
    const token = await held(a, request('m1'));
    expect(await b.force(name)).toBe(true);
    await held(b, request('m2', 3_000));
    await mustQueue(where === 'same' ? a : b, request('m3'));
    expect(await a.release(request('m1'), token, inTime)).toMatchObject({ outcome: 'stolen', granted: [] });
    expect(await holder()).toBe('b m2');
    const { leaseMs, waiters } = await lookAt();
    expect(waiters).toHaveLength(1);
    expect(leaseMs).toBeGreaterThan(2_000);
    expect(leaseMs).toBeLessThanOrEqual(3_000);
  });

  test.each([false, true])(
    'after it was put out leaves a lease that was made longer as it is (one waits: %s)',
    async (waits) => {
      const token = await held(a, request('m1'));
      expect(await b.force(name)).toBe(true);
      const next = await held(b, request('m2', 3_000));
      expect(await b.extend(request('m2', 3_000), next, 60_000)).toMatchObject({ isHeld: true });
      if (waits) await mustQueue(a, request('m3'));
      expect(await a.release(request('m1'), token, inTime)).toMatchObject({ outcome: 'stolen' });
      expect(await holder()).toBe('b m2');
      expect((await lookAt()).leaseMs).toBeGreaterThan(50_000);
      expect(await b.extend(request('m2', 3_000), next, 5_000)).toMatchObject({ isHeld: true });
      await a.release(request('m1'), token, inTime);
      expect((await lookAt()).leaseMs).toBeLessThanOrEqual(5_000);
      expect((await lookAt()).lastToken).toBe(next);
    },
  );

  test.each(['same', 'other'])('after the lease gives nothing away, while the %s process waits', async (where) => {
    const token = await held(a, request('m1', 30));
    const waiter = where === 'same' ? a : b;
    await mustQueue(waiter, request('m2'));
    await eventually(async () => expect(await holder()).toBeUndefined());
    expect(await a.release(request('m1', 30), token, inTime)).toMatchObject({ outcome: 'expired', granted: [] });
    expect(await a.release(request('m1', 30), token, late)).toMatchObject({ outcome: 'expired', granted: [] });
    expect(await holder()).toBeUndefined();
    expect(await waiter.watch(request('m2'))).toMatchObject({ status: 'granted' });
  });

  test('that is late but not too late hands over too', async () => {
    const token = await held(a, request('m1'));
    await mustQueue(a, request('m2'));
    expect(await a.release(request('m1'), token, late)).toMatchObject({
      outcome: 'released',
      granted: [{ waiterId: 'm2' }],
    });
  });

  test('that is asked again says released, and takes nothing from the next', async () => {
    const token = await held(a, request('m1'));
    await mustQueue(a, request('m2'));
    await mustQueue(a, request('m3'));
    await a.release(request('m1'), token, inTime);
    expect(await a.release(request('m1'), token, again)).toMatchObject({ outcome: 'released', granted: [] });
    // The first call, should a frozen server run it only now.
    expect(await a.release(request('m1'), token, inTime)).toMatchObject({ outcome: 'stolen' });
    expect(await holder()).toBe('a m2');
    expect((await lookAt()).waiters).toEqual(['a|m3|5000']);
  });

  test('that puts a claim back leaves it a claim', async () => {
    const first = await held(a, request('m1'));
    await mustQueue(b, request('m2', 9_000));
    await a.release(request('m1'), first, inTime);
    await mustQueue(a, request('m3'));
    expect(await a.release(request('m1'), first, inTime)).toMatchObject({ outcome: 'stolen' });
    const { leaseMs, holder: value } = await lookAt();
    expect(value).toContain('b|m2|9000|');
    expect(value).toContain('|claim');
    expect(leaseMs).toBeLessThanOrEqual(2_000);
  });
});

describe('a waiter that leaves', () => {
  test('is out of the queue', async () => {
    await held(a, request('m1'));
    await mustQueue(b, request('m2'));
    await b.cancel(request('m2'));
    await b.cancel(request('m2'));
    expect((await lookAt()).waiting).toBe(0);
    expect(await holder()).toBe('a m1');
  });

  test('just as it is handed the lock passes it on', async () => {
    const token = await held(a, request('m1'));
    await mustQueue(b, request('m2'));
    await mustQueue(b, request('m3'));
    await a.release(request('m1'), token, inTime);
    const { granted } = await b.cancel(request('m2'));
    expect(granted).toMatchObject([{ waiterId: 'm3' }]);
    expect(granted[0]?.token).toBeGreaterThan(token + 5_000);
    expect(await b.cancel(request('m2'))).toMatchObject({ granted: [] });
    expect(await holder()).toBe('b m3');
  });
});

describe('a look', () => {
  test('gives a lock whose lease has ended to the first in the queue, whoever looks', async () => {
    await held(a, request('m1', 500));
    await mustQueue(b, request('m2'));
    await mustQueue(a, request('m3'));
    await eventually(async () => expect(await holder()).toBeUndefined());
    expect(await a.watch(request('m3'))).toMatchObject({ status: 'queued' });
    expect(await holder()).toBe('b m2');
    expect(await b.watch(request('m2'))).toMatchObject({ status: 'granted' });
  });

  test('tells a waiter that it is forgotten', async () => {
    await held(a, request('m1'));
    expect(await b.watch(request('m2'))).toEqual({ status: 'gone' });
  });

  test('after one claim that was not confirmed passes over all waiters of that process', async () => {
    // On a Cluster nobody knows whether a message was heard.
    const clustered = scriptsOf('a', false);
    const token = await held(clustered, request('m1'));
    for (let index = 0; index < 20; index++) await mustQueue(dead, request(`d${index}`));
    await mustQueue(clustered, request('m2'));
    await clustered.release(request('m1'), token, inTime);
    expect(await holder()).toBe('dead d0');
    expect(await clustered.watch(request('m2'))).toMatchObject({ status: 'queued' });
    await eventually(async () => expect(await holder()).toBeUndefined(), 3_000);
    expect(await clustered.watch(request('m2'))).toMatchObject({ status: 'granted' });
    expect((await lookAt()).waiting).toBe(0);
  });

  test('after a confirmed holder has died passes over nobody', async () => {
    const token = await held(a, request('m1'));
    await mustQueue(b, request('m2', 50));
    await mustQueue(b, request('m3'));
    await a.release(request('m1'), token, inTime);
    expect(await b.watch(request('m2', 50))).toMatchObject({ status: 'granted' });
    await mustQueue(a, request('m4'));
    await eventually(async () => expect(await holder()).toBeUndefined());
    await a.watch(request('m4'));
    expect(await holder()).toBe('b m3');
  });
});

describe('who does not wait', () => {
  test('is refused while it is held, and while others wait for a free lock', async () => {
    await held(a, request('m1', 30));
    expect(await b.acquire(request('m2'), trying)).toEqual({ status: 'refused', isFree: false });
    await mustQueue(b, request('m3'));
    await eventually(async () => expect(await holder()).toBeUndefined());
    expect(await a.acquire(request('m4'), trying)).toEqual({ status: 'refused', isFree: true });
  });
});

describe('a token', () => {
  test('grows though the server is told to forget, and though its clock was ahead', async () => {
    const first = await held(a, request('m1'));
    await a.release(request('m1'), first, inTime);
    await server.ask((redis) => redis.del(keys(name, 'fence')));
    const second = await held(a, request('m2'));
    expect(second).toBeGreaterThan(first);
    await a.release(request('m2'), second, inTime);
    const ahead = second + 3_600_000_000;
    await server.ask((redis) => redis.set(keys(name, 'fence'), ahead));
    expect(await held(a, request('m3'))).toBe(ahead + 1);
  });

  test('is never ahead of the clock by hand-overs', async () => {
    let token = await held(a, request('w0'));
    let since = performance.now();
    for (let round = 1; round <= 200; round++) {
      await mustQueue(a, request(`w${round}`));
      const heldMs = performance.now() - since;
      const { granted } = await a.release(request(`w${round - 1}`), token, { heldMs, isInTime: true, again: false });
      since = performance.now();
      expect(granted[0]?.token).toBeGreaterThan(token);
      token = granted[0]?.token ?? 0;
    }
    const [seconds, micros] = await server.ask((redis) => redis.time());
    expect(token).toBeLessThanOrEqual(Number(seconds) * 1_000_000 + Number(micros));
  });
});

test('every key of a lock expires', async () => {
  const token = await held(a, request('m1'));
  await mustQueue(b, request('m2'));
  await a.extend(request('m1'), token, 5_000);
  const ttls = await server.ask((redis) =>
    Promise.all(['', 'queue', 'fence'].map((part) => redis.pttl(part === '' ? keys(name) : keys(name, part)))),
  );
  expect(ttls.every((ttl) => ttl > 0)).toBe(true);
});
