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
import { MillraceError } from './errors.ts';
import { LOG_LEVELS } from './log.ts';
import type { PlatformOptions } from './platform.ts';
import { parseAddress, secretsOf, type RedisOptions } from './redis/address.ts';
import { defaultCacheFolder } from './redis/embedded/embedded.ts';
import { DEFAULT_PREFIX } from './redis/keys.ts';
import { faultsError, nearest, type Fault } from './schema.ts';

const text = z.string();
const list = z.string().transform((value) =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);
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
const pemFile = z.string().transform((file, context) => {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    context.addIssue(`expected a PEM file that can be read: ${(error as Error).message}`);
    return z.NEVER;
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
  MILLRACE_PREFIX: text.default(DEFAULT_PREFIX),
  MILLRACE_DATA: text.default('.millrace'),
  MILLRACE_CACHE: text.optional(),
  MILLRACE_REDIS_SERVER: text.optional(),
  MILLRACE_DOWNLOAD: flag.default(true),
  XDG_CACHE_HOME: text.optional(),
  HOST: text.default('127.0.0.1'),
  PORT: whole(0, 65_535).default(3_000),
  LOG_LEVEL: z.enum(LOG_LEVELS, { error: `expected ${LOG_LEVELS.join(', ')}` }).default('info'),
  LOG_FORMAT: z.enum(['json', 'pretty'], { error: 'expected json or pretty' }).optional(),
  NODE_ENV: text.optional(),
});

type Env = z.output<typeof ENV_SCHEMA>;

/** What the environment says: the platform's options, and where its HTTP endpoints listen. */
export interface Configuration {
  platform: PlatformOptions;
  http: { host: string; port: number };
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
  const result = ENV_SCHEMA.safeParse(given);
  const faults = [...(result.error?.issues ?? []).map((issue) => faultOf(issue, given)), ...mistypedNames(given)];
  const redis = result.success ? redisOptions(result.data, faults) : undefined;
  if (!result.success || faults.length > 0) throw faultsError('ENV_INVALID', 'the environment has faults', faults);
  return {
    platform: {
      prefix: result.data.MILLRACE_PREFIX,
      redis,
      embedded: {
        folder: resolve(result.data.MILLRACE_DATA),
        cacheFolder: resolve(result.data.MILLRACE_CACHE ?? defaultCacheFolder(result.data.XDG_CACHE_HOME)),
        server: result.data.MILLRACE_REDIS_SERVER,
        mayDownload: result.data.MILLRACE_DOWNLOAD,
      },
      log: {
        level: result.data.LOG_LEVEL,
        format: result.data.LOG_FORMAT ?? (result.data.NODE_ENV === 'production' ? 'json' : undefined),
        secrets: redis ? secretsOf(redis) : [],
      },
    },
    http: { host: result.data.HOST, port: result.data.PORT },
  };
}

/** Options of the connections; undefined when no address is given, so that the embedded Redis is used. Faults are added to the list. */
function redisOptions(env: Env, faults: Fault[]): RedisOptions | undefined {
  const tlsFields = {
    ca: env.REDIS_TLS_CA,
    cert: env.REDIS_TLS_CERT,
    key: env.REDIS_TLS_KEY,
    servername: env.REDIS_TLS_SERVERNAME,
    rejectUnauthorized: env.REDIS_TLS_REJECT_UNAUTHORIZED,
  };
  const hasTlsFields = Object.values(tlsFields).some((value) => value !== undefined);
  const options: RedisOptions = {
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
  if (!env.REDIS_URL && !env.REDIS_SENTINELS && !env.REDIS_CLUSTER_NODES) {
    const orphans = (['REDIS_MASTER_NAME', 'REDIS_USERNAME', 'REDIS_PASSWORD', 'REDIS_TLS'] as const).filter(
      (name) => env[name] !== undefined,
    );
    for (const name of orphans) {
      faults.push({
        path: name,
        reason: 'expected an address beside it: REDIS_URL, REDIS_SENTINELS or REDIS_CLUSTER_NODES, got none',
      });
    }
    return undefined;
  }
  try {
    parseAddress(options);
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    faults.push(inWordsOfEnv(error.message));
  }
  return options;
}

const VARIABLE_OF: Readonly<Record<string, string>> = {
  url: 'REDIS_URL',
  sentinels: 'REDIS_SENTINELS',
  masterName: 'REDIS_MASTER_NAME',
  cluster: 'REDIS_CLUSTER_NODES',
  database: 'REDIS_DATABASE',
};

/** `url: expected ...` is about REDIS_URL to someone who set the environment. */
function inWordsOfEnv(message: string): Fault {
  const [, option = '', rest = message] = /^(?:redis options: )?(\w+): (.*)$/s.exec(message) ?? [];
  const path = VARIABLE_OF[option];
  if (path !== undefined) return { path, reason: rest };
  const named = message
    .replaceAll(/\b(url|sentinels|cluster)\b/g, (name) => VARIABLE_OF[name] ?? name)
    .replace('redis options: ', '');
  return { path: '', reason: named };
}

/** MILLRACE_ names and REDIS_ names that are near to known ones but unknown: a typing error would silently mean the default. */
function mistypedNames(given: Readonly<Record<string, string | undefined>>): Fault[] {
  const known = Object.keys(ENV_SCHEMA.shape);
  return Object.keys(given)
    .filter((name) => name.startsWith('MILLRACE_') && !known.includes(name))
    .map((name) => {
      const guess = nearest(name, known);
      return { path: name, reason: `there is no such variable${guess ? `, did you mean ${guess}?` : ''}` };
    });
}

function faultOf(issue: z.core.$ZodIssue, given: Readonly<Record<string, string | undefined>>): Fault {
  const name = String(issue.path[0]);
  const isSecret = /PASSWORD|KEY/.test(name);
  return { path: name, reason: `${issue.message}, got ${isSecret ? 'something else' : JSON.stringify(given[name])}` };
}

/** `30s`, or digits alone for milliseconds. */
function asDuration(value: string): Duration | undefined {
  return tryToMs(/^\d+$/.test(value) ? Number(value) : value);
}
