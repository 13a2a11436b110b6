/** A redis-server program that was found: how to run it, and what it is. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { ServerKind } from '../server-info.ts';

const run = promisify(execFile);

/** A redis-server program. */
export interface ServerBinary {
  /** The program and the arguments that come before the server's own. */
  command: readonly [string, ...string[]];
  kind: ServerKind;
  version: string;
  /** Where it was found, in plain words. */
  source: string;
}

/**
 * Runs `--version` and reads what it says.
 *
 * @returns undefined when the program cannot be run or is no redis-server.
 */
export async function identify(command: ServerBinary['command'], source: string): Promise<ServerBinary | undefined> {
  const [program, ...args] = command;
  try {
    const { stdout } = await run(program, [...args, '--version'], { timeout: 5_000 });
    const match = /^(Redis|Valkey) server v=(\S+)/m.exec(stdout);
    if (!match?.[2]) return undefined;
    return { command, kind: match[1] === 'Valkey' ? 'valkey' : 'redis', version: match[2], source };
  } catch {
    return undefined; // Not there, not executable, or cut short: to the caller it is no server.
  }
}
