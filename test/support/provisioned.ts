/** Copies of a server that was fetched, to be damaged. */
import { cpSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { defaultCacheFolder } from '../../src/redis/embedded/cache-folder.ts';
import { REDIS_8 } from '../../src/redis/embedded/provision.ts';

/** Where this machine's fetched servers are. */
export const cacheOfThisMachine = process.env['MILLRACE_CACHE'] ?? defaultCacheFolder(process.env['XDG_CACHE_HOME']);

/** Copies Redis 8 into another cache folder; false when this machine has not fetched it. */
export function copyProvisioned(cacheFolder: string): boolean {
  const source = join(cacheOfThisMachine, REDIS_8.name);
  if (!existsSync(join(source, 'manifest.json'))) return false;
  cpSync(source, join(cacheFolder, REDIS_8.name), { recursive: true, verbatimSymlinks: true });
  return true;
}
