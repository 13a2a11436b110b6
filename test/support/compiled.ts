/**
 * The sources and the scripts of the tests as JavaScript, for the processes that tests start: they load in half of the time that TypeScript
 * takes, and run what users of the package run. Compiled once a run, before its first test.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { bundle } from './bundle.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The folder of the compiled code; below it, paths are those of the checkout. */
    compiled: string;
  }
}

const run = promisify(execFile);
const ROOT = new URL('../../', import.meta.url);
/** Below node_modules, so that the compiled code finds its packages. */
const RUNS = new URL('node_modules/.millrace-test/', ROOT);
const CONFIG = fileURLToPath(new URL('tsconfig.compiled.json', import.meta.url));

/** What was compiled for one run of the tests. */
export interface Compiled {
  readonly folder: string;
  /** Compiles what has changed since. */
  readonly again: () => Promise<void>;
  readonly remove: () => Promise<void>;
}

/** Compiles into a folder of this process's own: other runs may go on in the same checkout. */
export async function compile(): Promise<Compiled> {
  await removeAbandoned();
  const folder = new URL(`${process.pid}/`, RUNS);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  // The package as it is published: the command in src/, the code in dist/, and what is read at run time.
  for (const name of ['lua', 'package.json']) await symlink(new URL(name, ROOT), new URL(name, folder));
  await symlink('src', new URL('dist', folder));
  await mkdir(new URL('src/', folder));
  for (const name of ['dashboard', 'workers']) await symlink(`../${name}`, new URL(`src/${name}`, folder));
  const path = fileURLToPath(folder);
  const again = async (): Promise<void> => {
    await compileInto(path, CONFIG);
    await bundle(path);
  };
  await again();
  return { folder: path, again, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** Compiles programs where they lie: in a folder of their own below the compiled code, in which `millrace` means the compiled package. */
export async function compilePrograms(folder: string): Promise<void> {
  const config = join(folder, 'tsconfig.json');
  const compilerOptions = { rootDir: '.' };
  await writeFile(config, JSON.stringify({ extends: CONFIG, compilerOptions, include: ['*.ts'], exclude: [] }));
  await compileInto(folder, config);
}

async function compileInto(folder: string, config: string): Promise<void> {
  await run(fileURLToPath(new URL('node_modules/.bin/tsc', ROOT)), [
    '--project',
    config,
    '--outDir',
    folder,
    '--singleThreaded',
  ]);
}

/** Of runs that were killed. */
async function removeAbandoned(): Promise<void> {
  await mkdir(RUNS, { recursive: true });
  for (const name of await readdir(RUNS)) {
    if (!isRunning(Number(name))) await rm(new URL(`${name}/`, RUNS), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
