/** What a sub-command is, and how its words are read. */
import { parseArgs } from 'node:util';
import { didYouMean } from './did-you-mean.ts';

/** What was said behind a command's name. */
export interface Words {
  /** What stands without a flag, by name. */
  readonly given: Readonly<Record<string, string>>;
  /** What stands for a last word that may come many times, such as `FILE...`. */
  readonly rest: readonly string[];
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
}

/** A flag's meaning; one that takes a value says what, such as `QUEUE`, and which ones there are, if they can be listed. */
export type Flag = string | { value: string; summary: string; oneOf?: readonly string[] };

/** A sub-command of `millrace`. */
export interface Command {
  /** One line, for the list of commands. */
  summary: string;
  /** What follows the name, in order: `NAME`, `[NAME]` for one that may be left out, at the end `NAME...` or `[NAME...]` for many. */
  words?: readonly string[];
  /** What a word may be, where that can be listed, for completion. */
  oneOf?: readonly string[];
  flags: Readonly<Record<string, Flag>>;
  exitCodes: Readonly<Record<number, string>>;
  run(words: Words): Promise<number>;
}

/** The exit codes of a command that has none of its own. */
export const EXIT_CODES: Readonly<Record<number, string>> = { 0: 'done', 1: 'failed', 2: 'wrong words' };
/** For commands that look for something by its name or id. */
export const EXIT_CODES_OF_ONE: Readonly<Record<number, string>> = {
  0: 'done',
  1: 'failed, or there is none of that name or id',
  2: 'wrong words',
};

/** The command was called with words that it does not know. Exit code 2. */
export class UsageError extends Error {}

/** The command cannot do what it was asked for; the message says why, and needs no stack. */
export class CommandError extends Error {
  readonly exitCode: number;

  constructor(message: string, { exitCode = 1, cause }: { exitCode?: number; cause?: unknown } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
  }
}

/** That there is none of the name, with what was meant, and the command that lists what there is. */
export function notThere(what: string, name: string, known: Iterable<string>, listedBy: string): CommandError {
  const hint = didYouMean(name, known) || ';';
  return new CommandError(`there is no ${what} ${name}${hint} npx millrace ${listedBy} lists them`);
}

interface Word {
  name: string;
  isOptional: boolean;
  isMany: boolean;
}

function wordsOf({ words = [] }: Pick<Command, 'words'>): Word[] {
  return words.map((word) => ({
    name: word.replaceAll(/[[\].]/g, ''),
    isOptional: word.startsWith('['),
    isMany: word.includes('...'),
  }));
}

/** @throws UsageError naming the word that is not known, or that is missing. */
export function parseWords(args: string[], command: Command): Words & { help: boolean } {
  const words = wordsOf(command);
  const options = Object.fromEntries(
    Object.entries(command.flags).map(([name, flag]) => [
      name,
      { type: typeof flag === 'string' ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  const { values, positionals } = read(args, { ...options, help: { type: 'boolean', short: 'h' } }, words.length > 0);
  const help = values['help'] === true;
  const empty = positionals.indexOf('');
  // A script's unset variable leaves it behind.
  if (!help && empty >= 0) throw new UsageError(`${(words[empty] ?? words.at(-1))?.name}: expected a value, got none`);
  const missing = words[positionals.length];
  if (!help && missing && !missing.isOptional) throw new UsageError(`expected ${missing.name}`);
  const last = words.at(-1);
  const single = words.filter(({ isMany }) => !isMany);
  const extra = positionals[words.length];
  if (extra !== undefined && last?.isMany !== true) throw new UsageError(`Unexpected argument '${extra}'`);
  const given = single.flatMap(({ name }, place) => {
    const word = positionals[place];
    return word === undefined ? [] : [[name, word] as const];
  });
  return { given: Object.fromEntries(given), rest: positionals.slice(single.length), flags: values, help };
}

type Options = Record<string, { type: 'boolean' | 'string'; short?: string }>;

function read(
  args: string[],
  options: Options,
  allowPositionals: boolean,
): { values: Record<string, string | boolean | undefined>; positionals: string[] } {
  try {
    return parseArgs({ args, options, allowPositionals });
  } catch (error) {
    const [message = ''] = (error as Error).message.split('. ', 1);
    const [, flag] = /^Unknown option '(--[\w-]+)'/.exec(message) ?? [];
    const known = Object.keys(options).map((name) => `--${name}`);
    throw new UsageError(flag === undefined ? message : `${message}${didYouMean(flag, known)}`, { cause: error });
  }
}

/** What --help does, of every command. */
export const HELP = 'Shows this.';
const FLAG_WIDTH = 18;

/** How the command is called: `millrace jobs show ID [flags]`. */
export function usageOf(name: string, { summary, words = [], flags, exitCodes }: Command): string {
  const shown: Array<[string, Flag]> = [...Object.entries(flags), ['help', HELP]];
  const flagLines = shown.map(([flag, what]) => {
    const [form, says] = typeof what === 'string' ? [flag, what] : [`${flag} ${what.value}`, summaryOf(what)];
    return `  --${form.padEnd(FLAG_WIDTH)} ${says}`;
  });
  const codeLines = Object.entries(exitCodes).map(([code, what]) => `  ${code}  ${what}`);
  return [
    `Usage: millrace ${[name, ...words].join(' ')} [flags]`,
    '',
    summary,
    '',
    'Flags:',
    ...flagLines,
    '',
    'Exit codes:',
    ...codeLines,
  ].join('\n');
}

function summaryOf({ summary, oneOf }: Exclude<Flag, string>): string {
  return oneOf ? `${summary} One of ${oneOf.join(', ')}.` : summary;
}
