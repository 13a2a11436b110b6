/** `millrace jobs ...`: finds jobs, shows one, cancels one, runs one again. */
import {
  isMillraceError,
  SEARCHABLE_STATES,
  type AttemptRecord,
  type Duration,
  type JobFilter,
  type JobInfo,
  type JobSummary,
  type Platform,
} from '../index.ts';
import { CommandError, EXIT_CODES_OF_ONE, UsageError, type Command, type Words } from './command.ts';
import { confirm, YES_FLAG } from './confirm.ts';
import { ago, at, note, say, sayList } from './output.ts';
import { progressLine } from './progress.ts';
import { countOf, durationOf, JSON_FLAG, listOf, momentOf, textOf } from './read-flags.ts';
import { SECRETS_FLAG, shownBy } from './secrets.ts';
import type { Column } from './table.ts';
import { untilCtrlC } from './until-ctrl-c.ts';
import { withPlatform } from './with-platform.ts';

const DEFAULT_LIMIT = 50;
const MOST_OF_A_PAGE = 200;

const COLUMNS: ReadonlyArray<Column<JobSummary>> = [
  { title: 'ID', of: ({ id }) => id },
  { title: 'JOB', of: ({ name }) => name, cutTo: 12 },
  { title: 'QUEUE', of: ({ queue }) => queue, cutTo: 8 },
  { title: 'STATE', of: ({ state }) => state },
  { title: 'TRIED', of: ({ attemptsMade, attempts }) => `${attemptsMade}/${attempts}`, align: 'right', canGo: true },
  { title: 'AGE', of: ({ enqueuedAt }) => ago(enqueuedAt), align: 'right' },
  {
    title: 'INPUT',
    of: ({ inputText, reason }) => (reason === undefined ? inputText : `${inputText} ${reason}`),
    cutTo: 12,
  },
];

/** The commands on jobs. */
export const jobs: Readonly<Record<string, Command>> = {
  'jobs list': {
    summary: 'Lists jobs, the newest first.',
    flags: {
      queue: { value: 'A,B', summary: 'Of these queues only.' },
      contract: { value: 'A,B', summary: 'Of these contracts only.' },
      state: { value: 'A,B', summary: 'In these states only.', oneOf: SEARCHABLE_STATES },
      since: { value: 'WHEN', summary: 'Enqueued since then: 15m ago, or a date.' },
      text: { value: 'TEXT', summary: 'With this in the id or the input; secrets are not found.' },
      limit: { value: 'N', summary: `At most so many. Default ${DEFAULT_LIMIT}.` },
      ...JSON_FLAG,
    },
    exitCodes: { 0: 'listed', 1: 'failed, or there is no such queue', 2: 'wrong words' },
    run: async ({ flags }) => {
      const filter = filterOf(flags);
      const limit = countOf('limit', flags) ?? DEFAULT_LIMIT;
      return withPlatform(async (platform) => {
        const { found, isMore, isWhole } = await search(platform, filter, limit);
        const code = sayList(flags['json'], found, { columns: COLUMNS, none: 'no jobs' });
        if (isMore) note('There are more: --limit N shows them.');
        else if (!isWhole)
          note('Not all jobs could be looked at, or not to the end of their input: some may be missing.');
        return code;
      });
    },
  },
  'jobs show': {
    summary: 'Shows a job: its state, input, attempts and log.',
    words: ['ID'],
    flags: { ...JSON_FLAG, ...SECRETS_FLAG },
    exitCodes: { 0: 'shown', 1: 'there is no such job', 2: 'wrong words' },
    run: ({ given: { ID: id = '' }, flags }) =>
      withPlatform(async (platform) => {
        const job = await platform.jobs.get(id);
        if (!job) throw await absent(platform, id);
        return say(flags['json'], (await shownBy(platform, flags)).job(job), jobLines);
      }),
  },
  'jobs wait': {
    summary: 'Waits for the end of a job, and shows it.',
    words: ['ID'],
    flags: {
      for: { value: 'DURATION', summary: 'How long to wait. Default 30s.' },
      ...JSON_FLAG,
      ...SECRETS_FLAG,
    },
    exitCodes: {
      0: 'it has completed',
      1: 'it failed for good, was cancelled, has not ended yet, or there is no such job',
      2: 'wrong words',
    },
    run: async ({ given: { ID: id = '' }, flags }) => {
      const deadline = durationOf('for', flags);
      return withPlatform(async (platform) => {
        const hasCompleted = await waitForEnd(platform, id, deadline);
        const job = await platform.jobs.get(id);
        if (job) say(flags['json'], (await shownBy(platform, flags)).job(job), jobLines);
        else if (hasCompleted) note(`${id} has completed; its contract keeps no more of it`);
        else throw await absent(platform, id);
        return hasCompleted ? 0 : 1;
      });
    },
  },
  'jobs cancel': {
    summary: 'Cancels a job, whether it waits or runs.',
    words: ['ID'],
    flags: { reason: { value: 'TEXT', summary: 'Why; its handler is told.' }, ...YES_FLAG, ...JSON_FLAG },
    exitCodes: {
      0: 'cancelled',
      1: 'there is no such job, it had ended, it still runs, or you said no',
      2: 'wrong words, or there was nobody to ask',
    },
    run: async ({ given: { ID: id = '' }, flags }) => {
      const reason = textOf('reason', flags);
      return withPlatform(async (platform) => {
        const job = await platform.jobs.get(id);
        if (!job) throw await absent(platform, id);
        if (!ENDED.has(job.state) && !(await confirm(`Cancel ${job.name} ${id}, which is ${job.state}?`, flags)))
          return 1;
        const answer = await platform.jobs.cancel(id, reason === undefined ? {} : { reason });
        say(flags['json'], { id, ...answer }, ({ status }) => [CANCELLED[status]]);
        return answer.status === 'cancelled' ? 0 : 1;
      });
    },
  },
  'jobs retry': {
    summary: 'Runs a job again that has completed or failed, or now that is delayed.',
    words: ['ID'],
    flags: JSON_FLAG,
    exitCodes: EXIT_CODES_OF_ONE,
    run: ({ given: { ID: id = '' }, flags }) =>
      withPlatform(async (platform) => {
        const answer = await platform.jobs.retry(id);
        if (answer.status === 'not-found') throw await absent(platform, id);
        say(flags['json'], { id, ...answer }, ({ status }) => [RETRIED[status]]);
        return answer.status === 'not-possible' ? 1 : 0;
      }),
  },
};

/** There is nothing left to cancel, and so nothing to ask. */
const ENDED: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled']);
const CANCELLED = {
  cancelled: 'cancelled',
  requested: 'requested: it still runs; its worker is told again',
  finished: 'finished: it had ended before',
  unknown: 'unknown: it is gone',
};
const RETRIED = {
  retried: 'retried: it waits to run again, with all its attempts',
  promoted: 'promoted: it may run now',
  'not-possible': 'not possible: it waits already, or runs',
  'not-found': 'not found',
};

function filterOf(flags: Words['flags']): JobFilter {
  const states = listOf('state', flags);
  const strange = states?.find((state) => !(SEARCHABLE_STATES as readonly string[]).includes(state));
  if (strange !== undefined)
    throw new UsageError(`--state: expected some of ${SEARCHABLE_STATES.join(', ')}, got ${strange}`);
  return {
    queues: listOf('queue', flags),
    names: listOf('contract', flags),
    states: states as JobFilter['states'],
    from: momentOf('since', flags),
    text: textOf('text', flags),
  };
}

/** Page by page: each does a bounded work, and may have found nothing yet. */
async function search(
  { jobs: all }: Platform,
  filter: JobFilter,
  limit: number,
): Promise<{ found: JobSummary[]; isMore: boolean; isWhole: boolean }> {
  const found: JobSummary[] = [];
  const progress = progressLine();
  let scanned = 0;
  try {
    return await untilCtrlC(async (signal) => {
      let cursor: string | undefined;
      for (;;) {
        const page = await all.search(filter, {
          limit: Math.min(MOST_OF_A_PAGE, limit - found.length),
          cursor,
          signal,
        });
        found.push(...page.jobs);
        cursor = page.cursor;
        scanned += page.scanned;
        if (cursor === undefined) return { found, isMore: false, isWhole: page.isWhole };
        if (found.length >= limit) return { found, isMore: true, isWhole: false };
        if (signal.aborted) return { found, isMore: false, isWhole: false };
        if (process.stderr.isTTY) progress.show(`looked at ${scanned} jobs, found ${found.length}`);
      }
    });
  } finally {
    progress.clear();
  }
}

/** Whether it completed; otherwise it failed or was cancelled. @throws CommandError when it is not there, or goes on */
async function waitForEnd(platform: Platform, id: string, deadline: Duration | undefined): Promise<boolean> {
  try {
    await platform.jobs.waitFor(id, { deadline });
    return true;
  } catch (error) {
    if (isMillraceError(error, 'JOB_FAILED') || isMillraceError(error, 'JOB_CANCELLED')) return false;
    if (isMillraceError(error, 'JOB_UNKNOWN')) throw await absent(platform, id);
    if (isMillraceError(error, 'WAIT_TIMEOUT')) throw new CommandError(error.message, { cause: error });
    throw error;
  }
}

/** Why there is no such job, or none that could run again, as far as it is known. */
async function absent({ deadLetters, jobs: all }: Platform, id: string): Promise<CommandError> {
  const [letter, job] = await Promise.all([deadLetters.get(id), all.get(id)]);
  if (letter) return new CommandError(`${id} is a dead letter; npx millrace dead show ${letter.id}`);
  if (job?.state === 'cancelled') return new CommandError(`${id} was cancelled, and runs no more; enqueue it anew`);
  return new CommandError(
    `there is no job ${id}; completed jobs are kept as long as their contract says, an hour by default`,
  );
}

function jobLines(job: JobInfo): string[] {
  const { id, name, queue, state, attemptsMade, attempts, reason, history, log } = job;
  return [
    `${name} ${id}`,
    `State      ${state}${reason === undefined ? '' : `: ${reason}`}`,
    `Queue      ${queue}`,
    `Enqueued   ${at(job.enqueuedAt)}`,
    ...(job.startedAt === undefined
      ? []
      : [`Started    ${at(job.startedAt)}${job.worker === undefined ? '' : ` on ${job.worker}`}`]),
    ...(job.finishedAt === undefined ? [] : [`Ended      ${at(job.finishedAt)}`]),
    `Attempts   ${attemptsMade} of ${attempts}`,
    `Input      ${JSON.stringify(job.input)}`,
    ...('result' in job ? [`Result     ${JSON.stringify(job.result)}`] : []),
    ...('progress' in job ? [`Progress   ${JSON.stringify(job.progress)}`] : []),
    ...attemptLines(history),
    ...(log.length === 0 ? [] : ['', 'Log:', ...log.map((line) => `  ${line}`)]),
  ];
}

/** The attempts that did not succeed, a line each. */
export function attemptLines(history: readonly AttemptRecord[]): string[] {
  if (history.length === 0) return [];
  return [
    '',
    'Attempts that did not succeed:',
    ...history.map(({ attempt, outcome, startedAt, worker, error }) => {
      const when = startedAt === undefined ? '' : ` ${at(startedAt)}`;
      const where = worker === undefined ? '' : ` on ${worker}`;
      return `  ${attempt}${when}${where}: ${outcome}${error ? `, ${error.name}: ${error.message}` : ''}`;
    }),
  ];
}
