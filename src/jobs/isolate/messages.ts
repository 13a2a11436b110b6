/**
 * What a worker and a thread say to each other. Every message is about one run, so that what comes from a handler that has ended, or is meant
 * for it, meets nobody.
 *
 *   worker -> thread   run, then abort, answer, refusal, effect
 *   thread -> worker   began, then log, progress, ask, effect-done, effect-failed, effect-unstorable, and at last returned or threw
 */
import type { EnqueuePlan } from '../enqueue-options.ts';
import type { JobFacts } from '../handler.ts';
import type { JobTarget } from '../producer.ts';
import type { JobLog } from '../worker/job-log.ts';
import type { CarriedError } from './carried-error.ts';
import type { CarriedFields } from './carried-value.ts';

/** What a thread is started with. */
export interface ThreadData {
  /** Not 0 when there may be a message that a handler which does not let the loop turn should see. */
  readonly flag: Int32Array;
}

/** Runs a handler. */
export interface RunMessage {
  readonly type: 'run';
  readonly run: number;
  /** Of the module whose default export is the handler. */
  readonly url: string;
  /** What the handler's contract must say. */
  readonly contract: JobTarget & { readonly version: number };
  /** The input before its schema has made something of it. */
  readonly data: unknown;
  readonly job: JobFacts;
  /** The names of the platform's modules, which stay behind. */
  readonly modules: readonly string[];
  readonly maxPayloadBytes: number;
}

/** What a worker says to a thread. */
export type ToThread =
  | RunMessage
  | { readonly type: 'abort'; readonly run: number; readonly error: CarriedError }
  | { readonly type: 'answer'; readonly run: number; readonly ask: number; readonly value: unknown }
  | { readonly type: 'refusal'; readonly run: number; readonly ask: number; readonly error: CarriedError }
  /** Nobody has the effect's result: run it. */
  | { readonly type: 'effect'; readonly run: number; readonly ask: number };

/** What a handler wants of the worker and waits for. */
export type Question =
  | { readonly about: 'once'; readonly key: string }
  | { readonly about: 'enqueue'; readonly target: JobTarget; readonly json: string; readonly plan: EnqueuePlan }
  | { readonly about: 'children' };

/** What a thread says to its worker. */
export type FromThread =
  /** The handler is loaded and the input parsed: the handler runs from now on. */
  | { readonly type: 'began'; readonly run: number }
  | {
      readonly type: 'log';
      readonly run: number;
      readonly level: keyof JobLog;
      readonly first: string | CarriedFields;
      readonly message: string | undefined;
    }
  | { readonly type: 'progress'; readonly run: number; readonly value: number | object }
  | { readonly type: 'ask'; readonly run: number; readonly ask: number; readonly question: Question }
  /** What the effect returned, as JSON; undefined for what has none. */
  | { readonly type: 'effect-done'; readonly run: number; readonly ask: number; readonly json: string | undefined }
  | { readonly type: 'effect-failed'; readonly run: number; readonly ask: number; readonly error: CarriedError }
  /** The effect has happened, but what it returned has no JSON form. */
  | { readonly type: 'effect-unstorable'; readonly run: number; readonly ask: number; readonly error: CarriedError }
  | { readonly type: 'returned'; readonly run: number; readonly value: unknown }
  /** `isSpoiled`: the thread has loaded what it cannot load again, and should be replaced. */
  | { readonly type: 'threw'; readonly run: number; readonly error: CarriedError; readonly isSpoiled: boolean };
