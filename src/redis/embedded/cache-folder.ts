/** Where fetched servers are kept. By itself, so that reading the environment does not load the embedded Redis, which production has no use for. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The folder for all projects of this user, when nothing else is said. */
export function defaultCacheFolder(caches = join(homedir(), '.cache')): string {
  return join(caches, 'millrace');
}
