/**
 * Puts compiled code into few files: a process that a test starts loads them in three quarters of the time that a file for each module takes.
 *
 * Only our own modules: packages are loaded from where they are. What several entries need is in files that they share, so that a process has
 * each module once, whichever entries it imports.
 */
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as Esbuild from 'esbuild';
import { SCRIPT } from './script-names.ts';

/** What the package exports and starts, and what tests import of the compiled code; scripts are added. Each one more makes more and smaller files. */
const ENTRIES = [
  'src/index.js',
  'src/cli/main.js',
  'src/http/index.js',
  'src/jobs/isolate/thread.js',
  'src/jobs/isolate/threads.js',
  'src/jobs/jobs.js',
  'src/jobs/worker/job-worker.js',
  'src/redis/connect.js',
  'src/testing/index.js',
  'dashboard/index.js',
  'workers/contracts.js',
  'workers/index.js',
  'workers/main.js',
  'test/jobs/isolate/handlers/acts.js',
];

/** The esbuild that tsx runs on. */
const { build } = createRequire(createRequire(import.meta.url).resolve('tsx'))('esbuild') as typeof Esbuild;

/** Each entry stays where it is, and imports what it needs from `src/chunks/`. */
export async function bundle(folder: string): Promise<void> {
  const tests = await readdir(join(folder, 'test'), { recursive: true });
  const scripts = tests.filter((file) => extname(file) === '.js' && SCRIPT.test(file.slice(0, -'.js'.length)));
  await build({
    entryPoints: [...ENTRIES, ...scripts.map((file) => join('test', file))].map((file) => join(folder, file)),
    outdir: folder,
    outbase: folder,
    chunkNames: 'src/chunks/[name]-[hash]',
    allowOverwrite: true,
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    plugins: [
      {
        name: 'modules know where they lay',
        setup: (builder) =>
          builder.onLoad({ filter: /\.js$/ }, async ({ path }) => {
            const code = await readFile(path, 'utf8');
            return { contents: code.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href)) };
          }),
      },
    ],
  });
}
