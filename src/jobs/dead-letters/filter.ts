/** Which dead letters are meant. */
import { z } from 'zod';
import { MillraceError } from '../../errors.ts';
import { checkOptions } from '../../schema.ts';
import { DEATH_REASONS, type DeathReason } from '../attempt-record.ts';
import { hideSecrets } from '../hide-secrets.ts';
import { maskSecrets } from '../../secrets.ts';
import type { DeadLetter } from './letter.ts';

/** What a letter must agree with; without a field, any does. */
export interface DeadLetterFilter {
  /** The queue in which the job died. */
  queue?: string | undefined;
  /** The name of the contract. */
  contract?: string | undefined;
  reason?: DeathReason | undefined;
  fingerprint?: string | undefined;
  /** Died then or later. */
  from?: Date | number | undefined;
  /** Died before then. */
  to?: Date | number | undefined;
  /** Stands in its id, its error or its input as JSON; capitals do not matter. */
  text?: string | undefined;
  /** What `text` does not find, neither in inputs nor where an error tells it: paths by the name of the contract, as its `secrets` has them. For those who let others search. */
  secrets?: Readonly<Record<string, readonly string[]>> | undefined;
}

/** A filter with its times in milliseconds since 1970. */
export interface CheckedFilter {
  readonly queue?: string | undefined;
  readonly contract?: string | undefined;
  readonly reason?: DeathReason | undefined;
  readonly fingerprint?: string | undefined;
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly text?: string | undefined;
  readonly secrets?: Readonly<Record<string, readonly string[]>> | undefined;
}

const text = z.string().min(1);
const moment = z
  .union([z.date(), z.number()], { error: 'expected a Date, or milliseconds since 1970' })
  .transform(Number);

/** The fields of a filter, for options that have more. */
export const filterShape: {
  queue: z.ZodOptional<z.ZodString>;
  contract: z.ZodOptional<z.ZodString>;
  reason: z.ZodOptional<z.ZodEnum<{ [Reason in DeathReason]: Reason }>>;
  fingerprint: z.ZodOptional<z.ZodString>;
  from: z.ZodOptional<z.ZodType<number, Date | number>>;
  to: z.ZodOptional<z.ZodType<number, Date | number>>;
  text: z.ZodOptional<z.ZodString>;
  secrets: z.ZodOptional<z.ZodType<Readonly<Record<string, readonly string[]>>>>;
} = {
  queue: text.optional(),
  contract: text.optional(),
  reason: z.enum(DEATH_REASONS).optional(),
  fingerprint: text.optional(),
  from: moment.optional(),
  to: moment.optional(),
  text: z.string().min(1).max(200).optional(),
  secrets: z.record(z.string(), z.array(z.string()).readonly()).optional(),
};

const filterSchema = z.strictObject(filterShape);

/**
 * For those who act on what fits: a field that is there and undefined is a slip, and would mean any letter.
 *
 * @throws MillraceError OPTIONS_INVALID
 */
export function checkTarget(filter: DeadLetterFilter, owner: string): CheckedFilter {
  const checked = checkOptions(filterSchema, filter, owner);
  for (const [field, value] of Object.entries(filter)) {
    if (value !== undefined) continue;
    const message = `${owner}: ${field}: expected a value, got undefined; leave it out to mean any`;
    throw new MillraceError('OPTIONS_INVALID', message, { field });
  }
  return checked;
}

/** @throws MillraceError OPTIONS_INVALID */
export function checkFilter(filter: DeadLetterFilter | undefined, owner: string): CheckedFilter {
  return checkOptions(filterSchema, filter ?? {}, owner);
}

/** Whether the letters of a queue need not be read to know that they are meant. */
export function takesAll({ queue: _queue, secrets: _secrets, ...rest }: CheckedFilter): boolean {
  return Object.values(rest).every((value) => value === undefined);
}

/** Whether the letter is meant. */
export function fits(filter: CheckedFilter, letter: DeadLetter): boolean {
  return (
    (filter.queue === undefined || letter.queue === filter.queue) &&
    (filter.contract === undefined || letter.contract === filter.contract) &&
    (filter.reason === undefined || letter.reason === filter.reason) &&
    (filter.fingerprint === undefined || letter.fingerprint === filter.fingerprint) &&
    (filter.from === undefined || letter.diedAt >= filter.from) &&
    (filter.to === undefined || letter.diedAt < filter.to) &&
    (filter.text === undefined || hasText(letter, filter.text.toLowerCase(), filter.secrets?.[letter.contract]))
  );
}

/** The short texts first: an input may be large. */
function hasText({ id, error, input }: DeadLetter, needle: string, secrets: readonly string[] = []): boolean {
  const hide = hideSecrets(input, secrets);
  const told = hide([id, error.name, error.message]).join('\n');
  if (told.toLowerCase().includes(needle)) return true;
  return (JSON.stringify(hide(maskSecrets(input, secrets))) ?? '').toLowerCase().includes(needle);
}
