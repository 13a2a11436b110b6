/** An index whose server is away, or comes back empty. */
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { ownedVectors } from './own-vectors.ts';

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
