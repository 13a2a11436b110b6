/** A private Redis for a bench, and both ends pinned to a core each, so that a round trip costs the same in every round. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '../../src/log.ts';
import type { ServerBinary } from '../../src/redis/embedded/binary.ts';
import { defaultCacheFolder } from '../../src/redis/embedded/cache-folder.ts';
import { findServer } from '../../src/redis/embedded/find-server.ts';
import { startServerProcess } from '../../src/redis/embedded/server-process.ts';

const canPin = process.platform === 'linux' && availableParallelism() > 1 && hasTaskset();

/** The server that the benches run on: the one that `npm start` would take. */
export async function benchBinary(): Promise<ServerBinary> {
  const env = process.env;
  const log = createLogger({ level: 'warn', format: 'pretty', destination: process.stderr });
  return findServer({
    server: env['MILLRACE_REDIS_SERVER'],
    cacheFolder: env['MILLRACE_CACHE'] ?? defaultCacheFolder(env['XDG_CACHE_HOME']),
    log,
    onProgress: ({ step }) => process.stderr.write(`${step}\n`),
  });
}

/** Keeps this process to the second core. The first one is the server's. */
export function pinBench(): void {
  if (canPin) execFileSync('taskset', ['-acp', '1', String(process.pid)], { stdio: 'ignore' });
}

/** The program, kept to the first core. */
export function pinned(binary: ServerBinary): ServerBinary {
  return canPin ? { ...binary, command: ['taskset', '-c', '0', ...binary.command] } : binary;
}

/** A server without persistence, for as long as the bench runs. */
export async function startBenchServer(
  binary: ServerBinary,
): Promise<{ url: string; readyMs: number; stop: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-bench-'));
  const socketPath = join(folder, 'redis.sock');
  const server = await startServerProcess({
    binary,
    folder,
    ping: { socketPath },
    config: { port: 0, unixsocket: socketPath, dir: folder, appendonly: 'no', save: '' },
  });
  return {
    url: `unix://${socketPath}`,
    readyMs: server.readyMs,
    async stop() {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function hasTaskset(): boolean {
  try {
    execFileSync('taskset', ['-p', String(process.pid)], { stdio: 'ignore' });
    return true;
  } catch {
    return false; // Without it the figures only scatter more.
  }
}
