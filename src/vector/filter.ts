/**
 * Which documents a search may find, as data: built with types, or read from JSON, and checked against the schema either way.
 *
 * One meaning on every engine: a field that a document lacks matches no comparison, so `ne` and `not` do match it; `eq` of `tags` asks
 * whether the tag is among them. filter-vset.ts and filter-fts.ts write a checked filter in the language of an engine and refuse what
 * that cannot do; filter-match.ts asks it of one document.
 */
import { describeValue } from '../errors.ts';
import { faultsError, nearest, type Fault } from '../schema.ts';
import {
  faultOfValue,
  type CompiledSchema,
  type Field,
  type FieldType,
  type GeoPoint,
  type TypeOf,
  type VectorSchema,
} from './schema.ts';

type Scalar = string | number | boolean;

/** What a filter is made of. It has a JSON form. */
export type Filter =
  | { readonly op: 'eq' | 'ne'; readonly field: string; readonly value: Scalar }
  | { readonly op: 'in'; readonly field: string; readonly values: readonly Scalar[] }
  | { readonly op: 'lt' | 'lte' | 'gt' | 'gte'; readonly field: string; readonly value: number }
  | { readonly op: 'between'; readonly field: string; readonly from: number; readonly to: number }
  | { readonly op: 'exists'; readonly field: string }
  | { readonly op: 'text'; readonly field: string; readonly words: string }
  | { readonly op: 'near'; readonly field: string; readonly point: GeoPoint; readonly radiusM: number }
  | { readonly op: 'and' | 'or'; readonly filters: readonly Filter[] }
  | { readonly op: 'not'; readonly filter: Filter };

/** Names of the fields that are of one of these types. */
type Named<Schema extends VectorSchema, Type extends FieldType> = {
  [Name in keyof Schema & string]: TypeOf<Schema, Name> extends Type ? Name : never;
}[keyof Schema & string];

type Comparable = 'tag' | 'tags' | 'number' | 'boolean';
/** What a field is compared with. */
type Operand<Schema extends VectorSchema, Name extends keyof Schema> = {
  tag: string;
  tags: string;
  number: number;
  boolean: boolean;
  text: never;
  geo: never;
}[TypeOf<Schema, Name>];

/** Builds filters over the fields of a schema. */
export interface FilterBuilder<Schema extends VectorSchema> {
  eq<Name extends Named<Schema, Comparable>>(field: Name, value: Operand<Schema, Name>): Filter;
  ne<Name extends Named<Schema, Comparable>>(field: Name, value: Operand<Schema, Name>): Filter;
  in<Name extends Named<Schema, Comparable>>(field: Name, values: ReadonlyArray<Operand<Schema, Name>>): Filter;
  lt(field: Named<Schema, 'number'>, value: number): Filter;
  lte(field: Named<Schema, 'number'>, value: number): Filter;
  gt(field: Named<Schema, 'number'>, value: number): Filter;
  gte(field: Named<Schema, 'number'>, value: number): Filter;
  /** From one number to another, both included. */
  between(field: Named<Schema, 'number'>, from: number, to: number): Filter;
  exists(field: keyof Schema & string): Filter;
  /** All of the words are in the text, in any order. Query Engine only. */
  text(field: Named<Schema, 'text'>, words: string): Filter;
  /** At most so many metres away. Query Engine only. */
  near(field: Named<Schema, 'geo'>, point: GeoPoint, radiusM: number): Filter;
  and(...filters: Filter[]): Filter;
  or(...filters: Filter[]): Filter;
  not(filter: Filter): Filter;
}

/** A filter, or what builds one. */
export type FilterLike<Schema extends VectorSchema> = Filter | ((f: FilterBuilder<Schema>) => Filter);

const builder: FilterBuilder<Record<string, never>> = {
  eq: (field, value) => ({ op: 'eq', field, value }),
  ne: (field, value) => ({ op: 'ne', field, value }),
  in: (field, values) => ({ op: 'in', field, values }),
  lt: (field, value) => ({ op: 'lt', field, value }),
  lte: (field, value) => ({ op: 'lte', field, value }),
  gt: (field, value) => ({ op: 'gt', field, value }),
  gte: (field, value) => ({ op: 'gte', field, value }),
  between: (field, from, to) => ({ op: 'between', field, from, to }),
  exists: (field) => ({ op: 'exists', field }),
  text: (field, words) => ({ op: 'text', field, words }),
  near: (field, point, radiusM) => ({ op: 'near', field, point, radiusM }),
  and: (...filters) => ({ op: 'and', filters }),
  or: (...filters) => ({ op: 'or', filters }),
  not: (filter) => ({ op: 'not', filter }),
};

/**
 * Builds filters with the types of the schema.
 *
 * @example
 * const f = filtersOf<{ lang: 'tag'; year: 'number' }>();
 * f.and(f.eq('lang', 'en'), f.gte('year', 2020));
 */
export function filtersOf<Schema extends VectorSchema>(): FilterBuilder<Schema> {
  return builder as unknown as FilterBuilder<Schema>;
}

/** Parts of one filter. More is a query by itself, and slow on either engine. */
const MOST_PARTS = 1_000;
const DEEPEST = 32;

/**
 * The filter, checked against the schema.
 *
 * @example
 * const filter = checkFilter(schema, (f) => f.eq('lang', 'en'));
 * @throws MillraceError FILTER_INVALID, with all faults.
 */
export function checkFilter<Schema extends VectorSchema>(
  schema: CompiledSchema<Schema>,
  filter: FilterLike<Schema>,
): Filter {
  const built = typeof filter === 'function' ? filter(filtersOf<Schema>()) : filter;
  const check: Check = { schema, faults: [], parts: 0 };
  checkPart(check, built, '', 1);
  if (check.parts > MOST_PARTS) {
    check.faults.push({ path: '', reason: `expected at most ${MOST_PARTS} parts and values, got more` });
  }
  if (check.faults.length > 0) throw faultsError('FILTER_INVALID', 'filter', check.faults.slice(0, MOST_FAULTS));
  return built;
}

/** Faults of one filter that are told. */
const MOST_FAULTS = 20;

interface Check {
  readonly schema: CompiledSchema;
  readonly faults: Fault[];
  parts: number;
}

/** Filters may come from outside, so nothing about their form is taken for granted. */
function checkPart(check: Check, part: unknown, path: string, depth: number): void {
  if (++check.parts > MOST_PARTS) return;
  if (typeof part !== 'object' || part === null) return refuse(check, path, 'a filter', part);
  if (depth > DEEPEST) return refuse(check, path, `at most ${DEEPEST} filters within one another`, 'more');
  const { op, ...given } = part as { op: unknown } & Record<string, unknown>;
  const at = (name: string): string => (path === '' ? name : `${path}.${name}`);
  switch (op) {
    case 'and':
    case 'or': {
      const { filters } = given;
      if (!Array.isArray(filters) || filters.length === 0)
        return refuse(check, at('filters'), 'one filter or more', filters);
      return filters.forEach((filter, index) => checkPart(check, filter, `${at('filters')}[${index}]`, depth + 1));
    }
    case 'not':
      return checkPart(check, given['filter'], at('filter'), depth + 1);
    case 'eq':
    case 'ne':
      return checkValues(check, given, [given['value']], at);
    case 'in': {
      const { values } = given;
      if (!Array.isArray(values) || values.length === 0)
        return refuse(check, at('values'), 'one value or more', values);
      check.parts += values.length;
      return checkValues(check, given, values, at);
    }
    case 'lt':
    case 'lte':
    case 'gt':
    case 'gte':
      return checkNumbers(check, given, ['value'], at);
    case 'between':
      return checkNumbers(check, given, ['from', 'to'], at);
    case 'exists':
      return void fieldOf(check, given, FIELD_TYPES, at);
    case 'text':
      if (!fieldOf(check, given, ['text'], at)) return;
      if (wordsOf(given['words']).length === 0) refuse(check, at('words'), 'a text with a word in it', given['words']);
      return;
    case 'near':
      if (!fieldOf(check, given, ['geo'], at)) return;
      return checkCircle(check, given, at);
    default:
      return refuse(check, at('op'), OPERATORS.join(', '), op);
  }
}

const OPERATORS = ['and', 'or', 'not', 'eq', 'ne', 'in', 'lt', 'lte', 'gt', 'gte', 'between', 'exists', 'text', 'near'];
const FIELD_TYPES: readonly FieldType[] = ['tag', 'tags', 'number', 'boolean', 'text', 'geo'];
const COMPARABLE: readonly FieldType[] = ['tag', 'tags', 'number', 'boolean'];
/** Half the way around the earth. */
const LONGEST_RADIUS_M = 20_040_000;

type At = (name: string) => string;

function checkValues(check: Check, given: Record<string, unknown>, values: readonly unknown[], at: At): void {
  const field = fieldOf(check, given, COMPARABLE, at);
  if (!field) return;
  // Of a field of tags, one tag is asked for.
  const type = field.type === 'tags' ? 'tag' : field.type;
  values.forEach((value, index) => {
    const expected = faultOfValue(type, value);
    const place = 'values' in given ? `${at('values')}[${index}]` : at('value');
    if (expected !== undefined) refuse(check, place, expected, value);
  });
}

function checkNumbers(check: Check, given: Record<string, unknown>, names: readonly string[], at: At): void {
  if (!fieldOf(check, given, ['number'], at)) return;
  for (const name of names) {
    const expected = faultOfValue('number', given[name]);
    if (expected !== undefined) refuse(check, at(name), expected, given[name]);
  }
  const { from, to } = given as { from?: number; to?: number };
  if (from !== undefined && to !== undefined && from > to) refuse(check, at('from'), `at most ${to}`, from);
}

function checkCircle(check: Check, given: Record<string, unknown>, at: At): void {
  const { point, radiusM } = given;
  const expected = faultOfValue('geo', point);
  if (expected !== undefined) refuse(check, at('point'), expected, point);
  const isRadius = typeof radiusM === 'number' && radiusM > 0 && radiusM <= LONGEST_RADIUS_M;
  if (!isRadius) refuse(check, at('radiusM'), `metres, more than 0 and at most ${LONGEST_RADIUS_M}`, radiusM);
}

function fieldOf(
  { schema, faults }: Check,
  { field: name }: Record<string, unknown>,
  types: readonly FieldType[],
  at: At,
): Field | undefined {
  const field = typeof name === 'string' ? schema.fields.get(name) : undefined;
  if (!field) {
    const guess = typeof name === 'string' ? nearest(name, schema.fields.keys()) : undefined;
    const hint = guess === undefined ? '' : `, did you mean ${guess}?`;
    faults.push({ path: at('field'), reason: `the schema has no field ${describeValue(name)}${hint}` });
    return undefined;
  }
  if (types.includes(field.type)) return field;
  faults.push({
    path: at('field'),
    reason: `expected a field of type ${types.join(' or ')}, ${field.name} is ${field.type}`,
  });
  return undefined;
}

function refuse({ faults }: Check, path: string, expected: string, came: unknown): void {
  faults.push({ path, reason: `expected ${expected}, got ${describeValue(came)}` });
}

/** A text as the Query Engine indexes it, which finds the same words in it. */
export function spacedWords(text: string): string {
  return wordsOf(text).join(' ');
}

/** What a text is searched for: runs of letters, marks and digits. */
export function wordsOf(text: unknown): string[] {
  return typeof text === 'string' ? (text.match(/[\p{L}\p{M}\p{N}_]+/gu) ?? []) : [];
}
