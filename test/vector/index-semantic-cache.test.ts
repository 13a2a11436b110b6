/** Answers kept by the meaning of their questions. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createSemanticCache } from '../../src/vector/semantic-cache.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedVectors, wordEmbedder } from './own-vectors.ts';

let server: TestServer;
beforeAll(async () => (server = await startRedis()));
afterAll(() => server.stop());
const vectorsOf = ownedVectors();
const fresh = () => vectorsOf({ url: server.url }).vectors;
const embedder = wordEmbedder(512);
const START_MS = 1_763_700_000_000;

/** How many questions the cache named `expiring` has. */
function documents(): Promise<number> {
  return server.ask((redis) => redis.hlen('millrace:vector:{expiring:1:0}:manifests'));
}

test('a question that means nearly the same has the same answer, another one and another scope have none', async () => {
  const cache = createSemanticCache(fresh(), { name: 'answers', embedder, threshold: 0.9 });
  expect(await cache.get('how do i reset my password')).toBeUndefined();
  await cache.set('how do i reset my password', 'Under Settings.');
  expect(await cache.get('how do i reset my password please')).toMatchObject({
    answer: 'Under Settings.',
    question: 'how do i reset my password',
  });
  expect(await cache.get('where is the next station')).toBeUndefined();
  expect(await cache.get('how do i reset my password', { scope: 'ada' })).toBeUndefined();
  await cache.set('how do i reset my password', 'Ask Bob.', { scope: 'ada' });
  expect((await cache.get('how do i reset my password', { scope: 'ada' }))?.answer).toBe('Ask Bob.');
  await cache.set('how do i reset my password', 'Under Profile.');
  expect((await cache.get('how do i reset my password'))?.answer).toBe('Under Profile.');
});

test('an answer that has expired is not given, and its question goes, by whoever meets it or by the next sweep', async () => {
  const vectors = fresh();
  let passedMs = 0;
  const clock = { ...systemClock, wallMs: () => START_MS + passedMs, monotonicMs: () => passedMs };
  const cache = createSemanticCache(vectors, { name: 'expiring', embedder, ttl: 60, clock });
  await cache.set('one question', 'its answer');
  await cache.set('quite another thing', 'its answer');
  expect(await documents()).toBe(2);
  await eventually(async () => expect(await cache.get('one question')).toBeUndefined());
  expect(await documents()).toBe(1);
  passedMs += 61;
  expect(await cache.sweep()).toBe(1);
  expect(await documents()).toBe(0);
  // Without a call of sweep(), what is set sweeps once in a while.
  for (let at = 0; at < 20; at++) {
    await cache.set(`question${at} of many`, 'its answer');
    passedMs += 20;
    expect(await documents()).toBeLessThanOrEqual(8);
  }
  await failureOf((async () => createSemanticCache(vectors, { name: 'x', embedder, ttl: 0 }))(), 'OPTIONS_INVALID');
  await failureOf(cache.set('q', 'x'.repeat(1_000_001)), 'PAYLOAD_TOO_LARGE');
  const { message } = await failureOf(cache.set('q', { text: 'an answer' } as never), 'INPUT_INVALID');
  expect(message).toContain('expected a text, got {"text":"an answer"}');
});
