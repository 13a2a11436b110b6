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
import { join } from 'node:path';
import { systemClock, withDeadline } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import type { ServerBinary } from './binary.ts';
import { ping, type PingTarget } from './ping.ts';
import { isRunning, signalProcess, startOf } from './process-identity.ts';

export interface ServerProcessOptions {
  binary: ServerBinary;
  /** The folder of redis.conf, the data and the log. Must exist. */
  folder: string;
  /** Lines of redis.conf, by directive; a list writes the directive several times. */
  config: Readonly<Record<string, string | number | readonly string[]>>;
  /** Where PING is answered. */
  ping: PingTarget;
  /** As a Sentinel instead of a server. */
  isSentinel?: boolean;
  /** How long to wait for the first answer; reading data does not count. Default 10 s. */
  startWithinMs?: number;
  /** How long stop() waits before it uses force. Default 10 s. */
  stopWithinMs?: number;
  /** Called when the server has ended without having been asked to. */
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

/** Runs "$@" until it ends or standard input closes; the server's pid goes to file descriptor 3. Leaves no process behind. */
const LIFELINE = `
exec 4<&0 </dev/null
"$@" 3>&- 4<&- & server=$!
echo "$server" >&3; exec 3>&-
(read -r never <&4; kill -TERM "$server" 2>/dev/null) & watch=$!
exec 4<&-
wait "$server"; status=$?
kill "$watch" 2>/dev/null; wait "$watch" 2>/dev/null
exit "$status"`;

/**
 * Starts a server and waits until it answers.
 * @throws MillraceError SERVER_START_FAILED with the last lines of its log.
 */
export async function startServerProcess(options: ServerProcessOptions): Promise<ServerProcess> {
  const { binary, folder, stopWithinMs = STOP_WITHIN_MS } = options;
  const configFile = join(folder, 'redis.conf');
  const logFile = join(folder, 'redis.log');
  await writeFile(configFile, formatConfig(options.config));
  const logStart = await limitLog(logFile);
  const start = systemClock.monotonicMs();
  const log = openSync(logFile, 'a');
  const args = [...binary.command, asPattern(configFile), ...(options.isSentinel ? ['--sentinel'] : [])];
  const child = spawn('/bin/sh', ['-c', LIFELINE, 'sh', ...args], {
    cwd: folder,
    stdio: ['pipe', log, log, 'pipe'],
    detached: true,
  });
  closeSync(log);
  child.stdin?.on('error', () => undefined); // The shell may be gone already; its exit says so.

  let isStopping = false;
  let server: { pid: number; startedAt: string } | undefined;
  let exit: string | undefined;
  const shellEnded = new Promise<void>((resolve) => {
    const end = (how: string): void => {
      exit ??= how;
      resolve();
    };
    child.once('error', (error) => end(error.message));
    child.once('exit', (code, signal) => end(`exit ${code ?? signal}`));
  });
  // Somebody may kill the shell alone. Nothing may start on the server's data before it is gone too.
  const ended = shellEnded.then(() => (server ? waitForEnd(server, stopWithinMs) : killGroup(child)));
  const failure = (what: string): MillraceError =>
    new MillraceError(
      'SERVER_START_FAILED',
      `the embedded redis-server ${what}. The end of ${logFile}:\n${lastLines(logFile, logStart)}`,
      { logFile, exit },
    );

  const stop = async (): Promise<void> => {
    isStopping = true;
    child.stdin?.destroy();
    await withDeadline(ended, stopWithinMs, () => new Error('still runs')).catch(() => killGroup(child));
    await ended;
  };

  const reportExit = async (): Promise<void> => {
    await ended;
    if (!isStopping) options.onExit?.(failure(`stopped by itself (${exit})`));
  };

  try {
    const pid = await readPid(child, shellEnded);
    server = { pid, startedAt: startOf(pid) };
    await waitForPong(options, start, () => exit);
    void reportExit();
    return { pid, readyMs: systemClock.monotonicMs() - start, stop };
  } catch (error) {
    const what = exit === undefined ? (error as Error).message : `stopped at once (${exit})`;
    killGroup(child);
    await ended;
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

/** Paths stand quoted (a project folder may have spaces and quotes in its name); lists such as "save" keep their words. */
function quote(value: string): string {
  if (value === '') return '""';
  return value.startsWith('/')
    ? `"${value.replaceAll(/["\\]/g, String.raw`\$&`).replaceAll('\n', String.raw`\n`)}"`
    : value;
}

/** The server takes the name of its configuration for a pattern when it looks like one, and starts without any if nothing fits. */
function asPattern(path: string): string {
  return /[*?[]/.test(path) ? path.replaceAll(/[*?[\]\\]/g, String.raw`\$&`) : path;
}

async function readPid(child: ChildProcess, shellEnded: Promise<void>): Promise<number> {
  const pipe = child.stdio[3];
  if (!pipe || !('on' in pipe)) throw new Error('could not be started');
  let text = '';
  pipe.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await Promise.race([new Promise((resolve) => pipe.once('close', resolve)), shellEnded]);
  const pid = Number(text.trim());
  if (!(pid > 0)) throw new Error('could not be started');
  return pid;
}

async function waitForPong(
  options: ServerProcessOptions,
  start: number,
  exit: () => string | undefined,
): Promise<void> {
  const { startWithinMs = START_WITHIN_MS } = options;
  let isLoading = false;
  for (;;) {
    if (exit() !== undefined) throw new Error('stopped');
    const answer = await ping(options.ping);
    if (answer === 'ready') return;
    if (answer === 'loading' && !isLoading) {
      isLoading = true;
      options.onLoading?.();
    }
    if (systemClock.monotonicMs() - start > (isLoading ? LOAD_WITHIN_MS : startWithinMs)) {
      throw new Error(
        isLoading
          ? `did not finish loading its data in ${formatMs(LOAD_WITHIN_MS)}`
          : `did not answer in ${formatMs(startWithinMs)}`,
      );
    }
    await systemClock.sleep(PING_EVERY_MS);
  }
}

async function waitForEnd({ pid, startedAt }: { pid: number; startedAt: string }, withinMs: number): Promise<void> {
  const start = systemClock.monotonicMs();
  while (isRunning(pid, startedAt)) {
    if (systemClock.monotonicMs() - start > withinMs) signalProcess(pid, 'SIGKILL');
    await systemClock.sleep(20);
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid !== undefined) signalProcess(-child.pid, 'SIGKILL');
}

/** Puts a long log aside. Gives the place in the file where this server's own lines will begin. */
async function limitLog(file: string): Promise<number> {
  const size = await stat(file).then(
    (found) => found.size,
    () => 0,
  );
  if (size <= LONGEST_LOG_BYTES) return size;
  await rename(file, `${file}.old`);
  return 0;
}

function lastLines(file: string, from: number): string {
  try {
    const text = readFileSync(file).subarray(from).toString().trimEnd();
    return text.split('\n').slice(-5).join('\n') || '(it has not written anything)';
  } catch (error) {
    return `(it cannot be read: ${(error as Error).message})`;
  }
}
