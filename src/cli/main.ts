/** Chooses the sub-command, and turns what it throws into one clear message. */
import { isMillraceError } from '../index.ts';
import { dashboard } from './dashboard.ts';
import { dead } from './dead.ts';
import { dev } from './dev.ts';
import { doctor } from './doctor.ts';
import { enqueue } from './enqueue.ts';
import { jobs } from './jobs.ts';
import { password } from './password.ts';
import { parseWords, UsageError, usageOf, type Command } from './command.ts';

/** By name; names of two words are told apart by the second. */
const COMMANDS: Readonly<Record<string, Command>> = {
  dev,
  dashboard,
  password,
  doctor,
  enqueue,
  ...jobs,
  ...dead,
};

// Whoever reads a pipe (head, less) may leave early; that is no fault to report.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const [first = 'help'] = args;
  if (first === 'help' || first === '--help' || first === '-h') {
    console.log(usage());
    return 0;
  }
  const name = nameIn(args);
  const command = name === undefined ? undefined : COMMANDS[name];
  if (name === undefined || !command) {
    const group = Object.keys(COMMANDS).filter((known) => known.startsWith(`${first} `));
    const hint =
      group.length > 0
        ? `millrace ${first}: expected one of ${group.join(', ')}`
        : `millrace: there is no command "${first}"`;
    console.error(`${hint}\n\n${usage()}`);
    return 2;
  }
  try {
    const words = parseWords(args.slice(name.split(' ').length), command);
    if (!words.help) return await command.run(words);
    console.log(usageOf(name, command));
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`millrace ${name}: ${error.message}\n\n${usageOf(name, command)}`);
      return 2;
    }
    // The message of a MillraceError is written for people; anything else is a fault of ours, so its stack is wanted.
    console.error(isMillraceError(error) ? `millrace: ${error.message} [${error.code}]` : error);
    return 1;
  }
}

function nameIn([first = '', second = '']: string[]): string | undefined {
  return [`${first} ${second}`, first].find((name) => Object.hasOwn(COMMANDS, name));
}

function usage(): string {
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(13)} ${summary}`);
  return ['Usage: millrace COMMAND [flags]', '', ...lines, '', 'millrace COMMAND --help tells more of a command.'].join(
    '\n',
  );
}
