/**
 * Where the server is and how to sign in: options in, one checked Address out.
 *
 * An address is given as exactly one of `url`, `sentinels` + `masterName`, or `cluster`. Its `label` is what messages and
 * logs show; it never holds a password.
 */
import { z } from 'zod';
import { checkOptions, durationOption, faultsError, nearest, type Fault } from '../schema.ts';
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
  /** How long to wait for a connection and its handshake, at most 24 days. Default 5 s. */
  connectTimeout?: Duration | undefined;
  /**
   * For the `commands` role: how long a command waits for a connection, and how long the server may be silent while commands
   * are under way. At most 24 days. Default 5 s; shorter fails faster when Redis is down.
   */
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

/** The clients set one timer for each, and a timer of Node's that is set for longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const timeoutOption = durationOption.pipe(z.number().positive().max(LONGEST_TIMER_MS));

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
  connectTimeout: timeoutOption.default(5_000),
  commandTimeout: timeoutOption.default(5_000),
});

type CheckedOptions = z.output<typeof optionsSchema>;

/** Options that may hold a password, in the wrong place too. */
const SECRET_OPTIONS = ['url', 'sentinels', 'cluster', 'password', 'sentinelPassword', 'tls'];

/** Notes a fault; all are told at once. */
type Refuse = (path: keyof RedisOptions | '' | 'tls.cert', reason: string) => undefined;

/**
 * The checked address that the options describe.
 * @throws MillraceError OPTIONS_INVALID, naming each option, what was expected and what came, without passwords.
 */
export function parseAddress(options: RedisOptions): Address {
  const checked = checkOptions(optionsSchema, options, 'redis options', SECRET_OPTIONS);
  const faults: Fault[] = [];
  const refuse: Refuse = (path, reason) => void faults.push({ path, reason });
  const fromUrl = checked.url === undefined ? undefined : parseUrl(checked.url, refuse);
  const endpoint = fromUrl?.endpoint ?? parseEndpoint(checked, refuse);
  checkTogether(checked, refuse);
  if (faults.length > 0 || !endpoint) throw faultsError('OPTIONS_INVALID', 'redis options', faults);
  const database = checked.database ?? fromUrl?.database ?? 0;
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

/** Options that are each fine alone; one that would be ignored is a fault, because its user thinks that it works. */
function checkTogether(options: CheckedOptions, refuse: Refuse): void {
  const ways = (['url', 'sentinels', 'cluster'] as const).filter((way) => options[way] !== undefined);
  if (ways.length !== 1) {
    const came = ways.length === 0 ? 'none' : ways.join(' and ');
    return refuse('', `expected exactly one of url, sentinels or cluster, got ${came}`);
  }
  if (options.sentinels) {
    if (options.masterName === undefined)
      refuse('masterName', 'expected the name under which the Sentinels watch the master, such as mymaster, got none');
  } else {
    for (const name of ['masterName', 'sentinelUsername', 'sentinelPassword'] as const)
      if (options[name] !== undefined) refuse(name, 'expected Sentinels as the address, got another kind');
  }
  if (options.cluster && options.database !== undefined && options.database !== 0)
    refuse('database', `a Cluster has only database 0, got ${options.database}`);
  if (options.tls === false && /^rediss:/i.test(options.url ?? ''))
    refuse('tls', 'expected TLS, as the URL says rediss://, got false; redis:// is without');
  if (typeof options.tls === 'object' && (options.tls.cert === undefined) !== (options.tls.key === undefined))
    refuse('tls.cert', 'expected a certificate and its key, got one of them');
}

/** The passwords in the options, for the logger to keep out. */
export function secretsOf(options: RedisOptions): string[] {
  const secrets = [options.password, options.sentinelPassword];
  if (options.tls && typeof options.tls === 'object') secrets.push(options.tls.key);
  const [, password] = /^[^:]*:(.*)$/s.exec(URL_PATTERN.exec(options.url ?? '')?.groups?.['userinfo'] ?? '') ?? [];
  if (password !== undefined) secrets.push(password, decode(password));
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
const URL_PATTERN = /^(?<scheme>[\w+.-]+):\/\/(?:(?<userinfo>[^/?#]*)@)?(?<host>[^/?#]*)(?<tail>.*)$/s;

function parseUrl(text: string, refuse: Refuse): ParsedUrl | undefined {
  if (/^\/[^/]/.test(text)) return socket(text);
  const shown = withoutSecrets(text);
  const wrong = (why: string): undefined => refuse('url', `expected ${URL_FORMS}, got ${JSON.stringify(shown)}${why}`);
  if (/\s/.test(text)) return wrong(', with a space or a line break in it');
  const { scheme = '', userinfo = '', host = '', tail = '' } = URL_PATTERN.exec(text)?.groups ?? {};
  const kind = SCHEMES.find((known) => known === scheme.toLowerCase());
  if (kind === undefined) return wrong(schemeHint(text, scheme));
  if (kind === 'unix' || kind === 'redis+unix') {
    const path = decode(text.slice(scheme.length + 3));
    if (!path.startsWith('/')) return wrong(', where the path does not start at the root');
    return /\?\w+=[^/]*$/.test(path) ? wrong(', where nothing may follow the path') : socket(path);
  }
  if (tail.includes('@'))
    return wrong(', where / ? or # in the password must be percent-encoded, or the password set as REDIS_PASSWORD');
  if (host === '') return wrong(', where the host is missing');
  if (host.includes(',')) return wrong('; several hosts belong in REDIS_SENTINELS or REDIS_CLUSTER_NODES');
  const hostPort = parseHostPort(host, 6_379);
  if (!hostPort) return wrong(', where the host or the port (1 to 65535) is none');
  if (/[?#]/.test(tail)) return wrong(', where nothing may follow the database number');
  if (!/^(\/\d{0,6})?$/.test(tail)) return wrong(`, where "${tail.slice(1)}" is no database number`);
  const { username, password } = splitUserinfo(userinfo);
  const database = tail.length > 1 ? Number(tail.slice(1)) : undefined;
  return { endpoint: { topology: 'standalone', ...hostPort }, username, password, database, tls: kind === 'rediss' };
}

function schemeHint(text: string, scheme: string): string {
  if (scheme !== '') {
    const guess = nearest(scheme, SCHEMES);
    return guess === undefined ? `, with the scheme "${scheme}"` : `; did you mean ${guess}://?`;
  }
  if (/^["']/.test(text)) return '; remove the quotes';
  if (parseHostPort(text, 6_379)) return `; did you mean redis://${text}?`;
  const [, kind = 'redis', rest = ''] = /^(?:(rediss?):\/?|\/\/)([\w.-]+(?::\d+)?(?:\/\d*)?)$/.exec(text) ?? [];
  return rest === '' ? '' : `; did you mean ${kind}://${rest}?`;
}

/** `user:password`, of which both may be missing. */
function splitUserinfo(userinfo: string): { username: string | undefined; password: string | undefined } {
  const [, username = '', password = ''] = /^([^:]*):?(.*)$/.exec(userinfo) ?? [];
  return {
    username: username === '' ? undefined : decode(username),
    password: password === '' ? undefined : decode(password),
  };
}

function socket(socketPath: string): ParsedUrl {
  return {
    endpoint: { topology: 'standalone', socketPath },
    username: undefined,
    password: undefined,
    database: undefined,
    tls: false,
  };
}

function parseEndpoint(options: CheckedOptions, refuse: Refuse): Endpoint | undefined {
  if (options.cluster) return { topology: 'cluster', nodes: hostPorts('cluster', options.cluster, 6_379, refuse) };
  if (!options.sentinels) return undefined;
  const sentinels = hostPorts('sentinels', options.sentinels, 26_379, refuse);
  return { topology: 'sentinel', sentinels, masterName: options.masterName ?? '' };
}

function hostPorts(
  option: 'sentinels' | 'cluster',
  texts: readonly string[],
  defaultPort: number,
  refuse: Refuse,
): HostPort[] {
  return texts.flatMap(
    (text) =>
      parseHostPort(text, defaultPort) ?? refuse(option, `expected host:port, got "${withoutUserinfo(text)}"`) ?? [],
  );
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
  return text.replace(/^([^/@]*\/\/)?.*@/s, '$1***@');
}

/** Without the user and password, and without what may be a password in the wrong place: a port that is none, or what follows ? and #. */
function withoutSecrets(url: string): string {
  return withoutUserinfo(url)
    .replace(/([?#]).*/s, '$1***')
    .replace(/^((?:[\w+.-]+:\/\/)?(?:\*\*\*@)?(?:\[[^\]]*\]|[^/:[]*)):(?!\/\/|\d{0,5}\s*(?:[/?#]|$))[^/?#]+/, '$1:***');
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // Not percent-encoded at all: a literal % is meant.
  }
}
