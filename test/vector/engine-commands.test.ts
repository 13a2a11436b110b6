/** Every command of both engines, word for word: what the documentation of the server says, since no Query Engine may be at hand. */
import { expect, test } from 'vitest';
import type { Definition } from '../../src/vector/definition.ts';
import {
  createIndex,
  describeIndex,
  dropIndex,
  pointAlias,
  putChunk,
  removeChunk,
  searchHybrid,
  searchNearest,
  searchWords,
} from '../../src/vector/engines/query-commands.ts';
import {
  addVector,
  listNumber,
  listTag,
  readVector,
  removeVector,
  searchVectors,
  setAttributes,
  unlistNumber,
  unlistTag,
} from '../../src/vector/engines/vector-set-commands.ts';
import { compileSchema } from '../../src/vector/schema.ts';
import type { Command } from '../../src/vector/search-port.ts';

const schema = compileSchema({
  lang: 'tag',
  labels: 'tags',
  year: { type: 'number', sortable: true },
  draft: 'boolean',
  body: { type: 'text', weight: 2 },
  place: 'geo',
});
const definition: Definition = {
  engine: 'query-engine',
  dimensions: 2,
  metric: 'cosine',
  quantisation: 'none',
  algorithm: 'hnsw',
  m: 16,
  efConstruction: 200,
  schema: {},
  listed: [],
  embedder: '',
  chunker: 'whole',
  shards: 1,
  documents: 'hash',
  keepsVectors: false,
};
const flat: Definition = { ...definition, algorithm: 'flat', metric: 'l2' };
const json: Definition = { ...definition, documents: 'json' };
const sets: Definition = { ...definition, engine: 'vector-sets', quantisation: 'q8' };
const vector = Float32Array.of(1, -2);
const blob = Buffer.from('0000803f000000c0', 'hex');
const metadata = {
  lang: 'a-b c',
  labels: ['x', 'y|z'],
  year: 2_020,
  draft: true,
  body: 'some words',
  place: { lat: 1.5, lon: 2.5 },
};

/** A command as one line: bytes as hex, and what could be mistaken as JSON. */
function line(command: Command | undefined): string {
  return (command ?? []).map(shown).join(' ');
}

function shown(part: Command[number]): string {
  if (Buffer.isBuffer(part)) return `<${part.toString('hex')}>`;
  return /[ "'\0]/.test(part) ? JSON.stringify(part) : part;
}

test('the commands of vector sets', () => {
  const query = {
    vector: blob,
    count: 10,
    ef: 64,
    minScore: 0,
    filter: undefined,
    filterEf: undefined,
    isExact: false,
  };
  expect(
    [
      addVector('v', 'doc#1', blob, '{"lang":"en"}', sets),
      addVector('v', 'doc#1', blob, '{}', { ...sets, quantisation: 'none', m: 32, efConstruction: 400 }),
      addVector('v', 'doc#1', blob, '{}', { ...sets, quantisation: 'bin' }),
      setAttributes('v', 'doc#1', '{}'),
      removeVector('v', 'doc#1'),
      readVector('v', 'doc#1'),
      searchVectors('v', query),
      searchVectors('v', { ...query, ef: 500 }),
      searchVectors('v', { ...query, minScore: 0.75 }),
      searchVectors('v', { ...query, filter: '(.lang == "en")', filterEf: 6_400 }),
      searchVectors('v', { ...query, isExact: true }),
      listTag('t', 'a"b', 'doc#1'),
      unlistTag('t', 'en', 'doc#1'),
      listNumber('n', 1.5, 'doc#1'),
      unlistNumber('n', 'doc#1'),
    ].map(line),
  ).toMatchInlineSnapshot(`
    [
      "VADD v FP32 <0000803f000000c0> doc#1 Q8 EF 200 SETATTR "{\\"lang\\":\\"en\\"}" M 16",
      "VADD v FP32 <0000803f000000c0> doc#1 NOQUANT EF 400 SETATTR {} M 32",
      "VADD v FP32 <0000803f000000c0> doc#1 BIN EF 200 SETATTR {} M 16",
      "VSETATTR v doc#1 {}",
      "VREM v doc#1",
      "VEMB v doc#1 RAW",
      "VSIM v FP32 <0000803f000000c0> WITHSCORES COUNT 10 EF 64",
      "VSIM v FP32 <0000803f000000c0> WITHSCORES COUNT 10 EF 500",
      "VSIM v FP32 <0000803f000000c0> WITHSCORES COUNT 10 EPSILON 0.50001 EF 64",
      "VSIM v FP32 <0000803f000000c0> WITHSCORES COUNT 10 EF 64 FILTER "(.lang == \\"en\\")" FILTER-EF 6400",
      "VSIM v FP32 <0000803f000000c0> WITHSCORES COUNT 10 EF 64 TRUTH",
      "ZADD t 0 "a%22b\\u0000doc#1"",
      "ZREM t "en\\u0000doc#1"",
      "ZADD n 1.5 doc#1",
      "ZREM n doc#1",
    ]
  `);
});

test('the commands that make, describe and drop a search index', () => {
  expect(
    [
      createIndex('idx', ['p:{a:1:0}:chunk:', 'p:{a:1:1}:chunk:'], definition, schema),
      createIndex('idx', ['p:'], flat, compileSchema({})),
      createIndex('idx', ['p:'], { ...json, metric: 'ip' }, schema),
      createIndex('idx', ['p:'], flat, compileSchema({ a: 'text', weight: 'tag', sortable: 'number' })),
      dropIndex('idx'),
      pointAlias('alias', 'idx'),
      describeIndex('idx'),
    ].map(line),
  ).toMatchInlineSnapshot(`
    [
      "FT.CREATE idx ON HASH PREFIX 2 p:{a:1:0}:chunk: p:{a:1:1}:chunk: STOPWORDS 0 SCHEMA _vector AS _vector VECTOR HNSW 10 TYPE FLOAT32 DIM 2 DISTANCE_METRIC COSINE M 16 EF_CONSTRUCTION 200 _words AS _words TEXT _index AS _index NUMERIC f_body AS body TEXT INDEXMISSING WEIGHT 2 f_draft AS draft TAG INDEXMISSING SEPARATOR | CASESENSITIVE f_labels AS labels TAG INDEXMISSING SEPARATOR | CASESENSITIVE f_lang AS lang TAG INDEXMISSING SEPARATOR | CASESENSITIVE f_place AS place GEO INDEXMISSING f_year AS year NUMERIC SORTABLE",
      "FT.CREATE idx ON HASH PREFIX 1 p: STOPWORDS 0 SCHEMA _vector AS _vector VECTOR FLAT 6 TYPE FLOAT32 DIM 2 DISTANCE_METRIC L2 _words AS _words TEXT _index AS _index NUMERIC",
      "FT.CREATE idx ON JSON PREFIX 1 p: STOPWORDS 0 SCHEMA $._vector AS _vector VECTOR HNSW 10 TYPE FLOAT32 DIM 2 DISTANCE_METRIC IP M 16 EF_CONSTRUCTION 200 $._words AS _words TEXT $._index AS _index NUMERIC $.body AS body TEXT INDEXMISSING WEIGHT 2 $.draft AS draft TAG INDEXMISSING SEPARATOR | CASESENSITIVE $.labels AS labels TAG INDEXMISSING SEPARATOR | CASESENSITIVE $.lang AS lang TAG INDEXMISSING SEPARATOR | CASESENSITIVE $.place AS place GEO INDEXMISSING $.year AS year NUMERIC SORTABLE",
      "FT.CREATE idx ON HASH PREFIX 1 p: STOPWORDS 0 SCHEMA _vector AS _vector VECTOR FLAT 6 TYPE FLOAT32 DIM 2 DISTANCE_METRIC L2 _words AS _words TEXT _index AS _index NUMERIC f_a AS a TEXT INDEXMISSING WEIGHT 1 f_sortable AS sortable NUMERIC f_weight AS weight TAG INDEXMISSING SEPARATOR | CASESENSITIVE",
      "FT.DROPINDEX idx",
      "FT.ALIASUPDATE alias idx",
      "FT.INFO idx",
    ]
  `);
});

test('the commands that put a chunk and remove it, as hash and as JSON', () => {
  const chunk = { chunk: 'doc#1', index: 3, text: 'sour\ngrapes; don’t a\\ “b”—c', vector, metadata };
  const bare = { ...chunk, metadata: {}, text: undefined };
  const staying = { ...chunk, vector: undefined, metadata: { lang: 'en' } };
  expect(
    [
      ...putChunk('k', chunk, definition, schema),
      ...putChunk('k', bare, definition, schema),
      ...putChunk('k', staying, definition, schema),
      ...putChunk('k', chunk, json, schema),
      ...putChunk('k', staying, json, schema),
      ...putChunk('k', { ...staying, text: undefined }, json, schema),
      removeChunk('k'),
    ].map(line),
  ).toMatchInlineSnapshot(`
    [
      "HSET k _chunk doc#1 _index 3 _metadata "{\\"lang\\":\\"a-b c\\",\\"labels\\":[\\"x\\",\\"y|z\\"],\\"year\\":2020,\\"draft\\":true,\\"body\\":\\"some words\\",\\"place\\":{\\"lat\\":1.5,\\"lon\\":2.5}}" _text "sour\\ngrapes; don’t a\\\\ “b”—c" _words "sour grapes don t a b c" _vector <0000803f000000c0> f_body "some words" f_draft 1 f_labels x|y%7Cz f_lang "a-b c" f_place 2.5,1.5 f_year 2020",
      "HSET k _chunk doc#1 _index 3 _metadata {} _vector <0000803f000000c0>",
      "HDEL k f_body f_draft f_labels f_lang f_place f_year _text _words",
      "HSET k _chunk doc#1 _index 3 _metadata "{\\"lang\\":\\"en\\"}" _text "sour\\ngrapes; don’t a\\\\ “b”—c" _words "sour grapes don t a b c" f_lang en",
      "HDEL k f_body f_draft f_labels f_place f_year",
      "JSON.SET k $ "{\\"_chunk\\":\\"doc#1\\",\\"_index\\":3,\\"_metadata\\":\\"{\\\\\\"lang\\\\\\":\\\\\\"a-b c\\\\\\",\\\\\\"labels\\\\\\":[\\\\\\"x\\\\\\",\\\\\\"y|z\\\\\\"],\\\\\\"year\\\\\\":2020,\\\\\\"draft\\\\\\":true,\\\\\\"body\\\\\\":\\\\\\"some words\\\\\\",\\\\\\"place\\\\\\":{\\\\\\"lat\\\\\\":1.5,\\\\\\"lon\\\\\\":2.5}}\\",\\"_text\\":\\"sour\\\\ngrapes; don’t a\\\\\\\\ “b”—c\\",\\"_words\\":\\"sour grapes don t a b c\\",\\"body\\":\\"some words\\",\\"draft\\":\\"1\\",\\"labels\\":\\"x|y%7Cz\\",\\"lang\\":\\"a-b c\\",\\"place\\":\\"2.5,1.5\\",\\"year\\":2020,\\"_vector\\":[1,-2]}"",
      "JSON.MERGE k $ "{\\"_chunk\\":\\"doc#1\\",\\"_index\\":3,\\"_metadata\\":\\"{\\\\\\"lang\\\\\\":\\\\\\"en\\\\\\"}\\",\\"_text\\":\\"sour\\\\ngrapes; don’t a\\\\\\\\ “b”—c\\",\\"_words\\":\\"sour grapes don t a b c\\",\\"lang\\":\\"en\\",\\"body\\":null,\\"draft\\":null,\\"labels\\":null,\\"place\\":null,\\"year\\":null}"",
      "JSON.MERGE k $ "{\\"_chunk\\":\\"doc#1\\",\\"_index\\":3,\\"_metadata\\":\\"{\\\\\\"lang\\\\\\":\\\\\\"en\\\\\\"}\\",\\"lang\\":\\"en\\",\\"body\\":null,\\"draft\\":null,\\"labels\\":null,\\"place\\":null,\\"year\\":null,\\"_text\\":null,\\"_words\\":null}"",
      "UNLINK k",
    ]
  `);
});

test('the commands that search by vectors', () => {
  const query = {
    index: 'idx',
    vector,
    take: 25,
    ef: undefined,
    filter: undefined,
    minScore: 0,
    isExact: false,
    isRange: false,
    withText: true,
  };
  const filter = { op: 'eq', field: 'lang', value: 'a-b c' } as const;
  expect(
    [
      searchNearest(query, definition, schema),
      searchNearest({ ...query, filter, ef: 200, withText: false }, definition, schema),
      searchNearest(query, flat, schema),
      searchNearest({ ...query, isExact: true }, definition, schema),
      searchNearest({ ...query, isExact: true, filter }, definition, schema),
      searchNearest({ ...query, isRange: true, minScore: 0.75 }, definition, schema),
      searchNearest({ ...query, isRange: true, minScore: 0.75, filter }, definition, schema),
      searchNearest({ ...query, isRange: true, minScore: 0.5 }, flat, schema),
      searchNearest(query, json, schema),
    ].map(line),
  ).toMatchInlineSnapshot(`
    [
      "FT.SEARCH idx "*=>[KNN 25 @_vector $vector EF_RUNTIME 100 AS _distance]" RETURN 5 _chunk _index _metadata _text _distance SORTBY _distance ASC LIMIT 0 25 PARAMS 2 vector <0000803f000000c0> DIALECT 2",
      "FT.SEARCH idx "((@lang:{a\\\\-b\\\\ c}))=>[KNN 25 @_vector $vector EF_RUNTIME 200 AS _distance]" RETURN 4 _chunk _index _metadata _distance SORTBY _distance ASC LIMIT 0 25 PARAMS 2 vector <0000803f000000c0> DIALECT 2",
      "FT.SEARCH idx "*=>[KNN 25 @_vector $vector AS _distance]" RETURN 5 _chunk _index _metadata _text _distance SORTBY _distance ASC LIMIT 0 25 PARAMS 2 vector <0000803f000000c0> DIALECT 2",
      "FT.SEARCH idx "((@_index:[0 +inf]))=>[KNN 25 @_vector $vector HYBRID_POLICY ADHOC_BF AS _distance]" RETURN 5 _chunk _index _metadata _text _distance SORTBY _distance ASC LIMIT 0 25 PARAMS 2 vector <0000803f000000c0> DIALECT 2",
      "FT.SEARCH idx "((@lang:{a\\\\-b\\\\ c}))=>[KNN 25 @_vector $vector HYBRID_POLICY ADHOC_BF AS _distance]" RETURN 5 _chunk _index _metadata _text _distance SORTBY _distance ASC LIMIT 0 25 PARAMS 2 vector <0000803f000000c0> DIALECT 2",
      "FT.SEARCH idx "@_vector:[VECTOR_RANGE $radius $vector]=>{$EPSILON: 0.1; $YIELD_DISTANCE_AS: _distance}" RETURN 5 _chunk _index _metadata _text _distance SORTBY _distance ASC LIMIT 0 25 PARAMS 4 vector <0000803f000000c0> radius 0.5 DIALECT 2",
      "FT.SEARCH idx "(@lang:{a\\\\-b\\\\ c}) @_vector:[VECTOR_RANGE $radius $vector]=>{$EPSILON: 0.1; $YIELD_DISTANCE_AS: _distance}" RETURN 5 _chunk _index _metadata _text _distance SORTBY _distance ASC LIMIT 0 25 PARAMS 4 vector <0000803f000000c0> radius 0.5 DIALECT 2",
      "FT.SEARCH idx "@_vector:[VECTOR_RANGE $radius $vector]=>{$YIELD_DISTANCE_AS: _distance}" RETURN 5 _chunk _index _metadata _text _distance SORTBY _distance ASC LIMIT 0 25 PARAMS 4 vector <0000803f000000c0> radius 1 DIALECT 2",
      "FT.SEARCH idx "*=>[KNN 25 @_vector $vector EF_RUNTIME 100 AS _distance]" RETURN 11 $._chunk AS _chunk _index $._metadata AS _metadata $._text AS _text _distance SORTBY _distance ASC LIMIT 0 25 PARAMS 2 vector <0000803f000000c0> DIALECT 2",
    ]
  `);
});

test('the commands that search by words, and by both', () => {
  const filter = {
    op: 'and',
    filters: [
      { op: 'in', field: 'labels', values: ['x', 'y'] },
      { op: 'gte', field: 'year', value: 2_000 },
    ],
  } as const;
  const words = { text: 'what @is: {this}?', filter: undefined, sort: undefined, offset: 0, take: 10, withText: true };
  const both = {
    index: 'idx',
    text: 'red car',
    vector,
    filter: undefined,
    ef: undefined,
    window: 50,
    constant: 60,
    withText: true,
  };
  expect(
    [
      searchWords('idx', words, definition, schema),
      searchWords('idx', { ...words, filter, offset: 20, take: 5, withText: false }, definition, schema),
      searchWords('idx', { ...words, sort: { field: 'year', direction: 'desc' } }, definition, schema, true),
      searchWords('idx', { ...words, text: '?! -' }, definition, schema),
      searchHybrid(both, definition, schema),
      searchHybrid({ ...both, filter, ef: 100 }, definition, schema),
      searchHybrid({ ...both, withText: false }, flat, schema),
      searchHybrid({ ...both, text: '...' }, definition, schema),
      searchHybrid(both, json, schema),
    ].map(line),
  ).toMatchInlineSnapshot(`
    [
      "FT.SEARCH idx "(what is this)" WITHSCORES RETURN 4 _chunk _index _metadata _text LIMIT 0 10 DIALECT 2",
      "FT.SEARCH idx "((@labels:{x | y}) (@year:[2000 +inf])) (what is this)" WITHSCORES RETURN 3 _chunk _index _metadata LIMIT 20 5 DIALECT 2",
      "FT.SEARCH idx "(what | is | this)" WITHSCORES RETURN 4 _chunk _index _metadata _text SORTBY year DESC LIMIT 0 10 DIALECT 2",
      "",
      "FT.HYBRID idx SEARCH "(red | car)" VSIM @_vector $vector KNN 4 K 50 EF_RUNTIME 200 COMBINE RRF 4 WINDOW 50 CONSTANT 60 LOAD 4 @_chunk @_index @_metadata @_text LIMIT 0 100 PARAMS 2 vector <0000803f000000c0>",
      "FT.HYBRID idx SEARCH "((@labels:{x | y}) (@year:[2000 +inf])) (red | car)" VSIM @_vector $vector KNN 4 K 50 EF_RUNTIME 100 FILTER "((@labels:{x | y}) (@year:[2000 +inf]))" COMBINE RRF 4 WINDOW 50 CONSTANT 60 LOAD 4 @_chunk @_index @_metadata @_text LIMIT 0 100 PARAMS 2 vector <0000803f000000c0>",
      "FT.HYBRID idx SEARCH "(red | car)" VSIM @_vector $vector KNN 2 K 50 COMBINE RRF 4 WINDOW 50 CONSTANT 60 LOAD 3 @_chunk @_index @_metadata LIMIT 0 100 PARAMS 2 vector <0000803f000000c0>",
      "",
      "FT.HYBRID idx SEARCH "(red | car)" VSIM @_vector $vector KNN 4 K 50 EF_RUNTIME 200 COMBINE RRF 4 WINDOW 50 CONSTANT 60 LOAD 10 $._chunk AS _chunk @_index $._metadata AS _metadata $._text AS _text LIMIT 0 100 PARAMS 2 vector <0000803f000000c0>",
    ]
  `);
});
