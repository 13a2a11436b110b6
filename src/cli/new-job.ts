/** `millrace new job NAME`: writes a contract, a handler and a test, as a start. Nothing that is there is written over. */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CommandError, type Command } from './command.ts';
import { filesOfJob } from './new-job-files.ts';
import { say } from './output.ts';
import { contractNamed, JSON_FLAG, textOf } from './read-flags.ts';

export const newJob: Command = {
  summary: 'Writes a typed contract, a handler and a test of a new job: npx millrace new job email.send',
  words: ['NAME'],
  flags: {
    dir: { value: 'DIR', summary: 'Where to. Default: src/jobs where there is a src folder, else jobs.' },
    ...JSON_FLAG,
  },
  exitCodes: { 0: 'written', 1: 'a file is there already, or cannot be written', 2: 'wrong words' },
  async run({ given: { NAME: name = '' }, flags }) {
    contractNamed(name); // As the library checks names.
    const folder = textOf('dir', flags) ?? (existsSync('src') ? join('src', 'jobs') : 'jobs');
    const files = filesOfJob(name).map(({ file, text }) => ({ path: join(folder, file), text }));
    const there = files.filter(({ path }) => existsSync(path)).map(({ path }) => path);
    if (there.length > 0) throw new CommandError(`${there.join(', ')}: there already; nothing was written`);
    try {
      await mkdir(folder, { recursive: true });
      for (const { path, text } of files) await writeFile(path, text, { flag: 'wx' });
    } catch (error) {
      throw new CommandError((error as Error).message, { cause: error });
    }
    const paths = files.map(({ path }) => path);
    const handler = paths[1] ?? '';
    return say(flags['json'], { name, files: paths }, () => [
      ...paths.map((path) => `wrote ${path}`),
      '',
      'Its test:   node --import tsx --test ' + (paths[2] ?? ''),
      `Run it:     npx millrace worker ${handler}`,
      `Add one:    npx millrace enqueue ${name} '{"name":"Ada"}'`,
      'They import zod, and TypeScript takes tsx: npm install zod && npm install --save-dev tsx',
    ]);
  },
};
