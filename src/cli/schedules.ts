/** `millrace schedules`: what comes again by itself; `schedules run` does not wait for it, `schedules remove` ends it. */
import { formatMs, systemClock, type ScheduleInfo } from '../index.ts';
import { EXIT_CODES, EXIT_CODES_OF_ONE, type Command } from './command.ts';
import { ago, say, sayList, some } from './output.ts';
import { JSON_FLAG } from './read-flags.ts';
import { declarersOf } from './schedules-declarers.ts';
import { schedulesRemove, unknownSchedule } from './schedules-remove.ts';
import { contractMask } from './secrets.ts';
import type { Column } from './table.ts';
import { withPlatform } from './with-platform.ts';

/** A schedule, and who has it in his code. */
interface Row extends ScheduleInfo {
  /** The workers that run and declare it, as `host:pid`. */
  declarers: string[];
}

const COLUMNS: ReadonlyArray<Column<Row>> = [
  { title: 'SCHEDULE', of: ({ id }) => id, cutTo: 12 },
  { title: 'JOB', of: ({ contract }) => contract, cutTo: 12 },
  { title: 'QUEUE', of: ({ queue }) => queue, cutTo: 8 },
  { title: 'WHEN', of: timing, cutTo: 10 },
  { title: 'LAST RUN', of: ({ lastRunAt }) => (lastRunAt === undefined ? 'never' : `${ago(lastRunAt)} ago`) },
  { title: 'ENDED', of: ({ lastRunStatus }) => lastRunStatus },
  { title: 'NEXT', of: next },
  { title: 'MISSED', of: ({ missed }) => some(missed), align: 'right' },
  { title: 'OWNER', of: ({ owner }) => owner, cutTo: 8, canGo: true },
  { title: 'WORKERS', of: ({ declarers }) => declarers.length, align: 'right', canGo: true },
];

/** The commands on schedules. */
export const schedules: Readonly<Record<string, Command>> = {
  schedules: {
    summary: 'Lists the schedules: when they ran last and run next, and what they have missed.',
    flags: JSON_FLAG,
    exitCodes: EXIT_CODES,
    run: ({ flags }) =>
      withPlatform(async (platform) => {
        const [mask, declarers] = await Promise.all([contractMask(platform), declarersOf(platform)]);
        const rows = (await platform.schedules.list()).map((row): Row => {
          return { ...row, input: mask(row.contract, row.input), declarers: declarers(row) };
        });
        return sayList(flags['json'], rows, { columns: COLUMNS, none: 'no schedule is declared' });
      }),
  },
  'schedules run': {
    summary: 'Runs a schedule now, as its next tick would; that one comes all the same.',
    words: ['NAME'],
    flags: JSON_FLAG,
    exitCodes: EXIT_CODES_OF_ONE,
    run: ({ given: { NAME: id = '' }, flags }) =>
      withPlatform(async (platform) => {
        if (!(await platform.schedules.get(id))) throw unknownSchedule(id, await platform.schedules.list());
        const answer = await platform.schedules.run(id);
        return say(flags['json'], answer, (job) => [`${job.status} ${job.id}`, `npx millrace jobs show ${job.id}`]);
      }),
  },
  'schedules remove': schedulesRemove,
};

function timing({ cron, timeZone, everyMs, offsetMs = 0 }: ScheduleInfo): string {
  if (cron !== undefined) return timeZone === undefined || timeZone === 'UTC' ? cron : `${cron} ${timeZone}`;
  const every = `every ${formatMs(everyMs ?? 0)}`;
  return offsetMs === 0 ? every : `${every} + ${formatMs(offsetMs)}`;
}

function next({ nextRunAt, overdueMs }: ScheduleInfo): string {
  if (nextRunAt === undefined) return 'never';
  if (overdueMs > 0) return `overdue for ${formatMs(overdueMs)}`;
  return `in ${formatMs(Math.max(0, nextRunAt - systemClock.wallMs()))}`;
}
