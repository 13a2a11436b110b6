/** The options of leaderboards and of each board, and how they are checked. */
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { checkOptions, durationOption, isSchema, type Schema } from '../schema.ts';
import { isTimeZone, type Every } from './calendar.ts';
import type { LeaderboardMetricsRegistry } from './leaderboard-metrics.ts';

/** Options of the leaderboards of one process. */
export interface LeaderboardsOptions {
  /** The first part of every key. Default `millrace`. */
  prefix?: string | undefined;
  /** How long Redis may take for an answer. Default 2 s. */
  deadline?: Duration | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count; nowhere when left out. */
  metrics?: LeaderboardMetricsRegistry | undefined;
}

/** A window that begins anew with each day, week or month. */
export interface CalendarWindow {
  /** Weeks begin on Monday. */
  every: Every;
  /** Whose midnight counts, such as `Europe/Berlin`. Default `UTC`. */
  timeZone?: string | undefined;
  /** How many past periods stay readable; up to 400. Default 35 days, 10 weeks or 13 months. Each takes as much memory as a board. */
  keep?: number | undefined;
}

/** A window that moves with time, by buckets: the current one, and as many before it as fill the length. */
export interface RollingWindow {
  /** The length; a multiple of `bucket`, up to 100 of them. */
  rolling: Duration;
  /** By how much it moves. At least 1 s. What is told is between `rolling - bucket` and `rolling` old at most. */
  bucket: Duration;
  /** How much longer buckets stay, for readings with `at`. Default 0; up to 400 d and 1,000 buckets. None by the policy `last`. */
  keep?: Duration | undefined;
  /**
   * How old a reading may be. Default 10 s; 100 ms to 1 d. Putting all buckets together holds up the server for 2 to 3 µs a member, twice as
   * long where ranks are dense; a window that takes longer than a tenth of `refresh` is told for ten times what it took.
   */
  refresh?: Duration | undefined;
}

/** A window of a board. */
export type WindowOptions = CalendarWindow | RollingWindow;

/** Of a board that has the all-time board alone. */
// eslint-disable-next-line typescript/no-generated-empty-object-type -- no name is the name of a window.
export type NoWindows = Record<never, never>;

/** What a score may be. */
export interface ScoreOptions {
  min?: number | undefined;
  max?: number | undefined;
  /** Whole numbers only, and none that a double cannot hold exactly. Default false. */
  integer?: boolean | undefined;
}

/** Options of a board. Those marked with (form) are the same in all processes: the first score decides. */
export interface BoardOptions<Windows extends Record<string, WindowOptions> = NoWindows, Meta = never> {
  /** (form) Which scores are the better ones. Default `highest`; `lowest` for seconds in a race. */
  order?: 'highest' | 'lowest' | undefined;
  /** (form) Which of a member's scores counts: the best, the last, or their sum. Default `best`. */
  policy?: 'best' | 'last' | 'sum' | undefined;
  /**
   * (form) The ranks of members who share a score, as of four members: `competition` 1 2 2 4, `dense` 1 2 2 3, `ordinal` 1 2 3 4 in the
   * order of `ties`. Default `competition`. `dense` keeps one more set, of the scores that somebody has.
   */
  rank?: 'ordinal' | 'competition' | 'dense' | undefined;
  /**
   * (form) Who comes first among members with one score: the first that reached it, the last, or the one whose id is less, byte by byte.
   * Default `first`. `member` takes a third of the memory less, and a submit a third of the time.
   */
  ties?: 'first' | 'last' | 'member' | undefined;
  /** What a score may be. Default: any finite number. */
  score?: ScoreOptions | undefined;
  /** Further boards, by the name that readings know them by, which every score counts for too. Up to 16. */
  windows?: Windows | undefined;
  /** How many members each board keeps, the best ones; a bucket of a rolling window is one. Default: all. */
  maxSize?: number | undefined;
  /** What is told with a member, such as a name to show; the same in all processes. Default: nothing. */
  meta?: Schema<Meta, unknown> | undefined;
  /** The largest metadata of a member, in bytes of JSON. Default 1,024; up to 64 KiB. */
  maxMetaBytes?: number | undefined;
  /** How long an operation is known, so that it counts once. Default 1 d; 1 s to 400 d. Too short, and a late retry counts twice. */
  operationsFor?: Duration | undefined;
}

/** A calendar window, as it is worked with. */
export interface CalendarRule {
  readonly name: string;
  readonly every: Every;
  readonly timeZone: string;
  readonly keep: number;
}

/** A rolling one. */
export interface RollingRule {
  readonly name: string;
  readonly bucketMs: number;
  /** How many buckets it has. */
  readonly count: number;
  readonly keepMs: number;
  readonly refreshMs: number;
}

/** The options of a board, as they are worked with. */
export interface BoardRule {
  readonly order: 'highest' | 'lowest';
  readonly policy: 'best' | 'last' | 'sum';
  readonly rank: 'ordinal' | 'competition' | 'dense';
  readonly ties: 'first' | 'last' | 'member';
  readonly min: number;
  readonly max: number;
  readonly isInteger: boolean;
  readonly calendars: readonly CalendarRule[];
  readonly rollings: readonly RollingRule[];
  /** 0 for all. */
  readonly maxSize: number;
  readonly meta: Schema<unknown, unknown> | undefined;
  readonly maxMetaBytes: number;
  readonly operationsMs: number;
}

const KEPT = { day: 35, week: 10, month: 13 } as const satisfies Record<Every, number>;
const LONGEST_MS = 400 * 86_400_000;
const MOST_WINDOWS = 16;
const MOST_BUCKETS = 100;
const MOST_KEPT_BUCKETS = 1_000;
const LONGEST_NAME = 256;

const within = (lowest: number, highest: number, form: string): z.ZodType<number, Duration> =>
  durationOption.refine((ms) => ms >= lowest && ms <= highest, { error: `expected a duration of ${form}` });

const leaderboardsSchema = z.strictObject({
  prefix: z.string().optional(),
  deadline: within(1, 3_600_000, '1 ms to 1 h').optional(),
  log: z.custom<Logger>().optional(),
  clock: z.custom<Clock>().optional(),
  metrics: z.custom<LeaderboardMetricsRegistry>().optional(),
});

/** The options that an app gives, as the platform checks them. */
export const leaderboardsOptionsSchema = leaderboardsSchema.omit({
  prefix: true,
  log: true,
  clock: true,
  metrics: true,
});

const calendarSchema = z.strictObject({
  every: z.enum(['day', 'week', 'month']),
  timeZone: z
    .custom<string>(isTimeZone, {
      error: ({ input }) => `expected a time zone such as Europe/Berlin, got ${describeValue(input)}`,
    })
    .default('UTC'),
  keep: z.int().min(0).max(400).optional(),
});

const rollingSchema = z
  .strictObject({
    rolling: durationOption,
    bucket: within(1_000, LONGEST_MS, '1 s to 400 d'),
    keep: within(0, LONGEST_MS, '400 d at most').default(0),
    refresh: within(100, 86_400_000, '100 ms to 1 d').default(10_000),
  })
  .refine(({ rolling, bucket }) => rolling >= bucket && rolling % bucket === 0 && rolling / bucket <= MOST_BUCKETS, {
    path: ['rolling'],
    error: `expected a multiple of bucket, ${MOST_BUCKETS} at most`,
  })
  .refine(({ keep, bucket }) => keep / bucket <= MOST_KEPT_BUCKETS, {
    path: ['keep'],
    error: `expected at most ${MOST_KEPT_BUCKETS} times bucket`,
  });

/** Told apart first, so that a fault is told of the kind that was meant. */
const windowSchema = z.unknown().transform((value, context) => {
  const isRolling = typeof value === 'object' && value !== null && 'rolling' in value;
  const result = (isRolling ? rollingSchema : calendarSchema).safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  for (const issue of result.error.issues) context.issues.push({ ...issue, input: issue.input } as never);
  return z.NEVER;
});

const WINDOW_NAME = /^[A-Za-z][\w-]{0,63}$/;

const boardSchema = z.strictObject({
  order: z.enum(['highest', 'lowest']).default('highest'),
  policy: z.enum(['best', 'last', 'sum']).default('best'),
  rank: z.enum(['ordinal', 'competition', 'dense']).default('competition'),
  ties: z.enum(['first', 'last', 'member']).default('first'),
  score: z
    .strictObject({
      min: z.number().default(Number.NEGATIVE_INFINITY),
      max: z.number().default(Number.POSITIVE_INFINITY),
      integer: z.boolean().default(false),
    })
    .refine(({ min, max }) => min <= max, { path: ['min'], error: 'expected no more than max' })
    .prefault({}),
  windows: z
    .record(z.string(), windowSchema)
    .default({})
    .superRefine((windows, context) => {
      const names = Object.keys(windows);
      if (names.length > MOST_WINDOWS)
        context.addIssue(`expected at most ${MOST_WINDOWS} windows, got ${names.length}`);
      for (const name of names.filter((one) => !WINDOW_NAME.test(one) || one === 'all'))
        context.addIssue(
          `expected names of up to 64 letters, digits and _ -, other than all, got ${describeValue(name)}`,
        );
    }),
  maxSize: z.int().min(1).optional(),
  meta: z
    .custom<Schema<unknown, unknown>>(isSchema, {
      error: ({ input }) => `expected a schema that follows Standard Schema, got ${describeValue(input)}`,
    })
    .optional(),
  maxMetaBytes: z.int().min(2).max(65_536).default(1_024),
  operationsFor: within(1_000, LONGEST_MS, '1 s to 400 d').default(86_400_000),
});

/** The options of leaderboards. @throws MillraceError OPTIONS_INVALID */
export function checkLeaderboards(options: LeaderboardsOptions): Readonly<z.output<typeof leaderboardsSchema>> {
  return checkOptions(leaderboardsSchema, options, 'createLeaderboards');
}

/** The options of a board. @throws MillraceError OPTIONS_INVALID */
export function checkBoard(name: string, options: unknown): BoardRule {
  checkName('leaderboards.board: name', name);
  const { score, windows, maxSize = 0, operationsFor, ...rest } = checkOptions(boardSchema, options, `board ${name}`);
  const all = Object.entries(windows);
  for (const [window, one] of all) {
    if (rest.policy !== 'last' || !('rolling' in one) || one.keep === 0) continue;
    const message = `board ${name}: windows.${window}.keep: by the policy last, a rolling window does not know what it was`;
    throw new MillraceError('OPTIONS_INVALID', message, { board: name, window });
  }
  return Object.freeze({
    ...rest,
    meta: rest.meta,
    min: score.min,
    max: score.max,
    isInteger: score.integer,
    calendars: all.flatMap(([window, one]) =>
      'every' in one
        ? [{ name: window, every: one.every, timeZone: one.timeZone, keep: one.keep ?? KEPT[one.every] }]
        : [],
    ),
    rollings: all.flatMap(([window, one]) => ('rolling' in one ? [rollingRule(window, one)] : [])),
    maxSize,
    operationsMs: operationsFor,
  });
}

function rollingRule(name: string, window: z.output<typeof rollingSchema>): RollingRule {
  const { rolling, bucket, keep, refresh } = window;
  return { name, bucketMs: bucket, count: rolling / bucket, keepMs: keep, refreshMs: refresh };
}

/** A name of a board, member, operation or archive. @throws MillraceError OPTIONS_INVALID */
export function checkName(what: string, name: unknown): asserts name is string {
  if (typeof name === 'string' && name !== '' && name.length <= LONGEST_NAME && !/\p{Surrogate}/u.test(name)) return;
  const form = `a text of 1 to ${LONGEST_NAME} characters without halves of surrogate pairs`;
  throw new MillraceError('OPTIONS_INVALID', `${what}: expected ${form}, got ${describeValue(name)}`, { name });
}

/** A whole number that a call was given. @throws MillraceError OPTIONS_INVALID */
export function checkCount(what: string, count: unknown, least: number, most: number): asserts count is number {
  if (Number.isInteger(count) && (count as number) >= least && (count as number) <= most) return;
  const form = `a whole number from ${least} to ${most}`;
  throw new MillraceError('OPTIONS_INVALID', `${what}: expected ${form}, got ${describeValue(count)}`, { count });
}

/** What a call was given by name; what is unknown is a typing error. @throws MillraceError OPTIONS_INVALID */
export function checkKnown(what: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    const message = `${what}: expected an object, got ${describeValue(options)}`;
    throw new MillraceError('OPTIONS_INVALID', message, { options });
  }
  for (const name in options) {
    if (known.includes(name)) continue;
    const names = known.length === 0 ? 'there are none' : `known are ${known.join(', ')}`;
    throw new MillraceError('OPTIONS_INVALID', `${what}: unknown option ${name}, ${names}`, { option: name });
  }
}

/** A list that a call was given. @throws MillraceError OPTIONS_INVALID */
export function checkList(what: string, list: unknown, most: number): asserts list is readonly unknown[] {
  if (Array.isArray(list)) return checkCount(`number of ${what}`, list.length, 0, most);
  throw new MillraceError('OPTIONS_INVALID', `${what}: expected a list, got ${describeValue(list)}`, { list });
}
