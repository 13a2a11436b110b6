/** A request is handled once at most, whoever was frozen, gave up or made it up; and is sent only when its answer would be heard. */
import { once as event } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { startChild, type Child } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { gate } from '../support/gate.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ownedPubSub, upTo } from './own-pubsub.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedByTest();
const pubsubOf = ownedPubSub();
const once = defineTopic({ name: 'once', schema: z.number() });
const offers = (): Promise<string[]> => server.ask((redis) => redis.keys('millrace:pubsub:{once}:offer:*'));

function handledBy(child: Child | undefined): string[] {
  return child?.lines().filter((line) => line.startsWith('handled')) ?? [];
}

test('a process that was frozen for longer than the caller waits does not handle it again', async () => {
  const [first, second] = [1, 2].map(() => own(startChild('serve-process', [server.url])));
  await Promise.all([first?.says('ready'), second?.says('ready')]);
  const { pubsub } = pubsubOf({ url: server.url });
  second?.signal('SIGSTOP');
  expect(await pubsub.request(once, 1, { timeout: '500ms' })).toBe(1);
  await systemClock.sleep(1_700); // Longer than the caller would have waited, and a second more.
  second?.signal('SIGCONT');
  first?.signal('SIGSTOP');
  expect(await pubsub.request(once, 2, { timeout: '20s' })).toBe(2); // What it hears after the first one.
  await eventually(() => expect(handledBy(second)).toEqual(['handled 2']));
  first?.signal('SIGCONT');
  await eventually(() => expect(handledBy(first)).toEqual(['handled 1']));
});

test('what a caller gives up, and what nobody hears, is offered no more', async () => {
  const [{ pubsub }, { pubsub: busy }] = [pubsubOf({ url: server.url }), pubsubOf({ url: server.url })];
  await failureOf(pubsub.request(once, 0), 'NO_RESPONDER');
  await eventually(async () => expect(await offers()).toEqual([]));
  let begun = 0;
  const { opened, open } = gate();
  const hold = (): Promise<void> => {
    begun++;
    return opened;
  };
  await busy.serve(once, hold, { concurrency: 1 }).ready();
  const first = pubsub.request(once, 1, { timeout: '20s' });
  const firstEnd = failureOf(first, 'CLOSED');
  await eventually(() => expect(begun).toBe(1));
  const ending = new AbortController();
  const aborted = pubsub.request(once, 2, { signal: ending.signal, timeout: '20s' });
  const stopped = failureOf(pubsub.request(once, 3, { timeout: '20s' }), 'CLOSED');
  await eventually(async () => expect(await offers()).toHaveLength(2));
  ending.abort(new Error('not wanted any more'));
  await expect(aborted).rejects.toThrow('not wanted any more');
  await eventually(async () => expect(await offers()).toHaveLength(1));
  await pubsub.stop();
  await Promise.all([firstEnd, stopped]);
  await eventually(async () => expect(await offers()).toEqual([]));
  expect(begun).toBe(1);
  open();
});

test('one that nobody has offered, or that waits longer than any may, is not handled', async () => {
  const lines = collectLog();
  const { pubsub, connections } = pubsubOf({ url: server.url }, { log: lines.log });
  const handled: number[] = [];
  await pubsub.serve(once, ({ data }) => handled.push(data)).ready();
  const redis = connections.commands();
  for (const n of upTo(2)) {
    await redis.set(`millrace:pubsub:{once}:offer:made-up-${n}`, '1');
    const meta = `{"i":"made-up-${n}","o":"x","t":1,"w":10000000000}`;
    await redis.publish('millrace:pubsub:{once}:requests', `once\n- - -\n${meta}\n${n}`);
  }
  await redis.publish('millrace:pubsub:{once}:requests', 'once\n- - -\n{"i":"not-offered","o":"x","t":1,"w":60000}\n3');
  expect(await pubsub.request(once, 4)).toBe(1);
  expect(handled).toEqual([4]);
  expect(lines.warnings().map(({ msg }) => msg)).toEqual(['a request that waits for longer than any may was refused']);
  await redis.del('millrace:pubsub:{once}:offer:made-up-1', 'millrace:pubsub:{once}:offer:made-up-2');
});

test('one that is made while answers are not heard is sent once they are', async () => {
  const [{ pubsub, connections }, { pubsub: other }] = [pubsubOf({ url: server.url }), pubsubOf({ url: server.url })];
  await other.serve(once, ({ data }) => data).ready();
  expect(await pubsub.request(once, 1)).toBe(1);
  const subscriber = connections.subscriber();
  const isLost = event(subscriber, 'close');
  subscriber.disconnect(true);
  await isLost;
  const answers = await Promise.all(upTo(20).map((n) => pubsub.request(once, n, { timeout: '20s' })));
  expect(answers).toEqual(upTo(20));
});

test('why a handler failed is told however small the answers of the topic are', async () => {
  const small = defineTopic({ name: 'once', schema: z.number(), maxBytes: 10 });
  const { pubsub } = pubsubOf({ url: server.url });
  const said = new Error('the warehouse is closed until monday morning');
  await pubsub.serve(small, () => Promise.reject(said)).ready();
  const error = await failureOf(pubsub.request(small, 1), 'REQUEST_FAILED');
  expect(error.message).toContain('the warehouse is closed until monday morning');
});
