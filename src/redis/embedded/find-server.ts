/**
 * Which redis-server to run, in this order:
 *
 * 1. the program that the options name (MILLRACE_REDIS_SERVER),
 * 2. a redis-server 8 or newer on PATH,
 * 3. the copy in the user's cache folder,
 * 4. a copy that is fetched now,
 * 5. an older redis-server on PATH, 7.0 or newer: everything but vectors works.
 */
import { access, constants } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Logger } from '../../log.ts';
import { MillraceError } from '../../errors.ts';
import { isAtLeast, serverName } from '../server-info.ts';
import { identify, type ServerBinary } from './binary.ts';
import { findProvisioned, provision, REDIS_8, type Progress } from './provision.ts';

/** What decides which server is run. */
export interface FindServerOptions {
  /** A program to use and no other. */
  server?: string | undefined;
  /** Where fetched copies are kept. */
  cacheFolder: string;
  /** Whether a copy may be fetched. Default true. */
  mayDownload?: boolean | undefined;
  log: Logger;
  onProgress?: ((progress: Progress) => void) | undefined;
}

/** The oldest server that the platform starts by itself, when no newer one can be had. */
export const OLDEST_EMBEDDED = '7.0';

const WAYS = [
  'set REDIS_URL to a server that runs (redis://host:6379)',
  'docker run -p 6379:6379 redis:8, then REDIS_URL=redis://127.0.0.1:6379',
  'brew install redis (macOS)',
  'apt install redis-server (Debian, Ubuntu)',
  'set MILLRACE_REDIS_SERVER to a redis-server program',
] as const;

/**
 * A redis-server that runs on this machine.
 * @throws MillraceError SERVER_UNAVAILABLE, which says what was tried and lists every way to get one.
 */
export async function findServer(options: FindServerOptions): Promise<ServerBinary> {
  if (options.server !== undefined) return namedServer(options.server);
  const onPath = await identify(['redis-server'], 'redis-server on PATH');
  if (onPath?.kind === 'redis' && isAtLeast(onPath.version, '8.0')) return onPath;
  const cached = await findProvisioned(REDIS_8, options);
  if (cached) return cached;
  const reason = await tryToProvision(options);
  if (typeof reason !== 'string') return reason;
  if (onPath && isAtLeast(onPath.version, OLDEST_EMBEDDED)) {
    options.log.warn(
      { reason },
      `using ${serverName(onPath)} from PATH: vectors are off, they need Redis 8 (which could not be fetched: ${reason})`,
    );
    return onPath;
  }
  const tried = onPath ? `${serverName(onPath)} on PATH is too old` : 'there is no redis-server on PATH';
  throw new MillraceError(
    'SERVER_UNAVAILABLE',
    `no Redis server can be had: ${tried}, and none could be fetched: ${reason}. Any of these helps:\n${WAYS.map((way) => `  - ${way}`).join('\n')}`,
    { tried, reason, ways: WAYS },
  );
}

async function namedServer(program: string): Promise<ServerBinary> {
  // The server is started in its data folder, where a path relative to this one would lead nowhere.
  const path = program.includes('/') ? resolve(program) : program;
  const found = await identify([path], program);
  if (!found) {
    const reason = program.includes('/') ? await whyNot(path) : 'is not on PATH, or is no redis-server';
    throw new MillraceError('SERVER_UNAVAILABLE', `MILLRACE_REDIS_SERVER: ${program} ${reason}`, { program });
  }
  if (found.kind === 'redis' && !isAtLeast(found.version, OLDEST_EMBEDDED)) {
    throw new MillraceError(
      'SERVER_UNAVAILABLE',
      `MILLRACE_REDIS_SERVER: ${program} is ${serverName(found)}; ${OLDEST_EMBEDDED} or newer is needed`,
      { program, version: found.version },
    );
  }
  return found;
}

/** Why a program that is named by its path told no version. */
async function whyNot(path: string): Promise<string> {
  return access(path, constants.X_OK).then(
    () => 'is no redis-server, or none that runs on this machine',
    (error: Error) => `cannot be run: ${error.message}`,
  );
}

/** The fetched server, or why there is none. */
async function tryToProvision(options: FindServerOptions): Promise<ServerBinary | string> {
  if (options.mayDownload === false) return 'downloads are switched off (MILLRACE_DOWNLOAD)';
  try {
    return await provision(REDIS_8, options);
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    return error.message;
  }
}
