/** Proves that the server takes writes and runs scripts now, and tells its time. Keys: see probeKey. */
import type { Connections } from './connect.ts';
import { createKeySpace } from './keys.ts';
import { defineScript } from './script.ts';
import { hostname } from 'node:os';

const PROBE_TTL_MS = 60_000;

const probe = defineScript({
  file: 'redis/probe.lua',
  keys: ['probe'],
  args: ['ttlMs'],
  reply: (nowUs: string) => Number(nowUs) / 1_000,
});

/** STRING, TTL 60 s, written by each process that is asked for its health: the server's time of the last probe. */
function probeKey(prefix: string): string {
  return createKeySpace(prefix, 'health')(hostname(), 'probe');
}

/**
 * The server's time in milliseconds since 1970, after a write that a script made.
 *
 * @throws MillraceError with the code of what is wrong, such as REDIS_WRITES_REFUSED.
 */
export async function probeServer(connections: Connections, prefix: string): Promise<number> {
  return probe(connections.commands(), { probe: probeKey(prefix) }, { ttlMs: PROBE_TTL_MS });
}
