/**
 * Runs one program after another in this process, which has loaded the code by then: `host-process`. Each line of its standard input is a program.
 *
 * After each of them both streams tell it by a line that begins with a NUL. A program has come to its end when nothing is open that was not open
 * before it, as the process of its own would have ended then.
 */
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { eventually } from './eventually.ts';
import type { Program } from './host.ts';

const ENDS_WITHIN_MS = 60_000;
let runs = 0;

process.stdin.once('end', () => process.exit(0));
for await (const line of createInterface({ input: process.stdin })) await run(JSON.parse(line) as Program);

async function run({ file, args, cwd, env }: Program): Promise<void> {
  const { stdout, stderr } = process; // Open from now on; they would be opened by whoever writes first.
  const before = process.getActiveResourcesInfo().length;
  process.chdir(cwd);
  process.argv.splice(1, Infinity, file, ...args);
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, env);
  process.exitCode = undefined;
  try {
    await import(`${pathToFileURL(file).href}?run=${(runs += 1)}`);
    await eventually(() => {
      const open = process.getActiveResourcesInfo();
      if (open.length > before) throw new Error(`the program does not end; what is open: ${open.join(', ')}`);
    }, ENDS_WITHIN_MS);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.removeAllListeners(signal);
  stdout.removeAllListeners('error');
  const end = `\0${process.exitCode ?? 0}\n`;
  stdout.write(end);
  stderr.write(end);
}
