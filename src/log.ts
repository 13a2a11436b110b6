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

const SECRET_NAMES = ['password', 'sentinelPassword', 'secret', 'token', 'apiKey', 'authorization', 'cookie'];
const MASK = '[secret]';
const SHORTEST_SECRET = 4;

/**
 * A logger; give its children to the parts with `log.child({ module })`.
 *
 * @example
 * const log = createLogger({ level: 'debug' });
 * log.child({ module: 'cache' }).info({ key }, 'loaded');
 */
export function createLogger(options: LogOptions = {}): Logger {
  const format = options.format ?? (process.stdout.isTTY ? 'pretty' : 'json');
  const hide = scrubber(options.secrets ?? []);
  return pino(
    {
      level: options.level ?? 'info',
      redact: { paths: SECRET_NAMES.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: MASK },
      serializers: { err: pino.stdSerializers.errWithCause, error: pino.stdSerializers.errWithCause },
      ...(hide && { hooks: { streamWrite: hide } }),
    },
    format === 'pretty'
      ? prettyStream(options.destination)
      : (options.destination ?? pino.destination({ fd: 1, sync: true })),
  );
}

/** A logger that writes nothing, for callers that gave none. */
export const silentLogger: Logger = pino({ level: 'silent' });

/** Replaces every given secret in a line, also where it stands escaped as in JSON or in a URL. Undefined when there is none to replace. */
export function scrubber(secrets: readonly string[]): ((line: string) => string) | undefined {
  const forms = new Set(
    secrets
      .filter((secret) => secret.length >= SHORTEST_SECRET)
      .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)]),
  );
  if (forms.size === 0) return undefined;
  // Longest first, so that a secret which contains another one is replaced as a whole.
  const ordered = [...forms].toSorted((left, right) => right.length - left.length);
  return (line) => ordered.reduce((text, secret) => text.replaceAll(secret, MASK), line);
}

function prettyStream(destination: DestinationStream | undefined): DestinationStream {
  // Loaded only where somebody watches: an API server in production should not pay for it.
  const { default: pretty } = createRequire(import.meta.url)('pino-pretty') as { default: typeof PinoPretty };
  return pretty({
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'pid,hostname,module',
    messageFormat: '{if module}{module}: {end}{msg}',
    ...(destination ? { destination: destination as NodeJS.WritableStream } : { sync: true }),
  });
}
