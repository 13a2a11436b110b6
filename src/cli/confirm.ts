/**
 * Asks before something is removed for good. Whoever sits at a terminal is asked there; a script says `--yes`, because nobody would answer
 * it, and a job that waits for an answer in the night helps nobody.
 */
import { createInterface } from 'node:readline/promises';
import { CommandError, type Flag, type Words } from './command.ts';
import { oneLine } from './table.ts';

/** The flag that answers before the question. */
export const YES_FLAG: Readonly<Record<string, Flag>> = { yes: 'Does not ask. Needed where there is no terminal.' };

/** Where is asked. */
export interface Asking {
  input: NodeJS.ReadableStream & { isTTY?: boolean };
  output: NodeJS.WritableStream;
}

/** Whether to go on. @throws CommandError with exit code 2 where nobody can be asked */
export async function confirm(
  question: string,
  { yes }: Words['flags'],
  { input, output }: Asking = { input: process.stdin, output: process.stderr },
): Promise<boolean> {
  if (yes === true) return true;
  if (input.isTTY !== true) {
    throw new CommandError(`${question} There is no terminal to ask at, so nothing was done; say --yes`, {
      exitCode: 2,
    });
  }
  const lines = createInterface({ input, output });
  const left = new AbortController();
  lines.on('SIGINT', () => left.abort()).on('close', () => left.abort());
  try {
    const answer = await lines.question(`${oneLine(question)} [y/N] `, { signal: left.signal });
    return /^y(?:es)?$/i.test(answer.trim());
  } catch (error) {
    if (!left.signal.aborted) throw error;
    output.write('\n'); // Ctrl-C or Ctrl-D: no.
    return false;
  } finally {
    lines.close();
  }
}
