/**
 * Filters in the language of VSIM ... FILTER, and the attributes that they are asked of.
 *
 * An attribute that is missing makes the whole expression false there, even below a `not` or beside an `or`. So every field of the schema
 * has an attribute in every element, and what a document lacks stands as a value that nothing equals: "nan" for a number, which is turned
 * into NaN before it is compared with one, and "%" for a tag, which no encoded tag is. Strings have no escapes there: see tag-form.ts.
 * Numbers have no signs in an exponent, but a string is read as a number when it is compared with one.
 */
import { MillraceError } from '../errors.ts';
import type { Filter } from './filter.ts';
import type { CompiledSchema, Field } from './schema.ts';
import { decodeTag, encodeTag } from './tag-form.ts';

const NO_NUMBER = 'nan';
const NO_TAG = '%';

/**
 * The text of FILTER.
 *
 * @param filter As checkFilter() gave it.
 * @throws MillraceError FILTER_UNSUPPORTED for `text` and `near`.
 */
export function compileVectorSetFilter(filter: Filter, schema: CompiledSchema): string {
  switch (filter.op) {
    case 'and':
    case 'or':
      return `(${filter.filters.map((part) => compileVectorSetFilter(part, schema)).join(` ${filter.op} `)})`;
    case 'not':
      return `(not ${compileVectorSetFilter(filter.filter, schema)})`;
    case 'eq':
      return among(schema, filter.field, [filter.value]);
    case 'ne':
      return `(not ${among(schema, filter.field, [filter.value])})`;
    case 'in':
      return among(schema, filter.field, filter.values);
    case 'lt':
      return `(.${filter.field} < ${numberText(filter.value)})`;
    case 'lte':
      return `(.${filter.field} <= ${numberText(filter.value)})`;
    case 'gt':
      return `(.${filter.field} > ${numberText(filter.value)})`;
    case 'gte':
      return `(.${filter.field} >= ${numberText(filter.value)})`;
    case 'between':
      return `(.${filter.field} >= ${numberText(filter.from)} and .${filter.field} <= ${numberText(filter.to)})`;
    case 'exists':
      return exists(schema, filter.field);
    case 'text':
    case 'near':
      throw unsupported(filter.op);
  }
}

function unsupported(op: 'text' | 'near'): MillraceError {
  const what = op === 'text' ? 'words of a text' : 'places';
  return new MillraceError(
    'FILTER_UNSUPPORTED',
    `filter ${op}: vector sets cannot search for ${what}; that takes an index with engine 'query-engine'`,
    { op, engine: 'vector-sets' },
  );
}

/**
 * The attributes of an element, as SETATTR takes them.
 *
 * @param metadata As checkMetadata() gave it. Texts and places have no attribute but that they are there.
 */
export function attributesOfMetadata({ fields }: CompiledSchema, metadata: Readonly<Record<string, unknown>>): string {
  const attributes: Record<string, unknown> = {};
  for (const { name, type } of fields.values()) attributes[name] = attributeOf(type, metadata[name]);
  return JSON.stringify(attributes);
}

function attributeOf(type: Field['type'], value: unknown): unknown {
  switch (type) {
    case 'tag':
      return value === undefined ? NO_TAG : encodeTag(value as string);
    case 'tags':
      return value === undefined ? [NO_TAG] : (value as readonly string[]).map(encodeTag);
    case 'number':
      return value ?? NO_NUMBER;
    case 'boolean':
      return value === undefined ? NO_NUMBER : Number(value);
    case 'text':
    case 'geo':
      return value === undefined ? NO_NUMBER : 1;
  }
}

/** The metadata that the attributes were made of, but for texts and places, of which nothing is kept. */
export function metadataOfAttributes({ fields }: CompiledSchema, attributes: string): Record<string, unknown> {
  const stored = JSON.parse(attributes) as Record<string, unknown>;
  const metadata: Record<string, unknown> = {};
  for (const { name, type } of fields.values()) {
    const value = valueOf(type, stored[name]);
    if (value !== undefined) metadata[name] = value;
  }
  return metadata;
}

function valueOf(type: Field['type'], stored: unknown): unknown {
  switch (type) {
    case 'tag':
      return stored === NO_TAG || typeof stored !== 'string' ? undefined : decodeTag(stored);
    case 'tags':
      return !Array.isArray(stored) || stored[0] === NO_TAG ? undefined : stored.map((tag) => decodeTag(String(tag)));
    case 'number':
      return typeof stored === 'number' ? stored : undefined;
    case 'boolean':
      return typeof stored === 'number' ? stored === 1 : undefined;
    case 'text':
    case 'geo':
      return undefined;
  }
}

function among({ fields }: CompiledSchema, name: string, values: ReadonlyArray<string | number | boolean>): string {
  const literals = values.map(literal);
  if (fields.get(name)?.type === 'tags') return `(${literals.map((tag) => `${tag} in .${name}`).join(' or ')})`;
  return literals.length === 1 ? `(.${name} == ${literals[0]})` : `(.${name} in [${literals.join(', ')}])`;
}

function exists({ fields }: CompiledSchema, name: string): string {
  const type = fields.get(name)?.type;
  if (type === 'tag') return `(.${name} != "${NO_TAG}")`;
  if (type === 'tags') return `(not ("${NO_TAG}" in .${name}))`;
  return `(.${name} <= .${name})`; // Of NaN alone this is false.
}

function literal(value: string | number | boolean): string {
  if (typeof value === 'string') return `"${encodeTag(value)}"`;
  return numberText(Number(value));
}

function numberText(value: number): string {
  const text = String(value);
  return /e[+-]/.test(text) ? `"${text}"` : text;
}
