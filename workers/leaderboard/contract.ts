/** The contracts of `leaderboard.record` and `leaderboard.close-season`. */
import { defineJob, durationOption, type Duration, type Every, type JobContract } from 'millrace';
import { z } from 'zod';
import { isTimeZone } from './time-zone.ts';

const name = z.string().min(1).max(256);

/** One score of a job. */
export interface ScoreToRecord {
  /** As the handler's options name it. */
  board: string;
  member: string;
  score: number;
  /**
   * Names what was done, such as `match:17`: for this member it counts once, in whichever job it comes. Default: one that is made of the job's id,
   * so that the attempts of one job count once.
   */
  operation?: string | undefined;
  /** What is told with the member from now on, where the board has a schema for it. */
  meta?: unknown;
}

/** Input of `leaderboard.record`: scores of one board or of several, 1 to 2,000. */
export interface ScoresInput {
  scores: readonly ScoreToRecord[];
}

/** What `leaderboard.record` gives to those who wait. */
export interface ScoresResult {
  /** How many were taken now, better ones or not. */
  taken: number;
  /** How many had been taken before: by an earlier attempt, or by another job with the same operation. */
  repeated: number;
}

const scoresSchema = z.strictObject({
  scores: z
    .array(
      z.strictObject({
        board: name,
        member: name,
        score: z.number(),
        operation: name.optional(),
        meta: z.unknown().optional(),
      }),
    )
    .min(1)
    .max(2_000)
    .readonly(),
});

/** What the handler of `leaderboard.record` gets. */
export type ParsedScores = z.output<typeof scoresSchema>;

/**
 * Takes many scores, a hundred of a board in a round trip.
 *
 * Tried 10 times in about four minutes. Each score counts once, however often the job runs.
 *
 * @example
 * await platform.jobs.enqueue(leaderboardRecord, {
 *   scores: players.map(({ id, points }) => ({ board: 'game', member: id, score: points, operation: `match:${match}` })),
 * });
 */
export const leaderboardRecord: JobContract<ScoresInput, ParsedScores, ScoresResult> = defineJob({
  name: 'leaderboard.record',
  input: scoresSchema,
  output: z.object({ taken: z.number(), repeated: z.number() }),
  attempts: 10,
  backoff: { type: 'exponential', delay: '1s', max: '1m', jitter: 0.3 },
  timeout: '2m',
});

/** The calendar that seasons are named by. */
export interface SeasonPeriod {
  /** Weeks begin on Monday. */
  every: Every;
  /** Whose midnight counts. Default `UTC`. */
  timeZone?: string | undefined;
}

/** Input of `leaderboard.close-season`: a board, and how its season is called. */
export interface SeasonInput {
  /** As the handler's options name it. */
  board: string;
  /** `2026-autumn`: a season is closed once by its name. */
  season?: string | undefined;
  /** In its place, as for a schedule: the season is the day, week or month that was just over when the job was enqueued, such as `2026-11`. */
  period?: SeasonPeriod | undefined;
  /** How long the archive stays in Redis. Default: as the handler says. */
  keep?: Duration | undefined;
}

/** A place in a season that is over. */
export interface SeasonStanding {
  rank: number;
  member: string;
  score: number;
  meta?: unknown;
}

/** What `leaderboard.close-season` gives to those who wait. */
export interface SeasonResult {
  season: string;
  /** When it was closed, as ISO 8601. */
  closedAt: string;
  members: number;
  /** The first three. */
  winners: SeasonStanding[];
  /** Where the standings were written. */
  file?: string | undefined;
}

const seasonSchema = z
  .strictObject({
    board: name,
    season: name.optional(),
    period: z
      .strictObject({
        every: z.enum(['day', 'week', 'month']),
        timeZone: z.string().refine(isTimeZone, 'expected a time zone such as Europe/Berlin').default('UTC'),
      })
      .optional(),
    keep: durationOption.refine((ms) => ms >= 1_000, 'expected at least 1 s').optional(),
  })
  .refine(({ season, period }) => (season === undefined) !== (period === undefined), {
    path: ['season'],
    error: 'expected a season, or the period that it is named by',
  });

/** What the handler of `leaderboard.close-season` gets. */
export type ParsedSeason = z.output<typeof seasonSchema>;

/**
 * Puts a board's standings away as an archive, writes them out, and begins a new season.
 *
 * Tried 13 times in about three hours. However often it runs, a season is closed once, and each score is in one season.
 *
 * @example
 * await platform.jobs.enqueue(leaderboardCloseSeason, { board: 'game', season: '2026-autumn' });
 */
export const leaderboardCloseSeason: JobContract<SeasonInput, ParsedSeason, SeasonResult> = defineJob({
  name: 'leaderboard.close-season',
  input: seasonSchema,
  output: z.object({
    season: z.string(),
    closedAt: z.string(),
    members: z.number(),
    winners: z.array(
      z.object({ rank: z.number(), member: z.string(), score: z.number(), meta: z.unknown().optional() }),
    ),
    file: z.string().optional(),
  }),
  attempts: 13,
  backoff: { type: 'exponential', delay: '5s', max: '1h', jitter: 0.3 },
  timeout: '1h',
});
