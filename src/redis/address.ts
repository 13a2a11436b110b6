/**
 * Where the server is and how to sign in: options in, one checked Address out.
 *
 * An address is given as exactly one of `url`, `sentinels` + `masterName`, or `cluster`. Its `label` is what messages and
 * logs show; it never holds a password.
 */
import { z } from 'zod';
import { MillraceError } from '../errors.ts';
import { checkOptions, durationOption, nearest } from '../schema.ts';
import type { Duration } from '../durations.ts';

/** TLS settings; `true` means TLS with the system's certificates. PEM texts, not file names. */
export interface TlsOptions {
  ca?: string | undefined;
  cert?: string | undefined;
  key?: string | undefined;
  /** The name that the server's certificate must carry; default the host that is connected to. */
  servername?: string | undefined;
  /** Default true. False accepts any certificate, so that anybody on the way can read and change everything. */
  rejectUnauthorized?: boolean | undefined;
}

/** Options of the connections to Redis. */
export interface RedisOptions {
  /** `redis://[user:password@]host[:port][/database]`, `rediss://` for TLS, or `unix:///path/redis.sock`. */
  url?: string | undefined;
  /** Addresses of the Sentinels, `host:port` each; needs `masterName`. */
  sentinels?: readonly string[] | undefined;
  /** The name under which the Sentinels watch the master. */
  masterName?: string | undefined;
  /** Addresses of some Cluster nodes, `host:port` each; the others are found through them. */
  cluster?: readonly string[] | undefined;
  /** The ACL user; wins over the one in the URL. */
  username?: string | undefined;
  /** The password; wins over the one in the URL. */
  password?: string | undefined;
  /** For Sentinels that ask for a user of their own. */
  sentinelUsername?: string | undefined;
  /** For Sentinels that ask for a password of their own. */
  sentinelPassword?: string | undefined;
  /** The database number, default 0; a Cluster has only 0. */
  database?: number | undefined;
  /** Default: TLS with a `rediss://` URL, else none. */
  tls?: boolean | TlsOptions | undefined;
  /** Put before the role in each connection's name, as CLIENT LIST shows it. Default `millrace`. */
  name?: string | undefined;
  /** How long to wait for a connection and its handshake. Default 5 s. */
  connectTimeout?: Duration | undefined;
  /** Deadline of a command of the `commands` role, waiting for a connection included. Default 5 s; shorter fails faster when Redis is down. */
  commandTimeout?: Duration | undefined;
}

export interface HostPort {
  host: string;
  port: number;
}

/** Where to connect, by topology. */
export type Endpoint =
  | { topology: 'standalone'; socketPath: string }
  | ({ topology: 'standalone' } & HostPort)
  | { topology: 'sentinel'; sentinels: HostPort[]; masterName: string }
  | { topology: 'cluster'; nodes: HostPort[] };

export type Topology = Endpoint['topology'];

/** A checked address. */
export interface Address {
  endpoint: Endpoint;
  /** What messages show, without any secret: `redis://127.0.0.1:6379/0`. */
  label: string;
  username: string | undefined;
  password: string | undefined;
  sentinelUsername: string | undefined;
  sentinelPassword: string | undefined;
  database: number;
  tls: TlsOptions | undefined;
  name: string;
  connectTimeoutMs: number;
  commandTimeoutMs: number;
}

const tlsSchema = z.strictObject({
  ca: z.string().optional(),
  cert: z.string().optional(),
  key: z.string().optional(),
  servername: z.string().optional(),
  rejectUnauthorized: z.boolean().optional(),
});

const optionsSchema = z.strictObject({
  url: z.string().optional(),
  sentinels: z.array(z.string()).min(1).optional(),
  masterName: z.string().min(1).optional(),
  cluster: z.array(z.string()).min(1).optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  sentinelUsername: z.string().optional(),
  sentinelPassword: z.string().optional(),
  database: z.number().int().min(0).max(1_000_000).optional(),
  tls: z.union([z.boolean(), tlsSchema]).optional(),
  name: z
    .string()
    .regex(/^[\w.:-]+$/, 'expected letters, digits and . : - _ only, as CLIENT SETNAME asks')
    .default('millrace'),
  connectTimeout: durationOption.default(5_000),
  commandTimeout: durationOption.default(5_000),
});

/**
 * The checked address that the options describe.
 * @throws MillraceError OPTIONS_INVALID, naming the option, what was expected and what came, without passwords.
 */
export function parseAddress(options: RedisOptions): Address {
  const checked = checkOptions(optionsSchema, options, 'redis options');
  const ways = (['url', 'sentinels', 'cluster'] as const).filter((way) => checked[way] !== undefined);
  if (ways.length !== 1) {
    const came = ways.length === 0 ? 'none' : ways.join(' and ');
    throw invalid(`redis options: expected exactly one of url, sentinels or cluster, got ${came}`, { ways });
  }
  const fromUrl = checked.url === undefined ? undefined : parseUrl(checked.url);
  const endpoint = fromUrl?.endpoint ?? parseEndpoint(checked);
  const database = checked.database ?? fromUrl?.database ?? 0;
  if (endpoint.topology === 'cluster' && database !== 0) {
    throw invalid(`redis options: database: a Cluster has only database 0, got ${database}`, { database });
  }
  const tls = tlsOf(checked.tls, fromUrl?.tls ?? false);
  return Object.freeze({
    endpoint,
    label: labelOf(endpoint, database, tls !== undefined),
    username: checked.username ?? fromUrl?.username,
    password: checked.password ?? fromUrl?.password,
    sentinelUsername: checked.sentinelUsername,
    sentinelPassword: checked.sentinelPassword,
    database,
    tls,
    name: checked.name,
    connectTimeoutMs: checked.connectTimeout,
    commandTimeoutMs: checked.commandTimeout,
  });
}

/** The passwords in the options, for the logger to keep out. */
export function secretsOf(options: RedisOptions): string[] {
  const secrets = [options.password, options.sentinelPassword];
  if (options.tls && typeof options.tls === 'object') secrets.push(options.tls.key);
  if (options.url !== undefined) {
    const userinfo = /^[^/]*\/\/([^@/]*(?:@[^@/]+)*)@/.exec(options.url)?.[1];
    const password = userinfo?.slice(userinfo.indexOf(':') + 1);
    secrets.push(password, password === undefined ? undefined : decode(password));
  }
  return secrets.filter((secret): secret is string => secret !== undefined && secret !== '');
}

/** `host:port`, with the port's default; an IPv6 host stands in brackets. Undefined when it is neither. */
export function parseHostPort(text: string, defaultPort: number): HostPort | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/.exec(text.trim());
  if (!match) return undefined;
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  if (port < 1 || port > 65_535) return undefined;
  return { host: match[1] ?? match[2] ?? '', port };
}

interface ParsedUrl {
  endpoint: Endpoint;
  username: string | undefined;
  password: string | undefined;
  database: number | undefined;
  tls: boolean;
}

const SCHEMES = ['redis', 'rediss', 'unix', 'redis+unix'] as const;
const URL_FORMS = 'redis://host:port, rediss://host:port or unix:///path/redis.sock';

function parseUrl(text: string): ParsedUrl {
  const shown = withoutUserinfo(text);
  if (text.startsWith('/')) return socket(text);
  const scheme = /^([\w+.-]*):\/\//.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    const guess = parseHostPort(text, 6_379) ? `; did you mean redis://${text}?` : '';
    throw invalid(`url: expected ${URL_FORMS}, got "${shown}"${guess}`, { url: shown });
  }
  if (!SCHEMES.some((known) => known === scheme)) {
    const guess = nearest(scheme, SCHEMES);
    throw invalid(
      `url: expected ${URL_FORMS}, got the scheme "${scheme}" in "${shown}"${guess ? `; did you mean ${guess}://?` : ''}`,
      { url: shown },
    );
  }
  if (scheme.endsWith('unix')) return socket(text.slice(scheme.length + 3));
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    // The parser's own error quotes the whole URL, password and all, so it is not kept as the cause.
    const encode = text.includes('@')
      ? ' (a password with special characters must be percent-encoded, or set as REDIS_PASSWORD)'
      : '';
    throw invalid(`url: cannot be read: expected ${URL_FORMS}, got "${shown}"${encode}`, { url: shown });
  }
  if (url.hostname === '')
    throw invalid(`url: the host is missing: expected ${URL_FORMS}, got "${shown}"`, { url: shown });
  if (url.search !== '' || url.hash !== '') {
    throw invalid(`url: nothing may follow the database number, got "${url.search}${url.hash}" in "${shown}"`, {
      url: shown,
    });
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return {
    endpoint: { topology: 'standalone', host, port: url.port === '' ? 6_379 : Number(url.port) },
    username: url.username === '' ? undefined : decode(url.username),
    password: url.password === '' ? undefined : decode(url.password),
    database: databaseOf(url.pathname, shown),
    tls: scheme === 'rediss',
  };
}

function socket(path: string): ParsedUrl {
  const socketPath = decode(path);
  if (!socketPath.startsWith('/')) {
    throw invalid(`url: a socket's path starts at the root: expected unix:///path/redis.sock, got "${path}"`, {
      url: path,
    });
  }
  return {
    endpoint: { topology: 'standalone', socketPath },
    username: undefined,
    password: undefined,
    database: undefined,
    tls: false,
  };
}

function databaseOf(path: string, shown: string): number | undefined {
  if (path === '' || path === '/') return undefined;
  if (!/^\/\d{1,6}$/.test(path)) {
    throw invalid(`url: expected a database number after the port, got "${path.slice(1)}" in "${shown}"`, {
      url: shown,
    });
  }
  return Number(path.slice(1));
}

function parseEndpoint(options: z.output<typeof optionsSchema>): Endpoint {
  if (options.cluster) return { topology: 'cluster', nodes: hostPorts('cluster', options.cluster, 6_379) };
  if (options.masterName === undefined) {
    throw invalid(
      'masterName: expected the name under which the Sentinels watch the master, such as mymaster, got none',
      {},
    );
  }
  return {
    topology: 'sentinel',
    sentinels: hostPorts('sentinels', options.sentinels ?? [], 26_379),
    masterName: options.masterName,
  };
}

function hostPorts(option: string, texts: readonly string[], defaultPort: number): HostPort[] {
  return texts.map((text) => {
    const parsed = parseHostPort(text, defaultPort);
    if (!parsed) throw invalid(`${option}: expected host:port, got "${withoutUserinfo(text)}"`, { option });
    return parsed;
  });
}

function tlsOf(option: boolean | TlsOptions | undefined, byUrl: boolean): TlsOptions | undefined {
  if (option === undefined) return byUrl ? {} : undefined;
  if (typeof option === 'boolean') return option ? {} : undefined;
  return option;
}

function labelOf(endpoint: Endpoint, database: number, tls: boolean): string {
  const scheme = tls ? 'rediss' : 'redis';
  switch (endpoint.topology) {
    case 'standalone':
      return 'socketPath' in endpoint
        ? `unix://${endpoint.socketPath}`
        : `${scheme}://${formatHostPort(endpoint)}/${database}`;
    case 'sentinel':
      return `${scheme}+sentinel://${endpoint.sentinels.map(formatHostPort).join()}/${endpoint.masterName}`;
    case 'cluster':
      return `${scheme}+cluster://${endpoint.nodes.map(formatHostPort).join()}`;
  }
}

export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function withoutUserinfo(text: string): string {
  return text.replace(/^([^/]*\/\/)?.*@/, '$1***@');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // Not percent-encoded at all: a literal % is meant.
  }
}

function invalid(message: string, facts: Record<string, unknown>): MillraceError {
  return new MillraceError('OPTIONS_INVALID', message, facts);
}
