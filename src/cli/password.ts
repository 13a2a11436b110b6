/** `millrace password`: a line for the dashboard's list of users. */
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import type { Command } from './command.ts';
import { loadDashboard } from './dashboard-package.ts';

export const password: Command = {
  summary: 'Asks for a password, and prints the line that lets a user into the dashboard.',
  words: ['NAME', 'ROLE'],
  flags: {},
  exitCodes: { 0: 'printed', 1: 'the name, the role or the password cannot be used' },
  async run({ given }) {
    const answer = process.stdin.isTTY ? await askTwice() : await firstLine();
    if (answer === undefined) {
      console.error('millrace password: the two are not the same');
      return 1;
    }
    const { createUserLine } = await loadDashboard();
    console.log(await createUserLine(given['NAME'] ?? '', given['ROLE'] ?? '', answer));
    return 0;
  },
};

/** From the terminal, which shows nothing of it; undefined when the second differs from the first. */
async function askTwice(): Promise<string | undefined> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  lines.on('SIGINT', () => process.exit(1));
  const ask = async (question: string): Promise<string> => {
    process.stderr.write(question);
    const line = await lines.question('');
    process.stderr.write('\n');
    return line;
  };
  try {
    const first = await ask('Password: ');
    return (await ask('Again: ')) === first ? first : undefined;
  } finally {
    lines.close();
  }
}

/** From a pipe, such as a password manager's. */
async function firstLine(): Promise<string> {
  for await (const line of createInterface({ input: process.stdin })) return line;
  return '';
}
