/** What a sub-command is, and how its words are read. */
import { parseArgs } from 'node:util';

/** What was said behind a command's name. */
export interface Words {
  /** What stands without a flag, by name. */
  readonly given: Readonly<Record<string, string>>;
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
}

/** A flag's meaning; one that takes a value says what, such as `QUEUE`. */
export type Flag = string | { value: string; summary: string };

/** A sub-command of `millrace`. */
export interface Command {
  /** One line, for the list of commands. */
  summary: string;
  /** What must follow the name, in order, such as `NAME`. */
  words?: readonly string[];
  flags: Readonly<Record<string, Flag>>;
  exitCodes: Readonly<Record<number, string>>;
  run(words: Words): Promise<number>;
}

/** The command was called with words that it does not know. */
export class UsageError extends Error {}

/** @throws UsageError naming the word that is not known, or that is missing. */
export function parseWords(args: string[], { words = [], flags }: Command): Words & { help: boolean } {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, flag]) => [
      name,
      { type: typeof flag === 'string' ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  const { values, positionals } = read(args, { ...options, help: { type: 'boolean' } }, words.length > 0);
  const help = values['help'] === true;
  const missing = words[positionals.length];
  if (!help && missing !== undefined) throw new UsageError(`expected ${missing}`);
  const extra = positionals[words.length];
  if (extra !== undefined) throw new UsageError(`Unexpected argument '${extra}'`);
  return {
    given: Object.fromEntries(words.map((word, index) => [word, positionals[index] ?? ''])),
    flags: values,
    help,
  };
}

type Options = Record<string, { type: 'boolean' | 'string' }>;

function read(
  args: string[],
  options: Options,
  allowPositionals: boolean,
): { values: Record<string, string | boolean | undefined>; positionals: string[] } {
  try {
    return parseArgs({ args, options, allowPositionals });
  } catch (error) {
    throw new UsageError((error as Error).message.split('. ', 1)[0], { cause: error });
  }
}

/** How the command is called: `millrace jobs show ID [flags]`. */
export function usageOf(name: string, { summary, words = [], flags, exitCodes }: Command): string {
  const shown: Array<[string, Flag]> = [...Object.entries(flags), ['help', 'Shows this.']];
  const flagLines = shown.map(([flag, what]) =>
    typeof what === 'string'
      ? `  --${flag.padEnd(18)} ${what}`
      : `  --${`${flag} ${what.value}`.padEnd(18)} ${what.summary}`,
  );
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
