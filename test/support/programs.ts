/** Programs for tests: shell scripts that stand in for a redis-server, or run the real one with something changed. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ServerBinary } from '../../src/redis/embedded/binary.ts';

/** Writes an executable script into the folder; gives its path. */
export function writeProgram(folder: string, name: string, script: string): string {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return file;
}

/** The words that run the server in a shell; its arguments come behind. */
export function shellCommand({ command }: Pick<ServerBinary, 'command'>): string {
  return command.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(' ');
}
