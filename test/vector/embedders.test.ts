/** What all embedders have in common, the local one, and the caches before them. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readEnv } from '../../src/env.ts';
import { isMillraceError, MillraceError } from '../../src/errors.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { embedAll, embedEach, embeddingHash, type Embedded, type Embedder } from '../../src/vector/embedder.ts';
import { batchesOf } from '../../src/vector/embedders/batches.ts';
import { cachedEmbedder, type EmbeddingStore } from '../../src/vector/embedders/cached-embedder.ts';
import { localEmbedder } from '../../src/vector/embedders/local-embedder.ts';
import { createEmbeddingCache } from '../../src/vector/embedding-cache.ts';
import { cosine, dot } from '../../src/vector/vectors.ts';
import { measure, questionsBy } from '../corpus/fables.ts';
import { startCluster, startRedis, type TestCluster, type TestServer } from '../support/servers.ts';

const documents = { kind: 'document' } as const;
const docs = readFileSync(new URL('../../docs/vectors.md', import.meta.url), 'utf8');

/** Counts what it is asked for. */
function countingEmbedder(
  each: (text: string) => Embedded = (text) => Float32Array.of(text.length, 1),
): Embedder & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    id: 'counting:2',
    dimensions: 2,
    embed: () => expect.unreachable('embedEach() is there'),
    embedEach: (texts) => {
      asked.push(...texts);
      return Promise.resolve(texts.map(each));
    },
  };
}

const given = (reply: unknown): Embedder => ({
  id: 'odd',
  dimensions: 2,
  embed: () => Promise.resolve(reply as Float32Array[]),
});

describe('an embedder', () => {
  test.each<[unknown, string, string]>([
    [[[1, 2]], 'EMBEDDING_FAILED', 'embedder odd: expected 2 vectors, got 1 vectors'],
    [undefined, 'EMBEDDING_FAILED', 'expected 2 vectors, got no list'],
    [[[1, 2], [1]], 'VECTOR_INVALID', 'vector 1 of embedder odd: expected 2 dimensions, got 1'],
    [[[1, 2], undefined], 'VECTOR_INVALID', 'vector 1 of embedder odd'],
  ])('that gives %j is found out', async (reply, code, message) => {
    await expect(embedAll(given(reply), ['a', 'b'], documents)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message) as string,
    });
  });

  test('may refuse one text and embed the others', async () => {
    const refusal = new MillraceError('EMBEDDING_REFUSED', 'too long');
    const embedder = countingEmbedder((text) => (text === 'bad' ? refusal : Float32Array.of(1, 1)));
    const embedded = await embedEach(embedder, ['a', 'bad'], documents);
    expect(embedded.map((one) => isMillraceError(one))).toEqual([false, true]);
    await expect(embedAll(embedder, ['a', 'bad'], documents)).rejects.toMatchObject({
      code: 'EMBEDDING_REFUSED',
      facts: { refused: [1] },
    });
    expect(await embedEach(embedder, [], documents)).toEqual([]);
  });

  test('and the text and its kind make the hash', () => {
    const hash = embeddingHash({ id: 'a' }, 'document', 'text');
    expect(hash).toMatch(/^[\w-]{43}$/);
    const others = [
      embeddingHash({ id: 'b' }, 'document', 'text'),
      embeddingHash({ id: 'a' }, 'query', 'text'),
      embeddingHash({ id: 'a' }, 'document', 'text '),
      embeddingHash({ id: 'a' }, 'document', '\ud800'),
      embeddingHash({ id: 'a' }, 'document', '\ud801'),
    ];
    expect(new Set([hash, ...others]).size).toBe(6);
  });
});

const embed = async (...texts: string[]): Promise<readonly Float32Array[]> =>
  embedAll(localEmbedder(), texts, documents);

async function nearnessOf(text: string, ...others: string[]): Promise<number[]> {
  const [first = new Float32Array(), ...rest] = await embed(text, ...others);
  return rest.map((vector) => cosine(first, vector));
}

describe('the local embedder', () => {
  test('gives the same numbers on every machine', async () => {
    const [vector] = await embed('A fox saw 3 grapes, zürnte & left 😀.');
    const [first = 0] = [...(vector ?? [])].flatMap((number, at) => (number === 0 ? [] : [at]));
    expect({
      first,
      value: vector?.[first],
      sum: vector?.reduce((sum, number, at) => sum + number * (at + 1), 0),
    }).toMatchInlineSnapshot(`
      {
        "first": 1,
        "sum": 376.22532846033573,
        "value": -0.09291578084230423,
      }
    `);
    expect(localEmbedder().id).toBe('local-1:512');
  });

  test('gives vectors of length 1, of anything', async () => {
    for (const text of ['', '   ', '...', '😀', 'a', '\u0000', '\ud800', 'x'.repeat(100_000), '吾輩は猫である']) {
      const [vector = new Float32Array()] = await embed(text);
      expect(dot(vector, vector), JSON.stringify(text)).toBeCloseTo(1, 5);
    }
  });

  test('finds forms of a word, misspellings and accents near, and other words far', async () => {
    const [near, misspelt, accents, far] = await nearnessOf(
      'running quickly',
      'he runs quick',
      'runing quikly',
      'RÚNNING QUICKLÝ',
      'sour grapes',
    );
    expect(accents).toBeCloseTo(1, 5);
    expect(misspelt).toBeGreaterThan(0.3);
    expect(near).toBeGreaterThan(0.2);
    expect(far).toBeLessThan(0.1);
  });

  test('ends when it is told to', async () => {
    const reason = new Error('enough');
    await expect(localEmbedder().embed(['a'], { kind: 'query', signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    expect(() => localEmbedder({ dimensions: 10 })).toThrow('dimensions: expected at least 64');
  });

  test('ranks the corpus well by words, and knows nothing of their meaning', async () => {
    const byWords = await measure(localEmbedder(), questionsBy('words'));
    expect(byWords.mrr).toBeGreaterThan(0.9);
    expect(byWords.recallAt1).toBeGreaterThan(0.85);
    expect(byWords.recallAt5).toBeGreaterThan(0.97);
    const byMeaning = await measure(localEmbedder(), questionsBy('meaning'));
    expect(byMeaning.mrr).toBeLessThan(0.4);
    expect(questionsBy('words').length).toBeGreaterThanOrEqual(30);
  });

  test.each([256, 512, 1_024])('of %i dimensions ranks as the docs say', async (dimensions) => {
    const embedder = localEmbedder({ dimensions });
    const [words, meaning] = [
      await measure(embedder, questionsBy('words')),
      await measure(embedder, questionsBy('meaning')),
    ];
    const figures = [words.recallAt1, words.recallAt5, words.mrr, meaning.recallAt5, meaning.mrr];
    const row = docs.split('\n').find((line) => line.startsWith(`| ${dimensions.toLocaleString('en')} `));
    expect(row?.split(' | ').slice(1).join(' | ')).toBe(`${figures.map((one) => one.toFixed(2)).join(' | ')} |`);
  });
});

/** A store in this process, for what the wrapper itself does. */
class MapStore implements EmbeddingStore {
  readonly blobs = new Map<string, Buffer>();
  failure: Error | undefined;
  getMany = (hashes: readonly string[]): Promise<Array<Buffer | undefined>> =>
    this.failure ? Promise.reject(this.failure) : Promise.resolve(hashes.map((hash) => this.blobs.get(hash)));
  setMany = (entries: ReadonlyArray<readonly [string, Buffer]>): Promise<void> => {
    if (this.failure) return Promise.reject(this.failure);
    for (const [hash, blob] of entries) this.blobs.set(hash, blob);
    return Promise.resolve();
  };
}

describe('a cached embedder', () => {
  test('asks for each text once, and gives the vectors in their order', async () => {
    const inner = countingEmbedder();
    const embedder = cachedEmbedder(inner, new MapStore());
    expect(await embedder.embed(['aa', 'b', 'aa'], documents)).toEqual([
      Float32Array.of(2, 1),
      Float32Array.of(1, 1),
      Float32Array.of(2, 1),
    ]);
    expect(await embedder.embed(['b', 'ccc', 'aa'], documents)).toEqual([
      Float32Array.of(1, 1),
      Float32Array.of(3, 1),
      Float32Array.of(2, 1),
    ]);
    expect(inner.asked).toEqual(['aa', 'b', 'ccc']);
    expect(embedder.counts()).toEqual({ cached: 2, embedded: 3, storeFailures: 0 });
    await embedder.embed(['aa'], { kind: 'query' });
    expect(inner.asked).toHaveLength(4);
  });

  test('goes on without a store that fails, or that has something else', async () => {
    const inner = countingEmbedder();
    const store = new MapStore();
    const embedder = cachedEmbedder(inner, store);
    await embedder.embed(['a'], documents);
    for (const hash of store.blobs.keys()) store.blobs.set(hash, Buffer.from('none'));
    expect(await embedder.embed(['a'], documents)).toEqual([Float32Array.of(1, 1)]);
    store.failure = new Error('gone');
    expect(await embedder.embed(['a'], documents)).toEqual([Float32Array.of(1, 1)]);
    expect(inner.asked).toEqual(['a', 'a', 'a']);
    expect(embedder.counts().storeFailures).toBe(2);
  });

  test('keeps what was embedded before a call failed', async () => {
    let calls = 0;
    const inner = countingEmbedder(() => {
      if (++calls > 700) throw new MillraceError('EMBEDDING_FAILED', 'out of money');
      return Float32Array.of(1, 1);
    });
    const store = new MapStore();
    const texts = Array.from({ length: 800 }, (_, at) => `text ${at}`);
    await expect(cachedEmbedder(inner, store).embed(texts, documents)).rejects.toMatchObject({
      code: 'EMBEDDING_FAILED',
    });
    expect(store.blobs.size).toBe(512);
  });

  test('keeps no refusal', async () => {
    const refusal = new MillraceError('EMBEDDING_REFUSED', 'not now');
    let isBad = true;
    const store = new MapStore();
    const embedder = cachedEmbedder(
      countingEmbedder((text) => (isBad && text === 'bad' ? refusal : Float32Array.of(1, 1))),
      store,
    );
    const [good, bad] = await embedder.embedEach(['good', 'bad'], documents);
    expect([isMillraceError(good), bad]).toEqual([false, refusal]);
    expect(store.blobs.size).toBe(1);
    isBad = false;
    expect(await embedder.embed(['bad'], documents)).toEqual([Float32Array.of(1, 1)]);
  });
});

describe('embeddings in Redis', () => {
  let server: TestServer;
  let cluster: TestCluster;
  beforeAll(async () => {
    [server, cluster] = await Promise.all([startRedis(), startCluster({ replicas: false })]);
  });
  afterAll(() => Promise.all([server.stop(), cluster.stop()]));

  const texts = Array.from({ length: 130 }, (_, at) => `text ${at} ${'x'.repeat(at)}`);

  async function roundTrip(connections: Connections): Promise<void> {
    try {
      const inner = countingEmbedder();
      const cache = createEmbeddingCache(connections, { prefix: 'shop', ttl: '1h' });
      const first = await cachedEmbedder(inner, cache).embed(texts, documents);
      const second = await cachedEmbedder(inner, cache).embed(texts, documents);
      expect(second).toEqual(first);
      expect(inner.asked).toHaveLength(texts.length);
      cache.stop();
    } finally {
      await connections.close();
    }
  }

  test('are found by every process, take one MGET a batch, are FP32 and expire', async () => {
    await server.ask(async (redis) => redis.config('RESETSTAT'));
    await roundTrip(createConnections({ url: server.url }));
    await server.ask(async (redis) => {
      const stats = await redis.info('commandstats');
      expect(/cmdstat_mget:calls=(\d+)/.exec(stats)?.[1]).toBe('2');
      const [, keys] = await redis.scan('0', 'MATCH', 'shop:vector:{embeddings/*', 'COUNT', '10000');
      expect(keys).toHaveLength(texts.length);
      const hash = embeddingHash({ id: 'counting:2' }, 'document', 'text 0 ');
      const key = keys.find((one) => one.endsWith(`:${hash}`)) ?? '';
      expect(await redis.strlen(key)).toBe(8);
      const leftMs = await redis.pttl(key);
      expect(leftMs).toBeGreaterThan(3_000_000);
      expect(leftMs).toBeLessThanOrEqual(3_600_000);
    });
  });

  test('are spread over a Cluster', async () => {
    await roundTrip(createConnections({ cluster: cluster.addresses }));
    const sizes = await Promise.all(cluster.nodes.map((node) => node.ask((redis) => redis.dbsize())));
    expect(sizes.reduce((sum, size) => sum + size)).toBe(texts.length);
    expect(Math.min(...sizes)).toBeGreaterThan(10);
  });

  test('that cannot be reached cost a deadline, and no embedding', async () => {
    const own = await startRedis();
    const connections = createConnections({ url: own.url });
    const cache = createEmbeddingCache(connections, { deadline: 200 });
    const embedder = cachedEmbedder(countingEmbedder(), cache);
    try {
      await embedder.embed(['a'], documents);
      own.freeze();
      expect(await embedder.embed(['a', 'b'], documents)).toEqual([Float32Array.of(1, 1), Float32Array.of(1, 1)]);
      expect(embedder.counts()).toEqual({ cached: 0, embedded: 3, storeFailures: 2 });
    } finally {
      cache.stop();
      await connections.close();
      await own.stop();
    }
  });

  test('have checked options', () => {
    const connections = createConnections({ url: server.url });
    expect(() => createEmbeddingCache(connections, { ttl: 5 })).toThrow('ttl: expected 1 s to 365 d');
    expect(() => createEmbeddingCache(connections, { prefix: 'a b' })).toThrow('prefix');
  });
});

describe('batches of texts', () => {
  const size = { maxBatch: 3, maxBatchTokens: 10, countTokens: (text: string) => text.length };

  test.each([
    [
      ['a', 'b', 'c', 'd'],
      [[0, 1, 2], [3]],
    ],
    [
      ['aaaaaa', 'bbbbb', 'c'],
      [[0], [1, 2]],
    ],
    [
      ['a', 'b'.repeat(50), 'c'],
      [[0], [1], [2]],
    ],
    [[], []],
  ])('of %j are %j', (texts, batches) => {
    expect(batchesOf(texts, size)).toEqual(batches);
  });
});

test('the environment describes the embedder of all indexes, and its key is hidden from the log', () => {
  const { vectors, log } = readEnv({
    MILLRACE_EMBEDDINGS_URL: 'http://127.0.0.1:11434/v1',
    MILLRACE_EMBEDDINGS_MODEL: 'nomic-embed-text',
    MILLRACE_EMBEDDINGS_DIMENSIONS: '768',
    MILLRACE_EMBEDDINGS_KEY: 'sk-secret-1',
  }).platform;
  expect(vectors?.embedder).toMatchObject({ dimensions: 768, id: expect.stringContaining('nomic') as string });
  expect(log).toMatchObject({ secrets: ['sk-secret-1'] });
  const wrong = { MILLRACE_EMBEDDINGS_URL: 'ftp://a', MILLRACE_EMBEDDINGS_KEY: 'sk-secret-1\n' };
  for (const what of ['_URL: expected an http', '_MODEL: expected it beside', '_DIMENSIONS: expected it', '_KEY: '])
    expect(() => readEnv(wrong)).toThrow(`MILLRACE_EMBEDDINGS${what}`);
  expect(() => readEnv(wrong)).not.toThrow('sk-secret-1');
});
