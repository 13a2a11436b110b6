/** A script of test/support in a process of its own: to be killed, to contend, or to run as another user. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inject } from 'vitest';
import { eventually } from './eventually.ts';
import { SCRIPT } from './script-names.ts';

/** A running script. */
export interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  /** The lines that it wrote so far. */
  lines(): string[];
  err(): string;
  /** Waits for the first line that begins so, and gives what follows; or for one that fits, and gives it whole. */
  says(what: string | RegExp, withinMs?: number): Promise<string>;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  signal(signal: NodeJS.Signals): void;
  /** Ends it, if it is still there. */
  stop(): Promise<void>;
}

export interface ChildOptions {
  env?: Record<string, string> | undefined;
  /** The user and group to run as; only root may choose. */
  uid?: number | undefined;
}

/** Starts `test/support/NAME.ts`, compiled, with arguments. */
export function startChild(name: string, args: readonly string[], { env, uid }: ChildOptions = {}): Child {
  // One that is in no bundle would mix modules of bundles with others of their own files: an error of one copy is none of the other's.
  if (!SCRIPT.test(name)) throw new Error(`${name} is not what scripts are called, see script-names.ts`);
  const script = join(inject('compiled'), 'test', 'support', `${name}.js`);
  const child = spawn(process.execPath, [script, ...args], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid !== undefined && { uid, gid: uid }),
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const ended = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal ?? -1));
  });
  const lines = (): string[] => out.split('\n').slice(0, -1);
  return {
    process: child,
    pid: child.pid ?? 0,
    lines,
    err: () => err,
    ended,
    signal: (signal) => void child.kill(signal),
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
    says: (what, withinMs = 60_000) =>
      eventually(() => {
        const fits = (line: string): boolean => (typeof what === 'string' ? line.startsWith(what) : what.test(line));
        const line = lines().find(fits);
        if (line === undefined) throw new Error(`expected ${String(what)} from ${name}, got:\n${out}\n${err}`);
        return typeof what === 'string' ? line.slice(what.length).trim() : line;
      }, withinMs),
  };
}
