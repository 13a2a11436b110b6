/** Handlers: the code that runs a job, and what it is given. */
import { z } from 'zod';
import { LONGEST_BACKOFF_MS } from '../backoff.ts';
import { toMs, type Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions, functionOption } from '../schema.ts';
import type { JobContract } from './contract.ts';
import type { EnqueueOptions } from './enqueue-options.ts';
import type { JobLog } from './worker/job-log.ts';
import type { Enqueued } from './producer.ts';

/** Facts of the job that a handler runs. */
export interface JobFacts {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
  /** The version of the contract that it was enqueued with. */
  readonly version: number;
  /** Which attempt this is; the first is 1. */
  readonly attempt: number;
  /** How many attempts it has at most. */
  readonly attempts: number;
  /** When it was enqueued, in ms since 1970. */
  readonly enqueuedAt: number;
  /** How long it waited beyond its delay, in ms. */
  readonly waitedMs: number;
  /** How often it came back from the dead letters. */
  readonly redriven: number;
}

/** What the platform adds to every handler's context: each module of it, by name. */
// eslint-disable-next-line typescript/no-empty-interface -- filled by modules.ts
export interface JobModules {}

/** What a handler is given of its job. */
export interface JobOwnContext {
  readonly job: JobFacts;
  /** Aborts when the attempt times out, is cancelled, has lost its lease, or must end because its worker stops. Its reason is a MillraceError. */
  readonly signal: AbortSignal;
  /** Writes to the worker's log with the job's id, and keeps the lines with the job. */
  readonly log: JobLog;
  /** Says how far the job is: a number, or an object. Cheap to call often: at most five a second are written, and always the last. */
  progress(this: void, value: number | object): void;
  /**
   * Runs the effect once, over all attempts of the job: a later attempt is given what it returned, as JSON. What is left: an effect whose
   * process died, or that lost its lease, before the result was stored runs again. @throws MillraceError LEASE_LOST
   */
  once<T>(this: void, key: string, effect: () => Promise<T> | T): Promise<T>;
  /** Adds a job; see Jobs.enqueue(). */
  enqueue<Input>(
    this: void,
    contract: JobContract<Input>,
    input: NoInfer<Input>,
    options?: EnqueueOptions,
  ): Promise<Enqueued>;
  /** What the children of this job returned, by their ids; empty for a job without children. */
  children(this: void): Promise<ChildResults>;
}

/** What a handler is given beside its input. All of it may be taken apart: `({ log, signal, cache }) => ...`. */
export interface JobContext extends JobOwnContext, JobModules {}

/** How the children of a job ended. */
export interface ChildResults {
  /** What each one returned. */
  readonly results: Readonly<Record<string, unknown>>;
  /** Why each one failed that was allowed to; of a parent that was redriven also those of which it died, and those that had not ended then. */
  readonly failures: Readonly<Record<string, string>>;
}

/** The code that runs a job. */
export type Run<Parsed, Result> = (input: Parsed, context: JobContext) => Promise<Result> | Result;

/** Options of a handler. */
export interface HandleOptions {
  /**
   * Converts an input that another version of the contract made, older or newer, to this version's. Without it, such a job is a dead
   * letter with reason `version`.
   */
  upgrade?: ((input: unknown, fromVersion: number) => unknown) | undefined;
  /**
   * Where this very handler is exported from as default, as `import.meta.url` says: it then runs in a thread of its own, so that a handler that computes for
   * long does not hold up others, and can be ended at its timeout.
   */
  isolate?: string | URL | undefined;
}

/** A contract and the code that runs it. */
export interface Handler {
  readonly contract: JobContract;
  readonly run: Run<unknown, unknown>;
  readonly upgrade: ((input: unknown, fromVersion: number) => unknown) | undefined;
  readonly isolate: URL | undefined;
}

const optionsSchema = z.strictObject({
  upgrade: functionOption.optional(),
  isolate: z
    .union([z.url({ protocol: /^file$/ }), z.instanceof(URL)], {
      error: 'expected the URL of a file, as import.meta.url',
    })
    .transform((url) => new URL(url))
    .refine(({ protocol }) => protocol === 'file:', { error: 'expected the URL of a file, as import.meta.url' })
    .optional(),
});

/**
 * Binds code to a contract.
 *
 * @example
 * export default handle(sendEmail, async ({ to, template }, { log, signal, once }) => {
 *   await once('sent', () => mailer.send(to, template, { signal }));
 *   log.info({ to }, 'sent');
 * });
 * @throws MillraceError OPTIONS_INVALID
 */
export function handle<Input, Parsed, Result>(
  contract: JobContract<Input, Parsed, Result>,
  run: Run<Parsed, Result>,
  options: HandleOptions = {},
): Handler {
  if (typeof contract?.name !== 'string' || typeof run !== 'function') {
    throw new MillraceError('OPTIONS_INVALID', 'handle: expected a contract of defineJob() and a function', {});
  }
  const { upgrade, isolate } = checkOptions(optionsSchema, options, `handle ${contract.name}`);
  return Object.freeze({ contract, run: run as Run<unknown, unknown>, upgrade, isolate });
}

/**
 * What a handler throws when trying again is of no use: the job is a dead letter at once.
 *
 * @example
 * if (response.status === 410) throw unrecoverable(`${url} is gone`);
 */
export function unrecoverable(reason: string | Error): MillraceError {
  const message = typeof reason === 'string' ? reason : reason.message;
  return new MillraceError('JOB_UNRECOVERABLE', message, typeof reason === 'string' ? {} : { cause: reason });
}

/**
 * What a handler throws to be run again later, without using up an attempt: in 365 days at most.
 *
 * @example
 * if (response.status === 429) throw postpone('30s', 'the provider asks to slow down');
 * @throws MillraceError DURATION_INVALID for no duration, or a longer one
 */
export function postpone(delay: Duration, reason = 'postponed by its handler'): MillraceError {
  const delayMs = toMs(delay);
  if (delayMs <= LONGEST_BACKOFF_MS) return new MillraceError('JOB_POSTPONED', reason, { delayMs });
  const message = `postpone: expected at most 365 days, got ${describeValue(delay)}`;
  throw new MillraceError('DURATION_INVALID', message, { duration: delay });
}
