/** What became of the jobs that this process ran. */
import { isMillraceError, type Handler } from 'millrace';

export interface JobTally {
  done: number;
  /** Attempts. */
  failed: number;
}

/** The handlers, which count. A job that was put off has not failed. */
export function counted(handlers: readonly Handler[], tally: JobTally): Handler[] {
  return handlers.map((handler) => ({
    ...handler,
    async run(input, context) {
      try {
        const result = await handler.run(input, context);
        tally.done++;
        return result;
      } catch (error) {
        if (!isMillraceError(error, 'JOB_POSTPONED') && !isMillraceError(error, 'RATE_LIMITED')) tally.failed++;
        throw error;
      }
    },
  }));
}
