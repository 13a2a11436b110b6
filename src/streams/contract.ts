/**
 * A stream's contract: its name, what its entries look like, and how long they are kept.
 *
 * It loads no handler, so that whoever only publishes stays light. Nothing is ever removed that a group has still to finish; `keep` is for
 * what all groups have finished.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from '../payload.ts';
import { withQuietFaults } from '../quiet-schema.ts';
import { checkOptions, durationOption, type Schema, schemaOption } from '../schema.ts';
import { secretsOption } from '../secrets.ts';

/** How many finished entries are kept, for new groups and for a look back. Whatever is beyond one of the bounds may go. */
export interface KeepEntries {
  /** At most so many, but for the rest of a node of the stream, some 100 small entries. Default 100,000; false for no bound. */
  count?: number | false | undefined;
  /** At most so old. Default `7d`; false for no bound. */
  age?: Duration | false | undefined;
}

/** How many dead letters of each group are kept. The oldest beyond one of the bounds are dropped, which is told of before and after. */
export interface KeepLetters {
  /** At most so many, 1 or more. Default 100,000; false for no bound. */
  count?: number | false | undefined;
  /** At most so long. Default `30d`; false for no bound. */
  age?: Duration | false | undefined;
}

/** Options of defineStream(). */
export interface StreamOptions<In extends StandardSchemaV1> {
  /** Letters, digits, `_`, `-` and single dots, such as `orders.placed`. */
  name: string;
  /** What the data of an entry must look like: any Standard Schema (zod, valibot, arktype...). */
  schema: In;
  /** Groups that must exist before anything is removed, so that one that was never started misses nothing. */
  groups?: readonly string[] | undefined;
  keep?: KeepEntries | undefined;
  deadLetters?: KeepLetters | undefined;
  /** The largest data of an entry, in bytes of JSON. Default 256 KB. */
  maxBytes?: number | undefined;
  /**
   * Paths of what is secret in the data, `*` for any one step: `['card.number', 'tokens.*']`. The dashboard shows `[secret]` there, in entries and
   * in dead letters. It is masked, not encrypted: Redis and the handlers have it as it is. Default none.
   */
  secrets?: readonly string[] | undefined;
}

/** How much is kept; undefined for no bound. */
export interface Bounds {
  readonly count: number | undefined;
  readonly ageMs: number | undefined;
}

/** A stream's contract, as publishers and consumers share it. */
export interface StreamContract<Input = unknown, Parsed = Input> {
  readonly name: string;
  readonly schema: Schema<Input, Parsed>;
  readonly groups: readonly string[];
  /** Of finished entries. */
  readonly keep: Bounds;
  /** Of the dead letters of a group. */
  readonly deadLetters: Bounds;
  readonly maxBytes: number;
  /** Paths of what is secret in the data. */
  readonly secrets: readonly string[];
}

const NAME = /^[a-z][\w-]*(?:\.[\w-]+)*$/i;
/** The name of a stream, or of one of its groups. */
export const streamNameOption: z.ZodType<string> = z
  .string()
  .max(100)
  .regex(NAME, { error: "expected letters, digits, '_', '-' and single dots, beginning with a letter" });

const DAY_MS = 86_400_000;
const DEFAULT_KEEP = { count: 100_000, age: 7 * DAY_MS } as const;
/** As for those of jobs. */
const DEFAULT_LETTERS = { count: 100_000, age: 30 * DAY_MS } as const;

const contractSchema = z.strictObject({
  name: streamNameOption,
  schema: schemaOption,
  groups: z.array(streamNameOption).max(100).default([]),
  keep: z
    .strictObject({
      count: z.union([z.number().int().min(0), z.literal(false)]).default(DEFAULT_KEEP.count),
      age: z.union([durationOption, z.literal(false)]).default(DEFAULT_KEEP.age),
    })
    .default(DEFAULT_KEEP),
  deadLetters: z
    .strictObject({
      count: z.union([z.number().int().min(1), z.literal(false)]).default(DEFAULT_LETTERS.count),
      age: z
        .union([durationOption.pipe(z.number().min(1, 'expected more than 0')), z.literal(false)])
        .default(DEFAULT_LETTERS.age),
    })
    .default(DEFAULT_LETTERS),
  maxBytes: z.number().int().min(1).default(DEFAULT_MAX_PAYLOAD_BYTES),
  secrets: secretsOption,
});

/**
 * A contract, to be shared by those who publish and those who consume.
 *
 * @example
 * export const ordersPlaced = defineStream({
 *   name: 'orders.placed',
 *   schema: z.object({ orderId: z.string(), total: z.number() }),
 *   groups: ['billing', 'search'],
 * });
 * @throws MillraceError OPTIONS_INVALID, with every fault.
 */
export function defineStream<In extends StandardSchemaV1>(
  options: StreamOptions<In>,
): StreamContract<StandardSchemaV1.InferInput<In>, StandardSchemaV1.InferOutput<In>> {
  const given: unknown = (options as { name?: unknown } | undefined)?.name;
  const checked = checkOptions(contractSchema, options, `defineStream${typeof given === 'string' ? ` ${given}` : ''}`);
  return Object.freeze({
    name: checked.name,
    schema: withQuietFaults(checked.schema, checked.secrets) as never,
    groups: Object.freeze([...new Set(checked.groups)]),
    keep: boundsOf(checked.keep),
    deadLetters: boundsOf(checked.deadLetters),
    maxBytes: checked.maxBytes,
    secrets: checked.secrets,
  });
}

function boundsOf({ count, age }: { count: number | false; age: number | false }): Bounds {
  return Object.freeze({ count: count === false ? undefined : count, ageMs: age === false ? undefined : age });
}

/** For those who write JavaScript, or hand over something else. @throws MillraceError OPTIONS_INVALID */
export function checkStream(contract: StreamContract): void {
  if (typeof contract?.name === 'string' && contract.schema && contract.keep) return;
  throw new MillraceError(
    'OPTIONS_INVALID',
    `expected a contract of defineStream(), got ${describeValue(contract)}`,
    {},
  );
}
