/** What anybody can say who may PUBLISH: none of it may throw in the socket's callback, reach a handler, or spoil what comes after it. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { eventually } from '../support/eventually.ts';
import { collectLog } from '../support/log-lines.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { heardBy, ledger, live, news, ownedPubSub } from './own-pubsub.ts';

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
  const { pubsub, connections } = pubsubOf({ url: server.url });
  const mine = heardBy();
  const channel = 'millrace:pubsub:{ledger.*}';
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
