/** Boards as a whole: sizes, options, seasons, exports, outages. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { BoardOptions } from '../../src/leaderboard/options.ts';
import type { Leaderboard } from '../../src/leaderboard/leaderboard.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { lineOf, ownedLeaderboards, type OwnedLeaderboards } from './own-boards.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const leaderboardsOf = ownedLeaderboards();
let nameCount = 0;

const processOf = (): OwnedLeaderboards => leaderboardsOf({ url: server.url });
/** A board of a name that no other test has. */
const boardOf = (options: BoardOptions = {}): Leaderboard => processOf().leaderboards.board(`b${nameCount++}`, options);

describe('a board of limited size', () => {
  test.each(['highest', 'lowest'] as const)('keeps the best of %s, and nothing of the others', async (order) => {
    const { leaderboards, connections } = processOf();
    const meta = z.object({});
    const board = leaderboards.board(`top3-${order}`, { order, maxSize: 3, rank: 'dense', meta });
    const sign = order === 'highest' ? 1 : -1;
    for (const score of [1, 2, 3, 4, 5]) await board.submit(`m${score}`, sign * score, { meta: {} });
    expect((await board.top(9)).map(({ member }) => member)).toEqual(['m5', 'm4', 'm3']);
    const out = await board.submit('late', sign * 2, { meta: {} });
    expect(out).toMatchObject({ score: sign * 2, rank: undefined, isBest: true });
    expect(await board.submit('m4', sign)).toMatchObject({ rank: 2, isBest: false });
    const redis = connections.commands();
    const key = `millrace:leaderboard:{top3-${order}}`;
    const sizes = [redis.zcard(`${key}:all:ranks`), redis.hlen(`${key}:all:marks`), redis.zcard(`${key}:all:scores`)];
    expect(await Promise.all([...sizes, redis.hlen(`${key}:all:metadata`)])).toEqual([3, 3, 3, 3]);
  });

  test('that was larger before is trimmed by and by', async () => {
    const { leaderboards } = processOf();
    await leaderboards
      .board('shrinks')
      .submitMany(Array.from({ length: 1_500 }, (_, at) => ({ member: `m${at}`, score: at })));
    const board = leaderboards.board('shrinks', { maxSize: 10 });
    await board.submit('new', 5_000);
    expect(await board.size()).toBe(501);
    await board.submit('newer', 5_000);
    expect(await board.size()).toBe(10);
    expect((await board.top(1))[0]?.member).toBe('new');
  });

  test('is trimmed by a thousand in one script, over all its entries and boards', async () => {
    const { leaderboards } = processOf();
    const windows = { daily: { every: 'day' }, monthly: { every: 'month' } } as const;
    const list = Array.from({ length: 1_200 }, (_, at) => ({ member: `m${at}`, score: at }));
    await leaderboards.board('shrinks-slowly', { windows }).submitMany(list);
    const board = leaderboards.board('shrinks-slowly', { windows, maxSize: 10 });
    const news = Array.from({ length: 100 }, (_, at) => ({ member: `new${at}`, score: 5_000 }));
    await board.submitMany(news);
    const sizes = await Promise.all([board.size(), board.size({ window: 'daily' }), board.size({ window: 'monthly' })]);
    expect(sizes.reduce((sum, size) => sum + size)).toBe(3 * 1_300 - 1_000);
    for (let turn = 0; turn < 3; turn++) await board.submit(`newest${turn}`, 6_000);
    expect(await board.size({ window: 'monthly' })).toBe(10);
  });
});

describe('options', () => {
  test('are checked once, all of them, and an unknown one is named', async () => {
    const { leaderboards } = processOf();
    const fault = (options: object): string => {
      try {
        leaderboards.board('options', options);
      } catch (error) {
        return (error as Error).message;
      }
      return 'none';
    };
    expect(fault({ ordr: 'lowest' })).toContain('unknown option ordr, did you mean order?');
    expect(fault({ windows: { daily: { every: 'hour' } } })).toContain(
      'windows.daily.every: expected day or week or month',
    );
    expect(fault({ windows: { daily: { every: 'day', timeZone: 'Mars' } } })).toContain(
      'windows.daily.timeZone: expected a time zone',
    );
    expect(fault({ windows: { daily: { every: 'day', zone: 'UTC' } } })).toContain('unknown option');
    expect(fault({ windows: { week: { rolling: '7d', bucket: '2d' } } })).toContain('a multiple of bucket');
    expect(fault({ windows: { all: { every: 'day' } } })).toContain('other than all');
    const kept = { rolling: '7d', bucket: '1d', keep: '30d' };
    expect(fault({ policy: 'last', windows: { week: kept } })).toContain('windows.week.keep: by the policy last');
    expect(fault({ windows: { week: { ...kept, rolling: '1m', bucket: '1s' } } })).toContain('1000 times bucket');
    expect(fault({ score: { min: 2, max: 1 } })).toContain('score.min: expected no more than max');
    expect(fault({ maxSize: 0, rank: 'olympic' })).toMatch(/maxSize.*rank|rank.*maxSize/);
    expect(() => leaderboards.board('')).toThrow(/board: name/);
    await failureOf(boardOf().submit('a', 1, { operaton: 'x' } as never), 'OPTIONS_INVALID');
    for (const call of [
      () => boardOf().top(0),
      () => boardOf().top(1_001),
      () => boardOf().page(0),
      () => boardOf().around('a', 501),
      () => boardOf().range(Number.NaN, 1),
      () => boardOf().top(1, { window: 'daily' as never }),
      () => boardOf().top(1, { at: '2026-11-20' }),
      () => boardOf().closeSeason('x', { keep: 'long' as never }),
      () => boardOf().range(10, 0),
      () => boardOf().of('abc' as never),
      () => boardOf().of(undefined as never),
      () => boardOf().submit('a', 1, null as never),
      () => boardOf().top(1, null as never),
      () =>
        boardOf()
          .archive('x')
          .top(1, { window: 'daily' } as never),
      () => boardOf().archive('x').rank('a', { at: '2026-11-20' }),
    ])
      await failureOf(call(), 'OPTIONS_INVALID');
  });

  test('that change what is stored must be those of the board', async () => {
    const mine = processOf().leaderboards.board('settled');
    await mine.submit('ada', 5);
    const other = processOf().leaderboards.board('settled', { ties: 'member', rank: 'dense' });
    const calls = [
      () => other.submit('bob', 1),
      () => other.top(3),
      () => other.rank('ada'),
      () => other.closeSeason('s'),
      () => other.remove('ada'),
    ];
    for (const call of calls) {
      const { message, facts } = await failureOf(call(), 'LEADERBOARD_SETTINGS_DIFFER');
      expect(message).toContain('order=highest policy=best ties=first dense=no');
      expect(message).toContain('order=highest policy=best ties=member dense=yes');
      expect(facts).toMatchObject({ board: 'settled' });
    }
    expect(
      (await processOf().leaderboards.board('settled', { rank: 'ordinal', maxSize: 7 }).submit('bob', 1)).rank,
    ).toBe(2);
  });
});

describe('seasons', () => {
  test('close in one step: each score is in the old one or in the new one', async () => {
    const { leaderboards } = processOf();
    const board = leaderboards.board('season', { policy: 'sum', rank: 'dense', windows: { daily: { every: 'day' } } });
    const other = processOf().leaderboards.board('season', { policy: 'sum', rank: 'dense' });
    await board.submit('ada', 1);
    const submits = Array.from({ length: 200 }, () => board.submit('ada', 1));
    const closings = await Promise.all([other.closeSeason('s:1'), board.closeSeason('s:1')]);
    await Promise.all(submits);
    expect(closings.filter(({ isRepeat }) => !isRepeat)).toHaveLength(1);
    expect(closings[0]).toMatchObject({ name: 's:1', members: 1, closedAt: closings[1]?.closedAt });
    const before = (await board.archive('s:1').rank('ada'))?.score ?? 0;
    const after = (await board.rank('ada'))?.score ?? 0;
    expect(before + after).toBe(201);
    expect((await board.rank('ada', { window: 'daily' }))?.score).toBe(201);
    await board.submit('bob', 1_000);
    expect(lineOf(await board.archive('s:1').top(5))).toBe(`ada ${before} #1`);
    expect(await board.closeSeason('s:1')).toMatchObject({ members: 1, isRepeat: true });
    expect((await board.rank('bob'))?.score).toBe(1_000);
  });

  test('can be listed, kept for a time, and deleted', async () => {
    const { leaderboards, connections } = processOf();
    const board = leaderboards.board('seasons');
    await board.submitMany([
      { member: 'ada', score: 2 },
      { member: 'bob', score: 2 },
    ]);
    await board.closeSeason('one');
    await board.closeSeason('empty');
    await board.submit('ada', 3);
    await board.closeSeason('two', { keep: '90d' });
    expect((await board.archives()).map(({ name, members }) => `${name} ${members}`).toSorted()).toEqual([
      'empty 0',
      'one 2',
      'two 1',
    ]);
    const redis = connections.commands();
    expect(await redis.pttl('millrace:leaderboard:{seasons}:archive:one:ranks')).toBe(-1);
    expect(await redis.pttl('millrace:leaderboard:{seasons}:archive:two:marks')).toBeGreaterThan(89 * 86_400_000);
    expect(await board.archive('empty').top(3)).toEqual([]);
    const archive = board.archive('one');
    expect([await archive.percentile('bob'), await archive.size()]).toEqual([0, 2]);
    expect((await archive.around('bob', 1))?.entries).toHaveLength(2);
    expect(await board.deleteArchive('one')).toBe(true);
    expect(await board.deleteArchive('one')).toBe(false);
    expect(await archive.size()).toBe(0);
    expect((await board.closeSeason('one')).isRepeat).toBe(false);
  });
});

describe('archives that have expired', () => {
  test('are not listed, and their names are known for a while', async () => {
    const { leaderboards, connections } = processOf();
    const board = leaderboards.board('expired');
    await board.submit('ada', 1);
    await board.closeSeason('short', { keep: 50 });
    await board.submit('ada', 1);
    await board.closeSeason('long', { keep: '1d' });
    await eventually(async () => expect((await board.archives()).map(({ name }) => name)).toEqual(['long']));
    expect(await board.closeSeason('short')).toMatchObject({ members: 1, isRepeat: true });
    const redis = connections.commands();
    const names = 'millrace:leaderboard:{expired}:archives';
    const [closedMs = ''] = (await redis.hget(names, 'short'))?.split(' ') ?? [];
    await redis.hset(names, 'short', `${closedMs} 1 ${Number(closedMs) - 31 * 86_400_000}`);
    await board.submit('bob', 1);
    await board.closeSeason('third');
    expect((await redis.hkeys(names)).toSorted()).toEqual(['long', 'third']);
  });
});

describe('a board that is deleted', () => {
  test('leaves nothing but operations, and may be made in another form', async () => {
    const { leaderboards, connections } = processOf();
    const windows = { daily: { every: 'day' }, week: { rolling: '7d', bucket: '1d' } } as const;
    const board = leaderboards.board('deleted', { windows, rank: 'dense', meta: z.object({}) });
    await board.submit('ada', 1, { meta: {}, operation: 'x' });
    await board.closeSeason('one');
    await board.submit('ada', 2, { meta: {} });
    await board.top(1, { window: 'week' });
    const other = leaderboards.board('deleted', { windows, ties: 'member' });
    await failureOf(other.submit('ada', 1), 'LEADERBOARD_SETTINGS_DIFFER');
    await other.delete();
    const keys = await connections.commands().keys('*{deleted}*');
    expect(keys).toEqual(['millrace:leaderboard:{deleted}:operation:x:ada']);
    expect((await other.submit('ada', 7)).previous).toBeUndefined();
    const late = processOf().leaderboards.board('deleted', { rank: 'dense' });
    await failureOf(late.top(1), 'LEADERBOARD_SETTINGS_DIFFER');
  });
});

describe('exports', () => {
  test.each(['first', 'member'] as const)('give each that stays once, while others write; ties by %s', async (ties) => {
    const board = boardOf({ ties, policy: 'last' });
    const stays = Array.from({ length: 300 }, (_, at) => `stays-${at}`);
    // Many share a score, so that batches end among them.
    await board.submitMany(
      stays.flatMap((member, at) => [
        { member, score: at % 7 },
        { member: `moves-${at}`, score: at % 7 },
      ]),
    );
    const came: string[] = [];
    let turn = 0;
    for await (const { member } of board.export({ batch: 7 })) {
      came.push(member);
      // The last of a batch among them: where it was must be found though it is not there any more.
      if (member.startsWith('moves-') && turn++ % 2 === 0) await board.submit(member, (turn * 13) % 9);
      else if (member.startsWith('moves-')) await board.remove(member);
      if (came.length > 2_000) break;
    }
    expect(came.filter((member) => member.startsWith('stays-')).toSorted()).toEqual(stays.toSorted());
  });

  test('are in order, with metadata, and end with the signal', async () => {
    const { leaderboards } = processOf();
    const board = leaderboards.board('exported', { order: 'lowest', meta: z.object({ n: z.number() }) });
    await board.submitMany([3, 1, 2].map((n) => ({ member: `m${n}`, score: n, meta: { n } })));
    const all = [];
    for await (const entry of board.export({ batch: 3 })) all.push(entry);
    expect(all).toEqual([1, 2, 3].map((n) => ({ member: `m${n}`, score: n, meta: { n } })));
    const ending = new AbortController();
    const seen: string[] = [];
    await expect(async () => {
      for await (const { member } of board.export({ batch: 1, signal: ending.signal })) {
        seen.push(member);
        ending.abort(new Error('enough'));
      }
    }).rejects.toThrow('enough');
    expect(seen).toEqual(['m1']);
  });
});

describe('an outage', () => {
  test('rejects within the deadline, and a score whose answer was lost is not sent again', async () => {
    const proxy = own(await startProxy(server.port));
    const { leaderboards } = leaderboardsOf({ url: proxy.url }, { deadline: 300 });
    const options = { policy: 'sum', windows: { daily: { every: 'day' } } } as const;
    const board = leaderboards.board('outage', options);
    await eventually(() => board.submit('ada', 1, { operation: 'first' }));
    proxy.loseAnswers();
    const calls = [
      () => board.submit('ada', 10),
      () => board.submit('ada', 100, { operation: 'x' }),
      () => board.top(1),
    ];
    const { ms } = await timed(Promise.all(calls.map((call) => failureOf(call(), 'REDIS_TIMEOUT'))));
    expect(ms).toBeLessThan(5_000);
    proxy.restore();
    proxy.cut();
    const again = await eventually(() => board.submit('ada', 100, { operation: 'x' }));
    expect(again).toMatchObject({ score: 111, previous: 11, isRepeat: true });
    const seen = processOf().leaderboards.board('outage', options);
    expect((await seen.rank('ada', { window: 'daily' }))?.score).toBe(111);
  });

  test('is over when the server is back, which knows the scripts no more', async () => {
    const mine = own(await startRedis());
    const { leaderboards } = leaderboardsOf({ url: mine.url }, { deadline: 2_000 });
    const board = leaderboards.board('restarted');
    await board.submit('ada', 1);
    await mine.kill();
    const error = await board.submit('ada', 2).then(
      () => undefined,
      (failure: { code?: string }) => failure.code,
    );
    expect(error).toMatch(/^REDIS_/);
    await mine.startAgain();
    await eventually(() => board.submit('bob', 3));
    expect(lineOf(await board.top(1))).toBe('bob 3 #1');
  });

  test('ends what is under way when the leaderboards stop', async () => {
    const { leaderboards } = processOf();
    const board = leaderboards.board('stopped');
    await leaderboards.stop();
    await leaderboards.stop();
    await failureOf(board.submit('ada', 1), 'CLOSED');
    await failureOf(board.top(1), 'CLOSED');
  });
});
