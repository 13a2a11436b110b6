/** Plain topics: who hears what, over which connections, and what is refused. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { clientsOf } from '../support/client-list.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { collectLog } from '../support/log-lines.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { heardBy, live, news, ownedPubSub, upTo, type OwnedPubSub } from './own-pubsub.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const pubsubOf = ownedPubSub();
const fresh = (...options: Parameters<typeof pubsubOf> extends [unknown, ...infer Rest] ? Rest : never): OwnedPubSub =>
  pubsubOf({ url: server.url }, ...options);

/** Reads to the end. */
async function read(stream: AsyncIterable<unknown>): Promise<string> {
  for await (const message of stream) expect(message).toBeUndefined();
  return 'ended';
}

const channel = 'millrace:pubsub:{news.*.line}';

describe('a message', () => {
  test('is heard by all who listen, typed and in order, with what it says of itself', async () => {
    const [{ pubsub }, { pubsub: other }] = [fresh(), fresh()];
    const [mine, theirs] = [heardBy(), heardBy()];
    await live(pubsub.subscribe(news, mine.handler));
    await live(other.subscribe(news.at('a'), theirs.handler));
    for (const n of upTo(50)) {
      const { receivers, position } = await pubsub.publish(news.at('a'), { n }, { headers: { trace: 't1' } });
      expect({ receivers, position }).toEqual({ receivers: 2, position: undefined });
    }
    await eventually(() => expect([mine.heard, theirs.heard]).toEqual([upTo(50), upTo(50)]));
    const [first] = theirs.messages;
    expect(first).toMatchObject({ topic: 'news.a.line', values: ['a'], headers: { trace: 't1' }, position: undefined });
    expect(Math.abs((first?.sentAt ?? 0) - Date.now())).toBeLessThan(10_000);
    expect(new Set(theirs.messages.map(({ id }) => id)).size).toBe(50);
  });

  test('is parsed by the schema of whoever hears it, and one that it refuses is counted and passed over', async () => {
    const schema = z.strictObject({ at: z.coerce.date(), size: z.number().default(7) });
    const dated = defineTopic({ name: 'dated', schema });
    const { pubsub } = fresh();
    const data: unknown[] = [];
    const subscription = await live(pubsub.subscribe(dated, (message) => data.push(message.data)));
    const publish = (given: object): Promise<unknown> => pubsub.publish(dated, given as never);
    const error = await failureOf(publish({ at: 'x', siz: 1 }), 'INPUT_INVALID');
    expect(error.message).toContain('a message of dated');
    const older = defineTopic({ name: 'dated', schema: z.unknown() });
    await fresh().pubsub.publish(older, { at: 'never' });
    await publish({ at: '2026-11-21T00:00:00.000Z' });
    await eventually(() => expect(data).toEqual([{ at: new Date('2026-11-21'), size: 7 }]));
    expect(subscription.stats()).toMatchObject({ handled: 1, refused: 1, failed: 0 });
  });

  test('is not heard by the process that said it, if that does not want to', async () => {
    const [{ pubsub }, { pubsub: other }] = [fresh(), fresh()];
    const [mine, theirs] = [heardBy(), heardBy()];
    await live(pubsub.subscribe(news, mine.handler));
    await live(other.subscribe(news, theirs.handler));
    await pubsub.publish(news.at('a'), { n: 1 }, { noEcho: true });
    await pubsub.publish(news.at('a'), { n: 2 });
    await eventually(() => expect([mine.heard, theirs.heard]).toEqual([[2], [1, 2]]));
  });

  test('that is too large is refused before it is sent', async () => {
    const small = defineTopic({ name: 'small', schema: z.string(), maxBytes: 100 });
    const { pubsub } = fresh();
    const error = await failureOf(pubsub.publish(small, 'x'.repeat(99)), 'PAYLOAD_TOO_LARGE');
    expect(error.facts).toMatchObject({ contract: 'small', sizeBytes: 101, maxBytes: 100 });
    expect(await pubsub.publish(small, 'x'.repeat(98))).toMatchObject({ receivers: 0 });
    const headers = { large: 'x'.repeat(5_000) };
    await failureOf(pubsub.publish(small, 'x', { headers }), 'OPTIONS_INVALID');
  });
});

describe('subscriptions', () => {
  test('of one process share one connection and one channel, however many topics they name', async () => {
    const { pubsub } = fresh();
    const { pubsub: speaker } = fresh();
    const all = heardBy();
    const each = upTo(200).map((n) => ({ n, ...heardBy() }));
    const before = (await clientsOf(server)).length;
    await live(pubsub.subscribe(news, all.handler));
    await Promise.all(each.map(({ n, handler }) => live(pubsub.subscribe(news.at(n), handler))));
    expect(await server.ask((redis) => redis.pubsub('CHANNELS', '*news*'))).toEqual([channel]);
    expect(await server.ask((redis) => redis.pubsub('NUMPAT'))).toBe(0);
    for (const n of upTo(200)) await speaker.publish(news.at(n), { n });
    await eventually(() => expect(all.heard).toEqual(upTo(200)));
    expect(each.map(({ heard }) => heard)).toEqual(upTo(200).map((n) => [n]));
    const mine = (await clientsOf(server)).length - before;
    expect(mine).toBe(2); // One that listens, one that speaks.
  });

  test('with a pattern find all known topics, and only what fits', async () => {
    const schema = z.strictObject({ n: z.number() });
    const status = defineTopic({ name: 'orders.*.status', schema });
    const items = defineTopic({ name: 'orders.*.items.*', schema });
    const users = defineTopic({ name: 'users.*', schema });
    const { pubsub } = fresh({ topics: [status, items, users] });
    const [rest, second, one] = [heardBy(), heardBy(), heardBy()];
    await live(pubsub.subscribe('orders.>', rest.handler as never));
    await live(pubsub.subscribe('orders.2.*.*', second.handler as never));
    await live(pubsub.subscribe(items.at(items.every, 'x'), one.handler));
    await pubsub.publish(status.at(1), { n: 1 });
    await pubsub.publish(items.at(2, 'x'), { n: 2 });
    await pubsub.publish(items.at(3, 'x'), { n: 3 });
    await pubsub.publish(items.at(2, 'y'), { n: 4 });
    await pubsub.publish(users.at(1), { n: 5 });
    await eventually(() => {
      expect(new Set(rest.heard)).toEqual(new Set([1, 2, 3, 4])); // Of different definitions in any order.
      expect(rest.heard).toHaveLength(4);
      expect(second.heard).toEqual([2, 4]);
      expect(one.heard).toEqual([2, 3]);
    });
    expect(() => pubsub.subscribe('nothing.>', () => undefined)).toThrow(/no known topic fits nothing.>.*orders/);
    for (const pattern of ['>', 'a..b', 'a.>.b', '', 'a b']) {
      expect(() => pubsub.subscribe(pattern, () => undefined), pattern).toThrow(/expected segments/);
    }
  });

  test('of the last who listens lets go of the channel; another of the same topic stays', async () => {
    const { pubsub } = fresh();
    const [one, other] = [heardBy(), heardBy()];
    const first = await live(pubsub.subscribe(news, one.handler));
    const second = await live(pubsub.subscribe(news.at('a'), other.handler));
    await first.close();
    await first.close();
    expect(await pubsub.publish(news.at('a'), { n: 1 })).toMatchObject({ receivers: 1 });
    await eventually(() => expect(other.heard).toEqual([1]));
    expect(one.heard).toEqual([]);
    expect([first.isLive, second.isLive]).toEqual([false, true]);
    await second.close();
    await eventually(async () => expect(await pubsub.publish(news.at('a'), { n: 2 })).toMatchObject({ receivers: 0 }));
    const again = await live(pubsub.subscribe(news.at('a'), other.handler));
    expect(await pubsub.publish(news.at('a'), { n: 3 })).toMatchObject({ receivers: 1 });
    await eventually(() => expect(other.heard).toEqual([1, 3]));
    expect(await again.close().then(() => again.closed)).toBe('closed');
    await failureOf(again.ready(), 'CLOSED');
  });

  test('end with their signal, also one that has aborted already', async () => {
    const { pubsub } = fresh();
    const ending = new AbortController();
    const { signal } = ending;
    const subscription = await live(pubsub.subscribe(news, () => undefined, { signal }));
    ending.abort();
    expect(await subscription.closed).toBe('aborted');
    expect(await pubsub.subscribe(news, () => undefined, { signal }).closed).toBe('aborted');
    await eventually(async () => expect(await pubsub.publish(news.at('a'), { n: 1 })).toMatchObject({ receivers: 0 }));
  });

  test('whose handler fails go on, and people are told of the first of a row', async () => {
    const lines = collectLog();
    const { pubsub } = fresh({ log: lines.log });
    const seen: number[] = [];
    const subscription = pubsub.subscribe(news, ({ data: { n } }) => {
      seen.push(n);
      if (n === 1) throw new Error('synchronous');
      return n < 4 ? Promise.reject(new Error('later')) : undefined;
    });
    await subscription.ready();
    for (const n of upTo(5)) await pubsub.publish(news.at('a'), { n });
    await eventually(() => expect(subscription.stats()).toMatchObject({ handled: 2, failed: 3 }));
    expect(seen).toEqual(upTo(5));
    expect(lines.warnings()).toHaveLength(1);
    expect(lines.warnings()[0]).toMatchObject({ topic: 'news.a.line', err: { message: 'synchronous' } });
  });

  test('are told that messages may have been missed while their connection was away', async () => {
    const { pubsub } = fresh();
    const mine = heardBy();
    await live(pubsub.subscribe(news, mine.handler, { onGap: mine.onGap }));
    await pubsub.publish(news.at('a'), { n: 1 });
    await eventually(() => expect(mine.heard).toEqual([1]));
    await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
    await eventually(() => expect(mine.heard).toEqual([1, 'gap connection']));
    await pubsub.publish(news.at('a'), { n: 2 });
    await eventually(() => expect(mine.heard).toEqual([1, 'gap connection', 2]));
  });
});

describe('a stream', () => {
  test('gives messages one by one, and leaving it lets go of the channel', async () => {
    const { pubsub } = fresh();
    const stream = pubsub.stream(news.at('a'));
    await stream.ready();
    for (const n of upTo(3)) await pubsub.publish(news.at('a'), { n });
    const seen: number[] = [];
    for await (const { data, values } of stream) {
      expect(values).toEqual(['a']);
      seen.push(data.n);
      if (seen.length === 2) break;
    }
    expect(seen).toEqual([1, 2]);
    await eventually(async () => expect(await pubsub.publish(news.at('a'), { n: 9 })).toMatchObject({ receivers: 0 }));
  });

  test('ends with its signal, and with stop()', async () => {
    const { pubsub } = fresh();
    const ending = new AbortController();
    const first = read(pubsub.stream(news, { signal: ending.signal }));
    const second = read(pubsub.stream(news));
    ending.abort();
    expect(await first).toBe('ended');
    await pubsub.stop();
    expect(await second).toBe('ended');
  });
});

test('stop() ends all that listens and refuses what comes after it', async () => {
  const { pubsub } = fresh();
  const subscription = await live(pubsub.subscribe(news, () => undefined));
  const opening = pubsub.subscribe(news.at('b'), () => undefined);
  await Promise.all([pubsub.stop(), pubsub.stop()]);
  expect([await subscription.closed, await opening.closed]).toEqual(['stopped', 'stopped']);
  await failureOf(opening.ready(), 'CLOSED');
  await failureOf(pubsub.publish(news.at('a'), { n: 1 }), 'CLOSED');
  expect(() => pubsub.subscribe(news, () => undefined)).toThrow('has been stopped');
  await eventually(async () => expect(await server.ask((redis) => redis.pubsub('CHANNELS', channel))).toEqual([]));
});

test('wrong options are named', () => {
  const { pubsub } = fresh();
  const subscribe = (options: object): unknown => pubsub.subscribe(news, () => undefined, options);
  expect(() => subscribe({ queu: 1 })).toThrow('unknown option queu, did you mean queue?');
  expect(() => subscribe({ queue: 0 })).toThrow(/queue: expected at least 1/);
  expect(() => subscribe({ from: 'yesterday' })).toThrow(/expected 'now', 'start' or the position/);
  expect(() => subscribe({ from: 'start' })).toThrow(/are for reliable topics/);
  expect(() => subscribe({ onOverflow: 'catch-up' })).toThrow(/are for reliable topics/);
  expect(() => pubsub.subscribe(news, undefined as never)).toThrow('expected a function, got undefined');
  expect(() => pubsub.subscribe({} as never, () => undefined)).toThrow('expected a topic of defineTopic()');
  expect(() => fresh({ deadline: 'soon' as never })).toThrow('deadline');
  expect(() => fresh({ topics: [news.at('a')] as never })).toThrow('topics[0]: expected a topic of defineTopic()');
  const twin = defineTopic({ name: 'news.*.line', schema: z.unknown() });
  pubsub.subscribe(news, () => undefined);
  expect(() => pubsub.subscribe(twin, () => undefined)).toThrow('defined twice');
});
