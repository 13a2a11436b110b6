/** What publish() and publishMany() promise, one at a time and in the face of each other. */
import { randomUUID } from 'node:crypto';
import { beforeAll, afterAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createMetrics } from '../../src/metrics/registry.ts';
import { defineStream } from '../../src/streams/contract.ts';
import { decodeEntry, publishedAtOf } from '../../src/streams/entry.ts';
import { commandCount } from '../support/command-count.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startProxy } from '../support/proxy.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { createScene, failureOf, idsOf, many, notes, noteSchema } from './scene.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const scene = (redis = { url: server.url }) => createScene(own, redis);

describe('an entry', () => {
  test('is in the stream as the JSON that was given, under an id of the server', async () => {
    const { streams, client, keysOf } = scene();
    const contract = notes();
    const { id, status } = await streams.publish(contract, { n: 1 });
    expect(status).toBe('added');
    expect(await client.xrange(keysOf(contract).entries, '-', '+')).toEqual([[id, ['data', '{"n":1}']]]);
    const [seconds] = await client.time();
    expect(Math.abs(publishedAtOf(id) - Number(seconds) * 1_000)).toBeLessThan(5_000);
  });

  test('carries headers and its key, and reads as it was published', async () => {
    const { streams, client, keysOf } = scene();
    const contract = notes();
    await streams.publish(contract, { n: 1 }, { headers: { trace: 'a:b', 'x y': 'é \u{1F600}' } });
    await streams.publish(contract, { n: 2 }, { key: 'k/1 {x}', headers: {} });
    const [first, second] = (await client.xrange(keysOf(contract).entries, '-', '+')).map(([id, fields]) =>
      decodeEntry(id, fields),
    );
    expect(first).toMatchObject({ data: '{"n":1}', headers: { trace: 'a:b', 'x y': 'é \u{1F600}' }, redriven: 0 });
    expect(second).toMatchObject({ data: '{"n":2}', headers: {}, key: 'k/1 {x}', originId: second?.id });
    expect(second?.only).toBeUndefined();
  });

  test('is stored before the defaults and transforms of its schema, which are for whoever reads it', async () => {
    const { streams, client, keysOf } = scene();
    const schema = z.object({ at: z.coerce.date(), tries: z.number().default(3) });
    const contract = defineStream({ name: 'with.defaults', schema });
    await streams.publish(contract, { at: '2026-01-01' });
    const [[, fields]] = (await client.xrange(keysOf(contract).entries, '-', '+')) as [[string, string[]]];
    expect(fields).toEqual(['data', '{"at":"2026-01-01"}']);
  });

  test('of a schema that answers with a promise waits for it', async () => {
    const { streams, client, keysOf } = scene();
    const contract = defineStream({
      name: 'slow.schema',
      schema: z.number().refine(async (n) => n > 0, 'not above 0'),
    });
    await streams.publish(contract, 1);
    expect(await failureOf(streams.publish(contract, -1))).toMatchObject({ code: 'INPUT_INVALID' });
    expect(await failureOf(streams.publishMany(contract, [1, -1]))).toMatchObject({
      code: 'INPUT_INVALID',
      facts: { index: 1 },
    });
    expect(await client.xlen(keysOf(contract).entries)).toBe(1);
  });

  test('costs one command', async () => {
    const alone = own(await startRedis());
    const { streams } = scene({ url: alone.url });
    const contract = notes();
    await streams.publish(contract, { n: 0 });
    await Promise.all(many(100).map((note) => streams.publish(contract, note)));
    expect(await commandCount([alone], 'xadd')).toBe(101);
    expect(await commandCount([alone], 'evalsha', 'eval')).toBe(0);
  });

  test('comes after those whose publish was called before', async () => {
    const { streams, client, keysOf } = scene();
    const contract = notes();
    const published = await Promise.all(many(500).map((note) => streams.publish(contract, note)));
    expect(published.map(({ id }) => id)).toEqual(await idsOf(client, keysOf(contract).entries));
  });
});

describe('bad input', () => {
  test.each<[string, unknown, object | undefined, string, string]>([
    ['data of another shape', { n: 'x' }, undefined, 'INPUT_INVALID', 'n: Invalid input: expected number'],
    ['no data', undefined, undefined, 'INPUT_INVALID', 'JSON form'],
    ['data without a JSON form', { n: 1n }, undefined, 'INPUT_INVALID', 'no JSON form'],
    ['data that JSON changes', { n: Number.NaN }, undefined, 'INPUT_INVALID', 'NaN is null'],
    ['an empty key', { n: 1 }, { key: '' }, 'OPTIONS_INVALID', 'key: expected at least 1 character'],
    ['a key that is no text', { n: 1 }, { key: 7 }, 'OPTIONS_INVALID', 'key: expected string, got 7'],
    ['a key without end', { n: 1 }, { key: 'k'.repeat(513) }, 'OPTIONS_INVALID', 'at most 512 characters'],
    ['a key that is kept for no time', { n: 1 }, { key: 'k', keepKeyFor: 0 }, 'OPTIONS_INVALID', 'at least 1 ms'],
    ['a duration that is none', { n: 1 }, { keepKeyFor: 'long' }, 'OPTIONS_INVALID', 'keepKeyFor: expected a number'],
    ['headers that are no texts', { n: 1 }, { headers: { a: 1 } }, 'OPTIONS_INVALID', 'headers.a: expected string'],
    ['headers without end', { n: 1 }, { headers: { a: 'x'.repeat(9_000) } }, 'OPTIONS_INVALID', 'at most 8192 bytes'],
    ['an unknown option', { n: 1 }, { idempotencyKey: 'k' }, 'OPTIONS_INVALID', 'unknown option idempotencyKey'],
  ])('%s is refused and nothing is sent', async (_what, data, options, code, says) => {
    const { streams, client, keysOf } = scene();
    const contract = notes();
    const failure = await failureOf(streams.publish(contract, data as never, options));
    expect(failure.code).toBe(code);
    expect(failure.message).toContain(says);
    expect(await client.exists(keysOf(contract).entries)).toBe(0);
  });

  test('what is too large is refused', async () => {
    const { streams } = scene();
    const failure = await failureOf(streams.publish(notes({ maxBytes: 10 }), { n: 12_345_678 }));
    expect(failure).toMatchObject({ code: 'PAYLOAD_TOO_LARGE', facts: { maxBytes: 10 } });
  });

  test('what is no contract is refused', async () => {
    const { streams } = scene();
    const failure = await failureOf(streams.publish({ name: 'notes' } as never, { n: 1 }));
    expect(failure.message).toContain('expected a contract of defineStream(), got {"name":"notes"}');
    expect(await failureOf(streams.publish(undefined as never, undefined as never))).toMatchObject({
      code: 'OPTIONS_INVALID',
    });
  });

  test.each(['', 'card..number', 'card number', 'card.', 'tok*'])('%j is no path of a secret', (path) => {
    expect(() => notes({ secrets: [path] })).toThrow(/secrets\[0\]: expected a path such as card\.number/);
  });

  test('a key in the place of a stream is told as what it is', async () => {
    const { streams, client, keysOf } = scene();
    const contract = notes();
    await client.set(keysOf(contract).entries, 'no stream');
    expect(await failureOf(streams.publish(contract, { n: 1 }))).toMatchObject({ code: 'REDIS_FAILED' });
    expect(await failureOf(streams.publish(contract, { n: 1 }, { key: 'k' }))).toMatchObject({ code: 'SCRIPT_FAILED' });
    expect(await client.exists(keysOf(contract).sent('k'))).toBe(0);
  });

  test('after stop() nothing is published', async () => {
    const { streams } = scene();
    await streams.stop();
    await streams.stop();
    expect(await failureOf(streams.publish(notes(), { n: 1 }))).toMatchObject({ code: 'CLOSED' });
    expect(await failureOf(streams.publishMany(notes(), [{ n: 1 }]))).toMatchObject({ code: 'CLOSED' });
  });
});

describe('an idempotency key', () => {
  test('raced by 20 publishers adds one entry, and all are told its id', async () => {
    const prefix = `race-${randomUUID()}`;
    const scenes = Array.from({ length: 4 }, () => createScene(own, { url: server.url }, { prefix }));
    const contract = notes();
    const published = await Promise.all(
      many(20).map(async (note) => scenes[note.n % 4]?.streams.publish(contract, note, { key: 'order-42' })),
    );
    expect(new Set(published.map((one) => one?.id)).size).toBe(1);
    expect(published.filter((one) => one?.status === 'added')).toHaveLength(1);
    expect(await scenes[0]?.client.xlen(scenes[0].keysOf(contract).entries)).toBe(1);
  });

  test('is forgotten after its time, on the server', async () => {
    const { streams, client, keysOf } = scene();
    const contract = notes();
    const first = await streams.publish(contract, { n: 1 }, { key: 'k', keepKeyFor: '60ms' });
    expect(await streams.publish(contract, { n: 1 }, { key: 'k' })).toEqual({ ...first, status: 'duplicate' });
    const leftMs = await client.pttl(keysOf(contract).sent('k'));
    expect(leftMs).toBeLessThanOrEqual(60);
    const again = await eventually(async () => {
      const published = await streams.publish(contract, { n: 1 }, { key: 'k' });
      expect(published.status).toBe('added');
      return published;
    });
    expect(again.id).not.toBe(first.id);
    expect(await client.pttl(keysOf(contract).sent('k'))).toBeGreaterThan(86_000_000);
  });

  test('is of its own stream, and outlives the entry', async () => {
    const { streams, client, keysOf } = scene();
    const [one, other] = [notes(), notes()];
    const { id } = await streams.publish(one, { n: 1 }, { key: 'k' });
    expect(await streams.publish(other, { n: 1 }, { key: 'k' })).toMatchObject({ status: 'added' });
    await client.xtrim(keysOf(one).entries, 'MAXLEN', 0);
    expect(await streams.publish(one, { n: 1 }, { key: 'k' })).toEqual({ id, status: 'duplicate' });
  });

  test('makes it safe to publish again when the answer was lost', async () => {
    const proxy = own(await startProxy(server.port));
    const far = scene({ url: proxy.url });
    const { client, keysOf, streams } = far;
    const contract = notes();
    await streams.publish(contract, { n: 0 }, { key: 'first' });
    proxy.loseAnswers();
    const lost = failureOf(streams.publish(contract, { n: 1 }, { key: 'k' }));
    await server.ask(async (redis) => {
      await eventually(async () => expect(await redis.xlen(keysOf(contract).entries)).toBe(2));
    });
    proxy.cut();
    expect(await lost).toMatchObject({ code: 'REDIS_UNREACHABLE' });
    proxy.restore();
    const again = await eventually(() => streams.publish(contract, { n: 1 }, { key: 'k' }));
    expect(again).toEqual({ id: (await idsOf(client, keysOf(contract).entries))[1], status: 'duplicate' });
  });

  test('is not sent by halves when the server has forgotten the script', async () => {
    const { streams, client, keysOf } = scene();
    const contract = notes();
    await streams.publish(contract, { n: 1 }, { key: 'a' });
    await client.script('FLUSH');
    expect(await streams.publish(contract, { n: 1 }, { key: 'a' })).toMatchObject({ status: 'duplicate' });
    expect(await streams.publish(contract, { n: 1 }, { key: 'b' })).toMatchObject({ status: 'added' });
    expect(await client.xlen(keysOf(contract).entries)).toBe(2);
  });
});

test('a publish whose answer was lost may have been added, and is not sent again by itself', async () => {
  const proxy = own(await startProxy(server.port));
  const { streams, client, keysOf } = scene({ url: proxy.url });
  const contract = notes();
  await streams.publish(contract, { n: 0 });
  proxy.loseAnswers();
  const lost = failureOf(streams.publish(contract, { n: 1 }));
  await server.ask(async (redis) => {
    await eventually(async () => expect(await redis.xlen(keysOf(contract).entries)).toBe(2));
  });
  proxy.cut();
  proxy.restore();
  expect(await lost).toMatchObject({ code: 'REDIS_UNREACHABLE' });
  await eventually(() => streams.publish(contract, { n: 2 }));
  expect(await client.xlen(keysOf(contract).entries)).toBe(3);
});

test('what was published is counted by how it ended', async () => {
  const metrics = createMetrics();
  const { streams } = createScene(own, { url: server.url }, { metrics });
  const contract = defineStream({ name: 'counted', schema: noteSchema });
  await streams.publish(contract, { n: 1 });
  await streams.publish(contract, { n: 1 }, { key: 'k' });
  await streams.publishMany(contract, many(3), ({ n }) => ({ key: n === 0 ? 'k' : `k${n}` }));
  await failureOf(streams.publish(contract, { n: 'x' } as never));
  const text = await metrics.render();
  expect(text).toContain('millrace_streams_published_total{stream="counted",outcome="added"} 4');
  expect(text).toContain('millrace_streams_published_total{stream="counted",outcome="duplicate"} 1');
});
