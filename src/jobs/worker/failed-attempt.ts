/**
 * What BullMQ is told of an attempt that failed.
 *
 * The record of the attempt is the `stack` of the error, which BullMQ stores anyway, so history costs no command of its own and
 * is as atomic as the failure itself. Of many attempts the texts in the middle are let go (attempt-history.ts). When the job runs again rides on its options, where BullMQ's backoff finds it.
 */
import { hostname } from 'node:os';
import { RATE_LIMIT_ERROR, UnrecoverableError, type Job } from 'bullmq';
import type { Logger } from '../../log.ts';
import { trimTraces } from '../attempt-history.ts';
import { ATTEMPT_LIMITS, formatAttempt, type AttemptOutcome, type DeathReason } from '../attempt-record.ts';
import { backoffMs } from '../../backoff.ts';
import type { JobContract } from '../contract.ts';
import { describeError } from '../../describe-error.ts';
import type { Attempt } from './attempt.ts';
import { Refusal, refusalOf } from './refusal.ts';

const HOST = hostname();

/** An attempt that did not succeed, and who made it. */
export interface EndedAttempt {
  job: Job;
  attempt: Attempt;
  /** Undefined for a job without a handler here. */
  contract: JobContract | undefined;
  endedAt: number;
  worker: string;
  version: string;
  log: Logger;
}

/** One that is used up. */
export interface FailedAttempt extends EndedAttempt {
  thrown: unknown;
  outcome: AttemptOutcome;
}

/** What follows from it. */
export interface Failure {
  /** For BullMQ. */
  error: Error;
  /** What was thrown. */
  cause: unknown;
  reason: DeathReason | undefined;
  /** Undefined after the last attempt. */
  retryInMs: number | undefined;
}

/** Decides whether and when the job is tried again, and lays out what BullMQ stores. */
export function failureOf(failed: FailedAttempt): Failure {
  const { thrown, outcome, job, attempt, contract, endedAt, worker, version } = failed;
  const cause = thrown instanceof Refusal ? thrown.error : thrown;
  const refusal = refusalOf(thrown);
  const delayMs = refusal === undefined && contract ? delayOf(contract, failed, cause) : false;
  const isLast = delayMs === false || job.attemptsMade + 1 >= (job.opts.attempts ?? 1);
  const reason = isLast && outcome !== 'cancelled' ? (refusal ?? 'attempts') : undefined;
  const described = describeError(cause);
  // By this message BullMQ would know a rate limit, and run the job again without an end.
  const message =
    described.message === RATE_LIMIT_ERROR ? `${described.name}: ${described.message}` : described.message;
  const error = delayMs === false ? new UnrecoverableError(message) : new Error(message);
  error.stack = formatAttempt({
    attempt: job.attemptsStarted,
    outcome,
    startedAt: attempt.startedAt,
    endedAt,
    worker,
    host: HOST,
    version,
    ...(contract && { contractVersion: contract.version }),
    error: described,
    ...(reason && { reason }),
    log: attempt.logTail(ATTEMPT_LIMITS.logLines),
  });
  if (job.stacktrace) job.stacktrace = [...trimTraces(job.stacktrace, 1)]; // BullMQ adds that of the error.
  if (!isLast && delayMs > 0) job.opts.backoff = { type: BACKOFF_TYPE, delay: delayMs };
  return { error, cause, reason, retryInMs: isLast ? undefined : delayMs };
}

const BACKOFF_TYPE = 'millrace';

/** The delay that failureOf() decided on; BullMQ asks for it, and again if its write must be repeated. */
export function delayOnJob(job: { opts: Job['opts'] } | undefined): number {
  const { backoff } = job?.opts ?? {};
  return typeof backoff === 'object' && backoff.type === BACKOFF_TYPE ? (backoff.delay ?? 0) : 0;
}

function delayOf(contract: JobContract, { job, log }: FailedAttempt, thrown: unknown): number | false {
  const error = thrown instanceof Error ? thrown : new Error(describeError(thrown).message);
  return backoffMs(contract.backoff, job.attemptsMade + 1, error, Math.random, ({ reason, cause }) => {
    log.error({ job: job.name, err: cause }, reason);
  });
}
