/** A handler that is slower than its messages: what waits is bounded, and nobody else is held up. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../../src/clock.ts';
import { defineTopic } from '../../src/pubsub/topic.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { gate } from '../support/gate.ts';
import { collectLog } from '../support/log-lines.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { heardBy, ledger, live, news, ownedPubSub, upTo, type OwnedPubSub } from './own-pubsub.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis({ config: { 'client-output-buffer-limit': 'pubsub 4mb 4mb 5' } });
});
afterAll(() => server.stop());
const pubsubOf = ownedPubSub();
const fresh = (options?: Parameters<typeof pubsubOf>[1]): OwnedPubSub => pubsubOf({ url: server.url }, options);

test('a handler that hangs holds up neither the connection nor other subscriptions, and its queue stays bounded', async () => {
  const { pubsub } = fresh();
  const { opened, open } = gate();
  const [stuck, well] = [heardBy(), heardBy()];
  const hung = await live(
    pubsub.subscribe(
      news,
      async (message) => {
        stuck.handler(message);
        await opened;
      },
      { queue: 100, onGap: stuck.onGap },
    ),
  );
  await live(pubsub.subscribe(news, well.handler, { queue: 100_000 }));
  const { pubsub: speaker } = fresh();
  // Some 9 MB, where the server gives up a client that is 4 MB behind.
  const headers = { filler: 'x'.repeat(4_000) };
  for (const n of upTo(20)) {
    await Promise.all(upTo(100).map((m) => speaker.publish(news.at('a'), { n: n * 1_000 + m }, { headers })));
    await eventually(() => expect(well.heard).toHaveLength(n * 100));
  }
  expect(stuck.heard).toHaveLength(1);
  expect(hung.stats()).toMatchObject({ queued: 100, running: 1, dropped: 1_899 });
  open();
  await eventually(() => expect(stuck.heard).toHaveLength(102));
  expect(stuck.heard[1]).toBe('gap overflow');
  expect(stuck.gaps).toEqual([
    { topic: 'news.*.line', reason: 'overflow', count: 1_899, from: undefined, to: undefined },
  ]);
  expect(stuck.heard.slice(2)).toEqual(well.heard.slice(-100));
});

test('drop-newest keeps what came first', async () => {
  const { pubsub } = fresh();
  const { opened, open } = gate();
  const mine = heardBy();
  const subscription = await live(
    pubsub.subscribe(
      news,
      async (message) => {
        mine.handler(message);
        await opened;
      },
      { queue: 3, onOverflow: 'drop-newest', onGap: mine.onGap },
    ),
  );
  await pubsub.publish(news.at('a'), { n: 1 });
  await eventually(() => expect(mine.heard).toEqual([1]));
  for (const n of [2, 3, 4, 5, 6]) await pubsub.publish(news.at('a'), { n });
  await eventually(() => expect(subscription.stats().dropped).toBe(2));
  open();
  await eventually(() => expect(mine.heard).toEqual([1, 2, 3, 4, 'gap overflow']));
});

test('a gap names the topic whose messages were dropped, and is not dropped itself', async () => {
  const schema = z.strictObject({ n: z.number() });
  const [one, other] = [defineTopic({ name: 'both.one', schema }), defineTopic({ name: 'both.other', schema })];
  const { pubsub } = fresh({ topics: [one, other, one] });
  const { opened, open } = gate();
  const mine = heardBy();
  const subscription = await live(
    pubsub.subscribe(
      'both.>',
      async (message) => {
        mine.handler(message as never);
        await opened;
      },
      { queue: 2, onGap: mine.onGap },
    ),
  );
  await pubsub.publish(other, { n: 1 });
  await eventually(() => expect(mine.heard).toEqual([1])); // Once, though the option names a topic twice.
  await server.ask((redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
  await eventually(() => expect(subscription.stats().gaps).toBe(2)); // One for each topic.
  await eventually(() => expect(subscription.isLive).toBe(true));
  for (const n of [2, 3, 4]) await pubsub.publish(other, { n });
  await eventually(() => expect(subscription.stats().dropped).toBe(2));
  open();
  await eventually(() => expect(mine.heard.at(-1)).toBe(4));
  expect(mine.gaps.map(({ topic, reason, count }) => [topic, reason, count])).toEqual([
    ['both.other', 'overflow', 2],
    ['both.one', 'connection', undefined],
    ['both.other', 'connection', undefined],
  ]);
});

test('close ends the subscription and says so; a stream throws', async () => {
  const lines = collectLog();
  const { pubsub } = fresh({ log: lines.log });
  const { opened, open } = gate();
  const subscription = await live(pubsub.subscribe(news, () => opened, { queue: 2, onOverflow: 'close' }));
  const stream = pubsub.stream(news, { queue: 2, onOverflow: 'close' });
  await stream.ready();
  for (const n of upTo(5)) await pubsub.publish(news.at('a'), { n });
  expect(await subscription.closed).toBe('overflow');
  expect(lines.warnings().map(({ msg }) => msg)).toContain('a subscription overflowed and is closed');
  const read = async (): Promise<void> => {
    for await (const { data } of stream) expect(data.n).toBe(1);
  };
  await failureOf(read(), 'SUBSCRIPTION_OVERFLOWED');
  open();
});

test('a reliable topic is caught up with: nothing is dropped, in order, whatever the queue', async () => {
  const { pubsub } = fresh();
  const mine = heardBy();
  const subscription = await live(
    pubsub.subscribe(
      ledger,
      async (message) => {
        if (message.data.n % 50 === 0) await systemClock.sleep(5);
        mine.handler(message);
      },
      { queue: 10, onGap: mine.onGap },
    ),
  );
  for (const batch of upTo(8)) {
    await Promise.all(upTo(100).map((n) => pubsub.publish(ledger.at('a'), { n: (batch - 1) * 100 + n })));
  }
  await eventually(() => expect(mine.heard).toEqual(upTo(800)));
  expect(subscription.stats()).toMatchObject({ dropped: 0, gaps: 0, queued: 0 });
  await pubsub.publish(ledger.at('a'), { n: 801 });
  await eventually(() => expect(mine.heard.at(-1)).toBe(801));
});

test('handlers run side by side up to the concurrency, and start in order', async () => {
  const { pubsub } = fresh();
  const { opened, open } = gate();
  const started: number[] = [];
  const subscription = await live(
    pubsub.subscribe(
      news,
      ({ data: { n } }) => {
        started.push(n);
        return opened;
      },
      { concurrency: 3 },
    ),
  );
  for (const n of upTo(5)) await pubsub.publish(news.at('a'), { n });
  await eventually(() => expect(subscription.stats()).toMatchObject({ running: 3, queued: 2 }));
  expect(started).toEqual([1, 2, 3]);
  open();
  await eventually(() => expect(started).toEqual(upTo(5)));
});

test('closing forgets what waits, aborts the signal of what runs, and waits for it', async () => {
  const { pubsub } = fresh();
  const { opened, open } = gate();
  const aborted: string[] = [];
  const subscription = await live(
    pubsub.subscribe(news, (_message, { signal }) => {
      signal.addEventListener('abort', () => aborted.push((signal.reason as { code: string }).code));
      return opened;
    }),
  );
  for (const n of upTo(5)) await pubsub.publish(news.at('a'), { n });
  await eventually(() => expect(subscription.stats()).toMatchObject({ running: 1, queued: 4 }));
  let isClosed = false;
  const closing = subscription.close().then(() => (isClosed = true));
  await eventually(() => expect(aborted).toEqual(['CLOSED']));
  expect(isClosed).toBe(false);
  open();
  await closing;
  expect(subscription.stats()).toMatchObject({ handled: 1, queued: 0 });
});
