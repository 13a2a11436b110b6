/** `millrace jobs show ID`, `millrace jobs cancel ID`, `millrace jobs queues`: looks at jobs and queues. */
import type { AttemptRecord, JobInfo } from '../index.ts';
import type { Command } from './command.ts';
import { inputMask, SECRETS_FLAG } from './secrets.ts';
import { withPlatform } from './with-platform.ts';

const JSON_FLAG = { json: 'Prints the answer as JSON.' };

/** The commands on jobs. */
export const jobs: Readonly<Record<string, Command>> = {
  'jobs show': {
    summary: 'Shows a job: its state, input, attempts and log.',
    words: ['ID'],
    flags: { ...JSON_FLAG, ...SECRETS_FLAG },
    exitCodes: { 0: 'shown', 1: 'there is no such job', 2: 'wrong words' },
    run: ({ given: { ID: id = '' }, flags }) =>
      withPlatform(async (platform) => {
        const job = await platform.jobs.get(id);
        if (job) {
          const mask = await inputMask(platform, flags);
          return say(flags['json'], { ...job, input: mask(job.name, job.input) }, jobLines);
        }
        const letter = await platform.deadLetters.get(`${id}~0`);
        console.error(
          letter
            ? `millrace jobs show: ${id} is a dead letter; npx millrace dead show ${letter.id}`
            : `millrace jobs show: there is no job ${id}; completed jobs are kept for an hour`,
        );
        return 1;
      }),
  },
  'jobs cancel': {
    summary: 'Cancels a job, whether it waits or runs.',
    words: ['ID'],
    flags: { ...JSON_FLAG, reason: { value: 'TEXT', summary: 'Why; its handler is told.' } },
    exitCodes: { 0: 'cancelled', 1: 'there is no such job, or it had ended', 2: 'wrong words' },
    run: ({ given: { ID: id = '' }, flags }) =>
      withPlatform(async (platform) => {
        const { reason } = flags;
        const answer = await platform.jobs.cancel(id, typeof reason === 'string' ? { reason } : {});
        say(flags['json'], answer, ({ status }) => [status]);
        return answer.status === 'cancelled' ? 0 : 1;
      }),
  },
  'jobs queues': {
    summary: 'Lists the queues, with how many jobs they have.',
    flags: JSON_FLAG,
    exitCodes: { 0: 'listed', 2: 'wrong words' },
    run: ({ flags }) =>
      withPlatform(async (platform) => {
        const names = await platform.jobs.queues();
        const rows = await Promise.all(names.map(async (queue) => ({ queue, ...(await platform.jobs.counts(queue)) })));
        return say(flags['json'], rows, (all) =>
          all.length === 0
            ? ['no queue was used yet']
            : all.map(({ queue, ...counts }) => `${queue.padEnd(20)} ${countsLine(counts)}`),
        );
      }),
  },
};

/** Prints as JSON or for people. */
export function say<T>(json: string | boolean | undefined, value: T, lines: (value: T) => string[]): number {
  console.log(json === true ? JSON.stringify(value, undefined, 2) : lines(value).join('\n'));
  return 0;
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

/** A moment, for people. */
export function at(ms: number): string {
  return new Date(ms).toISOString();
}

function countsLine(counts: Readonly<Record<string, number>>): string {
  const shown = Object.entries(counts).filter(([, count]) => count > 0);
  return shown.length === 0 ? 'empty' : shown.map(([state, count]) => `${state} ${count}`).join('  ');
}
