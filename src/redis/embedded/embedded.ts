/**
 * The embedded Redis: one private redis-server for a project folder.
 *
 * The first process that asks owns the server and stops it when it ends; later ones of the same folder find it and use it.
 * Data is kept in an append-only file, so neither a stop nor a kill loses what was acknowledged a second before. Port and
 * socket stay the same from start to start, so clients find the server again.
 *
 *   asked --nobody owns the folder--> owner: find a program, start it --stop()--> stopped
 *     |                                  |--server ends by itself--> started again, at most 5 times a minute --> failed
 *     '--somebody owns it--> guest: uses the owner's server
 */
import { createHash } from 'node:crypto';
import { access, constants, mkdir, readFile, realpath, statfs, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { serverName } from '../server-info.ts';
import type { ServerBinary } from './binary.ts';
import { findServer, type FindServerOptions } from './find-server.ts';
import { tryHold, type Hold, type Holder } from './folder-lock.ts';
import { isRunning, workingFolderOf } from './process-identity.ts';
import type { Progress } from './provision.ts';
import { startServerProcess, type ServerProcess } from './server-process.ts';

/** Options of the embedded Redis. */
export interface EmbeddedOptions extends FindServerOptions {
  /** The project's folder for data; the server uses `redis/` in it. */
  folder: string;
}

/** What the owner tells others of the same folder. */
interface Note {
  socketPath: string;
  port: number;
  server: string;
}

/** A running embedded Redis. */
export interface EmbeddedRedis {
  /** For the connections: `unix://...`. */
  readonly url: string;
  /** For people and tools: `127.0.0.1:port`. */
  readonly port: number;
  /** Such as `Redis 8.0.2`. */
  readonly server: string;
  /** Where the data is. */
  readonly folder: string;
  /** Whether this process owns the server, and so stops it. */
  readonly isOwner: boolean;
  /** Why the server is gone for good; undefined while it runs or is being started again. */
  failure(): MillraceError | undefined;
  /** Ends the server if this process owns it. Safe to call twice. */
  stop(): Promise<void>;
}

const LONGEST_SOCKET_PATH = 100; // The system's limit is 108 bytes on Linux, 104 on macOS.
const NEEDED_BYTES = 16 * 1024 * 1024;
const GUEST_WITHIN_MS = 10 * 60_000;
const LEFT_BEHIND_WITHIN_MS = 10_000;
const RESTARTS_PER_MINUTE = 5;

/**
 * The folder's server, started if it does not run yet.
 *
 * @example
 * const embedded = await startEmbedded({ folder: '.millrace', cacheFolder: '~/.cache/millrace', log });
 * const connections = createConnections({ url: embedded.url });
 * @throws MillraceError FOLDER_UNUSABLE, SERVER_UNAVAILABLE, SERVER_START_FAILED
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedRedis> {
  const folder = await prepareFolder(join(options.folder, 'redis'));
  const taken = await explainingFolder(folder, () => takeOrJoin(folder, options));
  if ('note' in taken) return guestOf(folder, taken.note);
  const { hold } = taken;
  try {
    return await explainingFolder(folder, () => new Owner(folder, hold, options).start());
  } catch (error) {
    await hold.release().catch(() => undefined); // On a full disk even this fails; the lock then ends with the process.
    throw error;
  }
}

/** The hold on the folder, or what its owner tells; waits for an owner that is still starting. */
async function takeOrJoin(
  folder: string,
  { onProgress }: EmbeddedOptions,
): Promise<{ hold: Hold<Note> } | { note: Note }> {
  const start = systemClock.monotonicMs();
  let saidSo = false;
  for (;;) {
    const taken = await tryHold<Note>(folder, 'owner');
    if ('hold' in taken) return taken;
    if (taken.holder.note) return { note: taken.holder.note };
    if (!saidSo)
      onProgress?.({
        step: `waiting for process ${taken.holder.pid}, which is starting Redis for this folder`,
        percent: undefined,
      });
    saidSo = true;
    if (systemClock.monotonicMs() - start > GUEST_WITHIN_MS) throw stuck(folder, taken.holder);
    await systemClock.sleep(50);
  }
}

function guestOf(folder: string, note: Note): EmbeddedRedis {
  return {
    url: `unix://${encodeURI(note.socketPath)}`,
    port: note.port,
    server: note.server,
    folder,
    isOwner: false,
    failure: () => undefined,
    stop: async () => undefined,
  };
}

class Owner {
  readonly #folder: string;
  readonly #hold: Hold<Note>;
  readonly #options: EmbeddedOptions;
  #server: ServerProcess | undefined;
  #starting: Promise<void> | undefined;
  #restarts: number[] = [];
  #failure: MillraceError | undefined;
  #stopping: Promise<void> | undefined;

  constructor(folder: string, hold: Hold<Note>, options: EmbeddedOptions) {
    this.#folder = folder;
    this.#hold = hold;
    this.#options = options;
  }

  async start(): Promise<EmbeddedRedis> {
    await this.#endServerLeftBehind();
    const binary = await findServer(this.#options);
    const port = await portFor(this.#folder);
    const socketPath = socketPathFor(this.#folder);
    this.#options.onProgress?.({ step: `starting ${serverName(binary)} from ${binary.source}`, percent: undefined });
    await this.#run(binary, port, socketPath);
    const note: Note = { socketPath, port, server: serverName(binary) };
    await this.#hold.tell(note);
    return {
      ...guestOf(this.#folder, note),
      isOwner: true,
      failure: () => this.#failure,
      stop: () => (this.#stopping ??= this.#stop()),
    };
  }

  async #run(binary: ServerBinary, port: number, socketPath: string): Promise<void> {
    this.#server = await startServerProcess({
      binary,
      folder: this.#folder,
      ping: { socketPath },
      config: {
        bind: '127.0.0.1',
        port,
        unixsocket: socketPath,
        unixsocketperm: 700,
        dir: this.#folder,
        pidfile: join(this.#folder, 'redis.pid'),
        appendonly: 'yes',
        appendfsync: 'everysec',
        save: '',
        'maxmemory-policy': 'noeviction',
        'stop-writes-on-bgsave-error': 'yes',
      },
      onLoading: () => this.#options.onProgress?.({ step: 'Redis is loading its data', percent: undefined }),
      onExit: (reason) => {
        this.#starting = this.#restart(reason, () => this.#run(binary, port, socketPath));
      },
    });
  }

  async #restart(reason: MillraceError, run: () => Promise<void>): Promise<void> {
    const { log } = this.#options;
    const now = systemClock.monotonicMs();
    this.#restarts = [...this.#restarts.filter((at) => now - at < 60_000), now];
    if (this.#restarts.length > RESTARTS_PER_MINUTE) {
      this.#failure = reason;
      log.error(
        `the embedded Redis has stopped ${this.#restarts.length} times in a minute and stays down: ${reason.message}`,
      );
      return;
    }
    log.error(`${reason.message}\nstarting it again`);
    try {
      await run();
      log.info('the embedded Redis runs again');
    } catch (error) {
      if (!this.#stopping) await this.#restart(error as MillraceError, run);
    }
  }

  async #stop(): Promise<void> {
    await this.#starting;
    await this.#server?.stop();
    await this.#hold.release().catch((error: unknown) => {
      // The lock ends with this process all the same.
      this.#options.log.warn({ err: error }, 'the owner file could not be updated');
    });
  }

  /** A server whose owner was killed ends by itself a moment later; two servers must not write to one append-only file. */
  async #endServerLeftBehind(): Promise<void> {
    const pid = Number(await readFile(join(this.#folder, 'redis.pid'), 'utf8').catch(() => ''));
    const isOurs = (): boolean => pid > 0 && isRunning(pid) && (workingFolderOf(pid) ?? this.#folder) === this.#folder;
    if (!isOurs()) return;
    this.#options.log.warn({ pid }, 'the redis-server of an owner that was killed still runs; ending it');
    const start = systemClock.monotonicMs();
    process.kill(pid, 'SIGTERM');
    while (isOurs()) {
      if (systemClock.monotonicMs() - start > LEFT_BEHIND_WITHIN_MS) process.kill(pid, 'SIGKILL');
      await systemClock.sleep(20);
    }
  }
}

async function prepareFolder(folder: string): Promise<string> {
  return explainingFolder(folder, async () => {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize < NEEDED_BYTES) {
      throw Object.assign(
        new Error(`only ${Math.floor((bavail * bsize) / 2 ** 20)} MB are free there, 16 MB are needed to start`),
        { code: 'ENOSPC' },
      );
    }
    // The real path, because the server's working folder is compared with it.
    return realpath(folder);
  });
}

const FOLDER_FAULTS = new Set([
  'EROFS',
  'EACCES',
  'EPERM',
  'ENOSPC',
  'EDQUOT',
  'ENOTDIR',
  'EEXIST',
  'ENAMETOOLONG',
  'ELOOP',
]);

async function explainingFolder<T>(folder: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof MillraceError || code === undefined || !FOLDER_FAULTS.has(code)) throw error;
    throw new MillraceError(
      'FOLDER_UNUSABLE',
      `the data folder ${folder} cannot be used: ${(error as Error).message}. Mend it, or set MILLRACE_DATA to another folder`,
      { folder, reason: code, cause: error },
    );
  }
}

/** The port of the last start if it is free, else a new one. */
async function portFor(folder: string): Promise<number> {
  const file = join(folder, 'port');
  const last = Number(await readFile(file, 'utf8').catch(() => ''));
  const port = (last > 0 ? await listenable(last) : undefined) ?? (await listenable(0));
  if (port === undefined) throw new MillraceError('SERVER_START_FAILED', 'no loopback port is free', {});
  await writeFile(file, String(port));
  return port;
}

function listenable(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' ? address?.port : undefined));
    });
  });
}

/** In the folder, or, when that path is longer than a socket's may be, in the system's folder for temporary files. */
function socketPathFor(folder: string): string {
  const path = join(folder, 'redis.sock');
  if (Buffer.byteLength(path) <= LONGEST_SOCKET_PATH) return path;
  return join(tmpdir(), `millrace-${createHash('sha256').update(folder).digest('hex').slice(0, 16)}.sock`);
}

function stuck(folder: string, { pid, host }: Holder): MillraceError {
  return new MillraceError(
    'FOLDER_BUSY',
    `process ${pid} on ${host} owns ${folder} but has not said in 10 min where its Redis listens. End it, or remove ${join(folder, 'owner')}.*`,
    { folder, pid, host },
  );
}

/** Where fetched servers are kept for all projects of this user, when nothing else is said. */
export function defaultCacheFolder(caches = join(homedir(), '.cache')): string {
  return join(caches, 'millrace');
}

/** One line for a person: `downloading redis-tools and 15 libraries: 42 %`. */
export function formatProgress({ step, percent }: Progress): string {
  return percent === undefined ? step : `${step}: ${Math.floor(percent)} %`;
}
