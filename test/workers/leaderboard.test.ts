/** Scores that are recorded together, and seasons that are closed. */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { handle, type Handler, type JobContext, type Platform } from '../../src/index.ts';
import {
  createLeaderboardCloseSeasonHandler,
  createLeaderboardRecordHandler,
  leaderboardCloseSeason,
  leaderboardRecord,
  leaderboardSchedules,
  readStockEnv,
  stockHandlers,
  type LeaderboardCloseSeasonOptions,
  type SeasonStanding,
} from '../../workers/index.ts';
import { writeSeason } from '../../workers/leaderboard/season-file.ts';
import { seasonName } from '../../workers/leaderboard/season-name.ts';
import { startChild } from '../support/child.ts';
import { temporaryFolder } from '../support/folders.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ends, faultsOf, impatient, letterOf, QUICK, startPlatform } from './scene.ts';

const own = ownedByTest();
const folder = temporaryFolder();
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

const BOARDS = {
  game: { windows: { daily: { every: 'day' } } },
  coins: { policy: 'sum', score: { min: 0, integer: true } },
  latest: { policy: 'last' },
  faces: { meta: z.object({ face: z.string() }), maxMetaBytes: 100 },
} as const;

/** The handler, whose first attempt is done and then lost. */
function losing(handler: Handler): Handler {
  const run: Handler['run'] = async (input, context) => {
    const result = await handler.run(input, context);
    if (context.job.attempt === 1) throw new Error('the answer was lost');
    return result;
  };
  return impatient(handle(handler.contract, run));
}

async function working(handlers: readonly Handler[], prefix?: string): Promise<Platform & { prefix: string }> {
  const platform = await startPlatform(own, redis.url, prefix === undefined ? {} : { prefix });
  await platform.work({ ...QUICK, handlers });
  return platform;
}

describe('leaderboard.record', () => {
  test('counts each score once on its board and in its windows, though the job runs twice', async () => {
    const platform = await working([losing(createLeaderboardRecordHandler({ boards: BOARDS }))]);
    const { id } = await platform.jobs.enqueue(leaderboardRecord, {
      scores: [
        { board: 'game', member: 'ada', score: 10 },
        { board: 'coins', member: 'ada', score: 5 },
        { board: 'coins', member: 'ada', score: 5 },
        { board: 'coins', member: 'bob', score: 1, operation: 'purchase:17' },
        { board: 'latest', member: 'ada', score: 9 },
        { board: 'latest', member: 'ada', score: 3 },
      ],
    });
    expect((await ends(platform, id, 'completed')).result).toEqual({ taken: 0, repeated: 6 });
    const { leaderboards } = platform;
    const game = leaderboards.board('game', BOARDS.game);
    expect(await game.top(3, { window: 'daily' })).toEqual([{ member: 'ada', score: 10, rank: 1 }]);
    expect((await leaderboards.board('coins', BOARDS.coins).rank('ada'))?.score).toBe(10);
    expect((await leaderboards.board('latest', BOARDS.latest).rank('ada'))?.score).toBe(3);
    const again = { board: 'coins', member: 'bob', score: 1, operation: 'purchase:17' };
    const other = await platform.jobs.enqueue(leaderboardRecord, { scores: [again] });
    await ends(platform, other.id, 'completed');
    expect((await leaderboards.board('coins', BOARDS.coins).rank('bob'))?.score).toBe(1);
  });

  test('takes all but what a board refuses, names that in a dead letter, and takes it mended without counting the others again', async () => {
    const platform = await working([impatient(createLeaderboardRecordHandler({ boards: BOARDS }))]);
    const coins = platform.leaderboards.board('coins', BOARDS.coins);
    await coins.submit('rich', Number.MAX_SAFE_INTEGER);
    const scores = [
      { board: 'coins', member: 'bad', score: 0.5 },
      { board: 'coins', member: 'rich', score: 1 },
      { board: 'nope', member: 'ada', score: 1 },
      { board: 'coins', member: 'ada', score: 7, meta: { name: 'Ada' } },
      { board: 'coins', member: 'ada', score: 7 },
    ];
    const { id } = await platform.jobs.enqueue(leaderboardRecord, { scores });
    const letter = await letterOf(platform, id);
    expect(letter.error.message).toBe(
      '4 of 5 scores are refused, the others are taken: ' +
        'board coins: bad: expected a whole number, got 0.5; board coins: ada: meta: the board has no schema for it; ' +
        'board coins: rich: the sum is too large; ada: there is no board nope; this worker has: game, coins, latest, faces',
    );
    await platform.deadLetters.redrive(letter.id, { edit: () => ({ scores: scores.slice(4) }) });
    expect((await ends(platform, id, 'completed')).result).toEqual({ taken: 0, repeated: 1 });
    expect((await coins.rank('ada'))?.score).toBe(7);
  });

  test('takes all but those whose metadata are too large', async () => {
    const platform = await working([impatient(createLeaderboardRecordHandler({ boards: BOARDS }))]);
    const scores = ['a', 'b', 'c', 'd', 'e'].map((member, at) => ({
      board: 'faces',
      member,
      score: at,
      meta: { face: 'o'.repeat(member === 'b' || member === 'e' ? 200 : 2) },
    }));
    const { id } = await platform.jobs.enqueue(leaderboardRecord, { scores });
    const { error } = await letterOf(platform, id);
    expect(error.message).toMatch(
      /^2 of 5 scores are refused, the others are taken: .*metadata of b on board faces.*metadata of e/,
    );
    const faces = await platform.leaderboards.board('faces', BOARDS.faces).top(9);
    expect(faces.map(({ member }) => member)).toEqual(['d', 'c', 'a']);
  });

  test('faults of inputs and options are told at once', async () => {
    expect(await faultsOf(leaderboardRecord, { scores: [] })).toEqual(['scores']);
    expect(await faultsOf(leaderboardRecord, { scores: [{ board: 'a', member: '', score: NaN }] })).toEqual([
      'scores.0.member',
      'scores.0.score',
    ]);
    expect(() => createLeaderboardRecordHandler({ boards: { game: { order: 'up' as never } } })).toThrow(
      /boards\.game: .*order/,
    );
  });
});

describe('leaderboard.close-season', () => {
  const options: LeaderboardCloseSeasonOptions = { boards: { game: {} }, folder };

  test('killed while it writes the standings, is finished by another worker: closed once, the file whole, new scores in the new season', async () => {
    const platform = await startPlatform(own, redis.url);
    const { prefix, leaderboards } = platform;
    const game = leaderboards.board('game');
    await game.submitMany(Array.from({ length: 1_500 }, (_none, at) => ({ member: `m${at}`, score: at % 700 })));
    const best = await game.top(1_000);
    const { id } = await platform.jobs.enqueue(leaderboardCloseSeason, { board: 'game', season: 'autumn: 2026' });
    const child = own(startChild('../workers/leaderboard-process', [redis.url, prefix, folder]));
    expect(await child.ended).toBe('SIGKILL');
    expect(readdirSync(folder)).toEqual([expect.stringMatching(/^game\.autumn-2026-\w+\.jsonl\..*\.part$/)]);
    await game.submit('late', 1);

    const told: string[] = [];
    const onClosed: LeaderboardCloseSeasonOptions['onClosed'] = async ({ board, season, members, standings }) => {
      for await (const { member, rank } of standings())
        if (rank === 1) told.push(`${board} ${season} ${members} ${member}`);
    };
    await platform.work({
      ...QUICK,
      handlers: [losing(createLeaderboardCloseSeasonHandler({ ...options, onClosed }))],
    });
    const { result } = (await ends(platform, id, 'completed')) as { result: { file: string } };
    const [file = ''] = readdirSync(folder);
    expect(result).toMatchObject({ season: 'autumn: 2026', members: 1_500, file: join(folder, file) });
    const lines = readFileSync(result.file, 'utf8').trimEnd().split('\n');
    const standings = lines.map((line) => JSON.parse(line) as SeasonStanding);
    expect(standings.slice(0, 1_000)).toEqual(best.map(({ rank, member, score }) => ({ rank, member, score })));
    expect([readdirSync(folder).length, lines.length]).toEqual([1, 1_500]);
    expect(told).toEqual(best.slice(0, 2).map(({ member }) => `game autumn: 2026 1500 ${member}`));
    expect(await game.top(10)).toEqual([{ member: 'late', score: 1, rank: 1 }]);
    expect((await game.archives()).map(({ members }) => members)).toEqual([1_500]);
  });

  test('asked again after its archive has gone, it says so, and leaves the file as it is', async () => {
    const platform = await working([impatient(createLeaderboardCloseSeasonHandler(options))]);
    const game = platform.leaderboards.board('game');
    await game.submit('ada', 1);
    const input = { board: 'game', season: 'gone' };
    const first = await platform.jobs.enqueueAndWait(leaderboardCloseSeason, input);
    expect(first.winners).toEqual([{ rank: 1, member: 'ada', score: 1 }]);
    await platform.redis
      .commands()
      .del((await platform.redis.commands().keys(`${platform.prefix}:*archive*ranks`))[0] ?? '');
    const { id } = await platform.jobs.enqueue(leaderboardCloseSeason, input);
    expect((await letterOf(platform, id)).error.message).toMatch(/season gone of board game .* archive is gone/);
    expect(readFileSync(first.file ?? '', 'utf8')).toBe('{"rank":1,"member":"ada","score":1}\n');
  });

  test.each([
    ['day', 'UTC', '2026-11-20T00:00:00.000Z', '2026-11-19'],
    ['day', 'America/New_York', '2026-11-20T04:59:59.990Z', '2026-11-19'],
    ['week', 'UTC', '2026-11-22T23:59:59.990Z', '2026-W47'],
    ['week', 'UTC', '2027-01-04T00:00:30.000Z', '2026-W53'],
    ['month', 'Europe/Berlin', '2026-11-30T23:00:00.000Z', '2026-11'],
    ['month', 'UTC', '2027-01-01T06:00:00.000Z', '2026-12'],
  ] as const)('the %s in %s that is over around %s is %s', (every, timeZone, at, name) => {
    expect(seasonName({ every, timeZone }, { id: 'x', enqueuedAt: Date.parse(at) })).toBe(name);
  });

  test('a run of a schedule is named by its tick, however late it is enqueued', () => {
    const late = { id: 'close.game@20261120T000000Z', enqueuedAt: Date.parse('2026-11-20T15:00:00Z') };
    expect(seasonName({ every: 'day', timeZone: 'UTC' }, late)).toBe('2026-11-19');
  });

  test('a job that is redriven closes the season that it was enqueued for', async () => {
    const close = createLeaderboardCloseSeasonHandler({ boards: { game: {} } });
    const times = ['2026-12-01T00:00:00Z', '2026-12-20T00:00:00Z'];
    const redriven = handle(close.contract, (input, context) => {
      const job = { ...context.job, enqueuedAt: Date.parse(times[context.job.attempt - 1] ?? '') };
      const get = (all: JobContext, name: string | symbol): unknown =>
        name === 'job' ? job : (Reflect.get(all, name, all) as unknown);
      return close.run(input, new Proxy(context, { get }));
    });
    const platform = await working([losing(redriven)]);
    const input = { board: 'game', period: { every: 'month' } } as const;
    expect((await platform.jobs.enqueueAndWait(leaderboardCloseSeason, input)).season).toBe('2026-11');
  });

  test('a file has the standings of one board and one season, and all of them or no name', async () => {
    const seasons = join(folder, 'seasons');
    mkdirSync(seasons);
    const write = async (board: string, season: string, lines = 1): Promise<string> => {
      const standings = (async function* one() {
        yield { rank: 1, member: board, score: 1 };
      })();
      const { file } = await writeSeason(seasons, { board, season }, standings, {
        id: 'x',
        lines,
        onLines: () => undefined,
      });
      expect(dirname(file)).toBe(seasons);
      return file;
    };
    const boards = ['a.b', 'a', '../a'];
    const files = [await write('a.b', 'c'), await write('a', 'b.c'), await write('../a', '../b')];
    const told = files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as SeasonStanding);
    expect(told.map(({ member }) => member)).toEqual(boards);
    await expect(write('a', 'd', 2)).rejects.toThrow(/the archive of season d of board a went/);
    expect(readdirSync(seasons)).not.toContain('a.d.jsonl');
    rmSync(seasons, { recursive: true });
  });

  test('comes by a schedule for each board, also by environment', async () => {
    const [one] = leaderboardSchedules({ 'my board': { every: 'week', timeZone: 'Europe/Berlin' } });
    expect(one).toMatchObject({ timing: { cron: '0 0 * * 1', timeZone: 'Europe/Berlin' } });
    const boards = '{"game": {"windows": {"daily": {"every": "day"}}}, "coins": {"policy": "sum"}}';
    const env = {
      MILLRACE_LEADERBOARD_BOARDS: boards,
      MILLRACE_LEADERBOARD_SEASONS: 'game=month coins=day@Europe/Berlin',
    };
    const { schedules, summary, handlers } = stockHandlers(readStockEnv(env).settings);
    expect(schedules.map(({ id }) => id)).toEqual(['leaderboard.close-season.game', 'leaderboard.close-season.coins']);
    expect(summary).toContain('leaderboard.close-season: runs');
    const platform = await working(handlers);
    await platform.schedules.reconcile(schedules);
    await platform.schedules.run('leaderboard.close-season.game');
    const bad = { MILLRACE_LEADERBOARD_BOARDS: '{"game": {"order": 1}}', MILLRACE_LEADERBOARD_SEASONS: 'game' };
    expect(() => readStockEnv(bad)).toThrow(/MILLRACE_LEADERBOARD_SEASONS: expected game=month/);
    expect(() => readStockEnv({ ...env, MILLRACE_LEADERBOARD_SEASONS: 'race=day' })).toThrow(
      /MILLRACE_LEADERBOARD_SEASONS: expected a board that there is/,
    );
    expect(() => readStockEnv({ MILLRACE_LEADERBOARD_SEASONS: 'game=day' })).toThrow(
      /MILLRACE_LEADERBOARD_BOARDS: expected it/,
    );
  });

  test('faults of its input', async () => {
    expect(await faultsOf(leaderboardCloseSeason, { board: 'game' })).toEqual(['season']);
    expect(
      await faultsOf(leaderboardCloseSeason, { board: 'game', period: { every: 'year', timeZone: 'Mars' } }),
    ).toEqual(['period.every', 'period.timeZone']);
  });
});
