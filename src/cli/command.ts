/** What a sub-command is, and how its flags are read. */
import { parseArgs } from 'node:util';

export interface Flags {
  help: boolean;
  [flag: string]: boolean;
}

/** A sub-command of `millrace`. */
export interface Command {
  /** One line, for the list of commands. */
  summary: string;
  /** Switches, each with its meaning. */
  flags: Readonly<Record<string, string>>;
  exitCodes: Readonly<Record<number, string>>;
  run(flags: Flags): Promise<number>;
}

/** The command was called with words that it does not know. */
export class UsageError extends Error {}

/** @throws UsageError naming the word that is not known. */
export function parseFlags(args: string[], command: Command): Flags {
  const names = [...Object.keys(command.flags), 'help'];
  try {
    const { values } = parseArgs({
      args,
      options: Object.fromEntries(names.map((name) => [name, { type: 'boolean' as const, default: false }])),
    });
    return { help: false, ...(values as Record<string, boolean>) };
  } catch (error) {
    throw new UsageError((error as Error).message.split('. ', 1)[0], { cause: error });
  }
}
