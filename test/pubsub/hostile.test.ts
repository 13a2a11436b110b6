/** What anybody can say who may PUBLISH: none of it may throw in the socket's callback, reach a handler, or spoil what comes after it. */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { collectLog } from '../support/log-lines.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { heardBy, ledger, live, news, ownedPubSub, upTo } from './own-pubsub.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const pubsubOf = ownedPubSub();

const meta = '{"i":"1","o":"x","t":1}';
const message = (body: string, topic = 'news.a.line', place = '- - -'): string => `${topic}\n${place}\n${body}`;
const HOSTILE = [
  '',
  '\n',
  '\n\n\n',
  'news.a.line',
  'no envelope at all',
  message('{'),
  message(`${meta}\n{"n":1`),
  message(`${meta}\n`),
  message(`${meta}\n{"n":"1"}`),
  message(`${meta}\n{"n":1,"__proto__":{"polluted":true}}`),
  message(`${meta}\n{"n":1,"constructor":{"prototype":{"polluted":true}}}`),
  message(`{"__proto__":{"i":"1","o":"x","t":1}}\n{"n":1}`),
  message(`null\n{"n":1}`),
  message(`[]\n{"n":1}`),
  message(`{"i":"1","o":"x","t":"soon"}\n{"n":1}`),
  message(`{"i":"1","o":"x","t":1,"h":{"a":1}}\n{"n":1}`),
  message(`{"i":"${'1'.repeat(400)}","o":"x","t":1}\n{"n":1}`),
  message(`${meta}\n${'['.repeat(20_000)}`),
  message(`${meta}\n"${'x'.repeat(200_000)}"`),
  message(`${meta}\n{"n":1}`, 'news.a'),
  message(`${meta}\n{"n":1}`, 'other.a.line'),
  message(`${meta}\n{"n":1}`, 'news.*.line'),
  message(`${meta}\n{"n":1}`, 'news.%zz.line'),
  message(`${meta}\n{"n":1}`, 'news.%FF.line'),
  message(`${meta}\n{"n":1}`, `news.${'a.'.repeat(5_000)}line`),
  message(`${meta}\n{"n":1}`, 'news.a.line', '1-1'),
  message(`${meta}\n{"n":1}`, 'news.a.line', '1-1 x -'),
  message(`${meta}\n{"n":1}`, 'news.a.line', '99999999999999999999-0 0 -'),
  '\u0000\ufffd',
];

test('on the channel of a plain topic is refused, and told of once', async () => {
  const lines = collectLog();
  const { pubsub, connections } = pubsubOf({ url: server.url }, { log: lines.log });
  const mine = heardBy();
  const subscription = await live(pubsub.subscribe(news, mine.handler));
  for (const text of HOSTILE) await connections.commands().publish('millrace:pubsub:{news.*.line}', text);
  await connections.commands().publish('millrace:pubsub:{news.*.line}', Buffer.from([0xff, 0xfe, 0x0a, 0x80]));
  await pubsub.publish(news.at('a'), { n: 7 });
  await eventually(() => expect(mine.heard).toEqual([7]));
  expect(subscription.stats()).toMatchObject({ handled: 1, failed: 0 });
  expect(subscription.stats().refused).toBeGreaterThan(8);
  expect(lines.warnings()).toHaveLength(2); // One for what is no message, one for what is not of the schema.
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});

test('on the channel and in the ring of a reliable topic is passed over', async () => {
  const prefix = `passed-${randomUUID()}`;
  const { pubsub, connections } = pubsubOf({ url: server.url }, { prefix });
  const mine = heardBy();
  const channel = `${prefix}:pubsub:{ledger.*}`;
  await pubsub.publish(ledger.at('a'), { n: 1 });
  for (const fields of [
    ['x', 'y'],
    ['topic', 'ledger.a', 'before', 'z', 'echo', '-', 'body', 'x'],
    ['topic', ''],
  ]) {
    await connections.commands().xadd(`${channel}:ring`, '*', ...fields, ...(fields.length % 2 ? ['x'] : []));
  }
  await pubsub.publish(ledger.at('a'), { n: 2 });
  await live(pubsub.subscribe(ledger, mine.handler, { from: 'start' }));
  await eventually(() => expect(mine.heard).toEqual([1, 2]));
  for (const text of HOSTILE) await connections.commands().publish(channel, text.replaceAll('news.a.line', 'ledger.a'));
  const soon = systemClock.wallMs() + 60_000;
  // Says that there is something before it which is nowhere.
  // Comes right after the last one, and from the far future.
  await connections.commands().publish(channel, message(`${meta}\n{"n":67}`, 'ledger.a', '9999999999999-0 0 -'));
  await connections.commands().publish(channel, message(`${meta}\n{"n":66}`, 'ledger.a', `${soon}-1 ${soon}-0 -`));
  await pubsub.publish(ledger.at('a'), { n: 3 });
  await eventually(() => expect(mine.heard).toEqual([1, 2, 3]));
});

test('a position that nobody has said deafens nobody', async () => {
  const prefix = `forged-${randomUUID()}`;
  const { pubsub, connections } = pubsubOf({ url: server.url }, { prefix });
  const mine = heardBy();
  await live(pubsub.subscribe(ledger, mine.handler, { onGap: mine.onGap }));
  const { position: last = '' } = await pubsub.publish(ledger.at('a'), { n: 1 });
  await eventually(() => expect(mine.heard).toEqual([1]));
  const forge = async (aheadMs: number, before: string): Promise<unknown> => {
    const place = `${systemClock.wallMs() + aheadMs}-0 ${before} -`;
    return connections
      .commands()
      .publish(`${prefix}:pubsub:{ledger.*}`, message(`${meta}\n{"n":66}`, 'ledger.a', place));
  };
  let n = 1;
  for (const before of ['0', last, '1-1']) {
    for (const aheadMs of [3_600_000, 80_000_000, 100_000_000]) {
      await forge(aheadMs, before);
      await pubsub.publish(ledger.at('a'), { n: ++n });
      await eventually(() => expect(mine.heard).toEqual(upTo(n)));
    }
  }
  const { position: newest = '' } = await pubsub.publish(ledger.at('a'), { n: ++n });
  await eventually(() => expect(mine.heard).toEqual(upTo(n)));
  await forge(3_600_000, newest);
  await pubsub.publish(ledger.at('a'), { n: ++n });
  await eventually(() => expect(mine.heard).toEqual(upTo(n)));
});

test('a position that nobody has said hides nothing that is said while the ring is asked', async () => {
  const prefix = `hiding-${randomUUID()}`;
  const { pubsub, connections } = pubsubOf({ url: server.url }, { prefix });
  const { pubsub: speaker } = pubsubOf({ url: server.url }, { prefix });
  const [mine, others] = [heardBy(), heardBy()];
  await live(pubsub.subscribe(ledger, mine.handler));
  await live(pubsub.subscribe(news, others.handler));
  await speaker.publish(ledger.at('a'), { n: 1 });
  await eventually(() => expect(mine.heard).toEqual([1]));
  const [asked, answered] = [gate(), gate()];
  const client = connections.commands() as Redis;
  const ask = client.evalsha.bind(client) as (...args: unknown[]) => Promise<unknown>;
  Object.assign(client, {
    async evalsha(...args: unknown[]) {
      const answer = await ask(...args);
      asked.open();
      await answered.opened;
      return answer;
    },
  });
  const forged = message(`${meta}\n{"n":66}`, 'ledger.a', '9999999999999-0 0 -');
  await client.publish(`${prefix}:pubsub:{ledger.*}`, forged);
  await asked.opened;
  await speaker.publish(ledger.at('a'), { n: 2 });
  await speaker.publish(news.at('a'), { n: 7 });
  await eventually(() => expect(others.heard).toEqual([7])); // So the one before it has come too.
  answered.open();
  await eventually(() => expect(mine.heard).toEqual([1, 2]), 5_000);
});

test('a process whose own clock is a day behind hears all the same', async () => {
  const clock = { ...systemClock, wallMs: () => systemClock.wallMs() - 2 * 86_400_000 };
  const { pubsub } = pubsubOf({ url: server.url }, { prefix: 'behind', clock });
  const mine = heardBy();
  await live(pubsub.subscribe(ledger, mine.handler, { onGap: mine.onGap }));
  for (const n of upTo(20)) await pubsub.publish(ledger.at('a'), { n });
  await eventually(() => expect(mine.heard).toEqual(upTo(20)));
});

test('a message that is larger than the definition lets any be is passed over, from the channel and from the ring', async () => {
  const large = defineTopic({
    name: 'ledger.*',
    schema: z.strictObject({ n: z.number(), filler: z.string() }),
    reliable: true,
    maxBytes: 60_000,
  });
  const small = defineTopic({
    name: 'ledger.*',
    schema: z.looseObject({ n: z.number() }),
    reliable: true,
    maxBytes: 1_000,
  });
  const lines = collectLog();
  const prefix = `large-${randomUUID()}`;
  const { pubsub: speaker } = pubsubOf({ url: server.url }, { prefix });
  const { pubsub } = pubsubOf({ url: server.url }, { prefix, log: lines.log });
  const [now, later] = [heardBy(), heardBy()];
  await live(pubsub.subscribe(small, now.handler as never, { onGap: now.onGap }));
  for (const n of upTo(3)) await speaker.publish(large.at('a'), { n, filler: 'x'.repeat(n === 2 ? 50_000 : 1) });
  await eventually(() => expect(now.heard).toEqual([1, 3]));
  await live(pubsub.subscribe(small, later.handler as never, { onGap: later.onGap, from: 'start' }));
  await eventually(() => expect(later.heard).toEqual([1, 3]));
  expect(lines.all().filter(({ msg }) => msg.startsWith('the messages that were missed'))).toEqual([]);
});

test('a name as object prototypes have it is a header, a value and a topic like any other', async () => {
  const anything = defineTopic({ name: 'constructor.*', schema: z.record(z.string(), z.string()) });
  const { pubsub } = pubsubOf({ url: server.url });
  const got: unknown[] = [];
  await live(pubsub.subscribe(anything, ({ values, headers, data }) => got.push([values, headers, Object.keys(data)])));
  const headers = JSON.parse('{"__proto__":"x","toString":"y"}') as Record<string, string>;
  await pubsub.publish(anything.at('__proto__'), { hasOwnProperty: 'z' }, { headers });
  await eventually(() => expect(got).toHaveLength(1));
  expect(got[0]).toMatchObject([['__proto__'], { toString: 'y' }, ['hasOwnProperty']]);
});
