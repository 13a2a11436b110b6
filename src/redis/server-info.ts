/** What INFO says, read into fields; and versions, compared as numbers. */

export type ServerKind = 'redis' | 'valkey';

/** The parts of INFO that Millrace looks at. */
export interface ServerInfo {
  kind: ServerKind;
  /** Such as `8.0.2`. For Valkey its own version, not the Redis version that it stands in for. */
  version: string;
  /** Changes with each start of the server, so that a restart or failover can be told. */
  runId: string;
  processId: number;
  mode: 'standalone' | 'sentinel' | 'cluster';
  role: 'master' | 'slave';
  /** All fields of the reply, by name. */
  fields: ReadonlyMap<string, string>;
}

/** Reads the reply of INFO. */
export function parseInfo(reply: string): ServerInfo {
  const fields = new Map<string, string>();
  for (const line of reply.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  const valkey = fields.get('valkey_version');
  const mode = fields.get('redis_mode') ?? fields.get('server_mode');
  return {
    kind: valkey === undefined ? 'redis' : 'valkey',
    version: valkey ?? fields.get('redis_version') ?? '0.0.0',
    runId: fields.get('run_id') ?? '',
    processId: Number(fields.get('process_id') ?? 0),
    mode: mode === 'cluster' || mode === 'sentinel' ? mode : 'standalone',
    role: fields.get('role') === 'slave' ? 'slave' : 'master',
    fields,
  };
}

/** A number in INFO, 0 when it is not there. */
export function numberIn(info: ServerInfo, field: string): number {
  const value = Number(info.fields.get(field));
  return Number.isFinite(value) ? value : 0;
}

/** Whether `version` is `minimum` or newer, part by part: 8.10 is newer than 8.9. What follows the numbers (`-rc1`) does not count. */
export function isAtLeast(version: string, minimum: string): boolean {
  const left = numbersIn(version);
  const right = numbersIn(minimum);
  for (let part = 0; part < right.length; part++) {
    const difference = (left[part] ?? 0) - (right[part] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

function numbersIn(version: string): number[] {
  return (/^[\d.]*/.exec(version)?.[0] ?? '').split('.').map(Number);
}

/** How people call the server: `Redis 8.0.2`. */
export function serverName({ kind, version }: { kind: ServerKind; version: string }): string {
  return `${kind === 'valkey' ? 'Valkey' : 'Redis'} ${version}`;
}

/** The oldest versions that everything but the newer capabilities works on. */
export const OLDEST_SUPPORTED: Readonly<Record<ServerKind, string>> = { redis: '7.2', valkey: '8.0' };
