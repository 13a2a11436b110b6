import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/clock.ts';
import { createConnections, type Connections } from '../../../src/redis/connect.ts';
import { eventually } from '../../support/eventually.ts';
import { startRedis, type TestServer } from '../../support/servers.ts';
import { PretendedProcess, WAKE_PREFIX, type Pretence } from './pretended-process.ts';

let server: TestServer;
let connections: Connections;
beforeAll(async () => {
  server = await startRedis();
  connections = createConnections({ url: server.url });
  await connections.commands().ping();
});
afterAll(async () => {
  await connections.close();
  await server.stop();
});

let lastName = 0;
const processes = (pretence: Pretence = {}): { a: PretendedProcess; b: PretendedProcess } => {
  const name = `exports/${++lastName}`;
  const process = (id: string): PretendedProcess => new PretendedProcess(connections.commands(), id, name, pretence);
  return { a: process('a'), b: process('b') };
};

/** What a process is told while `act` runs. */
async function toldTo(process: PretendedProcess, act: () => Promise<unknown>): Promise<string[]> {
  return server.ask(async (subscriber) => {
    const told: string[] = [];
    subscriber.on('message', (_channel, text) => told.push(text));
    await subscriber.subscribe(WAKE_PREFIX + process.id, 'end');
    await act();
    await connections.commands().publish('end', 'end');
    await eventually(() => expect(told).toContain('end'));
    return told.filter((text) => text !== 'end');
  });
}

describe('permits', () => {
  test('are granted while there are some; then one waits, and none is granted above the number', async () => {
    const { a, b } = processes({ permits: 3 });
    expect(await a.statusOf('1', { weight: 2 })).toBe('granted');
    expect(await b.statusOf('2')).toBe('granted');
    expect(await b.statusOf('3')).toBe('queued');
    expect(await a.statusOf('4', { how: 'try' })).toBe('refused');
    expect(await a.waiters()).toEqual(['3']);
  });

  test('go to those who wait, in the order of their arrival', async () => {
    const { a } = processes();
    await a.acquire('1');
    for (const waiter of ['2', '3', '4']) await a.acquire(waiter);
    const order: string[] = [];
    for (let holder = '1'; holder !== '4';) {
      const { granted } = await a.giveBack(holder);
      expect(granted).toHaveLength(1);
      holder = granted[0]?.waiterId ?? '4';
      order.push(holder);
    }
    expect(order).toEqual(['2', '3', '4']);
  });

  test('are not taken past a heavy waiter that does not fit yet', async () => {
    const { a, b } = processes({ permits: 3 });
    await a.acquire('light 1');
    await a.acquire('light 2');
    expect(await b.statusOf('heavy', { weight: 3 })).toBe('queued');
    expect(await b.statusOf('light 3')).toBe('queued');
    expect(await b.statusOf('light 4', { how: 'try' })).toBe('refused');
    expect((await a.giveBack('light 1')).granted).toEqual([]);
    await a.giveBack('light 2');
    expect(await b.holders()).toEqual(['heavy']);
  });

  test('that are given back go to everyone who fits at once', async () => {
    const { a } = processes({ permits: 4 });
    await a.acquire('all', { weight: 4 });
    for (const [waiter, weight] of Object.entries({ b1: 1, b2: 2, b3: 1, b4: 1 })) await a.acquire(waiter, { weight });
    const { granted } = await a.giveBack('all');
    expect(granted.map(({ waiterId }) => waiterId)).toEqual(['b1', 'b2', 'b3']);
    expect(await a.waiters()).toEqual(['b4']);
  });

  test('have tokens that grow with every grant, also of one hand-over, and when all was given back in between', async () => {
    const { a } = processes({ permits: 2 });
    const tokens: number[] = [];
    const noted = async (waiter: string): Promise<void> => {
      const reply = await a.acquire(waiter);
      if (reply.status === 'granted') tokens.push(reply.token);
    };
    await noted('1');
    await a.giveBack('1');
    await noted('2');
    await noted('3');
    for (const waiter of ['4', '5']) await a.acquire(waiter);
    for (const waiter of ['2', '3']) tokens.push(...(await a.giveBack(waiter)).granted.map(({ token }) => token));
    expect(tokens).toHaveLength(5);
    expect(tokens).toEqual([...new Set(tokens)].toSorted((left, right) => left - right));
    expect(tokens.every((token) => Number.isSafeInteger(token))).toBe(true);
  });

  test('leave no key behind that does not expire', async () => {
    const { a } = processes();
    const commands = connections.commands();
    await a.acquire('1', { ttlMs: 120_000 });
    await a.acquire('2');
    for (const key of [a.keys.holders, a.keys.queue, a.keys.entries, a.keys.heard]) {
      expect(await commands.pttl(key)).toBeGreaterThan(110_000);
    }
    await a.giveBack('1');
    await a.giveBack('2');
    expect(await commands.exists(a.keys.holders, a.keys.queue, a.keys.entries, a.keys.heard)).toBe(0);
    expect(await commands.pttl(a.keys.fence)).toBeGreaterThan(6 * 86_400_000);
    expect(await commands.pttl(a.keys.left)).toBeGreaterThan(0);
  });
});

describe('a call that is repeated because its answer was lost', () => {
  test('finds the permits that it has, once', async () => {
    const { a } = processes({ permits: 3 });
    const first = await a.acquire('1', { weight: 2 });
    expect(await a.acquire('1', { weight: 2 })).toEqual(first);
    expect(await a.statusOf('2')).toBe('granted');
    expect(await a.statusOf('3')).toBe('queued');
  });

  test('keeps its place in the queue', async () => {
    const { a } = processes();
    for (const waiter of ['1', '2', '3', '2']) await a.acquire(waiter);
    expect(await a.waiters()).toEqual(['2', '3']);
  });

  test('says released again, and frees nothing twice', async () => {
    const { a } = processes({ permits: 2 });
    await a.acquire('1');
    await a.acquire('2');
    expect((await a.giveBack('1')).outcome).toBe('released');
    expect((await a.giveBack('1')).outcome).toBe('released');
    expect(await a.statusOf('3')).toBe('granted');
    expect(await a.statusOf('4')).toBe('queued');
  });
});

describe('a waiter that leaves', () => {
  test('is not granted any more', async () => {
    const { a } = processes();
    for (const waiter of ['1', '2', '3']) await a.acquire(waiter);
    expect((await a.giveBack('2')).outcome).toBe('left');
    expect((await a.giveBack('1')).granted).toMatchObject([{ waiterId: '3' }]);
    expect((await a.giveBack('2')).outcome).toBe('gone');
  });

  test('and was granted at the same moment hands on', async () => {
    const { a } = processes();
    for (const waiter of ['1', '2', '3']) await a.acquire(waiter);
    await a.giveBack('1');
    expect((await a.giveBack('2')).granted).toMatchObject([{ waiterId: '3' }]);
  });

  test('and was heavy lets those behind it in', async () => {
    const { a } = processes({ permits: 2 });
    await a.acquire('1');
    await a.acquire('heavy', { weight: 2 });
    await a.acquire('3');
    expect((await a.giveBack('heavy')).granted).toMatchObject([{ waiterId: '3' }]);
  });
});

describe('the lease of a holder', () => {
  test('runs out by itself, and no other with it', async () => {
    const { a, b } = processes({ permits: 2 });
    await a.acquire('short', { ttlMs: 100 });
    await b.acquire('long');
    const reply = await b.acquire('3');
    expect(reply).toMatchObject({ status: 'queued' });
    expect('nextEndMs' in reply && reply.nextEndMs).toSatisfy((ms: number) => ms > 0 && ms <= 101);
    await eventually(async () => expect(await b.statusOf('3', { how: 'watch' })).toBe('granted'));
    expect((await b.holders()).toSorted()).toEqual(['3', 'long']);
    expect(await a.extend('short', 1_000)).toBeUndefined();
    expect((await a.giveBack('short')).outcome).toBe('gone');
  });

  test('begins anew by extend, for it alone', async () => {
    const { a } = processes({ permits: 2 });
    const granted = await a.acquire('1', { ttlMs: 800 });
    await a.acquire('2', { ttlMs: 800 });
    expect(await a.extend('1', 10_000)).toBe('token' in granted && granted.token);
    await eventually(async () => expect(await a.holders()).toEqual(['1']));
    expect(await a.statusOf('3')).toBe('granted');
    expect(await a.statusOf('4')).toBe('queued');
  });

  test('that was made longer is not shortened by a call that comes late', async () => {
    const { a } = processes();
    await a.acquire('1', { ttlMs: 800 });
    await a.extend('1', 60_000);
    expect(await a.statusOf('1', { ttlMs: 800 })).toBe('granted');
    expect((await a.inspect()).holders[0]?.ms).toBeGreaterThan(50_000);
  });

  test('that has run out does not come back by extend, though nobody asked meanwhile', async () => {
    const { a } = processes();
    await a.acquire('1', { ttlMs: 20 });
    await eventually(async () => expect(await a.holders()).toEqual([]));
    expect(await a.extend('1', 1_000)).toBeUndefined();
  });
});

describe('waiters of another process', () => {
  test('are told what they were granted, and confirm it by looking', async () => {
    const { a, b } = processes({ claimMs: 300 });
    await a.acquire('1');
    await b.acquire('2', { ttlMs: 20_000 });
    expect(await toldTo(b, () => a.giveBack('1'))).toEqual([`grant ${b.name} 2`]);
    expect((await b.inspect()).holders[0]?.ms).toBeLessThanOrEqual(300);
    expect(await b.statusOf('2', { how: 'watch', ttlMs: 20_000 })).toBe('granted');
    expect((await b.inspect()).holders[0]?.ms).toBeGreaterThan(10_000);
  });

  test('that have died lose what they do not confirm to the next', async () => {
    const { a, b } = processes({ claimMs: 300, patienceMs: 300 });
    await a.acquire('1');
    await b.acquire('dead');
    await a.acquire('3');
    await a.giveBack('1');
    expect(await a.holders()).toEqual(['dead']);
    await eventually(async () => expect(await a.statusOf('3', { how: 'watch' })).toBe('granted'));
    expect(await b.acquire('dead', { how: 'watch' })).toEqual({ status: 'gone' });
  });

  test('that live but were not told are told again, in their old place', async () => {
    const { a, b } = processes({ claimMs: 500 });
    await a.acquire('1');
    for (const waiter of ['2', '3']) await b.acquire(waiter);
    await a.giveBack('1');
    expect(await b.holders()).toEqual(['2']);
    await systemClock.sleep(510);
    expect(await toldTo(b, () => b.acquire('3', { how: 'watch' }))).toEqual([`grant ${b.name} 2`]);
    expect(await b.holders()).toEqual(['2']);
    expect(await b.waiters()).toEqual(['3']);
  });

  test('are passed over when their process was not heard of, and keep their places', async () => {
    const { a, b } = processes({ permits: 2, patienceMs: 500 });
    await a.acquire('1', { weight: 2 });
    await b.acquire('silent and heavy', { weight: 2 });
    await systemClock.sleep(510);
    await a.acquire('3');
    expect((await a.giveBack('1')).granted).toMatchObject([{ waiterId: '3' }]);
    expect(await b.waiters()).toEqual(['silent and heavy']);
    expect(await b.statusOf('silent and heavy', { how: 'watch', weight: 2 })).toBe('queued');
    expect(await a.statusOf('4')).toBe('queued');
    await a.giveBack('3');
    expect(await b.holders()).toEqual(['silent and heavy']);
  });

  test('are not passed over when nobody was heard of, because the server was away', async () => {
    const { a, b } = processes({ patienceMs: 300 });
    await a.acquire('1', { ttlMs: 200 });
    await b.acquire('2');
    await a.acquire('3');
    await systemClock.sleep(400);
    expect(await toldTo(b, () => a.acquire('3', { how: 'watch' }))).toEqual([`grant ${b.name} 2`]);
    expect(await a.waiters()).toEqual(['3']);
  });

  test('are forgotten when their process was not heard of for long', async () => {
    const { a, b } = processes({ patienceMs: 200, memoryMs: 400 });
    await a.acquire('1');
    await b.acquire('dead');
    await systemClock.sleep(410);
    await a.acquire('3');
    expect((await a.giveBack('1')).granted).toMatchObject([{ waiterId: '3' }]);
    expect(await a.waiters()).toEqual([]);
  });
});

test('permits that are taken away are granted on, and their holder is told', async () => {
  const { a, b } = processes();
  await b.acquire('1');
  await a.acquire('2');
  expect(await toldTo(b, () => b.giveBack('1', { isTaken: true }))).toEqual([`oust ${b.name} 1`]);
  expect(await a.holders()).toEqual(['2']);
  expect((await b.giveBack('1')).outcome).toBe('gone');
});

test('from who has given back, or only waits, nothing is taken away', async () => {
  const { a } = processes();
  await a.acquire('1');
  await a.giveBack('1');
  expect((await a.giveBack('1', { isTaken: true })).outcome).toBe('gone');
  await a.acquire('2');
  await a.acquire('3');
  expect((await a.giveBack('3', { isTaken: true })).outcome).toBe('gone');
  expect(await a.waiters()).toEqual(['3']);
});

test('acquire.lua and give-back.lua count, grant and drop the dead by the same lines', () => {
  const [shared, ...others] = ['acquire', 'give-back'].map((act) => {
    const text = readFileSync(new URL(`../../../lua/lock/permits/${act}.lua`, import.meta.url), 'utf8');
    return /^local time = .*?^-- -{20,}$/ms.exec(text)?.[0];
  });
  expect(shared).toContain('grant_who_fits');
  expect(others).toEqual([shared]);
});
