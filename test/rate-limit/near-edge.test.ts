/** The keys that are near the edge of their limits, as all processes tell of them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ToldEdge } from '../../src/rate-limit/edge-keys.ts';
import { EdgeWatch } from '../../src/rate-limit/edge-watch.ts';
import type { ConsumeResult } from '../../src/rate-limit/limiter.ts';
import type { LimitsOptions } from '../../src/rate-limit/limits.ts';
import { silentLogger } from '../../src/log.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedLimits } from './limits-of-test.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const limitsOf = ownedLimits();
const open = (prefix: string, options: LimitsOptions = {}) => limitsOf({ url: server.url }, { prefix, ...options });

const TEN = { policies: [{ name: 'hourly', limit: 10, per: '1h' }] } as const;

test('keys that are nearly used up or refused are told, others are not', async () => {
  const { limits } = open('told');
  const api = limits.limiter('api', TEN);
  const login = limits.limiter('login', {
    policies: [
      { name: 'short', algorithm: 'fixed-window', limit: 3, per: '1h', countDenied: true },
      { name: 'long', limit: 100, per: '1d' },
    ],
  });
  for (let call = 0; call < 8; call++) await api.consume('quiet');
  for (let call = 0; call < 9; call++) await api.consume('busy/one');
  for (let call = 0; call < 14; call++) await api.consume('10.0.0.7');
  for (let call = 0; call < 5; call++) await login.consume('ada');
  await api.consume('much', { cost: 11 });
  await api.block('put-out', '1h');
  await api.consume('put-out');
  expect(await limits.nearEdge()).toMatchObject([
    { limiter: 'api', key: '10.0.0.7', policy: 'hourly', used: 1, refused: 4 },
    { limiter: 'login', key: 'ada', policy: 'short', used: 1, refused: 2 },
    { limiter: 'api', key: 'put-out', policy: 'block', used: 1, refused: 1 },
    { limiter: 'api', key: 'much', policy: 'hourly', used: 0, refused: 1 },
    { limiter: 'api', key: 'busy/one', policy: 'hourly', used: 0.9, refused: 0 },
  ]);
});

test('what several processes tell is added up, also of refusals that they answer from memory', async () => {
  const mine = open('shared');
  const other = open('shared');
  const calls = [mine, other].map(({ limits }) => limits.limiter('api', TEN));
  for (let call = 0; call < 10; call++) await calls[0]!.consume('ada');
  // Refusals are known once messages arrive.
  const known = async (at: number): Promise<number> => {
    for (let asked = 1; ; asked++) if ((await calls[at]!.consume('ada')).source === 'deny-cache') return asked;
  };
  const refused = (await known(0)) + (await known(1));
  await other.limits.nearEdge();
  const [edge, ...rest] = await mine.limits.nearEdge();
  expect(edge).toMatchObject({ key: 'ada', used: 1, refused });
  expect(rest).toEqual([]);
  const now = await mine.connections.commands().time();
  expect(Number(now[0]) * 1_000 + 1_000 - edge!.seenAt).toBeLessThan(60_000);
  await calls[1]!.consume('ada');
  await other.limits.nearEdge();
  const [later] = await mine.limits.nearEdge();
  expect(later).toMatchObject({ refused: refused + 1, since: edge!.since });
});

test('of a limit of one only refusals are told', async () => {
  const { limits } = open('one');
  const spaced = limits.limiter('spaced', { policies: [{ limit: 1, per: '1h' }] });
  await spaced.consume('ada');
  expect(await limits.nearEdge()).toEqual([]);
  await spaced.consume('ada');
  expect(await limits.nearEdge()).toMatchObject([{ key: 'ada', refused: 1 }]);
});

test('at most 500 keys are remembered, those of the latest news, and none without news for 5 minutes', async () => {
  const { limits, connections } = open('many');
  const client = connections.commands();
  const api = limits.limiter('api', { policies: [{ limit: 2, per: '1h' }] });
  for (let from = 0; from < 540; from += 45) {
    const keys = Array.from({ length: 45 }, (_, index) => `user:${from + index}`);
    await Promise.all(keys.map((key) => api.consume(key, { cost: 2 })));
    await limits.nearEdge();
  }
  const all = await limits.nearEdge();
  expect(all).toHaveLength(500);
  expect(all.map(({ key }) => key)).toContain('user:539');
  expect(await client.pttl('many:rate:{~edge}:facts')).toBeGreaterThan(290_000);
  expect(await client.hlen('many:rate:{~edge}:facts')).toBe(500);

  const older = all.slice(0, 499).map(({ key }) => client.zincrby('many:rate:{~edge}:seen', -300_001, `api/${key}`));
  await Promise.all(older);
  expect(await limits.nearEdge()).toHaveLength(1);
  await api.consume('user:0', { cost: 2 });
  expect(await limits.nearEdge()).toHaveLength(2);
  expect(await client.hlen('many:rate:{~edge}:facts')).toBe(2);
});

test('with watch: false nothing is told, and what others tell can be read', async () => {
  const silent = open('unwatched', { watch: false });
  const other = open('unwatched');
  const calls = silent.limits.limiter('api', TEN);
  for (let call = 0; call < 12; call++) await calls.consume('ada');
  expect(await silent.limits.nearEdge()).toEqual([]);
  expect(await silent.connections.commands().keys('unwatched:rate:{~edge}*')).toEqual([]);
  for (let call = 0; call < 2; call++) await other.limits.limiter('api', TEN).consume('ada');
  await other.limits.nearEdge();
  expect(await silent.limits.nearEdge()).toMatchObject([{ key: 'ada' }]);
  await silent.limits.stop();
  await failureOf(silent.limits.nearEdge(), 'CLOSED');
});

describe('who has not the policies of a limiter', () => {
  const TWO = {
    policies: [
      { name: 'short', algorithm: 'fixed-window', limit: 3, per: '1h', countDenied: true },
      { name: 'long', limit: 100, per: '1d' },
    ],
  } as const;

  test('lets a key in again, of which all is forgotten, and which is near no edge then', async () => {
    const app = open('reset');
    const operator = open('reset');
    const login = app.limits.limiter('login', TWO);
    const spaced = app.limits.limiter('spaced', { policies: [{ algorithm: 'sliding-log', limit: 2, per: '1h' }] });
    for (const key of ['ada', 'an/address {7}']) {
      for (let call = 0; call < 5; call++) await login.consume(key);
      for (let call = 0; call < 5; call++) await spaced.consume(key);
      await login.block(key, '1h');
      await app.limits.nearEdge();
      expect(await operator.limits.reset('login', key)).toBe(true);
      expect((await login.peek(key)).policies).toMatchObject([{ remaining: 3 }, { remaining: 100 }]);
      expect((await operator.limits.nearEdge()).map((edge) => `${edge.limiter}/${edge.key}`)).toEqual([
        `spaced/${key}`,
      ]);
      expect(await operator.limits.reset('spaced', key)).toBe(true);
      await eventually(async () => expect(await spaced.consume(key)).toMatchObject({ allowed: true, remaining: 1 }));
      expect(await operator.limits.nearEdge()).toEqual([]);
    }
  });

  test('ends a block, after which counts what was taken before', async () => {
    const app = open('unblock');
    const operator = open('unblock');
    const login = app.limits.limiter('login', TWO);
    await login.consume('ada');
    await login.block('ada', '1h');
    expect(await login.consume('ada')).toMatchObject({ allowed: false, policy: 'block' });
    expect(await operator.limits.unblock('login', 'ada')).toBe(true);
    await eventually(async () => expect((await login.peek('ada')).allowed).toBe(true));
    expect((await login.peek('ada')).policies).toMatchObject([{ remaining: 2 }, { remaining: 99 }]);
    expect(await operator.limits.unblock('login', 'ada')).toBe(false);
  });

  test('hears that nothing is known of a key that is near no edge, unless the limiter is its own', async () => {
    const app = open('unknown');
    const operator = open('unknown');
    const login = app.limits.limiter('login', TWO);
    await login.consume('ada');
    expect(await operator.limits.reset('login', 'ada')).toBe(false);
    expect((await login.peek('ada')).remaining).toBe(2);
    expect(await app.limits.reset('login', 'ada')).toBe(true);
    expect((await login.peek('ada')).remaining).toBe(3);
    await failureOf(operator.limits.reset('no/such', 'ada'), 'OPTIONS_INVALID');
    await failureOf(operator.limits.reset('login', ''), 'KEY_INVALID');
    await failureOf(operator.limits.unblock('login', 'x'.repeat(513)), 'KEY_INVALID');
    await operator.limits.stop();
    await failureOf(operator.limits.reset('login', 'ada'), 'CLOSED');
    await failureOf(operator.limits.unblock('login', 'ada'), 'CLOSED');
  });
});

/** A watch of its own, and all that it has told. */
function watchOf(everyMs: number): { watch: EdgeWatch; told: ToldEdge[][] } {
  const told: ToldEdge[][] = [];
  const tell = async (edges: readonly ToldEdge[]): Promise<void> => void told.push([...edges]);
  return { watch: new EdgeWatch({ tell, log: silentLogger, everyMs }), told };
}

const REFUSAL = { allowed: false, policy: 'hourly', limit: 10, remaining: 0 } as ConsumeResult;

test('it is told by itself, once for all that was seen meanwhile, and not at all without any', async () => {
  const { watch, told } = watchOf(20);
  const book = watch.of('api');
  for (const key of ['a', 'b', 'a']) book.decided(key, REFUSAL);
  await eventually(() => expect(told).toHaveLength(1));
  expect(told[0]).toMatchObject([
    { key: 'a', refused: 2 },
    { key: 'b', refused: 1 },
  ]);
  book.repeated('a', REFUSAL);
  await eventually(() => expect(told).toHaveLength(2));
  await watch.tell();
  expect(told.slice(1)).toMatchObject([[{ key: 'a', refused: 1 }]]);
  watch.stop();
});

test('of a thousand refused keys a process tells of fifty, and of those that come most', async () => {
  const { watch, told } = watchOf(60_000);
  const books = [watch.of('api'), watch.of('login')];
  for (let round = 0; round < 40; round++) {
    for (let key = 0; key < 1_000; key++) books[key % 2]!.repeated(`user:${key}`, REFUSAL);
    for (let call = 0; call < 40; call++) books[0]!.repeated('flood', REFUSAL);
  }
  await watch.tell();
  expect(told[0]).toHaveLength(50);
  const flood = told[0]!.find(({ key }) => key === 'flood');
  expect(flood!.refused).toBeGreaterThan(800);
  watch.stop();
});
