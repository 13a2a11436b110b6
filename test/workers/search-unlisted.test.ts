/** What a rebuild does with documents of the index that the source does not list. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPlatform, textChunker, type Embedder, type Platform, type VectorIndex } from '../../src/index.ts';
import {
  createSearchRebuildHandlers,
  rebuildFlow,
  searchRebuild,
  type RebuildResult,
  type SearchIndex,
} from '../../workers/index.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { wordEmbedder } from '../vector/own-vectors.ts';
import { ends, impatient, QUICK } from './scene.ts';

const own = ownedByTest();
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

interface Scene {
  readonly platform: Platform;
  readonly index: VectorIndex;
  /** The database: what is listed, and loaded. */
  readonly rows: Map<string, string>;
  /** Called with each id that is listed, before it is given. */
  onList: (id: string, platform: Platform) => unknown;
  rebuild(parts: number): Promise<RebuildResult>;
}

const textOf = (id: string): string => `the text of ${id}`;
const ids = Array.from({ length: 30 }, (_none, at) => `d${at}`);

/** An index that has more than its source. */
async function scene(
  extra: readonly string[],
  changed: Partial<SearchIndex> & { embedder?: Embedder } = {},
): Promise<Scene> {
  const prefix = `unlisted-${crypto.randomUUID()}`;
  const vectors = { follow: 50 }; // Former versions of the index go soon.
  const platform = own(createPlatform({ redis: { url: redis.url }, prefix, vectors, log: { level: 'silent' } }));
  await platform.start();
  const embedder = wordEmbedder(512, 'former');
  const former = platform.vectors.index({ name: 'help', embedder });
  await former.upsert([...ids, ...extra].map((id) => ({ id, text: textOf(id) })));
  const rows = new Map(ids.map((id) => [id, textOf(id)]));
  const one: Scene = {
    platform,
    index: platform.vectors.index({
      name: 'help',
      embedder,
      ...(changed.embedder && { embedder: changed.embedder }),
      ...(changed.chunker && { chunker: textChunker({ maxChars: 100 }) }),
    }),
    rows,
    onList: () => undefined,
    async rebuild(parts) {
      const { id } =
        parts === 0
          ? await platform.jobs.enqueue(searchRebuild, { index: 'help' })
          : await platform.jobs.enqueueFlow(rebuildFlow({ index: 'help', parts }));
      return (await ends(platform, id, 'completed')).result as RebuildResult;
    },
  };
  const handlers = createSearchRebuildHandlers({
    indexes: {
      help: {
        async *ids() {
          const listed = [...rows.keys()]; // Of one moment, as a database reads.
          for (const id of listed) {
            await one.onList(id, platform);
            yield id;
          }
        },
        load: (some) => some.flatMap((id) => (rows.has(id) ? [{ id, text: rows.get(id) }] : [])),
        embedder,
        ...changed,
      },
    },
    batch: 4,
    keepOld: 0,
    perProvider: false,
  });
  await platform.work({ ...QUICK, handlers: handlers.map(impatient) });
  return one;
}

const has = async ({ index }: Scene, id: string): Promise<boolean> => (await index.metadataOf(id)) !== undefined;

test.each([
  ['alone', 0, {}],
  ['in parts', 3, {}],
  ['with another embedder', 3, { embedder: wordEmbedder(512, 'later') }],
  ['with another chunker', 3, { chunker: { maxChars: 100 } }],
  ['with another embedder, alone', 0, { embedder: wordEmbedder(512, 'later') }],
])('%s: what the source does not list has gone after a rebuild, and nothing else', async (_how, parts, changed) => {
  const one = await scene(['old', 'older'], changed);
  const result = await one.rebuild(parts);
  expect(result).toMatchObject({ documents: 30, refused: 0 });
  expect([await has(one, 'old'), await has(one, 'older'), await has(one, 'd29')]).toEqual([false, false, true]);
});

test.each([0, 3])(
  'a rebuild in %i parts that is cut off while it lists removes nothing that it has not come to',
  async (parts) => {
    const one = await scene(['old']);
    const seen: number[] = [];
    let cut = 0;
    one.onList = async (id) => {
      if (id === 'd0') seen.push((await one.index.stats()).documents);
      if (id === 'd15' && cut++ < 2) throw new Error('the database was restarted');
    };
    await one.rebuild(parts);
    expect(cut).toBeGreaterThanOrEqual(3);
    expect(Math.min(...seen)).toBeGreaterThanOrEqual(30);
    expect([await has(one, 'old'), (await one.index.stats()).documents]).toEqual([false, 30]);
  },
);

test.each([0, 3])('a document that is added while a rebuild in %i parts lists stays', async (parts) => {
  const one = await scene(['old']);
  let isAdded = false;
  one.onList = async (id) => {
    if (id !== 'd15' || isAdded) return;
    isAdded = true;
    one.rows.set('a new one', textOf('a new one'));
    await one.index.upsert([{ id: 'a new one', text: textOf('a new one') }]);
  };
  const { documents } = await one.rebuild(parts);
  expect([documents, await has(one, 'a new one'), await has(one, 'old')]).toEqual([31, true, false]);
});

test('a document that comes back behind the list, and was found unchanged in the index, is put back', async () => {
  const one = await scene(['back']);
  // Its row was away when the list was read, and nobody has told the index.
  one.onList = (id) => {
    if (id === 'd29') one.rows.set('back', textOf('back'));
  };
  const { documents } = await one.rebuild(0);
  expect([documents, await has(one, 'back')]).toEqual([31, true]);
});
