// Makes TypeScript loadable in this thread. JavaScript itself, because it runs before anything else can be loaded. Options of the
// command line such as `--import tsx` do not do it: on Node 20 they have no effect on what a thread imports.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

let isDone = false;

/**
 * Registers tsx for this thread if the module is TypeScript and tsx can be found from there; else Node loads the module as it can.
 *
 * @param {string} url of the module that is to be loaded
 */
export async function makeTypeScriptLoadable(url) {
  if (isDone || !/\.[cm]?tsx?$/.test(new URL(url).pathname)) return;
  const api = findTsx(url);
  if (api === undefined) return;
  const { register } = await import(api);
  register();
  isDone = true;
}

/** @param {string} url */
function findTsx(url) {
  try {
    // What require() is given lacks what registers the hooks; the file for import stands beside it.
    const file = createRequire(url)
      .resolve('tsx/esm/api')
      .replace(/\.cjs$/, '.mjs');
    return existsSync(file) ? pathToFileURL(file).href : undefined;
  } catch {
    return undefined; // It is not installed there.
  }
}
