/** What changes between two steps of one call. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { textChunker } from '../../src/vector/chunker.ts';
import { createVectors, type Vectors } from '../../src/vector/create-vectors.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedVectors, wordEmbedder } from './own-vectors.ts';

let server: TestServer;
beforeAll(async () => (server = await startRedis()));
afterAll(() => server.stop());
const own = ownedByTest();
const vectorsOf = ownedVectors();
const fresh = () => vectorsOf({ url: server.url }).vectors;

/** Vectors of a process in which something happens before the command of this name is sent for the so-manieth time. */
function interrupted(name: string, time: number, happen: () => Promise<unknown>): Vectors {
  const { connections } = vectorsOf({ url: server.url });
  const { topology, label } = connections;
  const capabilities = () => connections.capabilities();
  const outage = () => connections.outage();
  let times = 0;
  let happening: Promise<unknown> | undefined;
  const before = async (command: unknown): Promise<void> => {
    if (command === name && ++times === time) happening = happen();
    await happening;
  };
  const commands = (): ReturnType<typeof connections.commands> => {
    const client = connections.commands();
    return new Proxy(client, {
      get: (target, property) => {
        const value = Reflect.get(target, property, target) as unknown;
        if (typeof value !== 'function') return value;
        if (property !== 'call') return value.bind(target) as unknown;
        return async (...args: [string, ...string[]]) => {
          await before(args[0]);
          return target.call(...args);
        };
      },
    });
  };
  const search = async (): ReturnType<typeof connections.search> => {
    const client = await connections.search();
    const sendCommand = async (args: readonly string[], ...rest: unknown[]): Promise<unknown> => {
      await before(args[0]);
      const { sendCommand: send } = client as unknown as { sendCommand: (...all: unknown[]) => Promise<unknown> };
      return send.call(client, args, ...rest);
    };
    return { sendCommand } as unknown as typeof client;
  };
  return own(createVectors({ commands, search, capabilities, topology, label, outage }, { follow: 50 }));
}

const item = (id: string, seen: string) => ({ id, text: `a page ${id}`, metadata: { seen, year: 2_026 } });

test('what passed a filter and changed before it was told is not given under metadata that does not pass', async () => {
  const writer = { name: 'changed', embedder: wordEmbedder(), schema: { seen: 'tag', year: 'number' } } as const;
  const index = fresh().index(writer);
  for (const filter of [
    { op: 'eq', field: 'seen', value: 'all' },
    { op: 'eq', field: 'year', value: 2_026 },
  ] as const) {
    await index.upsert([item('one', 'all'), item('two', 'all')]);
    const hide = () => index.upsert([{ id: 'one', text: 'a page one', metadata: { seen: 'few', year: 1 } }]);
    const reader = interrupted('HMGET', 1, hide).index(writer);
    const hits = await reader.search({ text: 'a page', k: 1, filter });
    expect(hits).toMatchObject([{ id: 'two', metadata: { seen: 'all' } }]);
  }
});

test('deleteByFilter() and ids() come to all documents, also when their version is replaced and dropped on the way', async () => {
  const options = { name: 'replaced', dimensions: 2 };
  const index = fresh().index(options);
  const count = 2_000;
  const items = Array.from({ length: count }, (_none, at) => ({ id: String(at), vector: [1, at] }));
  await index.upsert(items);
  const rebuild = () => index.rebuild({ keepOld: 0 });
  const seen = new Set<string>();
  for await (const id of interrupted('HSCAN', 2, rebuild).index(options).ids()) seen.add(id);
  expect(seen.size).toBe(count);
  const nothing = { op: 'not', filter: { op: 'exists', field: 'lang' } } as const;
  const tagged = fresh().index({ ...options, schema: { lang: 'tag' } });
  await tagged.rebuild({ keepOld: 0 });
  const removed = await interrupted('HSCAN', 2, () => tagged.rebuild({ keepOld: 0 }))
    .index({ ...options, schema: { lang: 'tag' } })
    .deleteByFilter(nothing);
  expect([removed, (await tagged.stats()).documents]).toEqual([count, 0]);
});

/** Bytes that the server was sent. */
const received = async (): Promise<number> =>
  server.ask(async (redis) => Number(/total_net_input_bytes:(\d+)/.exec(await redis.info('stats'))?.[1]));

test('the list of the chunks of a long document travels once, not with each of its writes', async () => {
  const index = fresh().index({ name: 'list', embedder: wordEmbedder(4), chunker: textChunker({ maxChars: 16 }) });
  const text = Array.from({ length: 4_000 }, (_none, at) => `Number ${at}.`).join('\n\n');
  const before = await received();
  expect(await index.upsert([{ id: 'long', text }])).toMatchObject({ added: 1, embedded: 4_000 });
  const written = await received();
  expect((written - before) / 4_000).toBeLessThan(600); // Bytes a chunk; the list alone would come to more.
  await index.upsert([{ id: 'long', text: 'short' }]);
  expect((await received()) - written).toBeLessThan(written - before);
  expect(await index.search({ text: 'Number 7' })).toMatchObject([{ text: 'short' }]);
});
