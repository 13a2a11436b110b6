/** `millrace version`, also `--version` and `-V`: which millrace this is, for whoever reports a fault or has two of them. */
import { createRequire } from 'node:module';
import type { Command } from './command.ts';
import { say } from './output.ts';
import { JSON_FLAG } from './read-flags.ts';

// Beside src and dist alike.
const { version: ours } = createRequire(import.meta.url)('../../package.json') as { version: string };

export const version: Command = {
  summary: 'Prints the version of millrace; so do --version and -V.',
  flags: JSON_FLAG,
  exitCodes: { 0: 'printed', 2: 'wrong words' },
  run: ({ flags }) => Promise.resolve(say(flags['json'], { version: ours, node: process.versions.node }, () => [ours])),
};
