/** The files that deploy the platform, as the tests read them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { COMMANDS } from '../../src/cli/commands.ts';
import { ENV_SCHEMA } from '../../src/env.ts';
import { workerOptionsSchema } from '../../src/jobs/worker/worker-options.ts';
import { FAMILIES } from '../../workers/families.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** The text of a file of the checkout. */
export function textOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

/** The documents of a YAML file; a key that stands there twice is an error, and so is whatever else YAML refuses. */
export function yamlOf<T>(file: string): T[] {
  return parseAllDocuments(textOf(file), { merge: true }).map((document) => {
    expect(document.errors, file).toEqual([]);
    return document.toJS() as T;
  });
}

/** Every variable that the platform and its stock jobs read. */
export const VARIABLES: ReadonlySet<string> = new Set([
  ...Object.keys(ENV_SCHEMA.shape),
  ...FAMILIES.flatMap(({ variables }) => Object.keys(variables)),
]);

/** How long a worker's stop may take where nobody says. */
export const DRAIN_MS = workerOptionsSchema.shape.drainFor.parse(undefined);

/** Looks whether the image has the program, and the program the words. */
export function mustRun(command: readonly string[]): void {
  const [node, file = '', name = '', ...rest] = command;
  expect(node).toBe('node');
  if (file.startsWith('dist/')) mustBeCompiled(file);
  else {
    expect(file).toBe('src/cli/millrace.js');
    const flags = Object.keys(COMMANDS[name]?.flags ?? expect.fail(`millrace has no command ${name}`));
    const words = rest.filter((word) => word.startsWith('--')).map((word) => word.slice(2));
    expect(words.filter((word) => !flags.includes(word))).toEqual([]);
    for (const word of rest) if (word.startsWith('dist/')) mustBeCompiled(word);
  }
}

/** `dist/workers/main.js` is made of `workers/main.ts`. */
function mustBeCompiled(file: string): void {
  const source = file.replace(/^dist\//, '').replace(/\.js$/, '.ts');
  expect([source, `src/${source}`].filter((one) => existsSync(join(ROOT, one)))).toHaveLength(1);
}
