/**
 * Fables are indexed, and questions about them answered; then the index is built anew with finer chunks while it is asked.
 *
 *   node --conditions=millrace-source --import tsx examples/vectors.ts      in a checkout
 *
 * The local embedder knows words, not their meaning: with a model behind httpEmbedder() the same lines answer questions in other words too.
 */
import { readFileSync } from 'node:fs';
import { createPlatform, localEmbedder, readEnv, textChunker } from 'millrace';

interface Fable {
  id: string;
  title: string;
  animals: string[];
  text: string;
}

const file = new URL('../test/corpus/fables.json', import.meta.url);
const { documents } = JSON.parse(readFileSync(file, 'utf8')) as { documents: Fable[] };

const platform = createPlatform({ ...readEnv().platform, log: { level: 'error' } });
await platform.start();
try {
  const { vectors } = platform;
  const name = `examples.fables.${process.pid}`;
  const options = { name, embedder: localEmbedder(), schema: { title: 'tag', animals: 'tags' } } as const;
  const fables = vectors.index(options);
  const items = documents.map(({ id, title, animals, text }) => ({ id, text, metadata: { title, animals } }));

  const first = await fables.upsert(items);
  const again = await fables.upsert(items);
  console.log('added', first.added, 'and again unchanged', again.unchanged, 'embedded', again.embedded);

  for (const question of ['Who could not reach the grapes?', 'a race between a hare and a tortoise']) {
    const [best] = await fables.search({ text: question, k: 1 });
    console.log(question, '->', best?.metadata.title, 'score above a half', (best?.score ?? 0) > 0.5);
  }
  const foxes = await fables.search({ text: 'a trick', k: 3, filter: (f) => f.eq('animals', 'fox') });
  console.log(
    'all with a fox',
    foxes.every(({ metadata }) => metadata.animals?.includes('fox')),
  );

  const { recall } = await fables.selfTest({ sample: 20 });
  console.log('recall above 0.9', (recall ?? 0) > 0.9);

  // Another chunker takes the whole texts, which an index does not keep.
  const finer = vectors.index({ ...options, chunker: textChunker({ maxChars: 300 }) });
  const load = async (ids: readonly string[]) => items.filter(({ id }) => ids.includes(id));
  const { version } = await finer.rebuild({ load, keepOld: 0 });
  const { documents: kept, chunks } = await finer.stats();
  console.log('version', version, 'documents', kept, 'more chunks than documents', chunks > kept);

  await finer.delete(items.map(({ id }) => id));
} finally {
  await platform.stop();
}
