/** Which jobs are looked for, and how much of them is shown. */
import { z } from 'zod';
import type { JobState } from '../inspect.ts';

/** The states whose jobs can be listed; of cancelled ones the latest 10,000 of a queue, for a day. */
export const SEARCHABLE_STATES = [
  'active',
  'waiting',
  'prioritized',
  'delayed',
  'waiting-children',
  'completed',
  'failed',
  'cancelled',
] as const satisfies readonly JobState[];

/** A state whose jobs can be listed. */
export type SearchableState = (typeof SEARCHABLE_STATES)[number];

/** What a job must agree with; without a field, any does. */
export interface JobFilter {
  /** In one of these queues. */
  queues?: readonly string[] | undefined;
  /** Of one of these contracts, by name. */
  names?: readonly string[] | undefined;
  /** In one of these states. */
  states?: readonly SearchableState[] | undefined;
  /** Enqueued then or later. */
  from?: Date | number | undefined;
  /** Enqueued before then. */
  to?: Date | number | undefined;
  /** Stands in its id, or in its input as JSON; capitals do not matter. Secrets are masked before, and so are not found. */
  text?: string | undefined;
}

/** How a search goes on. */
export interface SearchOptions {
  /** The most jobs of a page, at most 200. Default 50. */
  limit?: number | undefined;
  /** Of an earlier page of the same search. */
  cursor?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** A job, as a list shows it. Times are milliseconds since 1970. */
export interface JobSummary {
  id: string;
  name: string;
  queue: string;
  state: SearchableState;
  version: number;
  attemptsMade: number;
  attempts: number;
  enqueuedAt: number;
  /** When the latest attempt began. */
  startedAt?: number;
  finishedAt?: number;
  /** How it failed the last time, secrets masked, or why it was cancelled. */
  reason?: string;
  /** The size of its input as JSON. */
  inputBytes: number;
  /** The beginning of its input as JSON, secrets masked; empty for one of more than 1 MB. */
  inputText: string;
}

/** A page of what a search has found. */
export interface JobPage {
  /** The newest first. */
  jobs: JobSummary[];
  /** Goes on from here, also after a page without jobs; absent when all was looked at. */
  cursor?: string;
  /** How many jobs were looked at for this page. */
  scanned: number;
  /** Whether the search ends here, every queue answered, and every input was searched to its end: then nothing that fits is missing. */
  isWhole: boolean;
}

/** A filter with its times in milliseconds since 1970. */
export interface CheckedFilter {
  readonly queues?: readonly string[] | undefined;
  readonly names?: readonly string[] | undefined;
  readonly states: readonly SearchableState[];
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly text?: string | undefined;
}

const names = z.array(z.string().min(1).max(200)).max(1_000);
const moment = z
  .union([z.date(), z.number()], { error: 'expected a Date, or milliseconds since 1970' })
  .transform(Number);

export const filterSchema = z.strictObject({
  queues: names.optional(),
  names: names.optional(),
  states: z
    .array(z.enum(SEARCHABLE_STATES, { error: `expected ${SEARCHABLE_STATES.join(', ')}; others cannot be listed` }))
    .default([...SEARCHABLE_STATES])
    .transform((states) => SEARCHABLE_STATES.filter((state) => states.includes(state))),
  from: moment.optional(),
  to: moment.optional(),
  text: z.string().min(1).max(200).optional(),
});

export const searchOptionsSchema = z.strictObject({
  limit: z.number().int().min(1).max(200).default(50),
  cursor: z.string().max(20_000).optional(),
  signal: z.instanceof(AbortSignal).optional(),
});
