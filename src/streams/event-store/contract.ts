/**
 * An event store's contract: its name, the types of its events, and how events of older forms are brought up to date.
 *
 * It loads no handler, so that whoever only appends stays light. What is stored is the JSON that was given, before the schema's defaults
 * and transforms; a read brings it to the newest form, and then the schema parses it.
 */
import type { StandardJSONSchemaV1, StandardSchemaV1 } from '@standard-schema/spec';
import { z } from 'zod';
import { describeValue, MillraceError } from '../../errors.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from '../../payload.ts';
import { checkOptions, faultsError, schemaOption } from '../../schema.ts';
import { streamNameOption } from '../contract.ts';

/** The types of events, each with the schema of its data. */
export type EventSchemas = Readonly<Record<string, StandardSchemaV1>>;

/** Brings data from one form to the next. It gets JSON and gives JSON, and must not fail for what its form allowed. */
export type Upcaster = (data: never) => unknown;

/** Options of defineEvents(). */
export interface EventsOptions<Schemas extends EventSchemas> {
  /** Letters, digits, `_`, `-` and single dots, such as `orders`. */
  name: string;
  /** Each type of event with the schema of its data: any Standard Schema (zod, valibot, arktype...). Types that are not written any more stay, to be read. */
  events: Schemas;
  /** Of a type, what brings its data from the first form to the second, from the second to the third, and so on. Only ever add at the end. */
  upcasters?: { readonly [Type in keyof Schemas]?: readonly Upcaster[] } | undefined;
  /** The largest event, data and metadata together, in bytes of JSON. Default 256 KB. */
  maxBytes?: number | undefined;
}

/** An event store's contract, as all who use it share it. */
export interface EventsContract<Schemas extends EventSchemas = EventSchemas> {
  readonly name: string;
  readonly events: Schemas;
  readonly upcasters: Readonly<Record<string, ReadonlyArray<(data: unknown) => unknown>>>;
  readonly maxBytes: number;
}

/** What an append may say beside the data: JSON, such as who and why. */
export type EventMetadata = Readonly<Record<string, unknown>>;

/** An event that is to be appended. */
export type NewEvent<Schemas extends EventSchemas> = {
  [Type in keyof Schemas & string]: {
    readonly type: Type;
    readonly data: StandardSchemaV1.InferInput<Schemas[Type]>;
    /** Makes it safe to append again: an id counts once in its stream. Either all events of an append have one, or none. */
    readonly id?: string | undefined;
    readonly metadata?: EventMetadata | undefined;
  };
}[keyof Schemas & string];

/** An event that has happened. */
export type RecordedEvent<
  Schemas extends EventSchemas,
  Types extends keyof Schemas & string = keyof Schemas & string,
> = {
  [Type in Types]: {
    readonly type: Type;
    readonly data: StandardSchemaV1.InferOutput<Schemas[Type]>;
    /** The one that it was appended with, else one that the store made. */
    readonly id: string;
    readonly streamId: string;
    /** Its place in its stream, from 1, without gaps. */
    readonly version: number;
    /** Its place among all events, from 1, without gaps. */
    readonly position: number;
    /** When it was appended, on the server's clock. For people: order is by version and position. */
    readonly at: Date;
    readonly metadata: EventMetadata;
  };
}[Types];

/** A type of events. */
export const eventTypeOption: z.ZodType<string> = streamNameOption;

const contractSchema = z.strictObject({
  name: streamNameOption,
  events: z
    .record(eventTypeOption, schemaOption)
    .refine((events) => Object.keys(events).length > 0, { error: 'expected at least one type of event' }),
  upcasters: z
    .record(
      z.string(),
      z.array(z.custom<(data: unknown) => unknown>((value) => typeof value === 'function', 'expected a function')),
    )
    .default({}),
  maxBytes: z.number().int().min(1).default(DEFAULT_MAX_PAYLOAD_BYTES),
});

/**
 * A contract, to be shared by those who append and those who read.
 *
 * @example
 * export const orderEvents = defineEvents({
 *   name: 'orders',
 *   events: {
 *     placed: z.object({ customer: z.string(), totalCents: z.number().int() }),
 *     shipped: z.object({ carrier: z.string() }),
 *   },
 *   // Once, `placed` had its total in whole units.
 *   upcasters: { placed: [({ total, ...rest }: { total: number }) => ({ ...rest, totalCents: total * 100 })] },
 * });
 * @throws MillraceError OPTIONS_INVALID, with every fault.
 */
export function defineEvents<const Schemas extends EventSchemas>(
  options: EventsOptions<Schemas>,
): EventsContract<Schemas> {
  const given: unknown = (options as { name?: unknown } | undefined)?.name;
  const owner = `defineEvents${typeof given === 'string' ? ` ${given}` : ''}`;
  const { name, events, upcasters, maxBytes } = checkOptions(contractSchema, options, owner);
  const strange = Object.keys(upcasters).filter((type) => !Object.hasOwn(events, type));
  if (strange.length > 0) {
    const faults = strange.map((type) => ({ path: `upcasters.${type}`, reason: 'there are no events of this type' }));
    throw faultsError('OPTIONS_INVALID', owner, faults);
  }
  for (const list of Object.values(upcasters)) Object.freeze(list);
  return Object.freeze({
    name,
    events: Object.freeze(events) as never,
    upcasters: Object.freeze({ ...upcasters }),
    maxBytes,
  });
}

/** For those who write JavaScript, or hand over something else. @throws MillraceError OPTIONS_INVALID */
export function checkEvents(contract: EventsContract): void {
  if (typeof contract?.name === 'string' && contract.events && contract.upcasters) return;
  throw new MillraceError(
    'OPTIONS_INVALID',
    `expected a contract of defineEvents(), got ${describeValue(contract)}`,
    {},
  );
}

/**
 * What can be seen of how events are read, as text: each type with its upcasters and, where the library of its schema makes one, its JSON Schema,
 * which has the defaults. Transforms are not seen, nor are defaults that are made anew each time.
 */
export function formsOf(contract: EventsContract): string {
  let text = forms.get(contract);
  if (text === undefined) {
    const once = JSON.stringify(partsOf(contract));
    text = once.includes('"default"') ? steadyText(once, () => partsOf(contract)) : once;
    forms.set(contract, text);
  }
  return text;
}

const forms = new WeakMap<EventsContract, string>();

function partsOf(contract: EventsContract): unknown[] {
  return Object.entries(contract.events).map(([type, schema]) => [
    type,
    upcastersText(contract, type),
    jsonSchemaOf(schema),
  ]);
}

/** A default that a function makes, such as a time or an id, would be another one in each process: what is made again must be the same later on. */
function steadyText(once: string, makeAgain: () => unknown): string {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TIMES_DIFFER_MS);
  const again = JSON.stringify(makeAgain());
  return once === again ? once : JSON.stringify(commonTo(JSON.parse(once), JSON.parse(again)));
}

const TIMES_DIFFER_MS = 2;

/** What two JSON values share. */
function commonTo(one: unknown, other: unknown): unknown {
  if (one === other) return one;
  if (typeof one !== 'object' || typeof other !== 'object' || !one || !other) return undefined;
  const pairs = Object.entries(one).map(([key, value]) => [
    key,
    commonTo(value, (other as Record<string, unknown>)[key]),
  ]);
  return Object.fromEntries(pairs);
}

/** Null where there is none. */
function jsonSchemaOf(schema: StandardSchemaV1): unknown {
  const standard: StandardSchemaV1.Props & Partial<StandardJSONSchemaV1.Props> = schema['~standard'];
  // What zod cannot express, such as a transform, is then any value, instead of no schema at all.
  const libraryOptions = standard.vendor === 'zod' ? { libraryOptions: { unrepresentable: 'any' } } : {};
  try {
    return standard.jsonSchema?.input({ target: 'draft-2020-12', ...libraryOptions }) ?? null;
  } catch {
    return null; // Libraries throw for what they cannot express.
  }
}

/**
 * In what two contracts of one name differ; undefined when events are the same to both. What a schema does cannot be seen, so it agrees with itself
 * only; upcasters agree when they read the same.
 */
export function differenceOf(one: EventsContract, other: EventsContract): string | undefined {
  if (one === other) return undefined;
  const types = new Set([...Object.keys(one.events), ...Object.keys(other.events)]);
  for (const type of types) {
    if (!Object.hasOwn(one.events, type) || !Object.hasOwn(other.events, type)) return 'types of events';
    if (one.events[type] !== other.events[type]) return `schemas of ${type}`;
    if (upcastersText(one, type) !== upcastersText(other, type)) return `upcasters of ${type}`;
  }
  return one.maxBytes === other.maxBytes ? undefined : 'maxBytes';
}

function upcastersText({ upcasters }: EventsContract, type: string): string {
  return JSON.stringify((Object.hasOwn(upcasters, type) ? (upcasters[type] ?? []) : []).map(String));
}

/** How many forms of a type came before the one that is written now. */
export function formOf({ upcasters }: EventsContract, type: string): number {
  return Object.hasOwn(upcasters, type) ? (upcasters[type]?.length ?? 0) : 0;
}
