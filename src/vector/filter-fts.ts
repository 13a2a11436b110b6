/**
 * Filters in the language of FT.SEARCH, DIALECT 2, and the fields that they are asked of.
 *
 * What the index must declare for them to mean what they say: every TAG with `SEPARATOR | CASESENSITIVE`, every field but numbers with
 * INDEXMISSING, and no stop words, which would make a filter of them no filter. A text is indexed as its words alone, because the server
 * finds other words in it than are asked for: it joins lines, and keeps together what other signs than those of ASCII part. A negation matches
 * a document that lacks the field, as it does everywhere else here.
 */
import { spacedWords, type Filter } from './filter.ts';
import type { CompiledSchema, Field, GeoPoint } from './schema.ts';
import { encodeTag, TAG_SEPARATOR } from './tag-form.ts';

/**
 * The query. Put in parentheses before `=>[KNN ...]`, it needs no more.
 *
 * @param filter As checkFilter() gave it.
 */
export function compileQueryFilter(filter: Filter, schema: CompiledSchema): string {
  switch (filter.op) {
    case 'and':
      return `(${filter.filters.map((part) => compileQueryFilter(part, schema)).join(' ')})`;
    case 'or':
      return `(${filter.filters.map((part) => compileQueryFilter(part, schema)).join(' | ')})`;
    case 'not':
      return `(-${compileQueryFilter(filter.filter, schema)})`;
    case 'eq':
      return among(schema, filter.field, [filter.value]);
    case 'ne':
      return `(-${among(schema, filter.field, [filter.value])})`;
    case 'in':
      return among(schema, filter.field, filter.values);
    case 'lt':
      return `(@${filter.field}:[-inf (${filter.value}])`;
    case 'lte':
      return `(@${filter.field}:[-inf ${filter.value}])`;
    case 'gt':
      return `(@${filter.field}:[(${filter.value} +inf])`;
    case 'gte':
      return `(@${filter.field}:[${filter.value} +inf])`;
    case 'between':
      return `(@${filter.field}:[${filter.from} ${filter.to}])`;
    case 'exists':
      return schema.fields.get(filter.field)?.type === 'number'
        ? `(@${filter.field}:[-inf +inf])`
        : `(-ismissing(@${filter.field}))`;
    case 'text':
      return `(@${filter.field}:(${spacedWords(filter.words)}))`;
    case 'near':
      return `(@${filter.field}:[${filter.point.lon} ${filter.point.lat} ${filter.radiusM} m])`;
  }
}

/** The query for no filter at all. */
export const EVERYTHING = '*';

/**
 * What a hash holds of the metadata, by field; what is missing is left out.
 *
 * @param metadata As checkMetadata() gave it.
 */
export function fieldsOfMetadata(
  { fields }: CompiledSchema,
  metadata: Readonly<Record<string, unknown>>,
): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const { name, type } of fields.values()) {
    const value = metadata[name];
    if (value !== undefined) texts[name] = textOf(type, value);
  }
  return texts;
}

function textOf(type: Field['type'], value: unknown): string {
  switch (type) {
    case 'tag':
      return encodeTag(value as string);
    case 'tags':
      return (value as readonly string[]).map(encodeTag).join(TAG_SEPARATOR);
    case 'number':
      return String(value);
    case 'text':
      return spacedWords(value as string);
    case 'boolean':
      return value === true ? '1' : '0';
    case 'geo': {
      const { lon, lat } = value as GeoPoint;
      return `${lon},${lat}`;
    }
  }
}

function among({ fields }: CompiledSchema, name: string, values: ReadonlyArray<string | number | boolean>): string {
  if (fields.get(name)?.type === 'number') {
    const ranges = values.map((value) => `@${name}:[${Number(value)} ${Number(value)}]`);
    return `(${ranges.join(' | ')})`;
  }
  return `(@${name}:{${values.map(tagLiteral).join(' | ')}})`;
}

function tagLiteral(value: string | number | boolean): string {
  const stored = typeof value === 'boolean' ? String(Number(value)) : encodeTag(String(value));
  // What is not a letter, a digit or _ may mean something to the parser, the space included.
  return stored.replaceAll(/[^\p{L}\p{M}\p{N}_]/gu, (char) => ((char.codePointAt(0) ?? 0) < 0x80 ? `\\${char}` : char));
}
