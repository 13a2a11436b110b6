/**
 * The metadata that an index knows of its documents: which fields, of which type.
 *
 * The same schema types the metadata in TypeScript, is checked at run time, and says what a filter may ask. Every field is optional in a
 * document. Changing the schema of an index that is there is for rebuild(): the `plain` form tells what differs.
 */
import { z } from 'zod';
import { checkOptions, faultsError, type Fault } from '../schema.ts';
import { describeValue } from '../errors.ts';

/**
 * - `tag`: one word or name, compared as a whole and with its case; `tags`: several of them.
 * - `number`: finite; a time is a number of milliseconds.
 * - `boolean`.
 * - `text`: searched by its words (Query Engine only).
 * - `geo`: a place (Query Engine only).
 */
export type FieldType = 'tag' | 'tags' | 'number' | 'boolean' | 'text' | 'geo';

/** A place on earth, in degrees. */
export interface GeoPoint {
  lat: number;
  lon: number;
}

/** A field with more to say than its type. */
export interface FieldRule {
  type: FieldType;
  /** Of a `text`: what a word in it counts for. Default 1. */
  weight?: number | undefined;
  /** Of a `number`: whether results may be sorted by it. Default false; costs memory. */
  sortable?: boolean | undefined;
}

/** Fields by name: letters, digits and _, beginning with a letter. */
export type VectorSchema = Readonly<Record<string, FieldType | FieldRule>>;

interface ValueOfType {
  tag: string;
  tags: readonly string[];
  number: number;
  boolean: boolean;
  text: string;
  geo: GeoPoint;
}

/** The type of a field of the schema. */
export type TypeOf<Schema extends VectorSchema, Name extends keyof Schema> = Schema[Name] extends FieldType
  ? Schema[Name]
  : Schema[Name] extends { type: infer Type extends FieldType }
    ? Type
    : never;

/** The metadata of a document. */
export type Metadata<Schema extends VectorSchema> = {
  readonly [Name in keyof Schema]?: ValueOfType[TypeOf<Schema, Name>] | undefined;
};

/** A field after its check. */
export interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly weight: number;
  readonly sortable: boolean;
}

/** A schema in the one form that is written down and compared: fields in the order of the alphabet, each with its rule. */
export type IndexSchema = Readonly<Record<string, Readonly<FieldRule>>>;

/** A schema after its check. */
export interface CompiledSchema<Schema extends VectorSchema = VectorSchema> {
  readonly fields: ReadonlyMap<string, Field>;
  /** The same for schemas that mean the same, however they are written. */
  readonly plain: IndexSchema;
  /** What the metadata is typed by: as it was given. */
  readonly definition: Schema;
}

const MOST_FIELDS = 64;
/** Characters of a tag. */
const LONGEST_TAG = 1_024;
const MOST_TAGS = 256;
/** Characters of a text field; a document's own text is not one. */
const LONGEST_TEXT = 262_144;
const NAME = /^[A-Za-z][A-Za-z0-9_]{0,63}$/;

const types = ['tag', 'tags', 'number', 'boolean', 'text', 'geo'] as const satisfies readonly FieldType[];
const typeOption = z.enum(types);
const ruleOption = z
  .strictObject({
    type: typeOption,
    weight: z.number().positive().max(1_000).optional(),
    sortable: z.boolean().optional(),
  })
  .refine(({ type, weight }) => weight === undefined || type === 'text', {
    path: ['weight'],
    error: 'expected none but with a text',
  })
  .refine(({ type, sortable }) => sortable === undefined || type === 'number', {
    path: ['sortable'],
    error: 'expected none but with a number',
  });
const schemaOption = z
  .record(
    z
      .string()
      .regex(NAME, 'expected a name of up to 64 letters, digits and _ that begins with a letter')
      .refine((name) => !(name in {}), 'expected a name that not every object has'),
    z.union([typeOption, ruleOption]),
  )
  .refine((fields) => Object.keys(fields).length <= MOST_FIELDS, { error: `expected at most ${MOST_FIELDS} fields` });

/**
 * The schema, checked.
 *
 * @example
 * const schema = compileSchema({ lang: 'tag', year: { type: 'number', sortable: true } });
 * @throws MillraceError OPTIONS_INVALID, with all faults.
 */
export function compileSchema<const Schema extends VectorSchema>(
  definition: Schema,
  owner = 'schema',
): CompiledSchema<Schema> {
  const checked = checkOptions(schemaOption, definition, owner);
  const fields = Object.entries(checked).map(([name, given]): Field => {
    const { type, weight = 1, sortable = false } = typeof given === 'string' ? { type: given } : given;
    return Object.freeze({ name, type, weight, sortable });
  });
  const sorted = fields.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  return Object.freeze({
    fields: new Map(sorted.map((field) => [field.name, field])),
    plain: Object.freeze(Object.fromEntries(sorted.map((field) => [field.name, plainRule(field)]))),
    definition,
  });
}

/** Without what is as it is by default. */
function plainRule({ type, weight, sortable }: Field): Readonly<FieldRule> {
  return Object.freeze({ type, ...(weight !== 1 && { weight }), ...(sortable && { sortable }) });
}

/**
 * The metadata without fields that are undefined. An empty list of tags is no tags at all.
 *
 * @param what What messages call it, such as `the metadata of doc 7`.
 * @throws MillraceError INPUT_INVALID, with all faults.
 */
export function checkMetadata<Schema extends VectorSchema>(
  schema: CompiledSchema<Schema>,
  metadata: unknown,
  what: string,
): Metadata<Schema> {
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata)) {
    throw faultsError('INPUT_INVALID', what, [
      { path: '', reason: `expected an object, got ${describeValue(metadata)}` },
    ]);
  }
  const faults: Fault[] = [];
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(metadata)) {
    const field = schema.fields.get(name);
    if (!field) {
      faults.push({
        path: name,
        reason: `the schema has no such field; it has ${[...schema.fields.keys()].join(', ') || 'none'}`,
      });
      continue;
    }
    if (value === undefined || (Array.isArray(value) && value.length === 0 && field.type === 'tags')) continue;
    const expected = faultOfValue(field.type, value);
    // The app may use its list of tags for the next document.
    if (expected === undefined) kept[name] = Array.isArray(value) ? value.slice() : value;
    else faults.push({ path: name, reason: `expected ${expected}, got ${describeValue(value)}` });
  }
  if (faults.length > 0) throw faultsError('INPUT_INVALID', what, faults);
  return kept as Metadata<Schema>;
}

/** What a value of the type would be; undefined when this is one. */
export function faultOfValue(type: FieldType, value: unknown): string | undefined {
  switch (type) {
    case 'tag':
      return isTag(value) ? undefined : `a tag of 1 to ${LONGEST_TAG} characters`;
    case 'tags': {
      const isList = Array.isArray(value) && value.length <= MOST_TAGS && value.every(isTag);
      return isList ? undefined : `at most ${MOST_TAGS} tags of 1 to ${LONGEST_TAG} characters`;
    }
    case 'number':
      return typeof value === 'number' && Number.isFinite(value) ? undefined : 'a finite number';
    case 'boolean':
      return typeof value === 'boolean' ? undefined : 'true or false';
    case 'text':
      return typeof value === 'string' && value.length <= LONGEST_TEXT
        ? undefined
        : `a text of at most ${LONGEST_TEXT} characters`;
    case 'geo':
      return isPoint(value) ? undefined : 'a place as { lat, lon }, lat from -85.05 to 85.05 and lon from -180 to 180';
  }
}

function isTag(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= LONGEST_TAG;
}

/** Within what Redis can index; the poles it cannot. */
function isPoint(value: unknown): value is GeoPoint {
  if (typeof value !== 'object' || value === null) return false;
  const { lat, lon } = value as Record<string, unknown>;
  return typeof lat === 'number' && Math.abs(lat) <= 85.05 && typeof lon === 'number' && Math.abs(lon) <= 180;
}
