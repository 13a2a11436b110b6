/** Chooses the sub-command, and turns what it throws into one clear message. */
import { isMillraceError } from '../index.ts';
import { dev } from './dev.ts';
import { doctor } from './doctor.ts';
import { parseFlags, UsageError, type Command } from './command.ts';

const COMMANDS: Readonly<Record<string, Command>> = { dev, doctor };

// Whoever reads a pipe (head, less) may leave early; that is no fault to report.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
process.exitCode = await main(process.argv.slice(2));

async function main([name = 'help', ...args]: string[]): Promise<number> {
  if (name === 'help' || name === '--help' || name === '-h') {
    console.log(usage());
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (!command) {
    console.error(`millrace: there is no command "${name}"\n\n${usage()}`);
    return 2;
  }
  try {
    const flags = parseFlags(args, command);
    if (!flags.help) return await command.run(flags);
    console.log(commandUsage(name, command));
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      console.error(`millrace ${name}: ${error.message}\n\n${commandUsage(name, command)}`);
      return 2;
    }
    // The message of a MillraceError is written for people; anything else is a fault of ours, so its stack is wanted.
    console.error(isMillraceError(error) ? `millrace: ${error.message} [${error.code}]` : error);
    return 1;
  }
}

function usage(): string {
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(10)} ${summary}`);
  return ['Usage: millrace COMMAND [flags]', '', ...lines, '', 'millrace COMMAND --help tells more of a command.'].join(
    '\n',
  );
}

function commandUsage(name: string, { summary, flags, exitCodes }: Command): string {
  const shown = [...Object.entries(flags), ['help', 'Shows this.']];
  const flagLines = shown.map(([flag, what]) => `  --${(flag ?? '').padEnd(10)} ${what}`);
  const codeLines = Object.entries(exitCodes).map(([code, what]) => `  ${code}  ${what}`);
  return [
    `Usage: millrace ${name} [flags]`,
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
