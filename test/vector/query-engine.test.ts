/**
 * An index on the Query Engine, as far as it goes without one: FT.* are answered by the test as the documentation says, everything else
 * by a real server. On a real Query Engine the contract suite runs.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLogger } from '../../src/log.ts';
import { byScore, type Found } from '../../src/vector/engine.ts';
import type { Definition } from '../../src/vector/definition.ts';
import { indexedFields } from '../../src/vector/engines/query-commands.ts';
import type { IndexOptions } from '../../src/vector/options.ts';
import { compileSchema, type VectorSchema } from '../../src/vector/schema.ts';
import type { Command, VectorConnections } from '../../src/vector/search-port.ts';
import { createVectors } from '../../src/vector/create-vectors.ts';
import type { VectorIndex } from '../../src/vector/vector-index.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

let server: TestServer;
beforeAll(async () => (server = await startRedis()));
afterAll(() => server.stop());
const own = ownedByTest();

const ROWS = ['doc#1', 'doc#2', 'doc#3'];
type Answer = (command: readonly string[]) => unknown;

/** What the server says of an index: RESP3, as a flat list. */
function info(more: readonly unknown[] = []): unknown[] {
  return ['num_docs', 1, 'percent_indexed', 1, 'indexing', 0, ...more];
}

function rows(...fields: ReadonlyArray<readonly string[]>): unknown[] {
  const results = fields.map((each, at) => ['id', `k${at}`, 'extra_attributes', each, 'values', []]);
  return ['total_results', results.length, 'results', results, 'warning', []];
}

/** An index whose FT.* commands `answers` has by name, or as a server that holds nothing. */
function pretend(
  options: Partial<IndexOptions> & { name: string },
  answers: Record<string, Answer> = {},
  { hybridSearch = false, json = true } = {},
) {
  const connections = own(createConnections({ url: server.url }));
  const sent: string[][] = [];
  const logged: string[] = [];
  const usual: Record<string, Answer> = { 'FT.INFO': () => info(), 'FT.SEARCH': () => rows() };
  const pretended: VectorConnections = {
    topology: connections.topology,
    label: connections.label,
    outage: () => connections.outage(),
    commands: () => connections.commands(),
    capabilities: async () => {
      const known = await connections.capabilities();
      return { ...known, features: { ...known.features, queryEngine: true, hybridSearch, json } };
    },
    search: (async () => ({
      async sendCommand(command: Command) {
        const words = command.map(String);
        sent.push(words);
        const [verb = '', ...rest] = command;
        if (!String(verb).startsWith('FT.')) return connections.commands().callBuffer(String(verb), ...rest);
        return (answers[String(verb)] ?? usual[String(verb)])?.(words) ?? 'OK';
      },
    })) as never,
  };
  const log = createLogger({ level: 'warn', destination: { write: (line: string) => logged.push(line) } });
  const vectors = own(createVectors(pretended, { follow: 50, log }));
  const index: VectorIndex = vectors.index<VectorSchema>({ dimensions: 2, engine: 'query-engine', ...options });
  return { index, sent, logged, verbs: () => sent.map(([verb]) => verb) };
}

const keysOf = (name: string): Promise<string[]> =>
  server.ask(async (redis) => (await redis.keys(`millrace:vector:{${name}:*`)).map((key) => key.split('}:')[1] ?? ''));

test('a version goes without its documents in the way of the server: closed first, then the index, then chunk by chunk', async () => {
  const { index, sent } = pretend({ name: 'dropped' });
  await index.upsert(Array.from({ length: 700 }, (_none, at) => ({ id: String(at), vector: [1, at], text: 'words' })));
  // A chunk that the server never took into its index.
  expect(await keysOf('dropped')).toHaveLength(701);
  const removals: string[][] = [];
  await server.ask(async (redis) => {
    const monitor = await redis.monitor();
    monitor.on(
      'monitor',
      (_time: string, args: string[]) => args.join(' ').includes('dropped:1') && removals.push(args),
    );
    expect(await index.rebuild({ keepOld: 0 })).toMatchObject({ version: 2, documents: 700 });
    monitor.disconnect();
  });
  expect(sent.filter(([verb]) => verb === 'FT.DROPINDEX')).toEqual([['FT.DROPINDEX', 'millrace:vector:dropped:1']]);
  const closing = removals.findIndex(([verb, , value]) => /^set$/i.test(verb ?? '') && value === 'closed');
  const unlinked = removals.findIndex(([verb]) => /^unlink$/i.test(verb ?? ''));
  expect(closing).toBeGreaterThan(-1);
  expect(closing).toBeLessThan(unlinked);
  const left = await server.ask((redis) => redis.keys('millrace:vector:{dropped:1:*'));
  expect(left).toEqual(['millrace:vector:{dropped:1:0}:phase']);
});

/** What FT.INFO says of failures: how many, and where the last one is. */
function failing(count: number, chunk: string): unknown[] {
  const key = `millrace:vector:{failing:1:0}:chunk:${chunk}`;
  const reason = 'Could not add vector';
  return ['indexing failures', count, 'last indexing error', reason, 'last indexing error key', key];
}

test('what the server could not index is the failure of its own document, once, and the others keep their outcomes', async () => {
  let errors: unknown[] = [];
  const { index, logged } = pretend({ name: 'failing' }, { 'FT.INFO': () => info(['Index Errors', errors]) });
  const items = ['a', 'a#b', 'c'].map((id) => ({ id, vector: [1, 0] }));
  errors = failing(2, 'elsewhere#0');
  await index.open();
  expect(await index.upsert([{ id: 'first', vector: [1, 0] }])).toMatchObject({ added: 1, failed: 0 });
  errors = failing(3, 'a#b#0');
  const { outcomes, added, failed } = await index.upsert(items);
  expect(outcomes.map(({ id, status }) => [id, status])).toEqual([
    ['a', 'added'],
    ['a#b', 'failed'],
    ['c', 'added'],
  ]);
  expect([added, failed]).toEqual([2, 1]);
  expect(outcomes[1]?.error).toMatchObject({ code: 'INDEX_FAILED', facts: { reason: 'Could not add vector' } });
  expect(await index.upsert([{ id: 'd', vector: [1, 0] }])).toMatchObject({ added: 1, failed: 0 });
  // A server that was started again counts from 0; what another process wrote is told, and is nobody's outcome.
  errors = failing(1, 'of another process#0');
  expect(await index.upsert([{ id: 'e', vector: [1, 0] }])).toMatchObject({ added: 1, failed: 0 });
  expect(logged.filter((line) => line.includes('of another process#0'))).toHaveLength(1);
});

test('an upsert is over once the server has indexed what it wrote', async () => {
  const states = [
    ['percent_indexed', '0.5', 'indexing', '1'],
    ['percent_indexed', '1', 'indexing', 3], // The nodes of a Cluster that are at it.
    ['percent_indexed', '1', 'indexing', '0'],
  ];
  const { index, verbs } = pretend({ name: 'filling' }, { 'FT.INFO': () => states.shift() ?? info() });
  expect(await index.upsert([{ id: '1', vector: [1, 0] }])).toMatchObject({ added: 1 });
  expect(states).toEqual([]);
  expect(verbs().filter((verb) => verb === 'FT.INFO')).toHaveLength(3);
});

test('a new version in which something cannot be found does not take over, and is given up', async () => {
  let errors: unknown[] = [];
  const { index } = pretend({ name: 'unwhole' }, { 'FT.INFO': () => info(['Index Errors', errors]) });
  await index.upsert([{ id: '1', vector: [1, 0] }]);
  errors = ['indexing failures', 1, 'last indexing error', 'no', 'last indexing error key', 'k'];
  await failureOf(index.rebuild({ keepOld: 0 }), 'INDEX_FAILED');
  errors = [];
  expect(await index.rebuild({ keepOld: 0 })).toMatchObject({ version: 3, documents: 1 });
});

test('an answer that is not whole is told in the log, and is an error where it must be exact', async () => {
  const partial = [
    ...rows(['_chunk', 'doc#1', '_distance', '0.5', '_metadata', '{}']).slice(0, -1),
    ['Timeout limit was reached'],
  ];
  const { index, logged } = pretend({ name: 'partial' }, { 'FT.SEARCH': () => partial });
  await index.upsert([{ id: 'doc', vector: [1, 0] }]);
  expect(await index.search({ vector: [1, 0] })).toMatchObject([{ id: 'doc', score: 0.75 }]);
  expect(logged.join('')).toContain('Timeout limit was reached');
  await failureOf(index.selfTest({ sample: 1 }), 'REDIS_FAILED');
});

test('a row without fields, of a chunk that went meanwhile, is no hit; what comes as JSON is read', async () => {
  const encoded = ['_chunk', '"doc#1"', '_text', '"says \\"so\\""', '_metadata', '"{}"', '_distance', '0'];
  const listed = ['_chunk', '["doc#2"]', '_text', '["so"]', '_metadata', '["{}"]', '_distance', '1'];
  const { index } = pretend({ name: 'rows', documents: 'json' }, { 'FT.SEARCH': () => rows([], encoded, listed) });
  expect(await index.search({ vector: [1, 0] })).toMatchObject([
    { id: 'doc', chunk: '1', text: 'says "so"', metadata: {} },
    { id: 'doc', chunk: '2', text: 'so', metadata: {} },
  ]);
});

function found(chunk: string, distance: number): Found {
  return { chunk, distance, score: 1, text: undefined, index: 0, metadata: '{}' };
}

test('inner products keep the order of the server, also where they leave the scale of scores', async () => {
  const distances = ['-7', '-3', '0.5'];
  const reply = rows(
    ...distances.map((told, at) => ['_chunk', ROWS[2 - at] ?? '', '_metadata', '{}', '_distance', told]),
  );
  const { index } = pretend({ name: 'inner', metric: 'ip' }, { 'FT.SEARCH': () => reply });
  const hits = await index.search({ vector: [4, 0] });
  expect(hits.map(({ chunk, score }) => [chunk, score])).toEqual([
    ['3', 1],
    ['2', 1],
    ['1', 0.75],
  ]);
  expect([found('a#1', -3), found('b#1', -7), found('0#1', -3)].toSorted(byScore).map(({ chunk }) => chunk)).toEqual([
    'b#1',
    '0#1',
    'a#1',
  ]);
});

/** What a search tells of a chunk of a document. */
async function rowOf(name: string, id: string, ...more: string[]): Promise<string[]> {
  const key = (await keysOf(name)).find((one) => one.startsWith(`chunk:${id}#`)) ?? '';
  return ['_chunk', key.slice('chunk:'.length), '_index', '0', '_metadata', '{}', ...more];
}

test('words and vectors rank together: by FT.HYBRID where it is, else by two searches that are merged here', async () => {
  const search = { vector: [1, 0], k: 2, hybrid: { text: 'red car' } };
  const upserted = [
    { id: 'near', vector: [1, 0] },
    { id: 'both', vector: [1, 1] },
    { id: 'worded', vector: [0, 1] },
  ];
  const fused = pretend(
    { name: 'fused' },
    {
      'FT.HYBRID': () => ['total_results', 2, 'results', ranked, 'warnings', [], 'execution_time', 0.4],
    },
    { hybridSearch: true },
  );
  await fused.index.upsert(upserted);
  const ranked = [await rowOf('fused', 'both'), await rowOf('fused', 'worded')];
  expect((await fused.index.search(search)).map(({ id, score }) => [id, Number(score.toFixed(2))])).toEqual([
    ['both', 0.85],
    ['worded', 0.5],
  ]);
  expect(fused.verbs()).not.toContain('FT.SEARCH');

  const merged = pretend(
    { name: 'merged' },
    {
      'FT.SEARCH': (command) =>
        command.includes('WITHSCORES') ? scored(chunks.both, chunks.worded) : rows(chunks.near, chunks.both),
    },
  );
  await merged.index.upsert(upserted);
  const chunks = {
    near: await rowOf('merged', 'near', '_distance', '0'),
    both: await rowOf('merged', 'both', '_distance', '0.3'),
    worded: await rowOf('merged', 'worded'),
  };
  expect((await merged.index.search(search)).map(({ id }) => id)).toEqual(['both', 'near']);
  expect(merged.verbs()).not.toContain('FT.HYBRID');
});

/** Rows of a search by words, which have scores of their own and no distance. */
function scored(...fields: ReadonlyArray<readonly string[]>): unknown[] {
  const results = fields.map((each, at) => ['id', `k${at}`, 'score', 2 - at, 'extra_attributes', each, 'values', []]);
  return ['total_results', results.length, 'results', results, 'warning', []];
}

test('a ranking of another search cannot be filtered by words, and that is told before anything is asked', async () => {
  const { index, verbs } = pretend({ name: 'ranked', schema: { body: 'text' } });
  await index.open();
  const before = verbs().length;
  const search = index.search({
    vector: [1, 0],
    hybrid: { ranking: ['1'] },
    filter: { op: 'text', field: 'body', words: 'x' },
  });
  expect((await failureOf(search, 'FILTER_UNSUPPORTED')).message).not.toContain("engine 'query-engine'");
  expect(verbs()).toHaveLength(before);
});

test('an index on the server that is another one than ours is refused, and what differs is told', async () => {
  const vector =
    'identifier _vector attribute _vector type VECTOR algorithm FLAT data_type FLOAT64 dim 768 distance_metric L2';
  const tag = 'identifier year attribute year type TAG SEPARATOR | CASESENSITIVE';
  const attributes = [vector, tag].map((field) => field.split(' '));
  const { index } = pretend(
    { name: 'shape', schema: { year: 'number' } },
    {
      'FT.INFO': () =>
        info(['index_definition', ['key_type', 'HASH', 'prefixes', ['other:']], 'attributes', attributes]),
    },
  );
  const { message } = await failureOf(index.open(), 'INDEX_MISMATCH');
  expect(message).toContain('prefixes of the search index: other: there, millrace:vector:{shape:1:0}:chunk: here');
  expect(message).toContain('year AS year TAG there');
  expect(message).toContain('f_year AS year NUMERIC');
  expect(message).toContain('dim of _vector of the search index: 768 there, 2 here');
  expect(message).not.toContain('keyType');
});

test('an index on the server that is as we make it is taken, in whatever order its fields come', async () => {
  const schema = compileSchema({ year: 'number', body: 'text', lang: 'tag' });
  const fields = indexedFields({ documents: 'json', algorithm: 'hnsw', metric: 'cosine' } as Definition, schema).map(
    ({ path, name, type, more }) => [
      ...`identifier ${path} attribute ${name} type ${type} SEPARATOR | flags`.split(' '),
      more.filter((word) => word === 'CASESENSITIVE'),
    ],
  );
  const shape = ['index_definition', ['key_type', 'JSON'], 'attributes', fields.toReversed()];
  const { index } = pretend(
    { name: 'same', schema: schema.definition, documents: 'json' },
    { 'FT.INFO': () => info(shape) },
  );
  expect(await index.open()).toBeUndefined();
});

test('a page is a page, where the nodes of a Cluster give all rows up to its end', async () => {
  const all = Array.from({ length: 12 }, (_none, at) => ['_chunk', `doc${at}#0`, '_index', '0', '_metadata', '{}']);
  const given = (count: number) => ['total_results', 12, ...rows(...all.slice(0, count)).slice(2)];
  const { index } = pretend(
    { name: 'pages' },
    {
      'FT.SEARCH': (words) => {
        const [offset = 0, count = 0] = words.slice(words.indexOf('LIMIT') + 1).map(Number);
        return given(Math.min(12, offset + count));
      },
    },
  );
  const idsAt = async (offset: number) => (await index.searchText('tree', { k: 5, offset })).hits.map(({ id }) => id);
  expect(await idsAt(0)).toEqual(['doc0', 'doc1', 'doc2', 'doc3', 'doc4']);
  expect(await idsAt(5)).toEqual(['doc5', 'doc6', 'doc7', 'doc8', 'doc9']);
  expect(await idsAt(10)).toEqual(['doc10', 'doc11']);
  expect(await idsAt(20)).toEqual([]);
});

test('of few chunks all are compared; how many there are is asked for once in a while', async () => {
  let chunks = 2_000;
  const { index, sent, verbs } = pretend({ name: 'few' }, { 'FT.INFO': () => info(['num_docs', chunks]) });
  const searches = async () => {
    sent.length = 0;
    await index.search({ vector: [1, 0] });
    await index.range({ vector: [1, 0], minScore: 0.5 });
    return sent.filter(([verb]) => verb === 'FT.SEARCH').map((words) => words[2]);
  };
  await index.open();
  expect(await searches()).toEqual([
    expect.stringContaining('HYBRID_POLICY ADHOC_BF'),
    expect.stringContaining('HYBRID_POLICY ADHOC_BF'),
  ]);
  expect(verbs()).not.toContain('FT.INFO');
  chunks = 2_001;
  await index.upsert([{ id: '1', vector: [1, 0] }]);
  expect(await searches()).toEqual([expect.stringContaining('EF_RUNTIME'), expect.stringContaining('VECTOR_RANGE')]);
});

test('JSON documents are refused where the server has none', async () => {
  const { index } = pretend({ name: 'as-json', documents: 'json' }, {}, { json: false });
  expect(await failureOf(index.open(), 'CAPABILITY_MISSING')).toMatchObject({
    message: expect.stringContaining('JSON'),
  });
});

test('an index that the server has lost is made again, whatever finds out, in the words of each release', async () => {
  let [isThere, says] = [false, ''];
  const orNone = (answer: () => unknown) => () => {
    if (isThere) return answer();
    throw new Error(says);
  };
  const { index, verbs, sent } = pretend(
    { name: 'gone' },
    {
      'FT.CREATE': () => (isThere = true),
      'FT.INFO': orNone(info),
      'FT.SEARCH': orNone(() => rows(['_chunk', 'doc#0', '_index', '0', '_metadata', '{}'])),
    },
  );
  await index.open();
  for (const each of ['No such index x', 'Unknown index name', 'SEARCH_INDEX_NOT_FOUND Index not found: x']) {
    const calls = [
      () => index.search({ vector: [1, 0] }),
      () => index.upsert([{ id: each, vector: [1, 0] }]),
      () => index.stats(),
    ];
    for (const call of calls) {
      [isThere, says] = [false, each];
      sent.length = 0;
      await call();
      expect(verbs()).toContain('FT.CREATE');
    }
  }
});
