/**
 * Attempts that end without being used up, because their job is to run again later: a handler says so, or a rate limit refused it.
 *
 * A text of the attempt is kept with the job, as of one that failed (failed-attempt.ts). A job may be postponed a million times, so
 * of those in a row only the last one's text is kept, which tells with which of them they began.
 */
import { hostname } from 'node:os';
import { trimTraces } from '../attempt-history.ts';
import { ATTEMPT_LIMITS, formatAttempt, parseAttempt, type AttemptRecord } from '../attempt-record.ts';
import { describeError } from '../../describe-error.ts';
import type { EndedAttempt } from './failed-attempt.ts';

const HOST = hostname();

/** The texts that BullMQ keeps with a job, and that of its attempt which is postponed. */
export function tracesOf(postponed: EndedAttempt & { thrown: unknown }): string[] {
  const { thrown, job, attempt, contract, endedAt, worker, version } = postponed;
  return addPostponed(job.stacktrace ?? [], thrown, {
    attempt: job.attemptsStarted,
    startedAt: attempt.startedAt,
    endedAt,
    worker,
    host: HOST,
    version,
    ...(contract && { contractVersion: contract.version }),
    log: attempt.logTail(ATTEMPT_LIMITS.logLines),
  });
}

/** The texts with that of one more attempt, which takes the place of that of the one before it if both were postponed. */
export function addPostponed(
  traces: readonly string[],
  thrown: unknown,
  facts: Omit<AttemptRecord, 'outcome' | 'since' | 'error'>,
): string[] {
  const previous = parseAttempt(traces.at(-1) ?? '');
  const isRow = previous?.outcome === 'postponed';
  // After a start that left no text the row begins anew; which of the earlier ones were postponed is then no longer told.
  const since = isRow && previous.attempt === facts.attempt - 1 ? (previous.since ?? previous.attempt) : undefined;
  const { stack: _stack, ...error } = describeError(thrown); // Where in the code it was refused tells nothing.
  const text = formatAttempt({
    ...facts,
    ...(since !== undefined && { since }),
    outcome: 'postponed',
    error: { ...error, stack: `${error.name}: ${error.message}` },
  });
  return [...trimTraces([...(isRow ? traces.slice(0, -1) : traces), text])];
}
