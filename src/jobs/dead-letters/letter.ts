/**
 * What a dead letter says, and how it is read from a job that failed for good.
 *
 * A dead letter is the data of a job in `<queue>.dead`, so that Bull Board shows it as it is. It holds all that is needed to enqueue
 * the job again and to see why it died; nothing of the job itself is left.
 */
import type { JobJson } from 'bullmq';
import { attemptHistory } from '../attempt-history.ts';
import { parseAttempt, type AttemptRecord, type DeathReason } from '../attempt-record.ts';
import { cutText, ERROR_LIMITS, wellFormed, type DescribedError } from '../../describe-error.ts';
import type { StoredOptions } from '../enqueue-options.ts';
import type { ChildResults } from '../handler.ts';
import { parseChildren, parseJson } from './children.ts';
import { fingerprintOf } from '../../fingerprint.ts';

/** One life of a job that ended and was given back. */
export interface Redriving {
  /** Milliseconds since 1970. */
  deadAt: number;
  /** Milliseconds since 1970. */
  redrivenAt: number;
  /** Who did it, if it was told. */
  by?: string;
  /** The queue that it had died in, if it was sent to another. */
  queue?: string;
}

/** A job that will not be tried again by itself. Times are milliseconds since 1970. */
export interface DeadLetter {
  /** `<job id>~<n>`: the job, and how often it had been redriven before. */
  id: string;
  jobId: string;
  /** Where it died. */
  queue: string;
  contract: string;
  version: number;
  reason: DeathReason;
  /** As it was enqueued. */
  input: unknown;
  error: DescribedError;
  /** The same for failures of one kind. */
  fingerprint: string;
  /** In order; of a long history the beginning and the end. */
  attempts: AttemptRecord[];
  /** How many attempts are not shown, if any. */
  omittedAttempts?: number;
  enqueuedAt: number;
  firstFailedAt: number;
  lastFailedAt: number;
  diedAt: number;
  /** How often it was redriven before this death. */
  redriven: number;
  /** Its earlier lives, the latest last; capped. */
  history: Redriving[];
  /** What its children had come to, if it had some. */
  children?: ChildResults;
  /** What its next life needs of its options. */
  options: StoredOptions;
}

/** Options of a job that came back from the dead. */
export interface RedrivenOptions extends StoredOptions {
  deadFrom?: Redriving[];
  /** The children of its first life, as JSON. */
  children?: string;
}

/** How many earlier lives are kept. */
export const LIVES_KEPT = 20;

/** The letter of a job's n-th death. */
export function letterIdOf(jobId: string, redriven: number): string {
  return `${jobId}~${redriven}`;
}

/** Whether it may be one: what is none may be another key of BullMQ's. */
export function isLetterId(id: string): boolean {
  return /~\d+$/.test(id);
}

/** The letter of a job as BullMQ stores it in `failed`; with its children, if it has some in this life. */
export function letterOf(
  job: JobJson,
  queue: string,
  jobId: string,
  id: string,
  children: ChildResults | undefined = parseChildren((job.opts as RedrivenOptions).children),
): DeadLetter {
  const options = job.opts as RedrivenOptions;
  const traces = tracesOf(job);
  const last = lastRecord(traces);
  const error = last?.error ?? errorOf(job.failedReason);
  const { attempts, omitted } = attemptHistory(traces, {
    attemptsStarted: job.attemptsStarted,
    stalls: job.stalledCounter,
    traceLimit: options.stackTraceLimit,
  });
  const diedAt = job.finishedOn ?? last?.endedAt ?? job.timestamp;
  const ends = attempts.flatMap(({ outcome, endedAt }) => (outcome === 'postponed' ? [] : (endedAt ?? [])));
  return {
    id,
    jobId,
    queue,
    contract: job.name,
    version: options.v ?? 1,
    reason: last?.reason ?? reasonOf(job.failedReason),
    input: parseJson(job.data),
    error,
    fingerprint: fingerprintOf({ ...error, contract: job.name }),
    attempts,
    ...(omitted > 0 && { omittedAttempts: omitted }),
    enqueuedAt: job.timestamp,
    firstFailedAt: ends[0] ?? diedAt,
    lastFailedAt: ends.at(-1) ?? diedAt,
    diedAt,
    redriven: redrivenOf(job),
    history: livesOf(options.deadFrom),
    ...(children && { children }),
    options: optionsOf(options),
  };
}

/** How often the job was redriven. */
export function redrivenOf(job: JobJson): number {
  const { redriven } = job.opts as RedrivenOptions;
  return Number.isSafeInteger(redriven) && redriven !== undefined && redriven > 0 ? redriven : 0;
}

/** Whether the job ended because somebody cancelled it: then it is no dead letter. */
export function wasCancelled(job: JobJson): boolean {
  return lastRecord(tracesOf(job))?.outcome === 'cancelled';
}

/** The letter that a job of a dead-letter queue holds as its data; undefined for a job that something else put there, or a copy. */
export function parseLetter(data: string, id: string): DeadLetter | undefined {
  const letter = parseJson(data) as Partial<DeadLetter> | null | undefined;
  const isLetter =
    typeof letter === 'object' &&
    letter?.id === id &&
    typeof letter.jobId === 'string' &&
    typeof letter.queue === 'string' &&
    typeof letter.contract === 'string' &&
    typeof letter.fingerprint === 'string' &&
    typeof letter.diedAt === 'number' &&
    typeof letter.error?.message === 'string' &&
    typeof letter.options === 'object';
  return isLetter ? (letter as DeadLetter) : undefined;
}

/** The options of the job's next life. */
export function nextLife(letter: DeadLetter, redriving: Redriving, version: number | undefined): RedrivenOptions {
  const { v, ...options } = letter.options;
  const next = version ?? v ?? 1;
  return {
    ...options,
    ...(next > 1 && { v: next }),
    redriven: letter.redriven + 1,
    deadFrom: [...livesOf(letter.history), redriving].slice(-LIVES_KEPT),
    ...(letter.children && { children: JSON.stringify(letter.children) }),
  };
}

/** Its place, its delay, its family and whoever waited for it belong to the life that has ended. */
function optionsOf(options: RedrivenOptions): StoredOptions {
  const {
    delay: _delay,
    jobId: _jobId,
    timestamp: _timestamp,
    parent: _parent,
    failParentOnFailure: _fail,
    continueParentOnFailure: _continue,
    ignoreDependencyOnFailure: _ignore,
    removeDependencyOnFailure: _remove,
    kids: _kids,
    wait: _wait,
    redriven: _redriven,
    deadFrom: _deadFrom,
    children: _children,
    ...kept
  } = options;
  return Object.fromEntries(Object.entries(kept).filter(([name]) => !OF_A_SCHEDULE.has(name)));
}

const OF_A_SCHEDULE = new Set(['repeat', 'repeatJobKey', 'prevMillis']);

const OF_STALLS = /^job (?:stalled|started) more than allowable limit/;
const OF_A_CHILD = /^child .+ failed$/;

function reasonOf(failedReason: string | undefined): DeathReason {
  if (OF_STALLS.test(failedReason ?? '')) return 'poison';
  return OF_A_CHILD.test(failedReason ?? '') ? 'child' : 'attempts';
}

function errorOf(failedReason: string | undefined): DescribedError {
  const message = cutText(wellFormed(failedReason ?? ''), ERROR_LIMITS.message);
  return { name: 'Error', message, stack: message === '' ? 'Error' : `Error: ${message}` };
}

function tracesOf(job: JobJson): string[] {
  const traces = parseJson(job.stacktrace ?? '[]');
  return Array.isArray(traces) ? traces.filter((trace): trace is string => typeof trace === 'string') : [];
}

/** A job that was postponed and then failed without a text of its own, with a child, did not fail of what postponed it. */
function lastRecord(traces: readonly string[]): AttemptRecord | undefined {
  const last = traces.length === 0 ? undefined : parseAttempt(traces.at(-1) ?? '');
  return last?.outcome === 'postponed' ? undefined : last;
}

/** Lua writes an empty list as an empty object. */
function livesOf(lives: unknown): Redriving[] {
  return Array.isArray(lives)
    ? lives.filter((life: Partial<Redriving> | null) => typeof life?.deadAt === 'number')
    : [];
}
