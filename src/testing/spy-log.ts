/** A handler's log that remembers each line, beside the text that a worker would keep with the job. */
import type { JobLog, KeptLog } from '../jobs/worker/job-log.ts';

/** One line that a handler logged. */
export interface LoggedLine {
  level: keyof JobLog;
  message: string | undefined;
  fields: object | undefined;
}

/** A log that writes to `kept` and adds each line to `lines`. */
export function spyLog(kept: KeptLog, lines: LoggedLine[]): JobLog {
  const spy =
    (level: keyof JobLog) =>
    (first: string | object, message?: string): void => {
      if (typeof first === 'string') {
        lines.push({ level, message: first, fields: undefined });
        kept[level](first);
      } else {
        lines.push({ level, message, fields: first });
        kept[level](first, message);
      }
    };
  return {
    trace: spy('trace'),
    debug: spy('debug'),
    info: spy('info'),
    warn: spy('warn'),
    error: spy('error'),
    fatal: spy('fatal'),
  };
}
