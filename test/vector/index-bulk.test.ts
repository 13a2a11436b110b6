/** Many documents at once: what travels in one call, and what becomes of each. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { MillraceError } from '../../src/errors.ts';
import { Guard } from '../../src/redis/guard.ts';
import { textChunker } from '../../src/vector/chunker.ts';
import type { PreparedDocument } from '../../src/vector/documents.ts';
import { Layout, type Place } from '../../src/vector/layout.ts';
import { writeDocuments } from '../../src/vector/scripts.ts';
import { DocumentStore, type PlannedWrite } from '../../src/vector/store.ts';
import { Upserts, type UpsertParts } from '../../src/vector/upserts.ts';
import { fromBlob, toBlob } from '../../src/vector/vectors.ts';
import type { Version } from '../../src/vector/versions.ts';
import { failureOf } from '../support/failures.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { clusteredVectors, ownedVectors, wordEmbedder } from './own-vectors.ts';

let server: TestServer;
beforeAll(async () => (server = await startRedis()));
afterAll(() => server.stop());
const own = ownedByTest();
const vectorsOf = ownedVectors();

/** A store and the keys of one shard of a name of its own. */
function storeOf({ url }: TestServer, name: string) {
  const { connections } = vectorsOf({ url });
  const commands = () => connections.commands();
  const guard = new Guard({ deadlineMs: 10_000, label: 'the server' });
  const place: Place = new Layout('test').place(name, 1, 1);
  return { store: new DocumentStore({ commands, guard }), commands, place, shard: place.shards[0]! };
}

/** A manifest of that revision. */
function stored(revision: string) {
  return { manifest: `${revision} hash 0\n{}`, list: '' };
}

test('documents that travel in one call are written, refused or failed each by itself', async () => {
  const { store, commands, place, shard } = storeOf(server, 'each');
  const write = (id: string, more: Partial<PlannedWrite> = {}): PlannedWrite => ({
    id,
    seen: '',
    stored: stored('first'),
    steps: [['HSET', shard.texts, `${id}#0`, `0\n${id}`]],
    ...more,
  });
  expect(await store.write(place, [write('there')], '')).toEqual(['written']);
  await commands().set(shard.tag('broken'), 'no sorted set');
  const vector = Float32Array.of(0.5, -2, 8);
  const blob = toBlob(vector);
  const [first, stale, broken, twice, known] = await store.write(
    place,
    [
      write('ä new one'),
      write('there', { stored: stored('second'), steps: [['HSET', shard.texts, 'there#0', 'must not be']] }),
      write('broken', { steps: [['ZADD', shard.tag('broken'), '0', 'broken#0']] }),
      write('twice', { steps: [1, 2].map((at) => ['HSET', shard.originals, `twice#${at}`, blob]) }),
      write('known', { seen: 'first' }),
    ],
    '',
  );
  expect([first, stale, twice, known]).toEqual(['written', 'changed', 'written', 'changed']);
  expect(broken).toBeInstanceOf(MillraceError);
  expect(broken).toMatchObject({ code: 'SCRIPT_FAILED', message: expect.stringContaining('WRONGTYPE') });
  const there = await store.read(place, ['ä new one', 'there', 'broken', 'twice', 'known']);
  expect([...there.keys()]).toEqual(['ä new one', 'there', 'twice']);
  expect(await commands().hgetall(shard.texts)).toEqual({ 'there#0': '0\nthere', 'ä new one#0': '0\nä new one' });
  for (const kept of Object.values(await commands().hgetallBuffer(shard.originals)))
    expect(fromBlob(kept, 3, 'kept')).toEqual(vector);
});

test('a server that was demoted refuses the call and not its documents, by which the client looks for the new master', async () => {
  const demoted = own(await startRedis());
  const { store, commands, place, shard } = storeOf(demoted, 'demoted');
  await demoted.ask((redis) => redis.replicaof('127.0.0.1', 1));
  const write: PlannedWrite = { id: '1', seen: '', stored: { manifest: 'r h 0\n{}', list: '' }, steps: [] };
  expect(await store.write(place, [write, { ...write, id: '2' }], '')).toMatchObject([
    { code: 'REDIS_WRITES_REFUSED' },
    { code: 'REDIS_WRITES_REFUSED' },
  ]);
  const { manifests, lists, phase, seal, dirty } = shard;
  const document = Buffer.from('\x01\0\0\x001\0\0\0\0\x01\0\0\0r\0\0\0\0\0\0\0\0', 'latin1');
  const call = writeDocuments(
    commands(),
    { manifests, lists, phase, seal, dirty, targets: [] },
    { builder: '', documents: document, blobs: [] },
  );
  await failureOf(call, 'REDIS_WRITES_REFUSED');
});

test('a call is not made while the guard is open', async () => {
  const { commands, place } = storeOf(server, 'guarded');
  const guard = new Guard({ deadlineMs: 10_000, pauseMs: 60_000, failures: 1, label: 'the server' });
  await failureOf(
    guard.run(() => Promise.reject(new MillraceError('REDIS_TIMEOUT', 'no answer', {}))),
    'REDIS_TIMEOUT',
  );
  let clients = 0;
  const counted = () => (clients++, commands());
  const store = new DocumentStore({ commands: counted, guard });
  const write: PlannedWrite = { id: '1', seen: '', stored: stored('first'), steps: [] };
  await failureOf(store.write(place, [write], ''), 'REDIS_TIMEOUT');
  expect(clients).toBe(0);
});

test('the parts of a long document with very many labels are written', async () => {
  const { vectors } = vectorsOf({ url: server.url });
  const schema = { one: 'tags', two: 'tags', three: 'tags' } as const;
  const chunker = textChunker({ maxChars: 16 });
  const index = vectors.index({ name: 'labels', embedder: wordEmbedder(4), chunker, schema });
  const text = Array.from({ length: 40 }, (_none, at) => `Number ${at}.`).join('\n\n');
  const labels = Array.from({ length: 256 }, (_none, at) => `label ${at}`);
  const report = await index.upsert([{ id: 'long', text, metadata: { one: labels, two: labels, three: labels } }]);
  expect(report).toMatchObject({ added: 1, embedded: 40 });
  expect(await index.search({ text: 'Number 7', k: 1, filter: (f) => f.eq('three', 'label 255') })).toHaveLength(1);
});

/** A document of so many vectors. */
function targetOf(id: string, count: number): PreparedDocument {
  const chunks = Array.from({ length: count }, (_none, index) => ({ id: `${index}`, index, text: undefined }));
  const given = new Map(chunks.map((chunk) => [chunk.id, new Float32Array(64)]));
  return { id, contentHash: 'hash', isText: false, metadata: {}, metadataJson: '{}', chunks, given };
}

test('once a call has failed, nothing more of the other documents is sent', async () => {
  const { commands, place } = storeOf(server, 'failing');
  const [answer, sent] = [gate(), gate()];
  let calls = 0;
  class Failing extends DocumentStore {
    override async write(...args: Parameters<DocumentStore['write']>): ReturnType<DocumentStore['write']> {
      if (args[1][0]?.id === 'lost') {
        await sent.opened;
        throw new MillraceError('REDIS_TIMEOUT', 'no answer', {});
      }
      calls++;
      const told = await super.write(...args);
      sent.open();
      await answer.opened;
      return told;
    }
  }
  const store = new Failing({ commands, guard: new Guard({ deadlineMs: 10_000, label: 'the server' }) });
  const version = { place, engine: { steps: () => [] }, definition: { dimensions: 64 } } as unknown as Version;
  const versions = { current: async () => version, after: async () => version };
  const parts = { name: 'failing', versions, store, embedder: undefined, clock: systemClock };
  const upserts = new Upserts({ ...parts, meter: undefined as unknown as UpsertParts['meter'] });
  await failureOf(upserts.write([targetOf('lost', 1), targetOf('long', 200)]), 'REDIS_TIMEOUT');
  answer.open();
  for (let turn = 0; turn < 5; turn++) await commands().ping();
  expect(calls).toBe(1);
});

test('a call puts a few vectors, the fewer the longer they are', async () => {
  const { vectors } = vectorsOf({ url: server.url });
  for (const [dimensions, most] of [
    [384, 5],
    [1_024, 2],
    [6_000, 1],
  ] as const) {
    const index = vectors.index({ name: `calls-${dimensions}`, dimensions, quantisation: 'none' });
    await index.open();
    const items = clusteredVectors(40, dimensions).map((vector, at) => ({ id: String(at), vector }));
    const calls = await server.ask(async (redis) => {
      const before = await callsOf(redis);
      expect(await index.upsert(items)).toMatchObject({ added: 40 });
      return (await callsOf(redis)) - before;
    });
    expect(calls).toBeGreaterThanOrEqual(40 / most);
    expect(calls).toBeLessThanOrEqual(40 / most + 2);
  }
});

test('a call puts one long text, of whatever vector', async () => {
  const { vectors } = vectorsOf({ url: server.url });
  const index = vectors.index({ name: 'calls-texts', dimensions: 2 });
  await index.open();
  const text = 'word '.repeat(100_000);
  const items = Array.from({ length: 12 }, (_none, at) => ({ id: String(at), vector: [1, at], text }));
  const calls = await server.ask(async (redis) => {
    const before = await callsOf(redis);
    expect(await index.upsert(items)).toMatchObject({ added: 12 });
    return (await callsOf(redis)) - before;
  });
  expect(calls).toBeGreaterThanOrEqual(12);
});

/** How many scripts the server has run. */
async function callsOf(redis: { info(section: string): Promise<string> }): Promise<number> {
  const stats = await redis.info('commandstats');
  return ['evalsha', 'eval'].reduce(
    (sum, name) => sum + Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(stats)?.[1] ?? 0),
    0,
  );
}

test('texts are embedded as many at a time as a batch has, with vectors before them or without', async () => {
  const { vectors } = vectorsOf({ url: server.url });
  const words = wordEmbedder();
  const sizes: number[] = [];
  const embedder = {
    id: 'sizes',
    dimensions: words.dimensions,
    async embed(texts: readonly string[]) {
      sizes.push(texts.length);
      return words.embed(texts, { kind: 'document' });
    },
  };
  const index = vectors.index({ name: 'batches', embedder });
  const texts = Array.from({ length: 120 }, (_none, at) => ({ id: `text ${at}`, text: `number ${at}` }));
  expect(await index.upsert(texts)).toMatchObject({ added: 120 });
  expect(sizes).toEqual([120]);
  const given = clusteredVectors(5, words.dimensions).map((vector, at) => ({ id: `vector ${at}`, vector }));
  const others = texts.map(({ id, text }) => ({ id: `another ${id}`, text: `another ${text}` }));
  expect(await index.upsert([...given, ...others])).toMatchObject({ added: 125 });
  expect(sizes).toEqual([120, 120]);
});
