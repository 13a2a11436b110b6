/**
 * The embedded Redis: one private redis-server for a project folder.
 *
 * The first process that asks owns the server and stops it when it ends; later ones of the same folder find it and use it.
 * Data is kept in an append-only file, so neither a stop nor a kill loses what was acknowledged a second before. Port and
 * socket stay the same from start to start, so clients find the server again.
 *
 *   asked --nobody owns the folder--> owner: find a program, start it --stop()--> stopped
 *     |                                  |--server ends by itself--> started again, at most 5 times a minute --> failed
 *     '--somebody owns it--> waits until the owner's server answers --> guest: uses it
 *                              '--the owner ends first--> asks again
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../clock.ts';
import { formatMs } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import { serverName } from '../server-info.ts';
import type { ServerBinary } from './binary.ts';
import { portFor, socketPathFor } from './endpoint.ts';
import { findServer, OLDEST_EMBEDDED, type FindServerOptions } from './find-server.ts';
import { busy, tryHold, type Hold } from './folder-lock.ts';
import { ping } from './ping.ts';
import { isRunning, signalProcess, startOf, workingFolderOf } from './process-identity.ts';
import type { Progress } from './provision.ts';
import { startServerProcess, type ServerProcess } from './server-process.ts';
import { explainingFolder, prepareFolder, requireSpace } from './usable-folder.ts';

/** Options of the embedded Redis. */
export interface EmbeddedOptions extends FindServerOptions {
  /** The project's folder for data; the server uses `redis/` in it. */
  folder: string;
  /** How long the server of another owner may be silent. Default 15 s: a stop, or a start after a crash, takes less. */
  silentWithinMs?: number | undefined;
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
  /** The oldest version that may be embedded, which is older than what is asked of other servers. */
  readonly oldestServer: string;
  /** Whether this process owns the server, and so stops it. */
  readonly isOwner: boolean;
  /** Why the server is gone for good; undefined while it runs or is being started again. */
  failure(): MillraceError | undefined;
  /** Ends the server if this process owns it. Safe to call twice. */
  stop(): Promise<void>;
}

const NEEDED_BYTES = 16 * 1024 * 1024;
const OWNER = 'owner';
/** How long an owner may take to start its server: it may fetch one first, and read gigabytes of data. */
const OWNER_STARTS_WITHIN_MS = 10 * 60_000;
const OWNER_SILENT_WITHIN_MS = 15_000;
const LEFT_BEHIND_WITHIN_MS = 10_000;
const RESTARTS_PER_MINUTE = 5;
const FIRST_PAUSE_MS = 50;

/**
 * The folder's server, started if it does not run yet.
 *
 * @example
 * const embedded = await startEmbedded({ folder: '.millrace', cacheFolder: '~/.cache/millrace', log });
 * const connections = createConnections({ url: embedded.url });
 * @throws MillraceError FOLDER_UNUSABLE, FOLDER_BUSY, SERVER_UNAVAILABLE, SERVER_START_FAILED
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedRedis> {
  const chosen = { folder: join(options.folder, 'redis'), what: 'data folder', variable: 'MILLRACE_DATA' };
  // The real path, because the server's working folder is compared with it.
  const folder = await prepareFolder(chosen);
  return explainingFolder(chosen, async () => {
    const taken = await takeOrJoin(folder, options);
    if ('note' in taken) return guestOf(folder, taken.note);
    const { hold } = taken;
    try {
      await requireSpace(chosen, NEEDED_BYTES);
      return await new Owner(folder, hold, options).start();
    } catch (error) {
      await hold.release().catch(() => undefined); // The lock then ends with the process.
      throw error;
    }
  });
}

/**
 * The hold on the folder, or what its owner tells, once the owner's server answers. An owner may be starting, stopping, or starting its
 * server again; whoever waits for one that ends becomes the owner.
 */
async function takeOrJoin(
  folder: string,
  { onProgress, silentWithinMs = OWNER_SILENT_WITHIN_MS }: EmbeddedOptions,
): Promise<{ hold: Hold<Note> } | { note: Note }> {
  let lastSignMs = systemClock.monotonicMs();
  let lastStep = '';
  for (;;) {
    const taken = await tryHold<Note>(folder, OWNER);
    if ('hold' in taken) return taken;
    const { holder } = taken;
    const answer = holder.note ? await ping(holder.note) : 'none';
    if (holder.note && answer === 'ready') return { note: holder.note };
    const step = `waiting for process ${holder.pid}, which is ${holder.note ? 'stopping or restarting' : 'starting'} Redis for this folder`;
    if (step !== lastStep || answer === 'loading') lastSignMs = systemClock.monotonicMs();
    if (step !== lastStep) onProgress?.({ step, percent: undefined });
    lastStep = step;
    const withinMs = holder.note ? silentWithinMs : OWNER_STARTS_WITHIN_MS;
    if (systemClock.monotonicMs() - lastSignMs > withinMs)
      throw busy(folder, OWNER, holder, `its Redis has not answered in ${formatMs(withinMs)}`);
    await systemClock.sleep(50);
  }
}

function guestOf(folder: string, note: Note): EmbeddedRedis {
  return {
    url: `unix://${encodeURI(note.socketPath)}`,
    port: note.port,
    server: note.server,
    folder,
    oldestServer: OLDEST_EMBEDDED,
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
    const socketPath = socketPathFor(this.#folder);
    await this.#endServerLeftBehind(socketPath);
    const binary = await findServer(this.#options);
    const port = await portFor(this.#folder);
    this.#options.onProgress?.({ step: `starting ${serverName(binary)} from ${binary.source}`, percent: undefined });
    await this.#run(binary, port, socketPath);
    const note: Note = { socketPath, port, server: serverName(binary) };
    try {
      await this.#hold.tell(note);
    } catch (error) {
      await this.#server?.stop();
      throw error;
    }
    return {
      ...guestOf(this.#folder, note),
      oldestServer: OLDEST_EMBEDDED,
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

  /** Pauses double within a minute, so that a port or a disk that is short for a moment does not use up all attempts at once. */
  async #restart(reason: MillraceError, run: () => Promise<void>): Promise<void> {
    const { log } = this.#options;
    const now = systemClock.monotonicMs();
    const recent = this.#restarts.filter((at) => now - at < 60_000);
    if (this.#stopping) return;
    if (recent.length >= RESTARTS_PER_MINUTE) {
      this.#failure = reason;
      log.error(
        `the embedded Redis has stopped ${recent.length + 1} times in a minute and stays down: ${reason.message}`,
      );
      return;
    }
    this.#restarts = [...recent, now];
    log.error(`${reason.message}\nstarting it again`);
    if (recent.length > 0) await systemClock.sleep(FIRST_PAUSE_MS * 2 ** recent.length);
    try {
      if (this.#stopping) return;
      await run();
      log.info('the embedded Redis runs again');
    } catch (error) {
      await this.#restart(error as MillraceError, run);
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
  async #endServerLeftBehind(socketPath: string): Promise<void> {
    const pid = Number(await readFile(join(this.#folder, 'redis.pid'), 'utf8').catch(() => ''));
    const startedAt = startOf(pid);
    const isThere = (): boolean => pid > 0 && isRunning(pid, startedAt);
    if (isThere() && (await this.#isServer(pid, socketPath))) {
      this.#options.log.warn({ pid }, 'the redis-server of an owner that was killed still runs; ending it');
      const start = systemClock.monotonicMs();
      signalProcess(pid, 'SIGTERM');
      while (isThere()) {
        if (systemClock.monotonicMs() - start > LEFT_BEHIND_WITHIN_MS) signalProcess(pid, 'SIGKILL');
        await systemClock.sleep(20);
      }
    }
    if ((await ping({ socketPath })) === 'none') return;
    throw new MillraceError(
      'FOLDER_BUSY',
      `a redis-server that this process cannot see, such as one of another container, runs on ${this.#folder}. End it first`,
      { folder: this.#folder, socketPath },
    );
  }

  /** Whether the pid is the server's, and not another process's that was given the same number later. */
  async #isServer(pid: number, socketPath: string): Promise<boolean> {
    const folder = workingFolderOf(pid);
    // Where that cannot be known, a server that answers is the proof that there is one.
    return folder === undefined ? (await ping({ socketPath })) !== 'none' : folder === this.#folder;
  }
}

/** One line for a person: `downloading redis-tools and 15 libraries: 42 %`. */
export function formatProgress({ step, percent }: Progress): string {
  return percent === undefined ? step : `${step}: ${Math.floor(percent)} %`;
}
