/** `millrace dead redrive` and `dead discard`: by ids, by flags, or all. Ctrl-C ends them between two steps, and what was done is told. */
import { userInfo } from 'node:os';
import type { DeadLetterTarget, DiscardResult, Platform, RedriveResult } from '../index.ts';
import { CommandError, UsageError, type Command, type Flag } from './command.ts';
import { confirm, YES_FLAG } from './confirm.ts';
import { checkLetterQueue, filterFlags, targetOf } from './dead-filter.ts';
import { note, say } from './output.ts';
import { progressBar } from './progress.ts';
import { checkQueue } from './queues.ts';
import { countOf, JSON_FLAG, numberOf, textOf } from './read-flags.ts';
import { untilCtrlC } from './until-ctrl-c.ts';
import { withPlatform } from './with-platform.ts';

const LIMIT_FLAG: Readonly<Record<string, Flag>> = {
  limit: { value: 'N', summary: 'At most so many, the oldest first.' },
};

/** The commands that act on dead letters. */
export const deadActs: Readonly<Record<string, Command>> = {
  'dead redrive': {
    summary: "Sends dead letters back to their queue: by their ids, all that the flags name, or 'all'.",
    words: ['[ID...]'],
    flags: {
      ...filterFlags,
      ...LIMIT_FLAG,
      rate: { value: 'N', summary: 'At most so many a second.' },
      to: { value: 'QUEUE', summary: 'To another queue than the one where they died.' },
      by: { value: 'WHO', summary: 'Who does it; kept with the job. Default: your user name.' },
      'dry-run': 'Tells how many would be sent, and sends none.',
      ...JSON_FLAG,
    },
    exitCodes: { 0: 'done', 1: 'failed, cut short, some were skipped, or there is no such letter', 2: 'wrong words' },
    run: async (words) => {
      const { flags } = words;
      const named = targetOf(words);
      const options = {
        limit: countOf('limit', flags, 0),
        rate: rateOf(numberOf('rate', flags)),
        to: textOf('to', flags),
        by: textOf('by', flags) ?? userName(),
        dryRun: flags['dry-run'] === true,
      };
      return withPlatform(async (platform) => {
        const target = await found(platform, named);
        if (options.to !== undefined) await checkQueue(platform, options.to);
        const bar = progressBar('sent back');
        const answer = await untilCtrlC((signal) =>
          platform.deadLetters.redrive(target, {
            ...options,
            signal,
            onProgress: ({ redriven, skipped, matched }) => bar.show(redriven + skipped, matched),
          }),
        ).finally(bar.clear);
        say(flags['json'], answer, redriveLines);
        if (answer.aborted) note('Cut short by Ctrl-C; the rest is where it was.');
        return answer.aborted || answer.skipped.length > 0 ? 1 : 0;
      });
    },
  },
  'dead discard': {
    summary: "Removes dead letters for good: by their ids, all that the flags name, or 'all'. Asks first.",
    words: ['[ID...]'],
    flags: {
      ...filterFlags,
      ...LIMIT_FLAG,
      'dry-run': 'Tells how many would be removed, and removes none.',
      ...YES_FLAG,
      ...JSON_FLAG,
    },
    exitCodes: {
      0: 'done',
      1: 'failed, cut short, there is no such letter, or you said no',
      2: 'wrong words, or there was nobody to ask',
    },
    run: async (words) => {
      const { flags } = words;
      const named = targetOf(words);
      const limit = countOf('limit', flags, 0);
      return withPlatform(async (platform) => {
        const target = await found(platform, named);
        const meant = await platform.deadLetters.discard(target, { limit, dryRun: true });
        if (flags['dry-run'] === true || meant.matched === 0) return say(flags['json'], meant, discardLines);
        const letters = meant.matched === 1 ? 'dead letter' : 'dead letters';
        if (!(await confirm(`Remove ${meant.matched} ${letters} for good?`, flags))) return 1;
        const bar = progressBar('removed');
        const answer = await untilCtrlC(async (signal) => ({
          ...(await platform.deadLetters.discard(target, {
            // No more than were told of: what died meanwhile, nobody has agreed to.
            limit: meant.matched,
            signal,
            onProgress: ({ discarded, matched }) => bar.show(discarded, matched),
          })),
          aborted: signal.aborted,
        })).finally(bar.clear);
        say(flags['json'], answer, discardLines);
        if (answer.aborted) note('Cut short by Ctrl-C; the rest is where it was.');
        return answer.aborted ? 1 : 0;
      });
    },
  },
};

/** The letters themselves; the id of a job stands for its letter. @throws CommandError for one that is not there, or a queue */
async function found(platform: Platform, target: DeadLetterTarget): Promise<DeadLetterTarget> {
  await checkLetterQueue(platform, target);
  if (typeof target === 'object' && !Array.isArray(target)) return target;
  const letters: string[] = [];
  for (const id of typeof target === 'string' ? [target] : (target as readonly string[])) {
    const letter = await platform.deadLetters.get(id);
    if (!letter) throw new CommandError(`there is no dead letter ${id}; nothing was done`);
    letters.push(letter.id);
  }
  return letters;
}

function rateOf(rate: number | undefined): number | undefined {
  if (rate !== undefined && rate <= 0) throw new UsageError(`--rate: expected more than 0, got ${rate}`);
  return rate;
}

/** In a container the user may have no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'cli'; // It has none here.
  }
}

function redriveLines({ matched, redriven, skipped, dryRun, queues = {} }: RedriveResult): string[] {
  return [
    `${matched} found, ${redriven} sent back, ${skipped.length} skipped`,
    ...(dryRun ? Object.entries(queues).map(([queue, count]) => `  ${queue}: ${count}`) : []),
    ...skipped.map(({ id, why, detail }) => `  ${id}: ${why}${detail === undefined ? '' : `, ${detail}`}`),
  ];
}

function discardLines({ matched, discarded }: DiscardResult): string[] {
  return [`${matched} found, ${discarded} removed`];
}
