/** What an app may hand over wrongly, and what it may do with it afterwards. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compileSchema } from '../../src/vector/schema.ts';
import type { VectorItem } from '../../src/vector/documents.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedVectors, vectorOfWords, wordEmbedder } from './own-vectors.ts';

let server: TestServer;
beforeAll(async () => (server = await startRedis()));
afterAll(() => server.stop());
const vectorsOf = ownedVectors();
const fresh = () => vectorsOf({ url: server.url }).vectors;

test('what is no document at all fails by itself', async () => {
  const index = fresh().index({ name: 'nothing', embedder: wordEmbedder() });
  const items = [{ id: 'a', text: 'one' }, null, undefined, 7, { id: 'b', text: 'two' }] as VectorItem[];
  const { outcomes } = await index.upsert(items);
  expect(outcomes.map(({ status }) => status)).toEqual(['added', 'failed', 'failed', 'failed', 'added']);
  expect(outcomes[1]?.error).toMatchObject({ code: 'INPUT_INVALID', message: expect.stringContaining('got null') });
});

/** A chunker with faults. */
const split = (text: string): readonly string[] => {
  if (text === 'throws') throw new Error('cannot cut this');
  return text === 'number' ? [7 as unknown as string] : [text];
};

test('a chunker that fails for a text, or makes of it what is no text, fails that document alone', async () => {
  const index = fresh().index({ name: 'cut', embedder: wordEmbedder(), chunker: { id: 'mine', split } });
  const { outcomes } = await index.upsert(['fine', 'throws', 'number', 'last'].map((text) => ({ id: text, text })));
  expect(outcomes.map(({ status }) => status)).toEqual(['added', 'failed', 'failed', 'added']);
  expect(outcomes[1]?.error).toMatchObject({
    code: 'INPUT_INVALID',
    message: expect.stringContaining('cannot cut this'),
  });
  expect(outcomes[2]?.error).toMatchObject({ code: 'INPUT_INVALID', message: expect.stringContaining('got 7') });
});

test('memory that the app uses again for the next document changes nothing in those that it gave before', async () => {
  const index = fresh().index({ name: 'again', dimensions: 4, schema: { labels: 'tags' } });
  const vector = new Float32Array(4);
  const labels: string[] = [];
  function* items(): Generator<VectorItem<{ labels: 'tags' }>> {
    for (let at = 0; at < 4; at++) {
      vector.fill(0)[at] = 1;
      labels.splice(0, labels.length, `label ${at}`);
      yield { id: String(at), vector, metadata: { labels } };
    }
  }
  expect(await index.upsert(items())).toMatchObject({ added: 4 });
  for (let at = 0; at < 4; at++) {
    const found = await index.search({ vector: [0, 1, 2, 3].map((place) => Number(place === at)), k: 1 });
    expect(found).toMatchObject([{ id: String(at), score: 1, metadata: { labels: [`label ${at}`] } }]);
    const labelled = await index.search({ vector: [1, 1, 1, 1], filter: (f) => f.eq('labels', `label ${at}`) });
    expect(labelled.map(({ id }) => id)).toEqual([String(at)]);
  }
});

test('a field cannot be named as what every object has, by which documents without it would seem to have it', () => {
  for (const name of ['constructor', 'toString', 'valueOf', 'hasOwnProperty']) {
    expect(() => compileSchema({ [name]: 'tag' })).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }));
  }
});

test('a ranking that names a document several times counts the first', async () => {
  const index = fresh().index({ name: 'twice', embedder: wordEmbedder() });
  await index.upsert(['red car', 'blue car', 'green tree'].map((text) => ({ id: text, text })));
  const rank = async (ranking: string[]): Promise<unknown> =>
    (await index.search({ text: 'red car', hybrid: { ranking } })).map(({ id, rank: made }) => [id, made]);
  const often = ['blue car', 'green tree', 'green tree', 'green tree', 'green tree'];
  expect(await rank(often)).toEqual(await rank(['blue car', 'green tree']));
});

test('no search is made for a signal that has aborted already', async () => {
  const index = fresh().index({ name: 'aborted', embedder: wordEmbedder() });
  await index.upsert([{ id: 'a', text: 'one' }]);
  const signal = AbortSignal.abort(new Error('enough'));
  const vector = vectorOfWords('one');
  await expect(index.search({ vector, signal })).rejects.toThrow('enough');
  await expect(index.similar('a', { signal })).rejects.toThrow('enough');
  await expect(index.range({ vector, minScore: 0, signal })).rejects.toThrow('enough');
  await expect(index.searchText('one', { signal })).rejects.toThrow('enough');
});
