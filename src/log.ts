/**
 * Logging: pino, as JSON lines in production and readable on a terminal.
 *
 * Secrets are kept out in two ways. Fields with a telling name (password, token, cookie...) are replaced. And every
 * line is searched for the secrets that the platform was given, because a client library's error can carry one in a
 * place that no list of names foresees: a refused AUTH has the password in `error.command.args`.
 */
import { createRequire } from 'node:module';
import { pino, type DestinationStream, type Logger } from 'pino';
import type { PinoPretty } from 'pino-pretty';
import { z } from 'zod';
import { checkOptions } from './schema.ts';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** How and where to log. */
export interface LogOptions {
  /** The least important level that is written. Default `info`; `debug` adds every connection event. */
  level?: LogLevel | undefined;
  /** `json` for machines, `pretty` for people. Default: pretty when standard output is a terminal, else json. */
  format?: 'json' | 'pretty' | undefined;
  /** Values that must never be written, whichever way they come. Ones under 4 characters cannot be told from ordinary text and are left to the redacted names. */
  secrets?: readonly string[] | undefined;
  /** Where lines go; default standard output. */
  destination?: DestinationStream | undefined;
}

const SECRET_NAMES = [
  'password',
  'sentinelPassword',
  'secret',
  'token',
  'accessToken',
  'refreshToken',
  'apiKey',
  'authorization',
  'cookie',
  'set-cookie',
];
const MASK = '[secret]';
const SHORTEST_SECRET = 4;

const optionsSchema = z.strictObject({
  level: z.enum(LOG_LEVELS).optional(),
  format: z.enum(['json', 'pretty']).optional(),
  secrets: z.array(z.string()).optional(),
  destination: z
    .custom<DestinationStream>((value) => typeof (value as DestinationStream | null)?.write === 'function', {
      error: 'expected an object with write()',
    })
    .optional(),
});

/**
 * A logger; give its children to the parts with `log.child({ module })`.
 *
 * @example
 * const log = createLogger({ level: 'debug' });
 * log.child({ module: 'cache' }).info({ key }, 'loaded');
 * @throws MillraceError OPTIONS_INVALID
 */
export function createLogger(options: LogOptions = {}): Logger {
  const { level, format, secrets, destination } = checkOptions(optionsSchema, options, 'createLogger', ['secrets']);
  const hide = scrubber(secrets ?? []);
  const out = destination ?? pino.destination({ fd: 1, sync: true });
  return pino(
    {
      level: level ?? 'info',
      redact: {
        paths: SECRET_NAMES.flatMap((name) => [`["${name}"]`, `*["${name}"]`, `*.*["${name}"]`]),
        censor: MASK,
      },
      serializers: { err: pino.stdSerializers.errWithCause, error: pino.stdSerializers.errWithCause },
      ...(hide && { hooks: { streamWrite: hide } }),
    },
    (format ?? (process.stdout.isTTY ? 'pretty' : 'json')) === 'pretty' ? prettyStream(out) : out,
  );
}

/** A logger that writes nothing, for callers that gave none. */
export const silentLogger: Logger = pino({ level: 'silent' });

/**
 * Replaces every given secret in a line of JSON, also where it stands escaped as in JSON or in a URL. Undefined when there
 * is none to replace. What comes out is JSON again: of numbers only a whole one is replaced, so that the password `1234`
 * does not break every time stamp that has these digits.
 */
export function scrubber(secrets: readonly string[]): ((line: string) => string) | undefined {
  const forms = new Set(
    secrets
      .filter((secret) => secret.length >= SHORTEST_SECRET)
      .flatMap((secret) => [secret, escaped(secret), escaped(escaped(secret)), encodeURIComponent(secret)]),
  );
  if (forms.size === 0) return undefined;
  // Longest first, so that a secret which contains another one is replaced as a whole.
  const ordered = [...forms].toSorted((left, right) => right.length - left.length);
  const scrubText = (text: string): string => ordered.reduce((rest, secret) => rest.replaceAll(secret, MASK), text);
  const scrub = (value: unknown): unknown => {
    if (typeof value === 'string') return scrubText(value);
    if (typeof value === 'number') return forms.has(String(value)) ? MASK : value;
    if (Array.isArray(value)) return value.map(scrub);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [scrubText(name), scrub(inner)]));
  };
  return (line) =>
    ordered.some((secret) => line.includes(secret)) ? `${JSON.stringify(scrub(JSON.parse(line)))}\n` : line;
}

/** As the text stands between the quotes of JSON. */
function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function prettyStream(out: DestinationStream): DestinationStream {
  // Loaded only where somebody watches: an API server in production should not pay for it.
  const { prettyFactory } = createRequire(import.meta.url)('pino-pretty') as typeof PinoPretty;
  const format = prettyFactory({
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'pid,hostname,module',
    messageFormat: '{if module}{module}: {end}{msg}',
  });
  return { write: (line) => out.write(format(line)) };
}
