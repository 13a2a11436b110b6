/** Schedules that close the seasons of boards. */
import { createHash } from 'node:crypto';
import { checkOptions, durationOption, schedule, type Duration, type Every, type Schedule } from 'millrace';
import { z } from 'zod';
import { leaderboardCloseSeason, type SeasonPeriod } from './contract.ts';
import { isTimeZone } from './time-zone.ts';

/** When the seasons of a board end. */
export interface SeasonTiming extends SeasonPeriod {
  /** In the place of midnight, of Monday's for weeks and of the first for months: 5 fields, in the time zone. */
  cron?: string | undefined;
  /** How long archives stay in Redis. Default: as the handler says. */
  keep?: Duration | undefined;
}

const MIDNIGHTS = { day: '0 0 * * *', week: '0 0 * * 1', month: '0 0 1 * *' } as const satisfies Record<Every, string>;

const timingSchema = z.strictObject({
  every: z.enum(['day', 'week', 'month']),
  timeZone: z.string().refine(isTimeZone, 'expected a time zone such as Europe/Berlin').default('UTC'),
  cron: z.string().optional(),
  keep: durationOption.optional(),
});

/**
 * A schedule for each board, by which its season is closed at the end of each day, week or month.
 *
 * @example
 * const schedules = leaderboardSchedules({ game: { every: 'month', timeZone: 'Europe/Berlin' } });
 * @param boards The boards that there are. Default: they are not checked.
 * @throws MillraceError OPTIONS_INVALID
 */
export function leaderboardSchedules(
  seasons: Readonly<Record<string, SeasonTiming>>,
  boards?: readonly string[],
): Schedule[] {
  const schema = z.strictObject({ seasons: z.record(z.string(), timingSchema) }).superRefine((given, context) => {
    for (const name of Object.keys(given.seasons))
      if (boards?.includes(name) === false)
        context.addIssue({ code: 'custom', path: ['seasons', name], message: 'expected a board that there is' });
  });
  const checked = checkOptions(schema, { seasons }, 'leaderboardSchedules');
  return Object.entries(checked.seasons).map(([board, { every, timeZone, cron = MIDNIGHTS[every], keep }]) => {
    const input = { board, period: { every, timeZone }, ...(keep !== undefined && { keep }) };
    return schedule(leaderboardCloseSeason, input, { id: idOf(board), cron, timeZone }) as Schedule;
  });
}

/** An id has no spaces and the like. */
function idOf(board: string): string {
  const name = /^[\w.-]{1,64}$/.test(board) ? board : createHash('sha256').update(board).digest('hex').slice(0, 32);
  return `${leaderboardCloseSeason.name}.${name}`;
}
