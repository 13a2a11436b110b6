/**
 * Our code as a published package has it. What lets the benches run without a build step (tsx) puts a call to a helper into every function
 * that is made, which is a tenth of some cases.
 */
import { buildForWorkers } from './worker-memory.ts';

let folder: Promise<string> | undefined;

/** Where the compiled code is; the first call compiles it. */
export function compiledFolder(): Promise<string> {
  return (folder ??= buildForWorkers());
}

/** Takes what another process has compiled. */
export function useCompiled(built: string): void {
  folder = Promise.resolve(built);
}

/** A compiled module, by the path of its source below `src/`. */
export async function importCompiled<Module>(source: string): Promise<Module> {
  return (await import(new URL(source.replace(/\.ts$/, '.js'), await compiledFolder()).href)) as Module;
}
