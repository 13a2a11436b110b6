/** Leaderboards, as a worker's process has them. */
import { readFileSync } from 'node:fs';
import type { Every } from 'millrace';
import { z } from 'zod';
import { count, duration } from '../env-values.ts';
import { optionsOf, type Family, type Variables } from '../family.ts';
import {
  createLeaderboardCloseSeasonHandler,
  type LeaderboardCloseSeasonOptions,
} from '../leaderboard-close-season.ts';
import { createLeaderboardRecordHandler } from '../leaderboard-record.ts';
import { leaderboardCloseSeason, leaderboardRecord } from './contract.ts';
import { leaderboardSchedules, type SeasonTiming } from './schedules.ts';

/** Options of the leaderboard jobs that are configured. */
export interface LeaderboardSettings {
  leaderboards?:
    | (LeaderboardCloseSeasonOptions & {
        /** The boards whose seasons are closed by a schedule, and when. Default none. */
        seasons?: Readonly<Record<string, SeasonTiming>> | undefined;
      })
    | undefined;
}

type Options = NonNullable<LeaderboardSettings['leaderboards']>;

const BOARDS_FORM = 'expected JSON such as {"game": {"windows": {"daily": {"every": "day"}}}}';
const boards = z.string().transform((text, context): Options['boards'] => {
  try {
    return JSON.parse(text) as Options['boards'];
  } catch {
    context.addIssue(BOARDS_FORM);
    return z.NEVER;
  }
});
const boardsFile = z.string().transform((file, context) => {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    context.addIssue(`expected a file that can be read (${(error as NodeJS.ErrnoException).code})`);
    return z.NEVER;
  }
});
/** `game=month`, `game=week@Europe/Berlin`, several with spaces between. */
const seasons = z.string().transform((text, context): Record<string, SeasonTiming> => {
  const entries = text
    .split(/\s+/)
    .filter((entry) => entry !== '')
    .map((entry) => /^([\w.-]+)=(day|week|month)(?:@([\w/+-]+))?$/.exec(entry));
  if (!entries.every((entry) => entry !== null) || entries.length === 0) {
    context.addIssue('expected game=month, or game=week@Europe/Berlin, or several of them with spaces between');
    return z.NEVER;
  }
  return Object.fromEntries(
    entries.map(([, board = '', every = '', timeZone]) => [
      board,
      { every: every as Every, ...(timeZone && { timeZone }) },
    ]),
  );
});

const LEADERBOARDS: Variables = {
  boards: 'MILLRACE_LEADERBOARD_BOARDS',
  seasons: 'MILLRACE_LEADERBOARD_SEASONS',
  folder: 'MILLRACE_LEADERBOARD_FOLDER',
  top: 'MILLRACE_LEADERBOARD_TOP',
  keep: 'MILLRACE_LEADERBOARD_KEEP',
};

const NEEDS = 'set MILLRACE_LEADERBOARD_BOARDS';

export const leaderboardFamily: Family<LeaderboardSettings> = {
  prefix: 'LEADERBOARD',
  variables: {
    MILLRACE_LEADERBOARD_BOARDS: boards,
    MILLRACE_LEADERBOARD_BOARDS_FILE: boardsFile.pipe(boards),
    MILLRACE_LEADERBOARD_SEASONS: seasons,
    MILLRACE_LEADERBOARD_FOLDER: z.string(),
    MILLRACE_LEADERBOARD_TOP: count,
    MILLRACE_LEADERBOARD_KEEP: duration,
  },
  settings(values, faults) {
    const given = values['MILLRACE_LEADERBOARD_BOARDS'] ?? values['MILLRACE_LEADERBOARD_BOARDS_FILE'];
    const withFile = { ...values, MILLRACE_LEADERBOARD_BOARDS: given };
    return { leaderboards: optionsOf<Options>(LEADERBOARDS, withFile, closing, faults) };
  },
  parts: ({ leaderboards }) => [
    {
      name: leaderboardRecord.name,
      needs: NEEDS,
      handler: leaderboards && createLeaderboardRecordHandler({ boards: leaderboards.boards }),
    },
    {
      name: leaderboardCloseSeason.name,
      needs: NEEDS,
      handler: leaderboards && closing(leaderboards),
      schedules: leaderboards && leaderboardSchedules(leaderboards.seasons ?? {}),
    },
  ],
};

/** The schedules are checked beside the handler, so that a season of no board is told at the start. */
function closing({
  seasons: timings = {},
  ...options
}: Options): ReturnType<typeof createLeaderboardCloseSeasonHandler> {
  const handler = createLeaderboardCloseSeasonHandler(options);
  leaderboardSchedules(timings, Object.keys(options.boards));
  return handler;
}
