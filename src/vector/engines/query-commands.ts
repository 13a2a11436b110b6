/**
 * The commands of the Query Engine, as they are sent.
 *
 * Names of our own begin with `_`, which no field of a schema does; those of a schema begin with `f_` in a hash, because FT.CREATE would take
 * one named like an option, such as `weight`, for that option. LIMIT comes each time, because without it no more than 10 come.
 */
import type { Definition } from '../definition.ts';
import type { TextQuery } from '../engine.ts';
import type { Filter } from '../filter.ts';
import { compileQueryFilter, EVERYTHING, fieldsOfMetadata } from '../filter-fts.ts';
import { spacedWords, wordsOf } from '../filter.ts';
import type { CompiledSchema, Field } from '../schema.ts';
import type { Argument, Command } from '../search-port.ts';
import { TAG_SEPARATOR } from '../tag-form.ts';
import { distanceAt, toBlob } from '../vectors.ts';

/** What a chunk has beside its metadata. Its text is kept for readers; searched are its words. */
export const OWN_FIELDS = {
  vector: '_vector',
  text: '_text',
  words: '_words',
  chunk: '_chunk',
  index: '_index',
  metadata: '_metadata',
} as const;
/** What a search calls the distance. */
export const DISTANCE = '_distance';

const METRIC_WORDS = { cosine: 'COSINE', l2: 'L2', ip: 'IP' } as const;
/** What every chunk passes, where an expression is needed. */
const ALL = `(@${OWN_FIELDS.index}:[0 +inf])`;
/** With less than this the graph finds badly; its own default is 10. */
const LEAST_EF = 64;
const EF_PER_RESULT = 4;
/** How far beyond the border of a range the graph is walked, as a part of it. Its own default, 0.01, misses one in a hundred. */
const RANGE_EPSILON = 0.1;

/** A chunk as it is kept. */
export interface StoredChunk {
  readonly chunk: string;
  readonly index: number;
  readonly text: string | undefined;
  /** Undefined where the one that is there stays. */
  readonly vector: Float32Array | undefined;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export function createIndex(
  index: string,
  prefixes: readonly string[],
  definition: Definition,
  schema: CompiledSchema,
): Command {
  return [
    'FT.CREATE',
    index,
    'ON',
    keyType(definition),
    'PREFIX',
    String(prefixes.length),
    ...prefixes,
    'STOPWORDS',
    '0',
    'SCHEMA',
    ...indexedFields(definition, schema).flatMap(({ path, name, type, more }) => [path, 'AS', name, type, ...more]),
  ];
}

/** A field of the index: where its value is, what queries call it, and what it is. */
export interface IndexedField {
  readonly path: string;
  readonly name: string;
  readonly type: string;
  readonly more: readonly string[];
}

export function keyType({ documents }: Definition): 'HASH' | 'JSON' {
  return documents === 'json' ? 'JSON' : 'HASH';
}

export function indexedFields(definition: Definition, schema: CompiledSchema): IndexedField[] {
  const isJson = definition.documents === 'json';
  const own = (name: string, type: string, more: readonly string[] = []): IndexedField => ({
    path: isJson ? `$.${name}` : name,
    name,
    type,
    more,
  });
  return [
    own(OWN_FIELDS.vector, 'VECTOR', vectorOptions(definition)),
    own(OWN_FIELDS.words, 'TEXT'),
    own(OWN_FIELDS.index, 'NUMERIC'),
    ...[...schema.fields.values()].map((field) => ({
      path: isJson ? `$.${field.name}` : hashField(field.name),
      name: field.name,
      ...typeOf(field),
    })),
  ];
}

/** Without the documents: with them, the server would do nothing else until all are gone. */
export function dropIndex(index: string): Command {
  return ['FT.DROPINDEX', index];
}

export function pointAlias(alias: string, index: string): Command {
  return ['FT.ALIASUPDATE', alias, index];
}

export function describeIndex(index: string): Command {
  return ['FT.INFO', index];
}

/** What puts a chunk. Fields that it has no longer go. */
export function putChunk(key: string, stored: StoredChunk, definition: Definition, schema: CompiledSchema): Command[] {
  const { chunk, index, text, vector, metadata } = stored;
  const given = fieldsOfMetadata(schema, metadata);
  if (definition.documents === 'json') return putJson(key, stored, given, schema);
  const missing = [...schema.fields.keys()].filter((name) => given[name] === undefined).map(hashField);
  if (text === undefined) missing.push(OWN_FIELDS.text, OWN_FIELDS.words);
  return [
    [
      'HSET',
      key,
      OWN_FIELDS.chunk,
      chunk,
      OWN_FIELDS.index,
      String(index),
      OWN_FIELDS.metadata,
      JSON.stringify(metadata),
      ...(text === undefined ? [] : [OWN_FIELDS.text, text, OWN_FIELDS.words, spacedWords(text)]),
      ...(vector ? [OWN_FIELDS.vector, toBlob(vector)] : []),
      ...Object.entries(given).flatMap(([name, value]) => [hashField(name), value]),
    ],
    ...(missing.length > 0 ? [['HDEL', key, ...missing]] : []),
  ];
}

function hashField(name: string): string {
  return `f_${name}`;
}

/** A vector that stays is the one thing in a JSON document that is not written anew. */
function putJson(
  key: string,
  { chunk, index, text, vector, metadata }: StoredChunk,
  given: Readonly<Record<string, string>>,
  schema: CompiledSchema,
): Command[] {
  const values: Record<string, unknown> = {};
  for (const { name, type } of schema.fields.values()) {
    if (given[name] !== undefined) values[name] = type === 'number' ? metadata[name] : given[name];
  }
  const document = {
    [OWN_FIELDS.chunk]: chunk,
    [OWN_FIELDS.index]: index,
    [OWN_FIELDS.metadata]: JSON.stringify(metadata),
    ...(text !== undefined && { [OWN_FIELDS.text]: text, [OWN_FIELDS.words]: spacedWords(text) }),
    ...values,
  };
  if (vector) {
    return [['JSON.SET', key, '$', JSON.stringify({ ...document, [OWN_FIELDS.vector]: Array.from(vector) })]];
  }
  const missing = [...schema.fields.keys()].filter((name) => given[name] === undefined);
  if (text === undefined) missing.push(OWN_FIELDS.text, OWN_FIELDS.words);
  const without = Object.fromEntries(missing.map((name) => [name, null]));
  return [['JSON.MERGE', key, '$', JSON.stringify({ ...document, ...without })]];
}

export function removeChunk(key: string): Command {
  return ['UNLINK', key];
}

/** What a search by vectors is made of. */
export interface NearestArguments {
  readonly index: string;
  readonly vector: Float32Array;
  readonly take: number;
  readonly ef: number | undefined;
  readonly filter: Filter | undefined;
  readonly minScore: number;
  readonly isExact: boolean;
  readonly isRange: boolean;
  readonly withText: boolean;
}

/** The nearest so many, or all that are near enough. */
export function searchNearest(query: NearestArguments, definition: Definition, schema: CompiledSchema): Command {
  const { index, vector, take, filter, minScore, isExact, isRange, withText } = query;
  const passing = filter === undefined ? EVERYTHING : compileQueryFilter(filter, schema);
  const params: Argument[] = ['vector', toBlob(vector)];
  let expression: string;
  const isGraph = definition.algorithm === 'hnsw';
  if (isRange && minScore > 0 && !(isExact && isGraph)) {
    params.push('radius', String(distanceAt(definition.metric, minScore)));
    const epsilon = isGraph ? `$EPSILON: ${RANGE_EPSILON}; ` : '';
    const within = `@${OWN_FIELDS.vector}:[VECTOR_RANGE $radius $vector]=>{${epsilon}$YIELD_DISTANCE_AS: ${DISTANCE}}`;
    expression = filter === undefined ? within : `${passing} ${within}`;
  } else if (isExact && isGraph) {
    const all = filter === undefined ? ALL : passing;
    expression = `(${all})=>[KNN ${take} @${OWN_FIELDS.vector} $vector HYBRID_POLICY ADHOC_BF AS ${DISTANCE}]`;
  } else {
    const { ef = Math.max(LEAST_EF, take * EF_PER_RESULT) } = query;
    const runtime = isGraph ? ` EF_RUNTIME ${ef}` : '';
    const head = filter === undefined ? EVERYTHING : `(${passing})`;
    expression = `${head}=>[KNN ${take} @${OWN_FIELDS.vector} $vector${runtime} AS ${DISTANCE}]`;
  }
  return [
    'FT.SEARCH',
    index,
    expression,
    ...returned(definition, withText, [DISTANCE]),
    'SORTBY',
    DISTANCE,
    'ASC',
    'LIMIT',
    '0',
    String(take),
    'PARAMS',
    String(params.length),
    ...params,
    'DIALECT',
    '2',
  ];
}

/** The chunks in which the words are; undefined when there is no word to look for. */
export function searchWords(
  index: string,
  query: TextQuery,
  definition: Definition,
  schema: CompiledSchema,
  isAny = false,
): Command | undefined {
  const { text, filter, sort, offset, take, withText } = query;
  const words = wordsExpression(text, isAny);
  if (words === undefined) return undefined;
  return [
    'FT.SEARCH',
    index,
    filter === undefined ? words : `${compileQueryFilter(filter, schema)} ${words}`,
    'WITHSCORES',
    ...returned(definition, withText, []),
    ...(sort ? ['SORTBY', sort.field, sort.direction.toUpperCase()] : []),
    'LIMIT',
    String(offset),
    String(take),
    'DIALECT',
    '2',
  ];
}

/** What a search by both is made of. */
export interface HybridArguments {
  readonly index: string;
  readonly text: string;
  readonly vector: Float32Array;
  readonly filter: Filter | undefined;
  readonly ef: number | undefined;
  readonly window: number;
  readonly constant: number;
  readonly withText: boolean;
}

/** Both rankings in one command; undefined when there is no word to look for. */
export function searchHybrid(
  query: HybridArguments,
  definition: Definition,
  schema: CompiledSchema,
): Command | undefined {
  const { index, text, vector, filter, window, constant, withText } = query;
  const words = wordsExpression(text, true);
  if (words === undefined) return undefined;
  const passing = filter === undefined ? undefined : compileQueryFilter(filter, schema);
  const { ef = Math.max(LEAST_EF, window * EF_PER_RESULT) } = query;
  const method =
    definition.algorithm === 'hnsw' ? ['4', 'K', String(window), 'EF_RUNTIME', String(ef)] : ['2', 'K', String(window)];
  const fields = resultFields(definition, withText).flatMap((field) => (field.length > 1 ? field : [`@${field[0]}`]));
  return [
    'FT.HYBRID',
    index,
    'SEARCH',
    passing === undefined ? words : `${passing} ${words}`,
    'VSIM',
    `@${OWN_FIELDS.vector}`,
    '$vector',
    'KNN',
    ...method,
    ...(passing === undefined ? [] : ['FILTER', passing]),
    'COMBINE',
    'RRF',
    '4',
    'WINDOW',
    String(window),
    'CONSTANT',
    String(constant),
    'LOAD',
    String(fields.length),
    ...fields,
    'LIMIT',
    '0',
    String(window * 2),
    'PARAMS',
    '2',
    'vector',
    toBlob(vector),
  ];
}

function vectorOptions({ algorithm, dimensions, metric, m, efConstruction }: Definition): string[] {
  const common = ['TYPE', 'FLOAT32', 'DIM', String(dimensions), 'DISTANCE_METRIC', METRIC_WORDS[metric]];
  if (algorithm === 'flat') return ['FLAT', String(common.length), ...common];
  const all = [...common, 'M', String(m), 'EF_CONSTRUCTION', String(efConstruction)];
  return ['HNSW', String(all.length), ...all];
}

/** As filter-fts.ts needs them. */
function typeOf({ type, weight, sortable }: Field): Pick<IndexedField, 'type' | 'more'> {
  switch (type) {
    case 'tag':
    case 'tags':
    case 'boolean':
      return { type: 'TAG', more: ['INDEXMISSING', 'SEPARATOR', TAG_SEPARATOR, 'CASESENSITIVE'] };
    case 'number':
      return { type: 'NUMERIC', more: sortable ? ['SORTABLE'] : [] };
    case 'text':
      return { type: 'TEXT', more: ['INDEXMISSING', 'WEIGHT', String(weight)] };
    case 'geo':
      return { type: 'GEO', more: ['INDEXMISSING'] };
  }
}

/** Of JSON, what is no field of the index is found by its path alone. */
function resultFields({ documents }: Definition, withText: boolean): string[][] {
  const { chunk, index, metadata, text } = OWN_FIELDS;
  const stored = (name: string): string[] => (documents === 'json' ? [`$.${name}`, 'AS', name] : [name]);
  return [stored(chunk), [index], stored(metadata), ...(withText ? [stored(text)] : [])];
}

function returned(definition: Definition, withText: boolean, more: readonly string[]): string[] {
  const fields = [...resultFields(definition, withText).flat(), ...more];
  return ['RETURN', String(fields.length), ...fields];
}

/** Words only: whatever else stands in a text would be the query language. */
function wordsExpression(text: string, isAny: boolean): string | undefined {
  const words = wordsOf(text);
  return words.length === 0 ? undefined : `(${words.join(isAny ? ' | ' : ' ')})`;
}
