/** What the engines answer, in each form that it may come in. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Definition } from '../../src/vector/definition.ts';
import { readIndexState, readSearchReply } from '../../src/vector/engines/query-replies.ts';
import { indexShape, readIndexShape, shapeFaults } from '../../src/vector/engines/query-shape.ts';
import { decodeVector, similarityTo } from '../../src/vector/engines/raw-vectors.ts';
import { compileSchema } from '../../src/vector/schema.ts';
import { cosine, normalise, toBlob } from '../../src/vector/vectors.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { clusteredVectors } from './own-vectors.ts';

let server: TestServer;
beforeAll(async () => (server = await startRedis()));
afterAll(() => server.stop());

/** A row as RESP3 has it. */
function result(id: string, chunk: string, distance: string): unknown[] {
  return ['id', id, 'extra_attributes', ['_chunk', chunk, '_distance', distance], 'values', []];
}

test('an answer of FT.SEARCH is read the same from RESP2 and RESP3', () => {
  const rows = [
    {
      id: 'k1',
      score: undefined,
      fields: new Map([
        ['_chunk', 'doc#1'],
        ['_distance', '0.25'],
      ]),
    },
    {
      id: 'k2',
      score: undefined,
      fields: new Map([
        ['_chunk', 'doc#2'],
        ['_distance', '0.5'],
      ]),
    },
  ];
  const flat = [7, 'k1', ['_chunk', 'doc#1', '_distance', '0.25'], 'k2', ['_chunk', 'doc#2', '_distance', '0.5']];
  const listed = [
    'attributes',
    [],
    'total_results',
    7,
    'format',
    'STRING',
    'results',
    [result('k1', 'doc#1', '0.25'), result('k2', 'doc#2', '0.5')],
    'warning',
    ['Timeout limit was reached'],
  ];
  expect(readSearchReply(flat, false)).toEqual({ total: 7, rows, warnings: [] });
  expect(readSearchReply(listed, false)).toEqual({ total: 7, rows, warnings: ['Timeout limit was reached'] });
  expect(readSearchReply([1, 'k', '1.5', ['a', 'b']], true).rows).toEqual([
    { id: 'k', score: 1.5, fields: new Map([['a', 'b']]) },
  ]);
  const scored = ['total_results', 1, 'results', [['id', 'k', 'score', 1.5, 'extra_attributes', ['a', 'b']]]];
  expect(readSearchReply(scored, true).rows).toEqual([{ id: 'k', score: 1.5, fields: new Map([['a', 'b']]) }]);
  expect(readSearchReply([0], false)).toEqual({ total: 0, rows: [], warnings: [] });
});

test('an answer of FT.HYBRID has the fields that were loaded beside each other', () => {
  const reply = [
    'total_results',
    2,
    'results',
    [
      ['_chunk', 'doc#1', '__score', '0.03'],
      ['_chunk', 'doc#2', '__score', '0.01'],
    ],
    'warnings',
    [],
    'execution_time',
    0.3,
  ];
  expect(readSearchReply(reply, false).rows.map(({ fields }) => fields.get('_chunk'))).toEqual(['doc#1', 'doc#2']);
});

test('FT.INFO tells what is indexed and what failed, old or new', () => {
  const old = [
    'index_name',
    'idx',
    'num_docs',
    '33',
    'hash_indexing_failures',
    '2',
    'percent_indexed',
    '0.5',
    'indexing',
    '1',
  ];
  expect(readIndexState(old)).toMatchObject({
    documents: 33,
    failures: 2,
    indexed: 0.5,
    isIndexing: true,
    lastErrorKey: undefined,
  });
  const errors = [
    'indexing failures',
    3,
    'last indexing error',
    'Could not add vector with blob size 8',
    'last indexing error key',
    'k:1',
  ];
  const newer = [
    'num_docs',
    5,
    'percent_indexed',
    1,
    'indexing',
    0,
    'total_index_memory_sz_mb',
    2,
    'Index Errors',
    errors,
  ];
  expect(readIndexState(newer)).toEqual({
    documents: 5,
    failures: 3,
    indexed: 1,
    isIndexing: false,
    sizeBytes: 2 * 1_024 * 1_024,
    lastError: 'Could not add vector with blob size 8',
    lastErrorKey: 'k:1',
  });
});

test.each([
  { release: '8.0, whose total is without the vectors', total: 0.5, bytes: 3 * 1_024 * 1_024 },
  { release: '8.4 and later', total: 3, bytes: 3 * 1_024 * 1_024 },
])('the size of an index is all of it, in release $release', ({ total, bytes }) => {
  const parts = ['vector_index_sz_mb', 2.5, 'doc_table_size_mb', 0.3, 'inverted_sz_mb', 0.1];
  expect(readIndexState([...parts, 'total_index_memory_sz_mb', total]).sizeBytes).toBe(bytes);
});

/** What FT.INFO of RediSearch 8.0 says of an index. In RESP2 numbers come as text, and flags behind the pairs of a field. */
function described(isResp3: boolean, vector: string, flagsOfYear = 'SORTABLE UNF'): unknown[] {
  const list = (text: string): unknown[] =>
    text.split(' ').map((part) => (isResp3 && /^\d/.test(part) ? Number(part) : part));
  const field = (pairs: string, flags = ''): unknown[] => {
    const words = flags === '' ? [] : flags.split(' ');
    return isResp3 ? [...list(pairs), 'flags', words] : [...list(pairs), ...words];
  };
  return [
    ...list('index_name idx index_options'),
    [],
    'index_definition',
    ['key_type', 'HASH', 'prefixes', ['p:'], 'default_score', isResp3 ? 1 : '1', 'indexes_all', 'false'],
    'attributes',
    [
      field(`identifier _vector attribute _vector type VECTOR${vector}`),
      field('identifier _words attribute _words type TEXT WEIGHT 1'),
      field('identifier _index attribute _index type NUMERIC'),
      field('identifier f_body attribute body type TEXT WEIGHT 0.10000000000000001', 'INDEXMISSING'),
      field('identifier f_lang attribute lang type TAG SEPARATOR |', 'CASESENSITIVE INDEXMISSING'),
      field('identifier f_year attribute year type NUMERIC', flagsOfYear),
    ],
    ...list('num_docs 0 max_doc_id 0 hash_indexing_failures 0 total_indexing_time 0 indexing 0 percent_indexed 1'),
  ];
}

test.each([2, 3])('FT.INFO tells whether an index is as we make it, and else what differs (RESP%i)', (resp) => {
  const hnsw = ' algorithm HNSW data_type FLOAT32 dim 384 distance_metric COSINE M 16 ef_construction 200';
  const flat = ' algorithm FLAT data_type FLOAT64 dim 768 distance_metric L2';
  const definition = {
    documents: 'hash',
    algorithm: 'hnsw',
    dimensions: 384,
    metric: 'cosine',
    m: 16,
    efConstruction: 200,
  } as Definition;
  const schema = compileSchema({
    lang: 'tag',
    year: { type: 'number', sortable: true },
    body: { type: 'text', weight: 0.1 },
  });
  const faultsOf = (reply: unknown[], more: Partial<Definition> = {}): string[] =>
    shapeFaults(readIndexShape(reply), indexShape({ ...definition, ...more }, schema, ['p:']));
  const isResp3 = resp === 3;

  expect(faultsOf(described(isResp3, hnsw))).toEqual([]);
  // Releases before 8 say no more of a vector.
  expect(faultsOf(described(isResp3, ''))).toEqual([]);
  expect(faultsOf(described(isResp3, flat, ''))).toEqual([
    'algorithm of _vector of the search index: FLAT there, HNSW here',
    'data_type of _vector of the search index: FLOAT64 there, FLOAT32 here',
    'dim of _vector of the search index: 768 there, 384 here',
    'distance_metric of _vector of the search index: L2 there, COSINE here',
    'SORTABLE of year of the search index: no there, yes here',
  ]);
  expect(faultsOf(described(isResp3, hnsw), { m: 32, efConstruction: 400 })).toEqual([
    'M of _vector of the search index: 16 there, 32 here',
    'ef_construction of _vector of the search index: 200 there, 400 here',
  ]);
});

test('a vector as a vector set keeps it scores as VSIM scores it, and is read back', async () => {
  const vectors = clusteredVectors(60, 100);
  await server.ask(async (redis) => {
    for (const [quantisation, digits, leastCosine] of [
      ['NOQUANT', 5, 0.99999],
      ['Q8', 2, 0.999],
      ['BIN', 5, 0.6],
    ] as const) {
      const key = `raw-${quantisation}`;
      for (const [at, vector] of vectors.entries())
        await redis.call('VADD', key, 'FP32', toBlob(vector), String(at), quantisation);
      const query = normalise(vectors[0] as Float32Array);
      const flat = (await redis.call(
        'VSIM',
        key,
        'FP32',
        toBlob(query),
        'WITHSCORES',
        'COUNT',
        60,
        'TRUTH',
      )) as string[];
      expect(flat).toHaveLength(120);
      for (let place = 0; place < flat.length; place += 2) {
        const element = flat[place] as string;
        const raw = (await redis.callBuffer('VEMB', key, element, 'RAW')) as Buffer[];
        const [kind, bytes, norm, range] = [String(raw[0]), raw[1] as Buffer, Number(raw[2]), Number(raw[3] ?? 0)];
        expect(similarityTo(query, { kind, bytes, range })).toBeCloseTo(Number(flat[place + 1]), digits);
        const vector = decodeVector({ kind, bytes, norm, range }, 100);
        expect(cosine(vector, vectors[Number(element)] as Float32Array)).toBeGreaterThan(leastCosine);
      }
    }
  });
});
