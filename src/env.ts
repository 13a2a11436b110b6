/**
 * The environment, read once and checked as a whole. Nothing else reads process.env.
 *
 * A bad value stops the start; all faults are listed at once, each with the variable, what was expected and what came
 * (of a secret, only that it is wrong). docs/configuration.md is held in step with this table by a test.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { z } from 'zod';
import { DURATION_FORM, tryToMs, type Duration } from './durations.ts';
import { describeValue, isMillraceError } from './errors.ts';
import { LOG_LEVELS } from './log.ts';
import type { PlatformOptions } from './platform.ts';
import { parseAddress, secretsOf, type RedisOptions } from './redis/address.ts';
import { defaultCacheFolder } from './redis/embedded/cache-folder.ts';
import { DEFAULT_PREFIX, isPrefix, PREFIX_FORM } from './redis/keys.ts';
import { faultsError, nearest, type Fault } from './schema.ts';
import type { Embedder } from './vector/embedder.ts';
import { httpEmbedder } from './vector/embedders/http-embedder.ts';
import type { HttpEmbedderOptions } from './vector/embedders/http-options.ts';

const text = z.string();
const list = z
  .string()
  .transform((value) =>
    value
      .split(',')
      .map((item) => item.trim())
      .filter((item) => item !== ''),
  )
  .refine((items) => items.length > 0, 'expected host:port, or several of them with commas between');
const prefix = z.string().refine(isPrefix, `expected ${PREFIX_FORM}`);
const flag = z
  .enum(['true', 'false', '1', '0'], { error: 'expected true or false' })
  .transform((value) => value === 'true' || value === '1');
const whole = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, `expected a whole number from ${least} to ${most}`)
    .transform(Number)
    .refine((value) => value >= least && value <= most, `expected a whole number from ${least} to ${most}`);
const duration = z
  .string()
  .refine((value) => asDuration(value) !== undefined, `expected ${DURATION_FORM}`)
  .transform((value) => asDuration(value) ?? 0);
/** Of `name:role:hash`, where a hash has commas of its own: one that comes before the next name and role is between users. */
const users = z
  .string()
  .transform((value) => value.split(/[\s;]+|,(?=[^:,$]+:[a-z]+:)/).filter((user) => user !== ''))
  .refine((all) => all.length > 0, 'expected name:role:hash, or several of them with spaces between');
const trustProxy = z
  .string()
  .transform((value) =>
    /^\d{1,2}$/.test(value) ? Number(value) : value === 'true' ? true : value !== 'false' && value,
  );
const PEM_BEGIN = '-----BEGIN';
const pemFile = z.string().transform((file, context) => {
  const refuse = (detail: string) => {
    context.addIssue(`expected the name of a PEM file${detail}`);
    return z.NEVER;
  };
  if (file.includes(PEM_BEGIN)) return refuse(', not its text');
  try {
    const pem = readFileSync(file, 'utf8');
    return pem.includes(PEM_BEGIN) ? pem : refuse(`, which has ${PEM_BEGIN} in it`);
  } catch (error) {
    // The message would repeat the name, which may be a key without its first line.
    return refuse(` that can be read (${(error as NodeJS.ErrnoException).code})`);
  }
});

/** Every variable that Millrace reads. */
export const ENV_SCHEMA = z.object({
  REDIS_URL: text.optional(),
  REDIS_SENTINELS: list.optional(),
  REDIS_MASTER_NAME: text.optional(),
  REDIS_CLUSTER_NODES: list.optional(),
  REDIS_USERNAME: text.optional(),
  REDIS_PASSWORD: text.optional(),
  REDIS_SENTINEL_USERNAME: text.optional(),
  REDIS_SENTINEL_PASSWORD: text.optional(),
  REDIS_DATABASE: whole(0, 1_000_000).optional(),
  REDIS_TLS: flag.optional(),
  REDIS_TLS_CA: pemFile.optional(),
  REDIS_TLS_CERT: pemFile.optional(),
  REDIS_TLS_KEY: pemFile.optional(),
  REDIS_TLS_SERVERNAME: text.optional(),
  REDIS_TLS_REJECT_UNAUTHORIZED: flag.optional(),
  REDIS_CONNECT_TIMEOUT: duration.optional(),
  REDIS_COMMAND_TIMEOUT: duration.optional(),
  MILLRACE_PREFIX: prefix.default(DEFAULT_PREFIX),
  MILLRACE_APP_VERSION: text.max(200, 'expected at most 200 characters').optional(),
  MILLRACE_DATA: text.default('.millrace'),
  MILLRACE_CACHE: text.optional(),
  MILLRACE_REDIS_SERVER: text.optional(),
  MILLRACE_DOWNLOAD: flag.default(true),
  XDG_CACHE_HOME: text.optional(),
  MILLRACE_DASHBOARD_USERS: users.optional(),
  MILLRACE_DASHBOARD_USERS_FILE: text.optional(),
  MILLRACE_DASHBOARD_SECRET: z.string().min(32, 'expected at least 32 characters').optional(),
  MILLRACE_DASHBOARD_BASE_PATH: text.optional(),
  MILLRACE_DASHBOARD_URL: text.optional(),
  MILLRACE_DASHBOARD_TRUST_PROXY: trustProxy.optional(),
  MILLRACE_DASHBOARD_ENVIRONMENT: text.optional(),
  MILLRACE_DASHBOARD_ALERTS: flag.default(true),
  MILLRACE_ALERT_WEBHOOK_URL: text.optional(),
  MILLRACE_ALERT_WEBHOOK_SECRET: text.min(16, 'expected at least 16 characters').optional(),
  METRICS_TOKEN: z
    .string()
    .regex(/^\S{16,}$/, 'expected at least 16 characters, without spaces')
    .optional(),
  METRICS_PORT: whole(0, 65_535).optional(),
  MILLRACE_EMBEDDINGS_URL: text.optional(),
  MILLRACE_EMBEDDINGS_MODEL: text.optional(),
  MILLRACE_EMBEDDINGS_DIMENSIONS: whole(1, 32_768).optional(),
  MILLRACE_EMBEDDINGS_KEY: text.optional(),
  HOST: text.default('127.0.0.1'),
  PORT: whole(0, 65_535).default(3_000),
  LOG_LEVEL: z.enum(LOG_LEVELS, { error: `expected ${LOG_LEVELS.join(', ')}` }).default('info'),
  LOG_FORMAT: z.enum(['json', 'pretty'], { error: 'expected json or pretty' }).optional(),
  NODE_ENV: text.optional(),
});

type Env = z.output<typeof ENV_SCHEMA>;
/** The variables that are set, by name. */
type Given = Readonly<Record<string, string | undefined>>;

/** What the environment says: the platform's options, and where its HTTP endpoints listen. */
export interface Configuration {
  platform: PlatformOptions;
  http: { host: string; port: number };
  /** Of `millrace dashboard`: options of createDashboard(), and where its metrics listen alone. */
  dashboard: DashboardConfiguration;
}

/** What the environment says of the dashboard. */
export interface DashboardConfiguration {
  users: readonly string[] | undefined;
  usersFile: string | undefined;
  secret: string | undefined;
  basePath: string | undefined;
  url: string | undefined;
  trustProxy: number | boolean | string | undefined;
  environment: string | undefined;
  metricsToken: string | undefined;
  metricsPort: number | undefined;
  /** False where nothing is watched. */
  alerts: { webhook?: { url: string; secret?: string | undefined } } | false;
}

/**
 * The configuration that the environment describes.
 *
 * @example
 * const { platform, http } = readEnv();
 * await createPlatform(platform).start();
 * @throws MillraceError ENV_INVALID, with every fault.
 */
export function readEnv(env: NodeJS.ProcessEnv = process.env): Configuration {
  // An empty variable is one that is not set: compose files and shells leave such behind.
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const issues = ENV_SCHEMA.safeParse(given).error?.issues ?? [];
  const faults = [...issues.map((issue) => faultOf(issue, given)), ...mistypedNames(given)];
  // Every variable may be missing, so what is left without the bad ones is checked too, and all faults are told at once.
  const bad = new Set(faults.map(({ path }) => path));
  const checked = ENV_SCHEMA.parse(Object.fromEntries(Object.entries(given).filter(([name]) => !bad.has(name))));
  const redis = ADDRESSES.some((name) => name in given) ? redisOptions(checked) : undefined;
  if (!redis) faults.push(...lonelyNames(given).filter(({ path }) => !bad.has(path)));
  else if (!ADDRESSES.some((name) => bad.has(name))) faults.push(...faultsOf(redis));
  const { embedder, faults: embedderFaults } = embedderOf(checked);
  faults.push(...embedderFaults.filter(({ path }) => !bad.has(path)));
  if (faults.length > 0) throw faultsError('ENV_INVALID', 'the environment has faults', faults);
  return {
    platform: {
      prefix: checked.MILLRACE_PREFIX,
      appVersion: checked.MILLRACE_APP_VERSION,
      redis,
      embedded: {
        folder: resolve(checked.MILLRACE_DATA),
        cacheFolder: resolve(checked.MILLRACE_CACHE ?? defaultCacheFolder(checked.XDG_CACHE_HOME)),
        server: checked.MILLRACE_REDIS_SERVER,
        mayDownload: checked.MILLRACE_DOWNLOAD,
      },
      log: {
        level: checked.LOG_LEVEL,
        format: checked.LOG_FORMAT ?? (checked.NODE_ENV === 'production' ? 'json' : undefined),
        secrets: [
          ...(redis ? secretsOf(redis) : []),
          ...secretsOfDashboard(checked),
          ...[checked.MILLRACE_EMBEDDINGS_KEY ?? []].flat(),
        ],
      },
      vectors: embedder && { embedder },
    },
    http: { host: checked.HOST, port: checked.PORT },
    dashboard: {
      users: checked.MILLRACE_DASHBOARD_USERS,
      usersFile:
        checked.MILLRACE_DASHBOARD_USERS_FILE === undefined
          ? undefined
          : resolve(checked.MILLRACE_DASHBOARD_USERS_FILE),
      secret: checked.MILLRACE_DASHBOARD_SECRET,
      basePath: checked.MILLRACE_DASHBOARD_BASE_PATH,
      url: checked.MILLRACE_DASHBOARD_URL,
      trustProxy: checked.MILLRACE_DASHBOARD_TRUST_PROXY,
      environment: checked.MILLRACE_DASHBOARD_ENVIRONMENT,
      metricsToken: checked.METRICS_TOKEN,
      metricsPort: checked.METRICS_PORT,
      alerts: alertsOf(checked),
    },
  };
}

function alertsOf(env: Env): DashboardConfiguration['alerts'] {
  if (!env.MILLRACE_DASHBOARD_ALERTS) return false;
  const { MILLRACE_ALERT_WEBHOOK_URL: url, MILLRACE_ALERT_WEBHOOK_SECRET: secret } = env;
  return url === undefined ? {} : { webhook: { url, secret } };
}

/** What no log may show. */
function secretsOfDashboard(env: Env): string[] {
  const { MILLRACE_ALERT_WEBHOOK_URL: url, MILLRACE_ALERT_WEBHOOK_SECRET: secret } = env;
  return [env.MILLRACE_DASHBOARD_SECRET, env.METRICS_TOKEN, url, secret].filter((one) => one !== undefined);
}

/** One of these says where Redis is; with none of them the embedded Redis is used. */
const ADDRESSES = ['REDIS_URL', 'REDIS_SENTINELS', 'REDIS_CLUSTER_NODES'] as const;

/** The variable that stands behind an option of the connections, by the option's path in faults. */
const VARIABLE_OF: Readonly<Record<string, keyof Env>> = {
  url: 'REDIS_URL',
  sentinels: 'REDIS_SENTINELS',
  masterName: 'REDIS_MASTER_NAME',
  cluster: 'REDIS_CLUSTER_NODES',
  sentinelUsername: 'REDIS_SENTINEL_USERNAME',
  sentinelPassword: 'REDIS_SENTINEL_PASSWORD',
  database: 'REDIS_DATABASE',
  tls: 'REDIS_TLS',
  'tls.cert': 'REDIS_TLS_CERT',
  connectTimeout: 'REDIS_CONNECT_TIMEOUT',
  commandTimeout: 'REDIS_COMMAND_TIMEOUT',
};

function redisOptions(env: Env): RedisOptions {
  const tlsFields = {
    ca: env.REDIS_TLS_CA,
    cert: env.REDIS_TLS_CERT,
    key: env.REDIS_TLS_KEY,
    servername: env.REDIS_TLS_SERVERNAME,
    rejectUnauthorized: env.REDIS_TLS_REJECT_UNAUTHORIZED,
  };
  const hasTlsFields = Object.values(tlsFields).some((value) => value !== undefined);
  return {
    url: env.REDIS_URL,
    sentinels: env.REDIS_SENTINELS,
    masterName: env.REDIS_MASTER_NAME,
    cluster: env.REDIS_CLUSTER_NODES,
    username: env.REDIS_USERNAME,
    password: env.REDIS_PASSWORD,
    sentinelUsername: env.REDIS_SENTINEL_USERNAME,
    sentinelPassword: env.REDIS_SENTINEL_PASSWORD,
    database: env.REDIS_DATABASE,
    tls: hasTlsFields && env.REDIS_TLS !== false ? tlsFields : env.REDIS_TLS,
    connectTimeout: env.REDIS_CONNECT_TIMEOUT,
    commandTimeout: env.REDIS_COMMAND_TIMEOUT,
  };
}

/** What the connections would refuse, in words of the environment. */
function faultsOf(redis: RedisOptions): Fault[] {
  try {
    parseAddress(redis);
    return [];
  } catch (error) {
    if (!isMillraceError(error, 'OPTIONS_INVALID')) throw error;
    return (error.facts['faults'] as Fault[]).map(({ path, reason }) =>
      path === ''
        ? {
            path,
            reason: reason.replaceAll(/\b(?:url|sentinels|cluster)\b/g, (option) => VARIABLE_OF[option] ?? option),
          }
        : { path: VARIABLE_OF[path] ?? path, reason },
    );
  }
}

const EMBEDDER_VARIABLES: Readonly<Record<string, keyof Env>> = {
  url: 'MILLRACE_EMBEDDINGS_URL',
  model: 'MILLRACE_EMBEDDINGS_MODEL',
  dimensions: 'MILLRACE_EMBEDDINGS_DIMENSIONS',
  apiKey: 'MILLRACE_EMBEDDINGS_KEY',
};

/** The embedder that is described, or what is missing or wrong of it; neither where nothing of it is set. */
function embedderOf(env: Env): { embedder?: Embedder; faults: Fault[] } {
  const options = Object.fromEntries(Object.entries(EMBEDDER_VARIABLES).map(([option, name]) => [option, env[name]]));
  if (Object.values(options).every((value) => value === undefined)) return { faults: [] };
  try {
    return { embedder: httpEmbedder(options as unknown as HttpEmbedderOptions), faults: [] };
  } catch (error) {
    if (!isMillraceError(error, 'OPTIONS_INVALID')) throw error;
    const faults = (error.facts['faults'] as Fault[]).map(({ path, reason }) => {
      const name = EMBEDDER_VARIABLES[path];
      if (name === undefined) return { path, reason };
      return { path: name, reason: env[name] === undefined ? 'expected it beside the others, got none' : reason };
    });
    return { faults };
  }
}

/** Settings of a connection that is not made, because no address is given. */
function lonelyNames(given: Given): Fault[] {
  return Object.keys(ENV_SCHEMA.shape)
    .filter((name) => name.startsWith('REDIS_') && name in given)
    .map((path) => ({ path, reason: `expected an address beside it (${ADDRESSES.join(', ')}), got none` }));
}

/**
 * Names that are unknown only by a typing error, which would silently mean the default. All of MILLRACE_ is ours. Of REDIS_,
 * which others use too, a name is meant that is a letter or two off one that is not set.
 */
/** Read by workers that run the stock jobs, who find what is mistyped in them. */
const OF_STOCK_JOBS = /^MILLRACE_(?:MAIL|WEBHOOK|CATALOG|REPORT|ORDERS|LEADERBOARD|SESSION|SEARCH|PRESENCE)_/;

function mistypedNames(given: Given): Fault[] {
  const known = Object.keys(ENV_SCHEMA.shape);
  const missing = known.filter((name) => name.startsWith('REDIS_') && !(name in given));
  return Object.keys(given).flatMap((name) => {
    if (known.includes(name) || OF_STOCK_JOBS.test(name)) return [];
    if (name.startsWith('MILLRACE_')) {
      const guess = nearest(bare(name), known.map(bare));
      return noSuchVariable(
        name,
        known.find((other) => bare(other) === guess),
      );
    }
    const guess = name.startsWith('REDIS_') ? nearest(name, missing, Math.floor(name.length / 6)) : undefined;
    return guess === undefined ? [] : noSuchVariable(name, guess);
  });
}

function bare(name: string): string {
  return name.replace(/^MILLRACE_/, '');
}

function noSuchVariable(name: string, guess: string | undefined): Fault {
  return { path: name, reason: `there is no such variable${guess === undefined ? '' : `, did you mean ${guess}?`}` };
}

function faultOf(issue: z.core.$ZodIssue, given: Given): Fault {
  const name = String(issue.path[0]);
  const isSecret = /PASSWORD|KEY|SECRET|TOKEN|USERS$|WEBHOOK/.test(name);
  return { path: name, reason: `${issue.message}, got ${isSecret ? 'something else' : describeValue(given[name])}` };
}

/** `30s`, or digits alone for milliseconds. */
function asDuration(value: string): Duration | undefined {
  return tryToMs(/^\d+$/.test(value) ? Number(value) : value);
}
