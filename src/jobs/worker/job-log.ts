/** A handler's log: each line goes to the worker's log with the job's id, and is kept with the job under a cap. */
import type { Clock } from '../../clock.ts';
import type { Logger } from '../../log.ts';

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
type Level = (typeof LEVELS)[number];

/** Writes a message, or fields and a message. */
export interface LogLine {
  (message: string): void;
  (fields: object, message?: string): void;
}

/** What a handler logs with: the levels of pino. `trace` and `debug` are not kept with the job. */
export type JobLog = Readonly<Record<Level, LogLine>>;

/** Lines that are kept of one attempt. */
const KEPT_LINES = 200;
/** The last lines, which are told with a failure however many came before them. */
const TAIL_LINES = 20;
const LONGEST_LINE = 500;

/** The log of one attempt. */
export class KeptLog implements JobLog {
  readonly #logger: () => Logger;
  readonly #clock: Clock;
  readonly #onLine: () => void;
  #child: Logger | undefined;
  #waiting: string[] = [];
  #count = 0;
  #tail: string[] = [];
  #isClosed = false;

  /** @param onLine is told of each line that waits to be kept. */
  constructor(logger: () => Logger, clock: Clock, onLine: () => void) {
    this.#logger = logger;
    this.#clock = clock;
    this.#onLine = onLine;
  }

  readonly trace: LogLine = (first: unknown, message?: string) => this.#write('trace', first, message);
  readonly debug: LogLine = (first: unknown, message?: string) => this.#write('debug', first, message);
  readonly info: LogLine = (first: unknown, message?: string) => this.#write('info', first, message);
  readonly warn: LogLine = (first: unknown, message?: string) => this.#write('warn', first, message);
  readonly error: LogLine = (first: unknown, message?: string) => this.#write('error', first, message);
  readonly fatal: LogLine = (first: unknown, message?: string) => this.#write('fatal', first, message);

  /** The last lines, for the record of the attempt. */
  tail(count: number): string[] {
    return this.#tail.slice(-count);
  }

  /** The lines that were not given out yet. */
  take(): string[] {
    return this.#waiting.splice(0);
  }

  /** Keeps no more lines: the attempt is over, and the job may be another worker's. They still go to the worker's log. */
  close(): void {
    this.#isClosed = true;
  }

  #write(level: Level, first: unknown, message: string | undefined): void {
    this.#child ??= this.#logger();
    if (typeof first === 'string') this.#child[level](first);
    else this.#child[level](first, message);
    if (level !== 'trace' && level !== 'debug') this.#keep(level, first, message);
  }

  #keep(level: Level, first: unknown, message: string | undefined): void {
    if (this.#isClosed) return;
    const at = new Date(this.#clock.wallMs()).toISOString();
    const said = typeof first === 'string' ? first : [message, asText(first)].filter(Boolean).join(' ');
    const line = `${at} ${level} ${said}`.slice(0, LONGEST_LINE);
    this.#tail.push(line);
    if (this.#tail.length > TAIL_LINES) this.#tail.shift();
    if (++this.#count > KEPT_LINES + 1) return;
    const isOneTooMany = this.#count > KEPT_LINES;
    this.#waiting.push(isOneTooMany ? `${at} warn only the first ${KEPT_LINES} lines of an attempt are kept` : line);
    this.#onLine();
  }
}

function asText(fields: unknown): string {
  if (fields instanceof Error) return fields.stack ?? fields.message;
  try {
    const text = JSON.stringify(fields, (_name, value: unknown) =>
      value instanceof Error ? value.message : typeof value === 'bigint' ? String(value) : value,
    ) as string | undefined;
    return text ?? '';
  } catch {
    return '[fields that have no JSON form]';
  }
}
