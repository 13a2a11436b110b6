/** `millrace dead ...`: looks at dead letters, sends them back, discards them. */
import type { DeadLetter, DeadLetterFilter, DeadReason } from '../index.ts';
import { UsageError, type Command, type Flag, type Words } from './command.ts';
import { at, attemptLines, say } from './jobs.ts';
import { inputMask, SECRETS_FLAG } from './secrets.ts';
import { withPlatform } from './with-platform.ts';

const FILTER_FLAGS: Readonly<Record<string, Flag>> = {
  queue: { value: 'QUEUE', summary: 'Of this queue only.' },
  contract: { value: 'NAME', summary: 'Of this contract only.' },
  reason: { value: 'REASON', summary: 'Such as attempts, unrecoverable, input, expired, poison.' },
  fingerprint: { value: 'HEX', summary: 'Of this cluster only.' },
  limit: { value: 'N', summary: 'At most so many.' },
  json: 'Prints the answer as JSON.',
};
const EXIT_CODES = { 0: 'done', 1: 'failed, or there is none', 2: 'wrong words' };

/** The commands on dead letters. */
export const dead: Readonly<Record<string, Command>> = {
  'dead list': {
    summary: 'Lists the dead letters, the newest first.',
    flags: { ...FILTER_FLAGS, ...SECRETS_FLAG },
    exitCodes: EXIT_CODES,
    run: ({ flags }) =>
      withPlatform(async (platform) => {
        const { letters } = await platform.deadLetters.list({ ...filterOf(flags), ...limitOf(flags) });
        const mask = await inputMask(platform, flags);
        const shown = letters.map((letter) => ({ ...letter, input: mask(letter.contract, letter.input) }));
        return say(flags['json'], shown, (all) => (all.length === 0 ? ['no dead letters'] : all.map(letterLine)));
      }),
  },
  'dead clusters': {
    summary: 'Groups the dead letters by what went wrong, the most frequent first.',
    flags: FILTER_FLAGS,
    exitCodes: EXIT_CODES,
    run: ({ flags }) =>
      withPlatform(async ({ deadLetters }) => {
        const clusters = await deadLetters.clusters(filterOf(flags));
        return say(flags['json'], clusters, (all) =>
          all.length === 0
            ? ['no dead letters']
            : all.map(({ fingerprint, count, contract, reason, message }) =>
                [fingerprint, String(count).padStart(6), contract, reason, message].join('  '),
              ),
        );
      }),
  },
  'dead show': {
    summary: 'Shows a dead letter: its input, error and attempts.',
    words: ['ID'],
    flags: { json: 'Prints the answer as JSON.', ...SECRETS_FLAG },
    exitCodes: EXIT_CODES,
    run: ({ given: { ID: id = '' }, flags }) =>
      withPlatform(async (platform) => {
        const letter = await platform.deadLetters.get(id);
        if (letter) {
          const mask = await inputMask(platform, flags);
          return say(flags['json'], { ...letter, input: mask(letter.contract, letter.input) }, letterLines);
        }
        console.error(`millrace dead show: there is no dead letter ${id}`);
        return 1;
      }),
  },
  'dead redrive': {
    summary: 'Sends dead letters back to their queue: one by its id, or all that the flags name.',
    words: ['ID_OR_ALL'],
    flags: {
      ...FILTER_FLAGS,
      rate: { value: 'N', summary: 'At most so many a second.' },
      'dry-run': 'Tells how many would be sent, and sends none.',
    },
    exitCodes: EXIT_CODES,
    run: ({ given: { ID_OR_ALL: id = '' }, flags }) =>
      withPlatform(async ({ deadLetters }) => {
        const options = { ...limitOf(flags), ...numberOf('rate', flags['rate']), dryRun: flags['dry-run'] === true };
        const answer = await deadLetters.redrive(id === 'all' ? filterOf(flags) : id, options);
        return say(flags['json'], answer, ({ matched, redriven, skipped }) => [
          `${matched} found, ${redriven} sent back, ${skipped.length} skipped`,
          ...skipped.map((one) => `  ${one.id}: ${one.why}`),
        ]);
      }),
  },
  'dead discard': {
    summary: 'Removes dead letters for good: one by its id, or all that the flags name.',
    words: ['ID_OR_ALL'],
    flags: { ...FILTER_FLAGS, 'dry-run': 'Tells how many would be removed, and removes none.' },
    exitCodes: EXIT_CODES,
    run: ({ given: { ID_OR_ALL: id = '' }, flags }) =>
      withPlatform(async ({ deadLetters }) => {
        const options = { ...limitOf(flags), dryRun: flags['dry-run'] === true };
        const answer = await deadLetters.discard(id === 'all' ? filterOf(flags) : id, options);
        return say(flags['json'], answer, ({ matched, discarded }) => [`${matched} found, ${discarded} removed`]);
      }),
  },
};

function filterOf(flags: Words['flags']): DeadLetterFilter {
  const { queue, contract, reason, fingerprint } = flags;
  return {
    ...(typeof queue === 'string' && { queue }),
    ...(typeof contract === 'string' && { contract }),
    ...(typeof reason === 'string' && { reason: reason as DeadReason }),
    ...(typeof fingerprint === 'string' && { fingerprint }),
  };
}

function limitOf(flags: Words['flags']): { limit?: number } {
  return numberOf('limit', flags['limit']);
}

function numberOf<Name extends string>(name: Name, text: string | boolean | undefined): { [Key in Name]?: number } {
  if (typeof text !== 'string') return {};
  const number = Number(text);
  if (!Number.isFinite(number)) throw new UsageError(`--${name}: expected a number, got ${text}`);
  return { [name]: number } as { [Key in Name]?: number };
}

function letterLine({ id, contract, reason, error, diedAt }: DeadLetter): string {
  return [at(diedAt), id, contract, reason, `${error.name}: ${error.message.split('\n', 1)[0]}`].join('  ');
}

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
