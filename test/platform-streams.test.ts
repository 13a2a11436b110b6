/** Streams, event stores, pub/sub and presence of a platform, wired as an application and a handler get them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  consume,
  consumeBatch,
  createPlatform,
  defineEvents,
  defineJob,
  defineStream,
  defineTopic,
  handle,
  project,
  type Platform,
} from '../src/index.ts';
import { clientsOf } from './support/client-list.ts';
import { eventually } from './support/eventually.ts';
import { failureOf, timed } from './support/failures.ts';
import { ownedByTest } from './support/owned.ts';
import { startRedis, type TestServer } from './support/servers.ts';

const placed = defineStream({ name: 'orders.placed', schema: z.object({ orderId: z.string() }) });
const mail = defineJob({ name: 'mail.confirm', input: z.object({ orderId: z.string() }) });
const orders = defineEvents({ name: 'orders', events: { placed: z.object({ customer: z.string() }) } });
const list = project(orders, {
  name: 'list',
  document: z.object({ customer: z.string() }),
  on: { placed: (view, { streamId, data }) => view.set(streamId, { customer: data.customer }) },
});
const news = defineTopic({ name: 'news.*', schema: z.string() });

describe('streams on a platform', () => {
  const own = ownedByTest();
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  let count = 0;
  async function started(): Promise<Platform> {
    const prefix = `streams-${count++}`;
    const platform = own(createPlatform({ redis: { url: server.url }, log: { level: 'silent' }, prefix }));
    await platform.start();
    return platform;
  }

  test('nothing of them can be had before start() and after stop()', async () => {
    const platform = own(createPlatform({ redis: { url: server.url }, log: { level: 'silent' } }));
    const uses = [() => platform.streams, () => platform.pubsub, () => platform.presence];
    for (const use of uses) expect(use).toThrow('has not been started');
    await platform.start();
    for (const use of uses) expect(use()).toBeDefined();
    await platform.stop();
    for (const use of uses) expect(use).toThrow('has been stopped');
  });

  test('one worker runs jobs and consumers, and each finds every module in its context', async () => {
    const platform = await started();
    const found: string[] = [];
    const worker = await platform.work({
      handlers: [
        handle(mail, async ({ orderId }, { streams, pubsub, presence }) => {
          found.push(`mail ${orderId}`, ...Object.keys({ streams, pubsub, presence }));
          await pubsub.publish(news.at(orderId), 'mailed');
        }),
      ],
      consumers: [
        consume(
          placed,
          { group: 'billing' },
          async ({ orderId }, { entry, enqueue, cache, locks, limits, streams }) => {
            found.push(`bill ${orderId} ${entry.attempt}`);
            for (const module of [cache, locks, limits, streams]) expect(module).toBeDefined();
            await enqueue(mail, { orderId }, { idempotencyKey: entry.id });
          },
        ),
        list,
      ],
    });
    expect(worker).toMatchObject({ queues: ['mail'], consumers: ['orders.placed', 'orders/list'] });
    const heard: string[] = [];
    await platform.pubsub.subscribe(news, ({ data }) => void heard.push(data)).ready();
    await platform.streams.events(orders).append('order-7', [{ type: 'placed', data: { customer: 'ada' } }]);
    await platform.streams.publish(placed, { orderId: '7' });
    await eventually(() => expect(heard).toEqual(['mailed']));
    expect(found).toEqual(['bill 7 1', 'mail 7', 'streams', 'pubsub', 'presence']);
    await eventually(async () =>
      expect(await platform.streams.events(orders).projection(list).get('order-7')).toEqual({ customer: 'ada' }),
    );
    expect(await platform.ready()).toMatchObject({ ok: true, checks: { consumers: { ok: true } } });
    await worker.stop();
    expect(await platform.ready()).toMatchObject({ ok: true });
  });

  test('a worker may be of consumers alone; without anything to do, or with a typo, it is refused', async () => {
    const platform = await started();
    const consumers = [consumeBatch(placed, { group: 'search' }, () => undefined)];
    expect((await platform.work({ consumers })).queues).toEqual([]);
    const refused = async (options: object): Promise<string> =>
      (await failureOf(platform.work(options), 'OPTIONS_INVALID')).message;
    expect(await refused({})).toContain('expected handlers, consumers, or both');
    expect(await refused({ consumers, drainfor: '1s' })).toContain('did you mean drainFor?');
    expect(await refused({ consumers: [{}] })).toContain('expected what consume() and its like give');
    expect(await refused({ consumers: [...consumers, ...consumers] })).toContain('is there twice');
  });

  test('stop() waits for what runs, in jobs and consumers alike, and a consumer may still enqueue then', async () => {
    const platform = await started();
    let begun = 0;
    const ended: string[] = [];
    await platform.work({
      drainFor: '10s',
      handlers: [
        handle(mail, async () => {
          begun++;
          await eventually(() => expect(begun).toBe(2));
          ended.push('job');
        }),
      ],
      consumers: [
        consume(placed, { group: 'billing' }, async (_data, { enqueue }) => {
          begun++;
          await eventually(() => expect(stopping).toBe(true));
          ended.push((await enqueue(mail, { orderId: 'late' }, { delay: '1h' })).status);
        }),
      ],
    });
    let stopping = false;
    await platform.jobs.enqueue(mail, { orderId: 'early' });
    await platform.streams.publish(placed, { orderId: 'early' });
    await eventually(() => expect(begun).toBe(2));
    stopping = true;
    const { ms } = await timed(platform.stop());
    expect(ms).toBeLessThan(5_000);
    expect(ended.toSorted()).toEqual(['added', 'job']);
    await eventually(async () => expect(await clientsOf(server)).toEqual([]));
  });

  test('what waits in a stream is in the metrics', async () => {
    const platform = await started();
    await platform.streams.createGroup(placed, 'billing');
    await platform.streams.publishMany(placed, [{ orderId: '1' }, { orderId: '2' }]);
    const text = await platform.metrics.render();
    expect(text).toMatch(/millrace_streams_lag\{stream="orders\.placed",group="billing"[^}]*\} 2\n/);
    expect(text).toMatch(/millrace_streams_published_total\{stream="orders\.placed",outcome="added"\} 2\n/);
  });

  test('a consumer whose group cannot be read makes the process not ready, and says why', async () => {
    const platform = await started();
    await platform.work({ consumers: [consume(placed, { group: 'billing', lease: '1s' }, () => undefined)] });
    expect(await platform.ready()).toMatchObject({ ok: true });
    const redis = platform.redis.commands();
    const [key = ''] = await redis.keys(`${platform.prefix}:streams:*:entries`);
    await redis.del(key);
    await redis.set(key, 'no stream');
    await eventually(async () => {
      const { ok, checks } = await platform.ready();
      expect(ok).toBe(false);
      expect(checks['consumers']?.reason).toContain('orders.placed');
    });
    await redis.del(key);
    await eventually(async () => expect(await platform.ready()).toMatchObject({ ok: true }), 10_000);
  });
});
