/** Runs the `millrace` command as a user of the package would: compiled, a process of its own, in a folder of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { inject } from 'vitest';
import { eventually } from './eventually.ts';

/** A running command. */
export interface RunningCommand {
  readonly child: ChildProcess;
  /** All that it wrote so far. */
  out(): string;
  err(): string;
  /** Waits until it has written the text. */
  says(text: string | RegExp): Promise<void>;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

/** The file that is the command. */
export function launcher(): string {
  return join(inject('compiled'), 'src', 'cli', 'millrace.js');
}

/** Nothing of this process's environment that could steer a command, and what the command is given. */
export function commandEnv(given: Record<string, string> = {}): NodeJS.ProcessEnv {
  const { main } = inject('servers');
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(REDIS_|MILLRACE_|PORT$|HOST$|LOG_|NODE_ENV$|VITEST)/.test(name),
  );
  const cache = process.env['MILLRACE_CACHE'];
  return {
    ...Object.fromEntries(inherited),
    ...(cache !== undefined && { MILLRACE_CACHE: cache }),
    // A server that is one plain program can be named; a fetched one is found again in the cache.
    ...(main.command.length === 1 && { MILLRACE_REDIS_SERVER: main.command[0] }),
    ...given,
  };
}

/** Starts `millrace ...args` in a folder. */
export function millrace(
  args: readonly string[],
  options: { cwd: string; env?: Record<string, string> },
): RunningCommand {
  const child = spawn(process.execPath, [launcher(), ...args], {
    cwd: options.cwd,
    env: commandEnv(options.env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const ended = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal ?? -1));
  });
  return {
    child,
    out: () => out,
    err: () => err,
    ended,
    says: (text) =>
      eventually(() => {
        const isSaid = typeof text === 'string' ? out.includes(text) : text.test(out);
        if (!isSaid) throw new Error(`expected ${String(text)} from millrace ${args.join(' ')}, got:\n${out}\n${err}`);
      }, 60_000),
  };
}
