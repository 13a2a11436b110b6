/**
 * Runs one redis-server and stops it again.
 *
 * The server lives no longer than its owner, even when the owner is killed: a small shell between them holds the read end of a
 * pipe from the owner, and ends the server in the ordinary way (SIGTERM, so that it flushes its append-only file) once that
 * pipe closes. Both are in a process group of their own, so that Ctrl-C at the terminal reaches the owner alone, which
 * then stops the server after whatever still needs it.
 *
 *   start --PONG--> running --stop()--> stopped
 *                      |--server exits by itself--> onExit
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { rename, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { systemClock, withDeadline } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import type { ServerBinary } from './binary.ts';

export interface ServerProcessOptions {
  binary: ServerBinary;
  /** The folder of redis.conf, the data and the log. Must exist. */
  folder: string;
  /** Lines of redis.conf, by directive; a list writes the directive several times. */
  config: Readonly<Record<string, string | number | readonly string[]>>;
  /** Where PING is answered. */
  ping: { socketPath: string } | { host: string; port: number };
  /** As a Sentinel instead of a server. */
  isSentinel?: boolean;
  /** Called when the server ends without having been asked to. */
  onExit?: (reason: MillraceError) => void;
  /** Called while the server reads its data, which can take minutes. */
  onLoading?: () => void;
}

/** A server that answers. */
export interface ServerProcess {
  /** The server's own pid, for tests that freeze or kill it. */
  readonly pid: number;
  /** Milliseconds from its start to its first PONG. */
  readonly readyMs: number;
  /** Ends it: politely, then by force. Safe to call twice. */
  stop(): Promise<void>;
}

const START_WITHIN_MS = 10_000;
const LOAD_WITHIN_MS = 10 * 60_000;
const STOP_WITHIN_MS = 10_000;
const PING_EVERY_MS = 5;
const LONGEST_LOG_BYTES = 1024 * 1024;

/** Runs "$@" until it ends or standard input closes; the server's pid goes to file descriptor 3. */
const LIFELINE = `
exec 4<&0 </dev/null
"$@" 3>&- 4<&- & server=$!
echo "$server" >&3; exec 3>&-
(cat <&4 >/dev/null; kill -TERM "$server" 2>/dev/null) & watch=$!
exec 4<&-
wait "$server"; status=$?
kill "$watch" 2>/dev/null
exit "$status"`;

/**
 * Starts a server and waits until it answers.
 * @throws MillraceError SERVER_START_FAILED with the last lines of its log.
 */
export async function startServerProcess(options: ServerProcessOptions): Promise<ServerProcess> {
  const { binary, folder } = options;
  const configFile = join(folder, 'redis.conf');
  const logFile = join(folder, 'redis.log');
  await writeFile(configFile, formatConfig(options.config));
  await limitLog(logFile);
  const start = systemClock.monotonicMs();
  const log = openSync(logFile, 'a');
  const args = [...binary.command, configFile, ...(options.isSentinel ? ['--sentinel'] : [])];
  const child = spawn('/bin/sh', ['-c', LIFELINE, 'sh', ...args], {
    cwd: folder,
    stdio: ['pipe', log, log, 'pipe'],
    detached: true,
  });
  closeSync(log);
  child.stdin?.on('error', () => undefined); // The shell may be gone already; its exit says so.

  let isStopping = false;
  let exit: string | undefined;
  const exited = new Promise<void>((resolve) => {
    const end = (how: string): void => {
      exit ??= how;
      resolve();
    };
    child.once('error', (error) => end(error.message));
    child.once('exit', (code, signal) => end(`exit ${code ?? signal}`));
  });
  const failure = (what: string): MillraceError =>
    new MillraceError(
      'SERVER_START_FAILED',
      `the embedded redis-server ${what}. The end of ${logFile}:\n${lastLines(logFile)}`,
      {
        logFile,
        exit,
      },
    );

  const stop = async (): Promise<void> => {
    isStopping = true;
    child.stdin?.destroy();
    await withDeadline(exited, STOP_WITHIN_MS, () => new Error('still runs')).catch(() => killGroup(child));
    await exited;
  };

  const reportExit = async (): Promise<void> => {
    await exited;
    if (!isStopping) options.onExit?.(failure(`stopped by itself (${exit})`));
  };

  try {
    const pid = await readPid(child, exited);
    await waitForPong(options, start, () => exit);
    void reportExit();
    return { pid, readyMs: systemClock.monotonicMs() - start, stop };
  } catch (error) {
    const what = exit === undefined ? (error as Error).message : `stopped at once (${exit})`;
    if (exit === undefined) {
      killGroup(child);
      await exited;
    }
    throw failure(what);
  }
}

function formatConfig(config: ServerProcessOptions['config']): string {
  return Object.entries(config)
    .flatMap(([directive, value]) =>
      (Array.isArray(value) ? (value as string[]) : [value]).map((one) => `${directive} ${quote(String(one))}\n`),
    )
    .join('');
}

/** Values with spaces or quotes in them (a project folder may have both) stand quoted; lists such as "save" keep their words. */
function quote(value: string): string {
  if (value === '') return '""';
  return value.startsWith('/') ? `"${value.replaceAll(/["\\]/g, String.raw`\$&`)}"` : value;
}

async function readPid(child: ChildProcess, exited: Promise<void>): Promise<number> {
  const pipe = child.stdio[3];
  if (!pipe || !('on' in pipe)) throw new Error('could not be started');
  let text = '';
  pipe.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await Promise.race([new Promise((resolve) => pipe.once('close', resolve)), exited]);
  return Number(text.trim());
}

async function waitForPong(
  options: ServerProcessOptions,
  start: number,
  exit: () => string | undefined,
): Promise<void> {
  let isLoading = false;
  for (;;) {
    if (exit() !== undefined) throw new Error('stopped');
    const answer = await ping(options.ping);
    // Asking for a password is an answer too.
    if (answer.startsWith('+PONG') || answer.startsWith('-NOAUTH')) return;
    if (answer.startsWith('-LOADING') && !isLoading) {
      isLoading = true;
      options.onLoading?.();
    }
    if (systemClock.monotonicMs() - start > (isLoading ? LOAD_WITHIN_MS : START_WITHIN_MS)) {
      throw new Error(isLoading ? 'did not finish loading its data in 10 min' : 'did not answer in 10 s');
    }
    await systemClock.sleep(PING_EVERY_MS);
  }
}

/** The first bytes of the answer to PING; empty when there is none. */
function ping(where: ServerProcessOptions['ping']): Promise<string> {
  return new Promise((resolve) => {
    const socket = 'socketPath' in where ? connect({ path: where.socketPath }) : connect(where);
    const done = (answer: string): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => done(''));
    socket.once('error', () => done(''));
    socket.once('close', () => done(''));
    socket.once('data', (data) => done(data.toString('latin1')));
    socket.write('PING\r\n');
  });
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function limitLog(file: string): Promise<void> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  );
  if (size > LONGEST_LOG_BYTES) await rename(file, `${file}.old`);
}

function lastLines(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
  } catch (error) {
    return `(it cannot be read: ${(error as Error).message})`;
  }
}
