/** Streams: what they cost, and that one which nobody reads holds up nobody. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { messageStream } from '../../src/pubsub/message-stream.ts';
import type { CloseReason, Handler, Subscription, TopicMessage } from '../../src/pubsub/subscription.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf, timed } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { live, news, ownedPubSub, upTo } from './own-pubsub.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const pubsubOf = ownedPubSub();

test('nothing is kept for a message that has been read', async () => {
  let offer: Handler | undefined;
  const closed = new Promise<CloseReason>(() => undefined);
  const then = vi.spyOn(closed, 'then');
  const subscription = { closed, close: () => Promise.resolve() } as unknown as Subscription;
  const stream = messageStream((handler) => {
    offer = handler;
    return subscription;
  });
  for (const n of upTo(50)) {
    const next = stream.next();
    void offer?.({ data: n } as TopicMessage, { signal: new AbortController().signal });
    expect((await next).value?.data).toBe(n);
  }
  expect(then).toHaveBeenCalledTimes(1); // Of the promise that settles when all is over, each one would be kept until then.
});

test('one that is left before its loop has begun lets go of the channel', async () => {
  const { pubsub } = pubsubOf({ url: server.url });
  const stream = pubsub.stream(news);
  await stream.ready();
  expect(await stream.return()).toEqual({ done: true, value: undefined });
  await eventually(async () => expect(await pubsub.publish(news.at('a'), { n: 1 })).toMatchObject({ receivers: 0 }));
  expect(await stream.next()).toEqual({ done: true, value: undefined });
});

test('one that waits for a message can be left', async () => {
  const { pubsub } = pubsubOf({ url: server.url });
  const stream = pubsub.stream(news);
  const next = stream.next();
  await stream.return();
  expect(await next).toEqual({ done: true, value: undefined });
});

test('one that nobody reads holds up neither its end nor that of all', async () => {
  const { pubsub } = pubsubOf({ url: server.url });
  const [first, second] = [pubsub.stream(news), pubsub.stream(news)];
  await Promise.all([first.ready(), second.ready()]);
  const subscription = await live(pubsub.subscribe(news, () => undefined));
  for (const n of upTo(3)) await pubsub.publish(news.at('a'), { n });
  await eventually(() => expect(subscription.stats().handled).toBe(3));
  expect((await timed(first.close())).ms).toBeLessThan(2_000);
  expect((await timed(pubsub.stop())).ms).toBeLessThan(2_000);
});

test('one has no concurrency: its loop takes one message after the other', async () => {
  const { pubsub } = pubsubOf({ url: server.url });
  expect(() => pubsub.stream(news, { concurrency: 4 } as object)).toThrow('unknown option concurrency');
  await pubsub.stop();
  await failureOf(pubsub.publish(news.at('a'), { n: 1 }), 'CLOSED');
});
