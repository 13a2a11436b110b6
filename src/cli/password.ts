/** `millrace password`: a line for the dashboard's list of users. */
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { CommandError, UsageError, type Command } from './command.ts';
import type { Asking } from './confirm.ts';
import { loadDashboard } from './dashboard-package.ts';

/** Those of the dashboard. */
const ROLES = ['viewer', 'operator', 'admin'];

export const password: Command = {
  summary: 'Asks for a password, and prints the line that lets a user into the dashboard.',
  words: ['NAME', 'ROLE'],
  oneOf: ROLES,
  flags: {},
  exitCodes: { 0: 'printed', 1: 'the name or the password cannot be used', 2: 'wrong words' },
  async run({ given }) {
    const { ROLE: role = '' } = given;
    // Before anything is typed twice in vain.
    if (!ROLES.includes(role)) throw new UsageError(`ROLE: expected one of ${ROLES.join(', ')}, got ${role}`);
    const answer = process.stdin.isTTY ? await askTwice() : await firstLine();
    const { createUserLine } = await loadDashboard();
    console.log(await createUserLine(given['NAME'] ?? '', role, answer));
    return 0;
  },
};

/** From the terminal, which shows nothing of it. @throws CommandError where the second differs from the first, or after Ctrl-C or Ctrl-D */
export async function askTwice(
  { input, output }: Asking = { input: process.stdin, output: process.stderr },
): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input, output: nowhere, terminal: true });
  const left = new AbortController();
  lines.on('SIGINT', () => left.abort()).on('close', () => left.abort());
  const ask = async (question: string): Promise<string> => {
    output.write(question);
    try {
      return await lines.question('', { signal: left.signal });
    } catch (error) {
      if (!left.signal.aborted) throw error;
      throw new CommandError('no password was given', { cause: error });
    } finally {
      output.write('\n');
    }
  };
  try {
    const first = await ask('Password: ');
    if ((await ask('Again: ')) !== first) throw new CommandError('the two are not the same');
    return first;
  } finally {
    lines.close();
  }
}

/** From a pipe, such as a password manager's. */
async function firstLine(): Promise<string> {
  for await (const line of createInterface({ input: process.stdin })) return line;
  return '';
}
