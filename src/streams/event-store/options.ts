/** The options of the event store's calls, and how they are checked. */
import { z } from 'zod';
import type { Clock } from '../../clock.ts';
import type { Logger } from '../../log.ts';
import { checkOptions } from '../../schema.ts';
import type { StreamModules } from '../context.ts';
import type { StreamsMetricsRegistry } from '../streams-metrics.ts';

/** Options of a store. */
export interface EventStoreOptions {
  /** The first part of every key. Default `millrace`. */
  prefix?: string | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count; nowhere when left out. */
  metrics?: StreamsMetricsRegistry | undefined;
  /** What handlers of subscriptions find in their context beside what is theirs; the platform gives its own. */
  modules?: Partial<StreamModules> | undefined;
}

/** Which version a stream must have: that number, `none` for a new stream, `exists` for one that ever had an event, or `any`. */
export type ExpectedVersion = number | 'none' | 'exists' | 'any';

/** Options of append(). */
export interface AppendOptions {
  /** Default `any`, which refuses nothing. */
  expected?: ExpectedVersion | undefined;
}

/** Options of reading one stream. */
export interface ReadOptions {
  /** The first version that is wanted. Default 1; the last one when reading backwards. */
  from?: number | undefined;
  /** How many events at most. Default: all, and a page has 250. */
  limit?: number | undefined;
  /** From the newest to the oldest. Default false. */
  backwards?: boolean | undefined;
  /** Ends the reading. */
  signal?: AbortSignal | undefined;
}

/** Options of reading all events. */
export interface ReadAllOptions<Type extends string = string> {
  /** The first position that is wanted. Default 1. */
  from?: number | undefined;
  /** How many events at most. Default: all, and a page has 250. */
  limit?: number | undefined;
  /** Only events of these types; others are not even fetched. Default: all. */
  types?: readonly Type[] | undefined;
  /** Ends the reading. */
  signal?: AbortSignal | undefined;
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
/** A signal that ends the waiting. */
export const signalOption: z.ZodType<AbortSignal> = z.custom<AbortSignal>(
  (value) => value instanceof AbortSignal,
  'expected an AbortSignal',
);
const placeOption = z.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
const limitOption = z.number().int().min(1);

const storeSchema = z.strictObject({
  prefix: z.string().optional(),
  log: z.custom<Logger>(isObject, 'expected a logger').optional(),
  clock: z.custom<Clock>(isObject, 'expected a clock').optional(),
  metrics: z.custom<StreamsMetricsRegistry>(isObject, 'expected a registry of metrics').optional(),
  modules: z.custom<StreamModules>(isObject, 'expected an object').optional(),
});

const EXPECTED = "'none', 'exists', 'any' or the version that the stream must have, 0 or more";
const expectedOption = z.union([z.int().min(0), z.enum(['none', 'exists', 'any'])], { error: `expected ${EXPECTED}` });
const appendSchema = z.strictObject({
  expected: z
    .custom<ExpectedVersion>((value) => expectedOption.safeParse(value).success, { error: `expected ${EXPECTED}` })
    .optional(),
});

const readSchema = z.strictObject({
  from: placeOption.optional(),
  limit: limitOption.optional(),
  backwards: z.boolean().optional(),
  signal: signalOption.optional(),
});

const readAllSchema = z.strictObject({
  from: placeOption.optional(),
  limit: limitOption.optional(),
  types: z.array(z.string()).optional(),
  signal: signalOption.optional(),
});

/** @throws MillraceError OPTIONS_INVALID */
export function parseStoreOptions(options: EventStoreOptions): Readonly<EventStoreOptions> {
  return checkOptions(storeSchema, options, 'createEventStore');
}

/** Looked at for each append, so what most of them say is known without a schema. @throws MillraceError OPTIONS_INVALID */
export function expectedOf(options: AppendOptions | undefined, owner: string): ExpectedVersion {
  if (options === undefined) return 'any';
  return checkOptions(appendSchema, options, owner).expected ?? 'any';
}

/** @throws MillraceError OPTIONS_INVALID */
export function parseRead(options: ReadOptions, owner: string): Readonly<z.output<typeof readSchema>> {
  return checkOptions(readSchema, options, owner);
}

/** @throws MillraceError OPTIONS_INVALID */
export function parseReadAll(
  options: ReadAllOptions,
  known: readonly string[],
  owner: string,
): Readonly<z.output<typeof readAllSchema>> {
  const types = z.array(z.enum(known as [string, ...string[]])).optional();
  return checkOptions(readAllSchema.extend({ types }), options, owner);
}
