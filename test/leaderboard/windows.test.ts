/** Windows: which period a score counts for, by whose clock; how long periods stay; rolling windows. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { periodOf, type Every } from '../../src/leaderboard/calendar.ts';
import { createLeaderboards, type Leaderboards } from '../../src/leaderboard/leaderboards.ts';
import type { LeaderboardsOptions } from '../../src/leaderboard/options.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { lineOf } from './own-boards.ts';
import { onServerClock, ServerClock } from './server-clock.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
let nameCount = 0;

interface Scene {
  connections: Connections;
  clock: ServerClock;
  /** Sets everybody's clock. */
  now: (ms: number) => Promise<void>;
  /** Leaderboards of a process whose clock is so far ahead of the server's. */
  processOf: (aheadMs?: number, options?: LeaderboardsOptions) => Leaderboards;
}

function sceneOf(): Scene {
  const connections = own(createConnections({ url: server.url }));
  const clock = new ServerClock();
  return {
    connections,
    clock,
    now: (ms) => clock.set(connections.commands(), ms),
    processOf: (aheadMs = 0, options = {}) =>
      own(
        createLeaderboards(onServerClock(connections), { deadline: '1h', clock: clock.ofProcess(aheadMs), ...options }),
      ),
  };
}

const freshName = (): string => `w${nameCount++}`;

describe('calendar windows', () => {
  test('the periods of a score are those of the server, though the clocks of processes are an hour off', async () => {
    const { now, processOf } = sceneOf();
    const name = freshName();
    const options = { policy: 'sum', windows: { daily: { every: 'day' } } } as const;
    const metrics = createMetrics();
    const boards = [-HOUR, 0, HOUR].map((aheadMs) =>
      processOf(aheadMs, aheadMs === HOUR ? { metrics } : {}).board(name, options),
    );
    // Half an hour before and after midnight, and at its very edges.
    const midnight = Date.UTC(2027, 5, 2);
    for (const ms of [midnight - HOUR / 2, midnight - 1, midnight, midnight + HOUR / 2]) {
      await now(ms);
      for (const board of boards) await board.submit('ada', 1);
    }
    for (const board of boards) {
      expect((await board.rank('ada', { window: 'daily' }))?.score).toBe(6);
      expect((await board.rank('ada', { window: 'daily', at: '2027-06-01' }))?.score).toBe(6);
      expect((await board.rank('ada', { window: 'daily', at: new Date(midnight - 1) }))?.score).toBe(6);
      expect((await board.rank('ada', { window: 'daily', at: '2027-06-03' }))?.score).toBeUndefined();
      expect((await board.rank('ada'))?.score).toBe(12);
    }
    expect(await metrics.render()).toContain('millrace_leaderboard_clock_total 1');
  });

  test('a process that has written nothing reads the period of the server', async () => {
    const { now, processOf } = sceneOf();
    const name = freshName();
    const options = { windows: { daily: { every: 'day' } } } as const;
    await now(Date.UTC(2027, 5, 2) - HOUR / 2);
    await processOf().board(name, options).submit('ada', 1);
    const reader = processOf(HOUR).board(name, options);
    expect(lineOf(await reader.top(1, { window: 'daily' }))).toBe('ada 1 #1');
    expect((await reader.periods('daily', 2)).map(({ id }) => id)).toEqual(['2027-06-01', '2027-05-31']);
    await now(Date.UTC(2027, 5, 2) + 1);
    expect(await reader.top(1, { window: 'daily' })).toEqual([]);
  });

  test('after a failover to a server whose clock is another, its periods count', async () => {
    const { now, clock, connections, processOf } = sceneOf();
    const options = { windows: { daily: { every: 'day' } } } as const;
    const board = processOf().board(freshName(), options);
    await now(Date.UTC(2027, 5, 2, 0, 1));
    await board.submit('ada', 1);
    await clock.replace(connections.commands(), Date.UTC(2027, 5, 1, 23, 59));
    await board.submit('bob', 1);
    expect(lineOf(await board.top(2, { window: 'daily', at: '2027-06-01' }))).toBe('bob 1 #1');
    expect(lineOf(await board.top(2, { window: 'daily' }))).toBe('bob 1 #1');
    expect(lineOf(await board.top(2, { window: 'daily', at: '2027-06-02' }))).toBe('ada 1 #1');
  });

  test.each([
    // Clocks go forward, and back, at 2 or 3 at night; in Beirut at midnight itself, which is then not there; on Lord Howe by half an hour.
    ['Europe/Berlin', Date.UTC(2027, 2, 26, 22), Date.UTC(2027, 9, 29, 22)],
    ['Asia/Beirut', Date.UTC(2027, 2, 26, 20), Date.UTC(2027, 9, 29, 20)],
    ['Australia/Lord_Howe', Date.UTC(2027, 9, 1, 12), Date.UTC(2027, 3, 2, 12)],
  ])('days, weeks and months in %s are those that people live, where clocks change', async (timeZone, ...starts) => {
    const { now, processOf } = sceneOf();
    const every = ['day', 'week', 'month'] as const;
    const windows = Object.fromEntries(every.map((one) => [one, { every: one, timeZone, keep: 400 }]));
    for (const startMs of starts) {
      const board = processOf(HOUR).board(freshName(), { policy: 'sum', windows });
      const sums = new Map<string, number>();
      for (let ms = startMs; ms < startMs + 3 * DAY; ms += HOUR / 2) {
        await now(ms);
        await board.submit('ada', 1);
        for (const one of every) {
          const id = idByHand(one, timeZone, ms);
          sums.set(`${one} ${id}`, (sums.get(`${one} ${id}`) ?? 0) + 1);
        }
      }
      expect([...sums.values()].some((sum) => sum < 48 && sum > 40)).toBe(true);
      for (const [name, sum] of sums) {
        const [one = '', id = ''] = name.split(' ');
        expect([name, (await board.rank('ada', { window: one, at: id }))?.score]).toEqual([name, sum]);
      }
    }
  });

  test('a period expires once it is no longer kept, the all-time board never', async () => {
    const { now, connections, processOf } = sceneOf();
    const name = freshName();
    const windows = {
      daily: { every: 'day', keep: 3 },
      monthly: { every: 'month', timeZone: 'Asia/Tokyo', keep: 0 },
    } as const;
    await now(Date.UTC(2027, 5, 2, 12));
    await processOf().board(name, { windows, rank: 'dense' }).submit('ada', 1);
    const key = (...rest: string[]): string => [`millrace:leaderboard:{${name}}`, ...rest].join(':');
    const redis = connections.commands();
    for (const kind of ['ranks', 'marks', 'scores']) {
      const daily = await redis.pexpiretime(key('daily', 'day@utc', '2027-06-02', kind));
      expect(daily).toBe(Date.UTC(2027, 5, 3) + 3 * DAY + 2 * HOUR);
      const { endMs } = periodOf('month', 'Asia/Tokyo', Date.UTC(2027, 5, 2));
      expect(await redis.pexpiretime(key('monthly', 'month@asia/tokyo', '2027-06', kind))).toBe(endMs + 2 * HOUR);
      expect(await redis.pexpiretime(key('all', kind))).toBe(-1);
    }
  });

  test('tells the score and rank of a window, if asked for', async () => {
    const { now, processOf } = sceneOf();
    const windows = { daily: { every: 'day' }, rolls: { rolling: '2d', bucket: '1d' } } as const;
    const board = processOf().board(freshName(), { windows });
    await now(Date.UTC(2027, 5, 2));
    await board.submitMany([
      { member: 'bob', score: 9 },
      { member: 'ada', score: 8 },
    ]);
    await now(Date.UTC(2027, 5, 3));
    expect(await board.submit('ada', 5)).toMatchObject({ score: 8, rank: 2, previous: 8, isBest: false });
    const daily = await board.submit('ada', 6, { window: 'daily' });
    expect(daily).toMatchObject({ score: 6, rank: 1, previous: 5, isBest: true });
    await failureOf(board.submit('ada', 6, { window: 'rolls' as never }), 'OPTIONS_INVALID');
  });

  test('a period is named as it is, or not at all', async () => {
    const { now, processOf } = sceneOf();
    const windows = { weekly: { every: 'week' }, rolls: { rolling: '2d', bucket: '1d' } } as const;
    const board = processOf().board(freshName(), { windows });
    await now(Date.UTC(2027, 5, 2));
    await failureOf(board.top(1, { window: 'weekly', at: '2027-06-02' }), 'OPTIONS_INVALID');
    await failureOf(board.top(1, { window: 'weekly', at: '2027-W54' }), 'OPTIONS_INVALID');
    await failureOf(board.top(1, { window: 'weekly', at: new Date(Number.NaN) }), 'OPTIONS_INVALID');
    await failureOf(board.top(1, { window: 'rolls', at: '2027-06-02' }), 'OPTIONS_INVALID');
    await failureOf(board.periods('rolls' as never, 2), 'OPTIONS_INVALID');
    expect(await board.top(1, { window: 'weekly', at: '2026-W53' })).toEqual([]);
  });
});

describe('the server that a member is removed on', () => {
  const windows = { daily: { every: 'day' }, monthly: { every: 'month', keep: 13 } } as const;

  test('may be in the next day already, or have been ahead', async () => {
    const { now, clock, connections, processOf } = sceneOf();
    const name = freshName();
    const [mine, other] = [processOf(), processOf()].map((leaderboards) => leaderboards.board(name, { windows }));
    if (!mine || !other) throw new Error('there are two');
    const [first, second] = [Date.UTC(2027, 5, 1, 23, 59, 59, 990), Date.UTC(2027, 5, 2, 0, 0, 0, 10)];
    for (const [beforeMs, afterMs] of [
      [first, second],
      [second, first],
    ] as const) {
      await now(beforeMs);
      await mine.submit('ada', 1);
      await clock.replace(connections.commands(), afterMs);
      await other.submit('ada', 1);
      expect(await mine.remove('ada')).toBe(true);
      for (const at of ['2027-06-01', '2027-06-02']) expect(await mine.top(1, { window: 'daily', at })).toEqual([]);
    }
  });

  test('has periods that live a little longer than they are kept', async () => {
    const { now, connections, processOf } = sceneOf();
    const name = freshName();
    const board = processOf().board(name, { windows });
    await now(Date.UTC(2027, 0, 15));
    await board.submit('ada', 1);
    await now(Date.UTC(2028, 2, 5));
    const january = `millrace:leaderboard:{${name}}:monthly:month@utc:2027-01:ranks`;
    expect(await connections.commands().pexpiretime(january)).toBeGreaterThan(Date.UTC(2028, 2, 5));
    await board.remove('ada');
    expect(await connections.commands().exists(january)).toBe(0);
  });
});

test('a zone may be spelt in small letters, and an instant lies in the years 1000 to 9999', async () => {
  const { now, processOf } = sceneOf();
  await now(Date.UTC(2027, 5, 2));
  const name = freshName();
  const [one, other] = ['Europe/Berlin', 'europe/berlin'].map((timeZone) =>
    processOf().board(name, { windows: { daily: { every: 'day', timeZone }, rolls: { rolling: '2d', bucket: '1d' } } }),
  );
  await one?.submit('ada', 1);
  expect(await other?.size({ window: 'daily' })).toBe(1);
  for (const window of ['daily', 'rolls'] as const) {
    for (const ms of [8.64e15, -8.64e15, Date.UTC(999, 5, 1), Date.UTC(12_000, 0, 1)])
      await failureOf(one?.top(1, { window, at: new Date(ms) }) ?? Promise.resolve(), 'OPTIONS_INVALID');
    for (const ms of [Date.UTC(1000, 5, 1), Date.UTC(9999, 5, 1)])
      expect(await one?.top(1, { window, at: new Date(ms) })).toEqual([]);
  }
});

describe('rolling windows', () => {
  const windows = { week: { rolling: '7d', bucket: '1d', refresh: 100 } } as const;
  const START = Date.UTC(2027, 5, 1, 12);

  test.each([
    ['best', 'ada 9 #1, bob 6 #2', 'bob 6 #1, ada 5 #2', 'bob 6 #1'],
    ['last', 'bob 6 #1, ada 5 #2', 'bob 6 #1, ada 5 #2', 'bob 6 #1'],
    ['sum', 'ada 14 #1, bob 6 #2', 'bob 6 #1, ada 5 #2', 'bob 6 #1'],
  ] as const)('of policy %s forget what is older', async (policy, first, second, third) => {
    const { now, connections, processOf } = sceneOf();
    const name = freshName();
    const board = processOf().board(name, { policy, windows, rank: 'dense' });
    const shown = async (ms: number): Promise<string> => {
      await now(ms);
      await later(connections, name);
      return lineOf(await board.top(5, { window: 'week' }));
    };
    await now(START);
    await board.submit('ada', 9);
    await now(START + DAY);
    await board.submit('ada', 5);
    await now(START + 2 * DAY);
    await board.submit('bob', 6);
    expect(await shown(START + 6 * DAY)).toBe(first);
    expect(await shown(START + 7 * DAY)).toBe(second);
    expect(await shown(START + 8 * DAY)).toBe(third);
    expect(await shown(START + 9 * DAY)).toBe('');
    expect(lineOf(await board.top(1))).toMatch(policy === 'last' ? /bob 6/ : /ada/);
  });

  test('are put together once for all readers, and again when that is too old', async () => {
    const { now, connections, processOf } = sceneOf();
    const metrics = createMetrics();
    const name = freshName();
    const board = processOf(0, { metrics }).board(name, { windows: { week: { rolling: '7d', bucket: '1d' } } });
    await now(START);
    await board.submitMany([
      { member: 'ada', score: 2 },
      { member: 'bob', score: 3 },
    ]);
    const all = await Promise.all([
      board.rank('ada', { window: 'week' }),
      board.around('ada', 1, { window: 'week' }),
      board.percentile('bob', { window: 'week' }),
      board.size({ window: 'week' }),
      board.page(1, { window: 'week' }),
    ]);
    expect(all[0]).toEqual({ member: 'ada', score: 2, rank: 2 });
    expect(all[1]).toMatchObject({ index: 1 });
    expect(all.slice(2, 4)).toEqual([100, 2]);
    expect(await metrics.render()).toContain('millrace_leaderboard_unions_total{outcome="made"} 1');
    await board.submit('ada', 5);
    expect((await board.rank('ada', { window: 'week' }))?.score).toBe(2);
    const [united = ''] = await connections.commands().keys(`*{${name}}*x7*`);
    expect(await connections.commands().pttl(united)).toBeGreaterThan(10_000);
    await connections.commands().pexpire(united, 9_999); // As it is 10 s later.
    expect((await board.rank('ada', { window: 'week' }))?.score).toBe(5);
  });

  test('are made once by all who wait, however long that takes, and stay ten times as long', async () => {
    const { now, connections, processOf } = sceneOf();
    const metrics = createMetrics();
    const name = freshName();
    const board = processOf(0, { metrics, deadline: '1m' }).board(name, { windows, rank: 'dense' });
    await now(START);
    await board.submit('first', 1e9);
    const redis = connections.commands();
    const [bucket = ''] = await redis.keys(`*{${name}}:week:*`);
    for (let from = 0; from < 50_000; from += 5_000)
      await redis.zadd(bucket, ...Array.from({ length: 5_000 }, (_, at) => [-from - at, `m${from + at}`]).flat());
    const [seconds = 0] = await redis.time();
    const all = await Promise.all(Array.from({ length: 5 }, () => board.top(2, { window: 'week' })));
    for (const entries of all) expect(lineOf(entries)).toBe('first 1000000000 #1, m49999 49999 #2');
    const text = await metrics.render();
    expect(text).toContain('millrace_leaderboard_unions_total{outcome="made"} 1');
    expect(text).toContain('millrace_leaderboard_unions_total{outcome="fresh"} 4');
    // Beyond the spare time, and `refresh`, and the second that was cut off.
    const [united = ''] = await redis.keys(`*{${name}}*x7*ranks`);
    expect((await redis.pexpiretime(united)) - 1_000 * seconds).toBeGreaterThan(130_000 + 100);
    expect(await redis.zcard(united.replace(/ranks$/, 'scores'))).toBe(50_001);
    expect((await board.rank('m0', { window: 'week' }))?.rank).toBe(50_001);
  });

  test('of policy last end the next bucket too, and do not know what they were', async () => {
    const { now, clock, connections, processOf } = sceneOf();
    const board = processOf().board(freshName(), { policy: 'last', windows });
    await now(Date.UTC(2027, 5, 2, 0, 0, 1));
    await board.submitMany(['ada', 'bob'].map((member) => ({ member, score: 100 })));
    await clock.replace(connections.commands(), Date.UTC(2027, 5, 1, 23, 59, 59));
    await board.submitMany(['ada', 'bob'].map((member) => ({ member, score: 1 })));
    await now(Date.UTC(2027, 5, 2, 12));
    expect(lineOf(await board.top(5, { window: 'week' }))).toBe('ada 1 #1, bob 1 #1');
    await failureOf(board.top(5, { window: 'week', at: new Date(START) }), 'OPTIONS_INVALID');
  });

  test.each([1, -1])('of sums that a double cannot hold tell Infinity, times %d', async (sign) => {
    const { now, processOf } = sceneOf();
    const board = processOf().board(freshName(), { policy: 'sum', windows });
    for (const [day, name] of ['one', 'two'].entries()) {
      await now(START + day * DAY);
      await board.submit('ada', sign * Number.MAX_VALUE);
      await board.closeSeason(name);
    }
    expect((await board.top(1, { window: 'week' }))[0]?.score).toBe(sign * Infinity);
    expect((await board.rank('ada', { window: 'week' }))?.score).toBe(sign * Infinity);
  });

  test('show nobody who was removed, whichever moment was read before', async () => {
    const { now, processOf } = sceneOf();
    const slow = { week: { rolling: '7d', bucket: '1d', keep: '7d', refresh: '1d' } } as const;
    const board = processOf().board(freshName(), { windows: slow, rank: 'dense' });
    await now(START);
    await board.submitMany(['ada', 'bob'].map((member, at) => ({ member, score: 2 - at })));
    const moments = [undefined, new Date(START + DAY), new Date(START + 6 * DAY)];
    for (const at of moments) expect(await board.size({ window: 'week', at })).toBe(2);
    await board.remove('ada');
    for (const at of moments) expect(lineOf(await board.top(2, { window: 'week', at }))).toBe('bob 1 #1');
    expect((await board.rank('bob', { window: 'week' }))?.rank).toBe(1);
  });

  test('can be read as they were, for as long as their buckets are kept', async () => {
    const { now, connections, processOf } = sceneOf();
    const name = freshName();
    const board = processOf().board(name, { windows: { week: { rolling: '3d', bucket: '1d', keep: '30d' } } });
    await now(START);
    await board.submit('ada', 9);
    const [bucket = ''] = await connections.commands().keys(`*{${name}}:week:*`);
    const endMs = Date.UTC(2027, 5, 2);
    expect(await connections.commands().pexpiretime(bucket)).toBe(endMs + 33 * DAY + 2 * HOUR);
    await now(START + 20 * DAY);
    expect(await board.top(1, { window: 'week' })).toEqual([]);
    expect(lineOf(await board.top(1, { window: 'week', at: new Date(START + 2 * DAY) }))).toBe('ada 9 #1');
    const exported = [];
    for await (const entry of board.export({ window: 'week', at: new Date(START) })) exported.push(entry);
    expect(exported).toEqual([{ member: 'ada', score: 9 }]);
    expect(await board.remove('ada')).toBe(true);
    expect(await connections.commands().keys(`*{${name}}:week:rolling-86400000:*`)).toEqual([]);
  });

  test('have no score to add to, but for sums', async () => {
    const { now, processOf } = sceneOf();
    await now(START);
    await failureOf(processOf().board(freshName(), { windows }).increment('ada', 1), 'OPTIONS_INVALID');
    const sums = processOf().board(freshName(), { windows, policy: 'sum' });
    await sums.increment('ada', 1);
    await sums.increment('ada', 2);
    expect((await sums.rank('ada', { window: 'week' }))?.score).toBe(3);
  });
});

/** By what the clocks of the zone show. */
function idByHand(every: Every, timeZone: string, ms: number): string {
  const day = new Intl.DateTimeFormat('en-CA', { timeZone, dateStyle: 'short' }).format(ms);
  if (every === 'day') return day;
  if (every === 'month') return day.slice(0, 7);
  const date = new Date(`${day}T00:00:00Z`);
  const thursday = new Date(date.getTime() + (3 - ((date.getUTCDay() + 6) % 7)) * DAY);
  const week = Math.floor((thursday.getTime() - Date.UTC(thursday.getUTCFullYear(), 0, 1)) / (7 * DAY)) + 1;
  return `${thursday.getUTCFullYear()}-W${String(week).padStart(2, '0')}`;
}

/** Beyond the age that a reading may have. */
async function later(connections: Connections, name: string): Promise<void> {
  const redis = connections.commands();
  await redis.del(...(await redis.keys(`*{${name}}*x7*`)), 'none');
}
