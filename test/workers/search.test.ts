/** Documents that are indexed one at a time, and indexes that are built anew. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createPlatform,
  handle,
  MillraceError,
  textChunker,
  type Embedder,
  type Handler,
  type Platform,
  type VectorItem,
} from '../../src/index.ts';
import {
  createSearchIndexHandler,
  createSearchRebuildHandlers,
  readStockEnv,
  rebuildFlow,
  searchIndexDocument,
  searchRebuild,
  stockHandlers,
  type RebuildResult,
  type SearchDocument,
  type SearchOptions,
} from '../../workers/index.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { wordEmbedder } from '../vector/own-vectors.ts';
import { ends, faultsOf, impatient, letterOf, QUICK } from './scene.ts';

const own = ownedByTest();
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

const make = (options: SearchOptions) => () => createSearchIndexHandler(options);
const all = Array.from({ length: 40 }, (_none, at): VectorItem => ({
  id: `d${at}`,
  text: `word${at} of a document`,
}));
const source = (items: readonly VectorItem[]) => ({
  ids: () => items.map(({ id }) => id),
  load: (ids: readonly string[]) => items.filter(({ id }) => ids.includes(id)),
});

const SCHEMA = { lang: 'tag' } as const;

/** A platform whose former versions of indexes go soon. */
async function startSoon(): Promise<Platform> {
  const prefix = `search-${crypto.randomUUID()}`;
  const options = { redis: { url: redis.url }, prefix, vectors: { follow: 50 }, log: { level: 'silent' } } as const;
  const platform = own(createPlatform(options));
  await platform.start();
  return platform;
}

async function working(handlers: readonly Handler[]): Promise<Platform> {
  const platform = await startSoon();
  await platform.work({ ...QUICK, handlers: handlers.map(impatient) });
  return platform;
}

describe('search.index-document', () => {
  test('indexes a text, embeds nothing of what is unchanged, indexes what load() has now, and removes', async () => {
    const embedder = wordEmbedder();
    const articles = new Map<string, SearchDocument>([
      ['b', { id: 'b', text: 'how to bake bread', metadata: { lang: 'en' } }],
    ]);
    const load = (ids: readonly string[]): SearchDocument[] => ids.flatMap((id) => articles.get(id) ?? []);
    const options = { indexes: { help: { schema: SCHEMA, chunker: { maxChars: 100 }, load }, plain: {} }, embedder };
    const platform = await working([createSearchIndexHandler(options)]);
    const run = (input: object) =>
      platform.jobs.enqueueAndWait(searchIndexDocument, { index: 'help', id: 'b', ...input });
    const document = { id: 'a', text: 'how to reset a password', metadata: { lang: 'en' } };
    expect(await run(document)).toEqual({ status: 'added', embedded: 1 });
    expect(await run(document)).toEqual({ status: 'unchanged', embedded: 0 });
    expect(await run({})).toEqual({ status: 'added', embedded: 1 });
    articles.set('b', { id: 'b', text: 'how to bake cakes' });
    expect(await run({})).toEqual({ status: 'updated', embedded: 1 });
    const chunker = textChunker({ maxChars: 100 });
    const help = platform.vectors.index({ name: 'help', embedder, schema: SCHEMA, chunker });
    expect((await help.search({ text: 'bake cakes', k: 1 }))[0]?.id).toBe('b');
    articles.delete('b');
    expect(await run({})).toEqual({ status: 'removed', embedded: 0 });
    expect(await run({ remove: true })).toEqual({ status: 'absent', embedded: 0 });
    expect((await help.stats()).documents).toBe(1);

    const bad = await platform.jobs.enqueue(searchIndexDocument, {
      index: 'help',
      id: 'c',
      text: 'x',
      metadata: { lang: 7 },
    });
    expect((await letterOf(platform, bad.id)).error.message).toMatch(/metadata of c: lang/);
    const textless = await platform.jobs.enqueue(searchIndexDocument, { index: 'plain', id: 'c' });
    expect((await letterOf(platform, textless.id)).error.message).toMatch(/no load\(\) for the index plain/);
    const unknown = await platform.jobs.enqueue(searchIndexDocument, { index: 'nope', id: 'c' });
    expect((await letterOf(platform, unknown.id)).error.message).toBe(
      'there is no index nope; this worker has: help, plain',
    );
  });

  test('finds what is newest, also where a job that loaded before a change writes behind the one that came of it', async () => {
    const embedder = wordEmbedder();
    let text = 'how to bake bread';
    let later: Promise<unknown> | undefined;
    const load = async (ids: readonly string[]): Promise<SearchDocument[]> => {
      const seen = ids.map((id) => ({ id, text }));
      if (!later) {
        text = 'how to bake cakes';
        later = run();
        await later; // It has loaded, embedded and written.
      }
      return seen;
    };
    const platform = await working([createSearchIndexHandler({ indexes: { help: { load } }, embedder })]);
    const run = () => platform.jobs.enqueueAndWait(searchIndexDocument, { index: 'help', id: 'a' });
    await run();
    const help = platform.vectors.index({ name: 'help', embedder });
    expect((await help.search({ text: 'bake', k: 1 }))[0]?.text).toBe('how to bake cakes');
  });

  test('waits for the limit of its embedder, and for an embedder that asks for time, without using up an attempt', async () => {
    const words = wordEmbedder();
    let isBusy = true;
    const embedder: Embedder = {
      ...words,
      async embed(texts, options) {
        if (isBusy && texts[0] === 'three') {
          isBusy = false;
          throw new MillraceError('EMBEDDING_FAILED', 'the server asks to wait', { retryAfterMs: 50 });
        }
        return words.embed(texts, options);
      },
    };
    const perProvider = { limit: 2, per: '400ms' } as const;
    const platform = await working([createSearchIndexHandler({ indexes: { help: {} }, embedder, perProvider })]);
    const texts = ['one', 'two', 'three', 'four'];
    const jobs = await platform.jobs.enqueueMany(
      searchIndexDocument,
      texts.map((text) => ({ index: 'help', id: text, text })),
    );
    for (const { id } of jobs) {
      const { attemptsMade, history } = await ends(platform, id, 'completed');
      expect([attemptsMade, new Set(history.map(({ outcome }) => outcome))]).toEqual([
        1,
        new Set(history.length > 0 ? ['postponed'] : []),
      ]);
    }
    expect(words.asked.toSorted()).toEqual(['four', 'one', 'three', 'two']);
  });

  test('faults of inputs and options are told at once, and the environment turns it on', async () => {
    expect(await faultsOf(searchIndexDocument, { index: 'a b', id: '', metadata: {} })).toEqual([
      'index',
      'id',
      'metadata',
    ]);
    expect(make({ indexes: { help: {} } })).toThrow(/indexes\.help: expected an embedder/);
    expect(make({ indexes: { help: { shards: 0 } }, embedder: wordEmbedder() })).toThrow(/indexes\.help: .*shards/);
    const env = {
      MILLRACE_SEARCH_INDEXES: '{"help": {"schema": {"lang": "tag"}}}',
      MILLRACE_SEARCH_PER_PROVIDER: '500/1m',
    };
    const { settings } = readStockEnv(env);
    expect(settings.search).toMatchObject({ perProvider: { limit: 500, per: '1m' }, embedder: { dimensions: 512 } });
    expect(stockHandlers(settings).summary).toEqual(
      expect.arrayContaining([
        'search.index-document: runs',
        'search.rebuild: left out, in code: { search: { indexes: { help: { load, ids } } } }',
      ]),
    );
    const remote = {
      MILLRACE_EMBEDDINGS_URL: 'http://127.0.0.1:1/v1',
      MILLRACE_EMBEDDINGS_MODEL: 'm',
      MILLRACE_EMBEDDINGS_DIMENSIONS: '7',
    };
    expect(readStockEnv({ ...env, ...remote }).settings.search?.embedder?.dimensions).toBe(7);
    expect(() => readStockEnv({ MILLRACE_SEARCH_INDEXES: '{"help": {"m": 1}}' })).toThrow(
      /MILLRACE_SEARCH_INDEXES: .*m: /,
    );
    expect(() => readStockEnv({ MILLRACE_SEARCH_PER_PROVIDER: '5/1m' })).toThrow(
      /MILLRACE_SEARCH_INDEXES: expected it/,
    );
  });
});

describe('search.rebuild', () => {
  test('parts embed what the new version needs, the parent lets it take over: found all the while, embedded once though a part dies', async () => {
    const platform = await startSoon();
    const [former, later] = [wordEmbedder(1_024, 'former'), wordEmbedder(1_024, 'later')];
    const old = platform.vectors.index({ name: 'help', embedder: former });
    await old.upsert(all.slice(0, 35));
    const options: SearchOptions = {
      indexes: { help: source(all) },
      embedder: later,
      batch: 4,
      keepOld: 0,
      perProvider: false,
    };
    const [part, parent] = createSearchRebuildHandlers(options);
    let deaths = 0;
    const losing = handle(part.contract, async (input, context) => {
      const result = await part.run(input, context);
      if (context.job.attempt === 1 && deaths++ < 2) throw new Error('the answer was lost');
      return result;
    });
    await platform.work({ ...QUICK, handlers: [impatient(losing), impatient(parent)] });
    const { id, children } = await platform.jobs.enqueueFlow(rebuildFlow({ index: 'help', parts: 3 }));
    expect(children).toHaveLength(3);
    const { result } = await ends(platform, id, 'completed');
    expect(result).toMatchObject({ version: 2, documents: 40, refused: 0, failures: [] });
    expect(later.asked).toHaveLength(40);
    const fresh = platform.vectors.index({ name: 'help', embedder: later });
    expect((await fresh.search({ text: 'word39', k: 1 }))[0]?.id).toBe('d39');

    // The same again: parts write what has changed, and nothing else is embedded.
    all[3] = { id: 'd3', text: 'another text' };
    const again = await platform.jobs.enqueueFlow(rebuildFlow({ index: 'help', parts: 2 }));
    expect((await ends(platform, again.id, 'completed')).result).toMatchObject({
      version: 3,
      documents: 40,
      embedded: 1,
    });
    expect(later.asked.slice(40)).toEqual(['word39', 'another text']);
  });

  test('parts that fail for good are told, and the former version is used on unless the job says otherwise', async () => {
    const embedder = wordEmbedder();
    const { ids, load } = source(all);
    const broken = (some: readonly string[]): VectorItem[] => {
      if (some.includes('d7')) throw new Error('row 7 is broken');
      return load(some);
    };
    const options = { indexes: { help: { ids, load: broken } }, embedder, keepOld: 0, batch: 4 };
    const [part, parent] = createSearchRebuildHandlers(options);
    const once = handle({ ...part.contract, attempts: 1 }, part.run);
    const platform = await working([once, parent]);
    const { id } = await platform.jobs.enqueueFlow(rebuildFlow({ index: 'help', parts: 2 }));
    expect((await letterOf(platform, id)).error.message).toMatch(
      /^index help: 1 of 2 parts failed, .*: row 7 is broken/,
    );
    const despite = await platform.jobs.enqueueFlow(rebuildFlow({ index: 'help', parts: 2, despiteFailures: true }));
    const { result } = (await ends(platform, despite.id, 'completed')) as { result: RebuildResult };
    expect([result.version > 1, result.failures]).toEqual([true, [expect.stringContaining('row 7 is broken')]]);
  });

  test('alone does all of it; what is refused is told by name, and what the source has no more goes', async () => {
    const embedder = wordEmbedder();
    const items: VectorItem[] = [...all.slice(0, 3), { id: 'blank', text: ' ' }];
    const { load } = source(items);
    const indexes = { help: { ids: () => ['gone', ...items.map(({ id }) => id)], load } };
    const [, parent] = createSearchRebuildHandlers({ indexes, embedder, keepOld: 0 });
    const losing = handle(parent.contract, async (input, context) => {
      const result = await parent.run(input, context);
      if (context.job.attempt === 1) throw new Error('the answer was lost');
      return result;
    });
    const platform = await working([losing]);
    await platform.vectors.index({ name: 'help', embedder }).upsert([{ id: 'gone', text: 'gone' }]);
    const result = await platform.jobs.enqueueAndWait(searchRebuild, { index: 'help' });
    // One version, though there were two attempts.
    expect(result).toMatchObject({ version: 2, documents: 3, refused: 1, examples: [{ id: 'blank' }] });
  });
});
