/** An index whose server is away, or comes back empty. */
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { ownedVectors, wordEmbedder } from './own-vectors.ts';

const own = ownedByTest();
const vectorsOf = ownedVectors();

test('a frozen server is not waited for longer than the deadline, and what was written is found when it is back', async () => {
  const server = own(await startRedis());
  const { vectors } = vectorsOf({ url: server.url }, { deadline: 500, follow: '1m' });
  const index = vectors.index({ name: 'frozen', dimensions: 2 });
  await index.upsert([{ id: '1', vector: [1, 0] }]);
  server.freeze();
  await failureOf(index.search({ vector: [1, 0] }), 'REDIS_TIMEOUT');
  await failureOf(index.upsert([{ id: '2', vector: [0, 1] }]), 'REDIS_TIMEOUT');
  server.thaw();
  await eventually(async () => expect(await index.upsert([{ id: '2', vector: [0, 1] }])).toMatchObject({ failed: 0 }));
  await eventually(async () => expect(await index.search({ vector: [0, 1] })).toHaveLength(2));
});

test('an index whose server has lost its data begins anew', async () => {
  const server = own(await startRedis());
  const { vectors } = vectorsOf({ url: server.url }, { deadline: 2_000 });
  const index = vectors.index({ name: 'lost', dimensions: 2 });
  await index.upsert([{ id: '1', vector: [1, 0] }]);
  await server.kill();
  await server.startAgain();
  await eventually(async () => expect(await index.search({ vector: [1, 0] })).toEqual([]), 20_000);
  await eventually(async () => expect(await index.upsert([{ id: '1', vector: [1, 0] }])).toMatchObject({ added: 1 }));
  expect(await index.search({ vector: [1, 0] })).toMatchObject([{ id: '1' }]);
  await eventually(async () => expect(await index.stats()).toMatchObject({ version: 1, documents: 1 }));
});

test('an index that was lost, and begun by another process with other options, is not taken for the same', async () => {
  const server = own(await startRedis());
  const indexBy = (model: string) =>
    vectorsOf({ url: server.url }).vectors.index({ name: 'begun', embedder: wordEmbedder(16, model) });
  const index = indexBy('one model');
  await index.upsert([{ id: 'a', text: 'one' }]);
  await server.kill();
  await server.startAgain();
  expect(await indexBy('another model').upsert([{ id: 'b', text: 'two' }])).toMatchObject({ added: 1 });
  await eventually(() => failureOf(index.upsert([{ id: 'c', text: 'three' }]), 'INDEX_MISMATCH'));
});
