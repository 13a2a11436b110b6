/**
 * How long a failed job waits before its next attempt.
 *
 * The rule is part of a contract and is read by the worker at run time, so a deploy changes it for jobs that wait
 * already. Whatever a rule is or does, what comes out is a whole number of milliseconds between 0 and LONGEST_BACKOFF_MS,
 * or false: BullMQ keeps the time of a delayed job times 4096 in a double, which a delay of years would overflow.
 */
import { z } from 'zod';
import { DURATION_FORM, formatMs, tryToMs, type Duration } from './durations.ts';
import { describeValue, isMillraceError } from './errors.ts';
import { durationOption } from './schema.ts';

/** A rule of one's own: the wait before the next attempt, or false for no further one. `attempt` is the one that failed, from 1. */
export type BackoffFunction = (attempt: number, error: Error) => Duration | false;

/** The same wait before each attempt. */
export interface FixedBackoff {
  type: 'fixed';
  /** The wait. */
  delay: Duration;
  /** Which part of the wait is left to chance, 0 to 1: 0.3 waits 70 to 100 percent. Default 0; without any, jobs that failed together come back together. */
  jitter?: number | undefined;
}

/** A wait that doubles with each attempt: `delay`, twice, four times, up to `max`. */
export interface ExponentialBackoff {
  type: 'exponential';
  /** The wait after the first attempt. */
  delay: Duration;
  /** The longest wait. Default 1 hour, or `delay` where that is longer. */
  max?: Duration | undefined;
  /** Which part of the wait is left to chance, 0 to 1: 0.3 waits 70 to 100 percent. Default 0; without any, jobs that failed together come back together. */
  jitter?: number | undefined;
}

/** How long to wait before the next attempt; a duration by itself is a fixed wait without jitter. */
export type Backoff = Duration | FixedBackoff | ExponentialBackoff | BackoffFunction;

/** A backoff after its check, in milliseconds. */
export type CompiledBackoff = Readonly<
  | { type: 'fixed'; delayMs: number; jitter: number }
  | { type: 'exponential'; delayMs: number; maxMs: number; jitter: number }
  | { type: 'function'; delay: BackoffFunction }
>;

/** The longest wait that any backoff may give: 365 days. */
export const LONGEST_BACKOFF_MS = 365 * 86_400_000;
const DEFAULT_MAX_MS = 3_600_000;

/** What a contract has that names no backoff, and what stands in for a function that fails: 1 s, 2 s, 4 s ... 10 min, less up to 30 %. */
export const DEFAULT_BACKOFF: CompiledBackoff & { type: 'exponential' } = Object.freeze({
  type: 'exponential',
  delayMs: 1_000,
  maxMs: 600_000,
  jitter: 0.3,
});

const waitOption = durationOption.refine((ms) => ms <= LONGEST_BACKOFF_MS, { error: 'expected at most 365 days' });

const ruleOption = z
  .strictObject({
    type: z.enum(['fixed', 'exponential']),
    delay: waitOption,
    max: waitOption.optional(),
    jitter: z.number().min(0).max(1).optional(),
  })
  .refine(({ type, max }) => type === 'exponential' || max === undefined, {
    path: ['max'],
    error: "expected none with type 'fixed', whose wait never grows",
  })
  .refine(({ delay, max }) => max === undefined || max >= delay, {
    path: ['max'],
    error: 'expected at least as long as delay',
  })
  .transform(({ type, delay, max, jitter = 0 }): CompiledBackoff => {
    if (type === 'fixed') return Object.freeze({ type, delayMs: delay, jitter });
    return Object.freeze({ type, delayMs: delay, maxMs: max ?? Math.max(DEFAULT_MAX_MS, delay), jitter });
  });

const shortOption = z
  .custom<Duration | BackoffFunction>((value) => typeof value === 'function' || isWait(tryToMs(value)), {
    error: (issue) =>
      `expected ${DURATION_FORM}, { type: 'fixed' or 'exponential', delay }, or a function, at most 365 days, got ${describeValue(issue.input)}`,
  })
  .transform((value): CompiledBackoff => {
    if (typeof value === 'function') return Object.freeze({ type: 'function', delay: value });
    return Object.freeze({ type: 'fixed', delayMs: tryToMs(value) ?? 0, jitter: 0 });
  });

/**
 * The option of a contract; what comes out is compiled. The object stands first in the union, so that a fault inside of
 * one is told as that fault, and of anything else the short forms say what would do.
 */
export const backoffOption: z.ZodType<CompiledBackoff, Backoff> = z.union([ruleOption, shortOption]);

/** Why a backoff function was not followed. */
export interface BackoffFault {
  /** What it did, for a log line. */
  reason: string;
  /** What it threw, if it threw. */
  cause?: unknown;
}

/**
 * The wait in milliseconds before the attempt that follows `attempt`, or false when there shall be none.
 *
 * Never throws and never gives NaN. A function that throws, or gives what is no duration of at most 365 days, is reported
 * to `onFault`, and DEFAULT_BACKOFF stands in: a bug in a rule for retries must not cost the job its retries.
 *
 * @param attempt The attempt that failed, counted from 1.
 * @param random From 0 up to 1, as Math.random gives it.
 * @example
 * backoffMs(contract.backoff, job.attemptsMade, error, Math.random, ({ reason }) => log.warn({ reason }, 'backoff'));
 */
export function backoffMs(
  backoff: CompiledBackoff,
  attempt: number,
  error: Error,
  random: () => number = Math.random,
  onFault: (fault: BackoffFault) => void = () => undefined,
): number | false {
  switch (backoff.type) {
    case 'fixed':
      return jittered(backoff.delayMs, backoff.jitter, random);
    case 'exponential':
      return jittered(grown(backoff, attempt), backoff.jitter, random);
    case 'function': {
      const answer = ask(backoff.delay, attempt, error);
      if (!('reason' in answer)) return answer.wait;
      onFault(answer);
      return backoffMs(DEFAULT_BACKOFF, attempt, error, random);
    }
  }
}

/**
 * In how many ms what threw this asks to be run again; undefined for what fails the attempt. A rate limit that will never allow it, or not within
 * a year, is such a failure: waiting would not help.
 */
export function postponedForMs(thrown: unknown): number | undefined {
  if (isMillraceError(thrown, 'JOB_POSTPONED')) {
    const { delayMs } = thrown.facts; // Anybody may make such an error.
    return isWaitOfError(delayMs) ? Math.ceil(delayMs) : undefined;
  }
  if (!isMillraceError(thrown, 'RATE_LIMITED')) return undefined;
  const { retryAfterMs } = thrown.facts;
  if (!isWaitOfError(retryAfterMs)) return undefined;
  // Rounded up, so that it is not refused again for a fraction; never 0, or it would run in a circle.
  return Math.max(1, Math.ceil(retryAfterMs));
}

function isWaitOfError(ms: unknown): ms is number {
  return typeof ms === 'number' && ms >= 0 && ms <= LONGEST_BACKOFF_MS;
}

type Answer = { wait: number | false } | BackoffFault;

function ask(rule: BackoffFunction, attempt: number, error: Error): Answer {
  try {
    return judge(rule(attempt, error));
  } catch (cause) {
    return { reason: 'the backoff function threw', cause };
  }
}

function judge(answer: unknown): Answer {
  if (answer === false) return { wait: false };
  const wait = tryToMs(answer);
  if (isWait(wait)) return { wait };
  if (answer instanceof Promise) {
    // Nobody awaits it; left alone, its rejection would end the process.
    answer.catch(() => undefined);
    return { reason: 'the backoff function is async; it must give the wait at once' };
  }
  const got = wait === undefined ? describeValue(answer) : formatMs(wait);
  return { reason: `expected ${DURATION_FORM}, at most 365 days, or false from the backoff function, got ${got}` };
}

function grown({ delayMs, maxMs }: { delayMs: number; maxMs: number }, attempt: number): number {
  // 2 ** 52 times a millisecond is past every maximum; beyond it, 0 times Infinity would be NaN.
  const doublings = Math.min(Math.max(attempt - 1, 0) || 0, 52);
  return Math.min(delayMs * 2 ** doublings, maxMs);
}

/** Rounded up, so that a short wait is not rounded below its lower bound. */
function jittered(ms: number, jitter: number, random: () => number): number {
  return Math.ceil(ms * (1 - jitter * random()));
}

function isWait(ms: number | undefined): ms is number {
  return ms !== undefined && ms <= LONGEST_BACKOFF_MS;
}
