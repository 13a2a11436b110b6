/** Chooses the sub-command, and turns what it throws into one clear message. */
import { inspect } from 'node:util';
import { isMillraceError } from '../index.ts';
import { CommandError, parseWords, UsageError, usageOf } from './command.ts';
import { COMMANDS, groupOf } from './commands.ts';
import { didYouMean } from './did-you-mean.ts';
import { note } from './output.ts';

const FOOT = 'millrace COMMAND --help tells more of a command, with its flags and exit codes.';

// Whoever reads a pipe (head, less) may leave early; that is no fault to report.
for (const stream of [process.stdout, process.stderr]) {
  stream.removeAllListeners('error').on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
}
process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const [first = 'help', second] = args;
  if (first === '--version' || first === '-V') return main(['version', ...args.slice(1)]);
  if (first === 'help' && second !== undefined) return main([...args.slice(1), '--help']);
  if (isHelp(first)) {
    console.log(usage());
    return 0;
  }
  const name = nameIn(args);
  const command = name === undefined ? undefined : COMMANDS[name];
  if (name === undefined || !command || isMistyped(name, second)) return withoutCommand(first, second);
  try {
    const words = parseWords(args.slice(name.split(' ').length), command);
    if (!words.help) return await command.run(words);
    const others = groupOf(name).filter((other) => other !== name);
    console.log([usageOf(name, command), ...(others.length > 0 ? ['', ...listOf(others)] : [])].join('\n'));
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      note(`millrace ${name}: ${error.message}\n\n${usageOf(name, command)}`);
      return 2;
    }
    if (error instanceof CommandError) {
      note(`millrace ${name}: ${error.message}`);
      return error.exitCode;
    }
    // The message of a MillraceError is written for people; anything else is a fault of ours, so its stack is wanted.
    note(isMillraceError(error) ? `millrace: ${error.message} [${error.code}]` : inspect(error));
    return 1;
  }
}

/** Whether the word behind a group's own command, which takes none, was to be one of the group. */
function isMistyped(name: string, second: string | undefined): boolean {
  const takesNone = COMMANDS[name]?.words === undefined;
  return takesNone && groupOf(name).length > 1 && second !== undefined && !second.startsWith('-');
}

/** A group's help, or what could have been meant. */
function withoutCommand(first: string, second: string | undefined): number {
  const group = groupOf(first);
  if (group.length > 0 && isHelp(second)) {
    console.log([`Usage: millrace ${first} COMMAND [flags]`, '', ...listOf(group), '', FOOT].join('\n'));
    return 0;
  }
  if (group.length === 0) {
    const hint = didYouMean(first, [...Object.keys(COMMANDS), ...Object.keys(COMMANDS).map(firstWord)]);
    // The list would push what was meant out of sight.
    note(`millrace: there is no command "${first}"${hint || `\n\n${usage()}`}`);
    return 2;
  }
  const hint =
    second === undefined || second.startsWith('-')
      ? `expected one of ${group.join(', ')}`
      : `there is no command "${first} ${second}"${didYouMean(`${first} ${second}`, group)}`;
  note(`millrace ${first}: ${hint}\n\n${listOf(group).join('\n')}`);
  return 2;
}

function firstWord(name: string): string {
  return name.split(' ', 1)[0] ?? '';
}

function isHelp(word: string | undefined): boolean {
  return word === 'help' || word === '--help' || word === '-h';
}

function nameIn([first = '', second = '']: string[]): string | undefined {
  return [`${first} ${second}`, first].find((name) => Object.hasOwn(COMMANDS, name));
}

function usage(): string {
  return [
    'Usage: millrace COMMAND [flags]',
    '',
    ...listOf(Object.keys(COMMANDS)),
    '',
    FOOT,
    'Exit codes: 0 done, 1 failed or not there, 2 wrong words; a few commands have meanings of their own.',
  ].join('\n');
}

function listOf(names: readonly string[]): string[] {
  const width = Math.max(...names.map((name) => name.length));
  return names.map((name) => `  ${name.padEnd(width)} ${COMMANDS[name]?.summary ?? ''}`);
}
