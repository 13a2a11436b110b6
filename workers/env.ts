/**
 * The environment of a stock worker: what the platform reads, and the settings of the stock jobs. Nothing else in workers/ reads process.env.
 *
 * A bad value stops the start; all faults are listed at once, each with its variable, what was expected and what came (of a secret, only that
 * it is wrong). A job of which nothing is set is left out; one of which something is missing is a fault. docs/stock-jobs.md lists the table.
 */
import { readFileSync } from 'node:fs';
import {
  isMillraceError,
  MillraceError,
  readEnv,
  toMs,
  type Configuration,
  type Duration,
  type Fault,
  type LogOptions,
} from 'millrace';
import { z } from 'zod';
import { createEmailHandler, type EmailOptions } from './email-send.ts';
import type { LimitOption } from './limit-option.ts';
import { createWebhookHandler, type WebhookOptions } from './webhook-deliver.ts';

/** Options of the stock jobs that are configured. */
export interface StockSettings {
  email?: EmailOptions | undefined;
  webhooks?: WebhookOptions | undefined;
}

const flag = z
  .enum(['true', 'false', '1', '0'], { error: 'expected true or false' })
  .transform((text) => /^(true|1)$/.test(text));
const count = z
  .string()
  .regex(/^\d{1,6}$/, 'expected a whole number')
  .transform(Number);
const duration = z
  .string()
  .regex(/^\d+(?:\.\d+)?(?:ms|s|m|h|d)$/, 'expected a duration such as 30s')
  .transform((text) => toMs(text as Duration));
const LIMIT = /^(\d{1,7})\/(\d+(?:\.\d+)?(?:ms|s|m|h|d))(?::(\d{1,7}))?$/;
/** `120/1m`, `120/1m:30` with a burst, or `off`. */
const limit = z.string().transform((text, context): LimitOption | false => {
  if (text === 'off') return false;
  const [, most, per, burst] = LIMIT.exec(text) ?? [];
  if (most !== undefined && per !== undefined)
    return { limit: Number(most), per: per as Duration, ...(burst !== undefined && { burst: Number(burst) }) };
  context.addIssue('expected a limit such as 120/1m, 120/1m:30 with a burst, or off');
  return z.NEVER;
});
/** `true`, `false`, or networks with commas between. */
const networks = z
  .string()
  .transform((text) => (/^(?:true|1|false|0)$/.test(text) ? /^(?:true|1)$/.test(text) : text.split(/[\s,]+/)));
/** `name=whsec_...`, several secrets of one with commas between, several names with spaces or lines. */
const secrets = z.string().transform((text, context) => {
  const entries = text
    .split(/\s+/)
    .filter((entry) => entry !== '')
    .map((entry) => /^([\w.-]+)=(.+)$/.exec(entry));
  if (!entries.every((entry) => entry !== null) || entries.length === 0) {
    context.addIssue('expected name=whsec_..., or several of them with spaces between');
    return z.NEVER;
  }
  const names = entries.map(([, name = '']) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) context.addIssue(`expected each name once, got ${twice} twice; commas join its secrets`);
  return Object.fromEntries(entries.map(([, name = '', list = '']) => [name, list.split(',')]));
});
const secretsFile = z.string().transform((file, context) => {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    context.addIssue(`expected a file that can be read (${(error as NodeJS.ErrnoException).code})`);
    return z.NEVER;
  }
});

/** Every variable of the stock jobs. */
export const STOCK_ENV_SCHEMA = z.object({
  SMTP_URL: z.string().optional(),
  MILLRACE_MAIL_FROM: z.string().optional(),
  MILLRACE_MAIL_TEMPLATES: z.string().optional(),
  MILLRACE_MAIL_PER_DOMAIN: limit.optional(),
  MILLRACE_MAIL_CONNECTIONS: count.optional(),
  MILLRACE_MAIL_TIMEOUT: duration.optional(),
  MILLRACE_MAIL_REQUIRE_TLS: flag.optional(),
  MILLRACE_WEBHOOK_SECRETS: secrets.optional(),
  MILLRACE_WEBHOOK_SECRETS_FILE: secretsFile.pipe(secrets).optional(),
  MILLRACE_WEBHOOK_PER_ENDPOINT: limit.optional(),
  MILLRACE_WEBHOOK_TIMEOUT: duration.optional(),
  MILLRACE_WEBHOOK_REDIRECTS: count.optional(),
  MILLRACE_WEBHOOK_MAX_RETRY_AFTER: duration.optional(),
  MILLRACE_WEBHOOK_CLIENT_ERRORS: z.enum(['retry', 'dead'], { error: 'expected retry or dead' }).optional(),
  MILLRACE_WEBHOOK_SHOW_ANSWERS: flag.optional(),
  MILLRACE_WEBHOOK_ALLOW_HTTP: flag.optional(),
  MILLRACE_WEBHOOK_ALLOW_PRIVATE: networks.optional(),
});

type Env = z.output<typeof STOCK_ENV_SCHEMA>;

/** Variables that are the stock jobs' alone: a name of such a family that is not known is a typing error. */
const FAMILIES = /^MILLRACE_(?:MAIL|WEBHOOK)_/;
const SECRET = /^SMTP_URL$|SECRETS/;

/** Which variable stands behind an option, by its path in faults. */
const EMAIL_VARIABLES: Readonly<Record<string, keyof Env>> = {
  smtp: 'SMTP_URL',
  from: 'MILLRACE_MAIL_FROM',
  templates: 'MILLRACE_MAIL_TEMPLATES',
  perDomain: 'MILLRACE_MAIL_PER_DOMAIN',
  connections: 'MILLRACE_MAIL_CONNECTIONS',
  timeout: 'MILLRACE_MAIL_TIMEOUT',
  requireTls: 'MILLRACE_MAIL_REQUIRE_TLS',
};
const WEBHOOK_VARIABLES: Readonly<Record<string, keyof Env>> = {
  secrets: 'MILLRACE_WEBHOOK_SECRETS',
  perEndpoint: 'MILLRACE_WEBHOOK_PER_ENDPOINT',
  timeout: 'MILLRACE_WEBHOOK_TIMEOUT',
  redirects: 'MILLRACE_WEBHOOK_REDIRECTS',
  maxRetryAfter: 'MILLRACE_WEBHOOK_MAX_RETRY_AFTER',
  clientErrors: 'MILLRACE_WEBHOOK_CLIENT_ERRORS',
  showAnswers: 'MILLRACE_WEBHOOK_SHOW_ANSWERS',
  allowHttp: 'MILLRACE_WEBHOOK_ALLOW_HTTP',
  allowPrivate: 'MILLRACE_WEBHOOK_ALLOW_PRIVATE',
};

/**
 * What the environment says of the platform and of the stock jobs.
 *
 * @example
 * const { configuration, settings } = readStockEnv();
 * const platform = createPlatform(configuration.platform);
 * const { handlers } = stockHandlers(settings);
 * @throws MillraceError ENV_INVALID, with every fault.
 */
export function readStockEnv(env: NodeJS.ProcessEnv = process.env): {
  configuration: Configuration;
  settings: StockSettings;
} {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const known = Object.keys(STOCK_ENV_SCHEMA.shape);
  const isOurs = (name: string): boolean => known.includes(name) || FAMILIES.test(name);
  const [ours, theirs] = [true, false].map((which) =>
    Object.fromEntries(Object.entries(given).filter(([name]) => isOurs(name) === which)),
  );
  const faults: Fault[] = [];
  const configuration = orFaults(() => readEnv(theirs), 'ENV_INVALID', faults);
  const settings = settingsOf(ours ?? {}, faults);
  if (!configuration || faults.length > 0) {
    const list = faults.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`)).join('; ');
    throw new MillraceError('ENV_INVALID', `the environment has faults: ${list}`, { faults });
  }
  const { platform } = configuration;
  const log = { ...platform.log, secrets: [...((platform.log as LogOptions).secrets ?? []), ...secretsOf(settings)] };
  return { configuration: { ...configuration, platform: { ...platform, log } }, settings };
}

/** What no log may show. */
function secretsOf({ email, webhooks }: StockSettings): string[] {
  const password = email === undefined ? '' : new URL(email.smtp).password;
  const ofUrl = password === '' ? [] : [password, decodeURIComponent(password)];
  return [...ofUrl, ...Object.values(webhooks?.secrets ?? {}).flat()];
}

function settingsOf(given: NodeJS.ProcessEnv, faults: Fault[]): StockSettings {
  const known = Object.keys(STOCK_ENV_SCHEMA.shape);
  for (const name of Object.keys(given))
    if (!known.includes(name))
      faults.push({ path: name, reason: `there is no such variable; there are ${known.join(', ')}` });
  const checked = STOCK_ENV_SCHEMA.safeParse(given);
  for (const { path, message } of checked.error?.issues ?? []) {
    const name = String(path[0]);
    faults.push({ path: name, reason: SECRET.test(name) ? message : `${message}, got ${JSON.stringify(given[name])}` });
  }
  if (!checked.success) return {};
  const env = checked.data;
  const fileSecrets = env.MILLRACE_WEBHOOK_SECRETS_FILE;
  const all = (env.MILLRACE_WEBHOOK_SECRETS ?? fileSecrets) && { ...fileSecrets, ...env.MILLRACE_WEBHOOK_SECRETS };
  return {
    email: optionsOf(EMAIL_VARIABLES, { ...env }, createEmailHandler, faults),
    webhooks: optionsOf(WEBHOOK_VARIABLES, { ...env, MILLRACE_WEBHOOK_SECRETS: all }, createWebhookHandler, faults),
  };
}

/** The options of one job, tried by making its handler; undefined where nothing of it is set. */
function optionsOf<Options>(
  variables: Readonly<Record<string, keyof Env>>,
  env: Readonly<Record<string, unknown>>,
  create: (options: Options) => unknown,
  faults: Fault[],
): Options | undefined {
  const entries = Object.entries(variables).map(([option, name]) => [option, env[name]] as const);
  const options = Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as Options;
  if (Object.keys(options as object).length === 0) return undefined;
  const found: Fault[] = [];
  orFaults(() => create(options), 'OPTIONS_INVALID', found);
  for (const { path, reason } of found) {
    const option = path.split(/[.[]/, 1)[0] ?? '';
    const isMissing = !Object.hasOwn(options as object, option);
    faults.push({
      path: variables[option] ?? option,
      reason: isMissing ? 'expected it beside the others of its job, got none' : reason,
    });
  }
  return options;
}

function orFaults<T>(read: () => T, code: 'ENV_INVALID' | 'OPTIONS_INVALID', faults: Fault[]): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!isMillraceError(error, code)) throw error;
    faults.push(...(error.facts['faults'] as Fault[]));
    return undefined;
  }
}
