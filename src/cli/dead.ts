/** `millrace dead ...`: looks at dead letters; dead-acts.ts sends them back and discards them. */
import type { DeadLetter, DeadLetterCluster } from '../index.ts';
import { CommandError, EXIT_CODES_OF_ONE, type Command } from './command.ts';
import { deadActs } from './dead-acts.ts';
import { checkLetterQueue, filterFlags, filterOf } from './dead-filter.ts';
import { attemptLines } from './jobs.ts';
import { ago, at, note, say, sayList } from './output.ts';
import { progressLine } from './progress.ts';
import { countOf, JSON_FLAG } from './read-flags.ts';
import { SECRETS_FLAG, shownBy } from './secrets.ts';
import type { Column } from './table.ts';
import { untilCtrlC } from './until-ctrl-c.ts';
import { withPlatform } from './with-platform.ts';

const DEFAULT_LIMIT = 50;
const MOST_OF_A_PAGE = 1_000;
const EXIT_CODES_OF_LIST = { 0: 'listed', 1: 'failed, or there is no such queue', 2: 'wrong words' };

const LETTERS: ReadonlyArray<Column<DeadLetter>> = [
  { title: 'ID', of: ({ id }) => id },
  { title: 'JOB', of: ({ contract }) => contract, cutTo: 12 },
  { title: 'QUEUE', of: ({ queue }) => queue, cutTo: 8 },
  { title: 'REASON', of: ({ reason }) => reason },
  { title: 'DIED', of: ({ diedAt }) => ago(diedAt), align: 'right' },
  { title: 'ERROR', of: ({ error }) => `${error.name}: ${error.message}`, cutTo: 12 },
];

const CLUSTERS: ReadonlyArray<Column<DeadLetterCluster>> = [
  { title: 'FINGERPRINT', of: ({ fingerprint }) => fingerprint },
  { title: 'LETTERS', of: ({ count }) => count, align: 'right' },
  { title: 'JOB', of: ({ contract }) => contract, cutTo: 12 },
  { title: 'REASON', of: ({ reason }) => reason },
  { title: 'LAST', of: ({ lastSeenAt }) => ago(lastSeenAt), align: 'right' },
  { title: 'ERROR', of: ({ errorName, message }) => `${errorName}: ${message}`, cutTo: 12 },
];

/** The commands on dead letters. */
export const dead: Readonly<Record<string, Command>> = {
  'dead list': {
    summary: 'Lists the dead letters, the newest first.',
    flags: {
      ...filterFlags,
      limit: { value: 'N', summary: `At most so many. Default ${DEFAULT_LIMIT}.` },
      ...JSON_FLAG,
      ...SECRETS_FLAG,
    },
    exitCodes: EXIT_CODES_OF_LIST,
    run: async ({ flags }) => {
      const filter = filterOf(flags);
      const limit = countOf('limit', flags) ?? DEFAULT_LIMIT;
      return withPlatform(async (platform) => {
        await checkLetterQueue(platform, filter);
        const letters: DeadLetter[] = [];
        let cursor: string | undefined;
        do {
          const pageLimit = Math.min(MOST_OF_A_PAGE, limit - letters.length);
          const page = await platform.deadLetters.list({ ...filter, limit: pageLimit, cursor });
          letters.push(...page.letters);
          cursor = page.cursor;
        } while (cursor !== undefined && letters.length < limit);
        const shown = await shownBy(platform, flags);
        const code = sayList(
          flags['json'],
          letters.map((letter) => shown.letter(letter)),
          { columns: LETTERS, none: 'no dead letters' },
        );
        if (cursor !== undefined) note('There may be more: --limit N shows them.');
        return code;
      });
    },
  },
  'dead clusters': {
    summary: 'Groups the dead letters by what went wrong, the most frequent first.',
    flags: { ...filterFlags, ...JSON_FLAG },
    exitCodes: EXIT_CODES_OF_LIST,
    run: async ({ flags }) => {
      const filter = filterOf(flags);
      return withPlatform(async (platform) => {
        await checkLetterQueue(platform, filter);
        const progress = progressLine();
        const clusters = await untilCtrlC((signal) =>
          platform.deadLetters.clusters({
            ...filter,
            signal,
            onProgress: ({ read }) => process.stderr.isTTY && progress.show(`read ${read} dead letters`),
          }),
        ).finally(progress.clear);
        return sayList(flags['json'], clusters, { columns: CLUSTERS, none: 'no dead letters' });
      });
    },
  },
  'dead show': {
    summary: 'Shows a dead letter: its input, error and attempts.',
    words: ['ID'],
    flags: { ...JSON_FLAG, ...SECRETS_FLAG },
    exitCodes: EXIT_CODES_OF_ONE,
    run: ({ given: { ID: id = '' }, flags }) =>
      withPlatform(async (platform) => {
        const letter = await platform.deadLetters.get(id);
        if (!letter) throw new CommandError(`there is no dead letter ${id}; npx millrace dead list lists them`);
        return say(flags['json'], (await shownBy(platform, flags)).letter(letter), letterLines);
      }),
  },
  ...deadActs,
};

function letterLines(letter: DeadLetter): string[] {
  return [
    `${letter.contract} ${letter.id}`,
    `Reason       ${letter.reason}`,
    `Queue        ${letter.queue}`,
    `Died         ${at(letter.diedAt)}, first failed ${at(letter.firstFailedAt)}, enqueued ${at(letter.enqueuedAt)}`,
    `Fingerprint  ${letter.fingerprint}`,
    `Redriven     ${letter.redriven} times before`,
    `Input        ${JSON.stringify(letter.input)}`,
    '',
    letter.error.stack || `${letter.error.name}: ${letter.error.message}`,
    ...attemptLines(letter.attempts),
    '',
    `npx millrace dead redrive ${letter.id}`,
  ];
}
