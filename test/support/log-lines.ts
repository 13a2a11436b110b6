/** A logger whose lines a test can read. */
import { createLogger, type Logger } from '../../src/log.ts';

/** One line, as JSON. */
export interface LogLine {
  level: number;
  msg: string;
  [field: string]: unknown;
}

const WARN = 40;

export interface LogLines {
  readonly log: Logger;
  /** All lines so far, debug and above. */
  readonly all: () => LogLine[];
  /** Those of info and above. */
  readonly told: () => LogLine[];
  /** Those of warn and above. */
  readonly warnings: () => LogLine[];
}

/** Starts to collect. */
export function collectLog(): LogLines {
  const lines: LogLine[] = [];
  const destination = { write: (text: string) => void lines.push(JSON.parse(text) as LogLine) };
  const log = createLogger({ level: 'debug', format: 'json', destination });
  return {
    log,
    all: () => [...lines],
    told: () => lines.filter(({ level }) => level > 20),
    warnings: () => lines.filter(({ level }) => level >= WARN),
  };
}
