/** The memory of a worker process: compiled code, as a published package has it, and a child for each side. */
import { execFile } from 'node:child_process';
import { mkdir, rm, symlink } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ROOT = new URL('../../', import.meta.url);
/** Below node_modules, so that the compiled code finds its packages. */
const BUILD = new URL('node_modules/.millrace-bench/', ROOT);

/** Compiles the sources, with what the package has beside them, and gives the folder of the compiled code. */
export async function buildForWorkers(): Promise<string> {
  await rm(BUILD, { recursive: true, force: true });
  await mkdir(BUILD, { recursive: true });
  for (const name of ['lua', 'package.json']) await symlink(new URL(name, ROOT), new URL(name, BUILD));
  const out = new URL('dist/', BUILD);
  const tsc = fileURLToPath(new URL('node_modules/.bin/tsc', ROOT));
  const project = fileURLToPath(new URL('src/tsconfig.build.json', ROOT));
  const asPublished = ['--removeComments', '--declaration', 'false', '--sourceMap', 'false'];
  await run(tsc, ['--project', project, '--outDir', fileURLToPath(out), ...asPublished, '--noCheck']);
  return out.href;
}

/** What a worker process of the side keeps resident, in MB, once it has run some jobs. */
export async function residentMb(side: 'ours' | 'raw', url: string, built: string): Promise<number> {
  const program = fileURLToPath(new URL('worker-process.js', import.meta.url));
  const { stdout } = await run(process.execPath, ['--expose-gc', program, side, url, built]);
  return Number(stdout) / 1_048_576;
}
