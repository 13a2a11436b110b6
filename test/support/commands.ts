/** The `millrace` command in tests: to its end, or running until the test ends it. */
import { connect } from 'node:net';
import { join } from 'node:path';
import { inject } from 'vitest';
import { eventually } from './eventually.ts';
import { ownedHost, type Ran } from './host.ts';
import { commandEnv, millrace, type RunningCommand } from './millrace.ts';

interface Options {
  cwd: string;
  env?: Record<string, string>;
}

/** A command that the test owns. */
export interface Command extends RunningCommand {
  /** Waits until it has written the text to standard error. */
  complains(text: string | RegExp): Promise<void>;
  /** Ends it, if it is still there. */
  stop(): Promise<void>;
}

/** Starts `millrace ...args`. */
export function startCommand(args: readonly string[], options: Options): Command {
  const running = millrace(args, options);
  return {
    ...running,
    complains: (text) =>
      eventually(() => {
        const err = running.err();
        if (!(typeof text === 'string' ? err.includes(text) : text.test(err)))
          throw new Error(`expected ${String(text)} of millrace ${args.join(' ')}, got:\n${err}\n${running.out()}`);
      }, 60_000),
    async stop() {
      const { child, ended } = running;
      child.kill('SIGTERM');
      const force = setTimeout(() => child.kill('SIGKILL'), 20_000);
      await ended;
      clearTimeout(force);
    },
  };
}

/** Runs `millrace ...args` to its end. */
export async function runCommand(args: readonly string[], options: Options): Promise<Ran> {
  const running = millrace(args, options);
  const code = await running.ended;
  return { code, out: running.out(), err: running.err() };
}

/** What runs `millrace ...args` to its end in a process that the commands of the file share, one after the other. */
export function ownedCommands(): (args: readonly string[], options: Options) => Promise<Ran> {
  const run = ownedHost();
  return (args, { cwd, env }) => {
    const file = join(inject('compiled'), 'src', 'cli', 'main.js');
    return run({ file, args, cwd, env: commandEnv(env) });
  };
}

/** Starts `millrace dev` on any free port and waits until it is up. */
export async function startDev(
  own: (command: Command) => Command,
  options: Options,
): Promise<Command & { url: string }> {
  const command = own(startCommand(['dev'], { ...options, env: { PORT: '0', ...options.env } }));
  await command.says('Stop: Ctrl-C');
  return { ...command, url: healthUrl(command) };
}

/** Where its health endpoints are, as it said. */
export function healthUrl(command: RunningCommand): string {
  const url = /^Health\s+(http:\S+)\/livez/m.exec(command.out())?.[1];
  if (url === undefined) throw new Error(`no address in:\n${command.out()}`);
  return url;
}

/** What a GET answers. */
export async function get(url: string): Promise<{ status: number; type: string | null; body: unknown }> {
  const response = await fetch(url, { headers: { connection: 'close' } });
  return { status: response.status, type: response.headers.get('content-type'), body: await response.json() };
}

/** Whether anybody listens on the loopback port. */
export function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const done = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}
