/** Which dead letters are meant, and the options of what is done with them. */
import { z } from 'zod';
import { publishedAtOf } from '../entry.ts';
import { STREAM_DEATH_REASONS, type StreamDeadLetter, type StreamDeathReason } from './letter.ts';

/** What a letter must agree with; without a field, any does. `{}` is all of the group. */
export interface StreamLetterFilter {
  reason?: StreamDeathReason | undefined;
  fingerprint?: string | undefined;
  /** The id that the entry was published under, as its handler logged it. */
  entryId?: string | undefined;
  /** Died then or later. */
  from?: Date | number | undefined;
  /** Died before then. */
  to?: Date | number | undefined;
}

/** Options of list(). */
export interface StreamLetterPage extends StreamLetterFilter {
  /** Letters of a page. Default 50, at most 1,000. */
  limit?: number | undefined;
  /** Where the page before has ended. */
  cursor?: string | undefined;
}

/** Options of redrive() and discard(). */
export interface StreamLetterOptions {
  /** At most so many, the oldest first. Default: all. */
  limit?: number | undefined;
  /** Tells how many would be meant, and does nothing. Default false. */
  dryRun?: boolean | undefined;
  /** Stops before the next step; what was done by then is told as usual. */
  signal?: AbortSignal | undefined;
}

const moment = z
  .union([z.date(), z.number().int().min(0)], { error: 'expected a Date, or whole milliseconds since 1970' })
  .transform(Number);

const filterShape = {
  reason: z.enum(STREAM_DEATH_REASONS).optional(),
  fingerprint: z.string().min(1).optional(),
  entryId: z.string().min(1).optional(),
  from: moment.optional(),
  to: moment.optional(),
};

const ID = /^\d{1,20}-\d{1,20}$/;
const idOption = z.string().regex(ID, 'expected the id of a dead letter, such as 1767225600000-0');

export const filterSchema = z.strictObject(filterShape);

/** A filter with its times in milliseconds. */
export type CheckedFilter = Readonly<z.output<typeof filterSchema>>;

export const pageSchema = z.strictObject({
  ...filterShape,
  limit: z.number().int().min(1).max(1_000).default(50),
  cursor: z.string().regex(ID, 'expected the cursor of the page before').optional(),
});

export const actSchema = z.strictObject({
  limit: z.number().int().min(0).default(Number.MAX_SAFE_INTEGER),
  dryRun: z.boolean().default(false),
  signal: z.instanceof(AbortSignal, { error: 'expected an AbortSignal' }).optional(),
});

export const idSchema = z.strictObject({ id: idOption });

/** Whether every letter is meant, so that none need be read to be counted. */
export function takesAll(filter: CheckedFilter): boolean {
  return Object.values(filter).every((value) => value === undefined);
}

/** Whether the letter is meant. */
export function fits(filter: CheckedFilter, letter: StreamDeadLetter): boolean {
  return (
    (filter.reason === undefined || letter.reason === filter.reason) &&
    (filter.fingerprint === undefined || letter.fingerprint === filter.fingerprint) &&
    (filter.entryId === undefined || letter.entryId === filter.entryId) &&
    (filter.from === undefined || publishedAtOf(letter.id) >= filter.from) &&
    (filter.to === undefined || publishedAtOf(letter.id) < filter.to)
  );
}
