/**
 * `leaderboard.close-season`: the standings of a season are put away, and a new one begins.
 *
 * Promise: the board is renamed to an archive in one step, so a score is in the season that is closed or in the new one. By its name a season
 * is closed once: an attempt after a kill, and a job that comes twice, go on with the archive that is there. The file is whole or not there;
 * `onClosed` is called once, but for an attempt that dies before its return is stored.
 * Redis down: the attempt fails, and a later one goes on.
 */
import { randomUUID } from 'node:crypto';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  checkOptions,
  durationOption,
  handle,
  unrecoverable,
  type BoardArchive,
  type Duration,
  type Handler,
  type JobContext,
} from 'millrace';
import { z } from 'zod';
import { Boards, boardsOption, type BoardsOption } from './leaderboard/boards.ts';
import { leaderboardCloseSeason, type SeasonResult, type SeasonStanding } from './leaderboard/contract.ts';
import { writeSeason } from './leaderboard/season-file.ts';
import { seasonName } from './leaderboard/season-name.ts';

/** A season that was closed, and its standings. */
export interface ClosedBoard {
  readonly board: string;
  readonly season: string;
  readonly closedAt: Date;
  readonly members: number;
  /** All of them, the best first, read a thousand at a time. */
  standings(this: void): AsyncIterable<SeasonStanding>;
}

/** Options of createLeaderboardCloseSeasonHandler(). */
export interface LeaderboardCloseSeasonOptions {
  /** The boards, by name, with the options that they have in all processes. */
  boards: BoardsOption;
  /** A folder that standings are written to, as `BOARD.SEASON.jsonl`. Default none: they are in the archive alone. */
  folder?: string | undefined;
  /** How many places the file has. Default: all. */
  top?: number | undefined;
  /** How long archives stay in Redis, where the job says nothing. Default: for ever. */
  keep?: Duration | undefined;
  /** Told of each season that was closed: to write it to a database, to give prizes. Its context is the job's. */
  onClosed?: ((closed: ClosedBoard, context: JobContext) => unknown) | undefined;
}

const optionsSchema = z.strictObject({
  boards: boardsOption,
  folder: z
    .string()
    .transform((folder, context) => {
      if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return resolve(folder);
      context.addIssue('expected a folder that is there');
      return z.NEVER;
    })
    .optional(),
  top: z.int().min(1).optional(),
  keep: durationOption.refine((ms) => ms >= 1_000, 'expected at least 1 s').optional(),
  onClosed: z
    .custom<NonNullable<LeaderboardCloseSeasonOptions['onClosed']>>(
      (value) => typeof value === 'function',
      'expected a function',
    )
    .optional(),
});

const WINNERS = 3;

/**
 * The handler of `leaderboard.close-season`.
 *
 * @example
 * const close = createLeaderboardCloseSeasonHandler({ boards: { game: {} }, folder: 'seasons', keep: '365d' });
 * await platform.work({ handlers: [close], schedules: leaderboardSchedules({ game: { every: 'month' } }) });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createLeaderboardCloseSeasonHandler(options: LeaderboardCloseSeasonOptions): Handler {
  const checked = checkOptions(optionsSchema, options, 'createLeaderboardCloseSeasonHandler');
  const boards = new Boards(checked.boards);
  const { folder, top = Infinity, onClosed } = checked;
  return handle(leaderboardCloseSeason, async (input, context): Promise<SeasonResult> => {
    const { job, leaderboards, log, once, progress, signal } = context;
    const { board: name, period, keep = checked.keep } = input;
    const board = boards.of(leaderboards, name);
    // A redrive is enqueued at another time.
    const season = period ? await once('season', () => seasonName(period, job)) : (input.season ?? '');
    const { closedAt, members, isRepeat } = await board.closeSeason(season, keep === undefined ? {} : { keep });
    const archive = board.archive(season);
    if (isRepeat && members > 0 && (await archive.size()) < members)
      throw unrecoverable(`season ${season} of board ${name} was closed before, and its archive is gone`);
    const ranking = boards.options[name]?.rank ?? 'competition';
    const standings = (most: number): AsyncIterable<SeasonStanding> => standingsOf(archive, ranking, most, signal);
    const file =
      folder &&
      (await once('written', async () => {
        const of = Math.min(top, members);
        const onLines = (written: number): void => progress({ written, of });
        const written = await writeSeason(folder, { board: name, season }, standings(top), {
          id: randomUUID(),
          lines: of,
          onLines,
        });
        progress({ written: written.lines, of });
        return written.file;
      }));
    if (onClosed) {
      const closed = { board: name, season, closedAt, members, standings: () => standings(Infinity) };
      await once('told', async () => {
        await onClosed(closed, context);
      });
    }
    const winners: SeasonStanding[] = [];
    for await (const standing of standings(WINNERS)) winners.push(standing);
    log.info({ board: name, season, members, file }, isRepeat ? 'season had been closed' : 'season closed');
    return { season, closedAt: closedAt.toISOString(), members, winners, ...(file && { file }) };
  });
}

/** The first of an archive, with the ranks that its board gives. */
async function* standingsOf(
  archive: BoardArchive<unknown>,
  ranking: 'ordinal' | 'competition' | 'dense',
  most: number,
  signal: AbortSignal,
): AsyncGenerator<SeasonStanding, void> {
  let [place, rank, last]: [number, number, number | undefined] = [0, 0, undefined];
  for await (const { member, score, meta } of archive.export({ batch: Math.min(most, 1_000), signal })) {
    place++;
    if (ranking === 'ordinal' || score !== last) rank = ranking === 'dense' ? rank + 1 : place;
    last = score;
    yield { rank, member, score, ...(meta !== undefined && { meta }) };
    if (place >= most) return;
  }
}
