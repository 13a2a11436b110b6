/** What the calls of DeadLetters take and give, and how it is checked. */
import { z } from 'zod';
import type { Duration } from '../../durations.ts';
import { durationOption } from '../../schema.ts';
import type { JobContract } from '../contract.ts';
import type { DeadLetterCluster } from './clusters.ts';
import { filterShape, type DeadLetterFilter } from './filter.ts';
import type { SkipReason } from './redriver.ts';

/**
 * Which letters are meant: the one with the id, those with the ids, at most 1 000, as far as they are there, or all that fit; `{}` is every
 * letter of every queue. A field that is undefined is refused.
 */
export type DeadLetterTarget = string | readonly string[] | DeadLetterFilter;

/** Options of list(). */
export interface ListOptions extends DeadLetterFilter {
  /** Letters of a page. Default 50, at most 1 000. */
  limit?: number | undefined;
  /** Where the page before has ended. */
  cursor?: string | undefined;
  /** Reads about so many letters for a page at most, which may then have few or none and still a cursor. Default: as many as it takes. */
  mostRead?: number | undefined;
}

/** Options of clusters(). */
export interface ClusterOptions extends DeadLetterFilter {
  /** Counts how many died in each of the last `count` spans of so long. */
  trend?: { every: Duration; count: number } | undefined;
  /** Called after each step. `clusters()` tells what was counted so far. */
  onProgress?: ((progress: { read: number; clusters: () => DeadLetterCluster[] }) => void) | undefined;
  /** Ends it before the next step; what was counted by then is told as usual. */
  signal?: AbortSignal | undefined;
}

/** Options of redrive(). */
export interface RedriveOptions {
  /** At most so many, the oldest first. Default: all. */
  limit?: number | undefined;
  /** At most so many a second, evenly. Default: as fast as it goes. */
  rate?: number | undefined;
  /** Tells how many would be meant, and does nothing. */
  dryRun?: boolean | undefined;
  /** Another queue than the one where they died; on a Cluster one of the same family. */
  to?: string | undefined;
  /** Who does it; kept with the job. */
  by?: string | undefined;
  /** Makes the input of the next life. A letter for which it throws is skipped. */
  edit?: ((input: unknown) => unknown) | undefined;
  /** Takes only letters of this contract. An edited input must match its schema, and is then of its version. */
  contract?: JobContract | undefined;
  /** Stops before the next letter; what was done by then is told as usual. */
  signal?: AbortSignal | undefined;
  /** Called after each step, with the jobs that it gave back. */
  onProgress?: ((progress: RedriveProgress) => void) | undefined;
}

/** A job that was given back. */
export interface RedrivenJob {
  id: string;
  /** Where it waits. */
  queue: string;
  /** The id that its letter will have if it dies again. */
  nextLetter: string;
}

/** How far a redrive has come. */
export interface RedriveProgress {
  matched: number;
  redriven: number;
  skipped: number;
  /** The jobs of the last step. */
  jobs: readonly RedrivenJob[];
}

/** A letter that stayed where it is. */
export interface Skipped {
  id: string;
  why: SkipReason;
  /** What was wrong, if there is more to say. */
  detail?: string;
}

/** What became of a redrive. */
export interface RedriveResult {
  /** How many were meant when it began. */
  matched: number;
  redriven: number;
  /** The first 1 000 of those that were left. */
  skipped: Skipped[];
  dryRun: boolean;
  /** Whether the signal has ended it. */
  aborted: boolean;
  /** Of a dry run: how many are meant of each queue. */
  queues?: Readonly<Record<string, number>>;
}

/** Options of discard(). */
export interface DiscardOptions {
  /** At most so many, the oldest first. Default: all. */
  limit?: number | undefined;
  /** Tells how many would be meant, and does nothing. */
  dryRun?: boolean | undefined;
  /** Stops before the next step; what was done by then is told as usual. */
  signal?: AbortSignal | undefined;
  /** Called after each step. */
  onProgress?: ((progress: { matched: number; discarded: number }) => void) | undefined;
}

/** What became of a discard. */
export interface DiscardResult {
  /** How many were meant when it began. */
  matched: number;
  discarded: number;
  dryRun: boolean;
}

const count = z.number().int().min(0);
const limit = count.default(Number.MAX_SAFE_INTEGER);
const isFunction = (value: unknown): boolean => typeof value === 'function';
const isContract = (value: unknown): boolean => typeof (value as JobContract | null)?.input === 'object';

export const listOptions = z.strictObject({
  ...filterShape,
  limit: z.number().int().min(1).max(1_000).default(50),
  cursor: z.string().optional(),
  mostRead: z.number().int().min(1).default(Number.MAX_SAFE_INTEGER),
});

const signal = z.instanceof(AbortSignal, { error: 'expected an AbortSignal' }).optional();
const callback = <Called>() => z.custom<Called>(isFunction, { error: 'expected a function' }).optional();

export const clusterOptions = z.strictObject({
  ...filterShape,
  trend: z
    .strictObject({ every: durationOption.pipe(z.number().min(1_000)), count: z.number().int().min(1).max(1_000) })
    .optional(),
  signal,
  onProgress: callback<NonNullable<ClusterOptions['onProgress']>>(),
});

export const idsOption = z.array(z.string().min(1)).min(1).max(1_000);

export const redriveOptions = z.strictObject({
  limit,
  rate: z.number().positive().max(1_000_000).optional(),
  dryRun: z.boolean().default(false),
  to: z.string().min(1).optional(),
  by: z.string().min(1).max(200).optional(),
  edit: z.custom<(input: unknown) => unknown>(isFunction, { error: 'expected a function of the input' }).optional(),
  contract: z.custom<JobContract>(isContract, { error: 'expected a contract, made by defineJob()' }).optional(),
  signal,
  onProgress: callback<NonNullable<RedriveOptions['onProgress']>>(),
});

export const discardOptions = z.strictObject({
  limit,
  dryRun: z.boolean().default(false),
  signal,
  onProgress: callback<NonNullable<DiscardOptions['onProgress']>>(),
});
