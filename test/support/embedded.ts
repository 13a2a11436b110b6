/** Embedded servers for tests: in this process, or in one of their own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { inject } from 'vitest';
import { silentLogger } from '../../src/log.ts';
import type { EmbeddedOptions, EmbeddedRedis } from '../../src/redis/embedded/embedded.ts';
import { ask } from './ask.ts';
import { startChild, type Child, type ChildOptions } from './child.ts';
import { cacheOfThisMachine } from './provisioned.ts';

/** Options that find the server of the suite and fetch nothing. */
export function embeddedOptions(folder: string, changes: Partial<EmbeddedOptions> = {}): EmbeddedOptions {
  const { command } = inject('servers').main;
  return {
    folder,
    cacheFolder: cacheOfThisMachine,
    mayDownload: false,
    log: silentLogger,
    // A server that is one plain program can be named; a fetched one is found again in the cache.
    ...(command.length === 1 && { server: command[0] }),
    ...changes,
  };
}

/** The embedded Redis of the folder in a process of its own. */
export function startEmbeddedProcess(
  folder: string,
  options: ChildOptions & { embedded?: Partial<EmbeddedOptions> } = {},
): Child {
  const { log: _log, ...embedded } = embeddedOptions(folder, options.embedded);
  return startChild('embedded-process', [JSON.stringify(embedded)], options);
}

/** Asks an embedded server through its socket. */
export function askEmbedded<T>(
  { url }: Pick<EmbeddedRedis, 'url'>,
  question: (redis: Redis) => Promise<T>,
): Promise<T> {
  return ask({ path: decodeURI(url.replace('unix://', '')) }, question);
}

/** The pid of the server that runs on the folder. */
export function serverPid(folder: string): number {
  return Number(readFileSync(join(folder, 'redis', 'redis.pid'), 'utf8'));
}
