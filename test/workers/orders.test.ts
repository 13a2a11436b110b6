/** `orders.project` and `orders.rebuild`: that orders and days agree, that what follows is enqueued once, and that a rebuild sends nothing again. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineEvents, defineJob, handle, project, type Platform } from '../../src/index.ts';
import {
  createOrderProjection,
  createRebuildHandler,
  emailSend,
  followUp,
  orderModel,
  ordersRebuild,
  readStockEnv,
  stockHandlers,
  type FollowUps,
  type OrderReader,
  type OrderSchemas,
} from '../../workers/index.ts';
import { keyOf } from '../../workers/orders/follow-up.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { ends, impatient, letterOf, QUICK, startPlatform } from './scene.ts';

const own = ownedByTest();
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

const thank = defineJob({ name: 'mails.thank', input: z.object({ order: z.string() }) });

async function scene(): Promise<{ platform: Platform; orders: OrderReader }> {
  const platform = await startPlatform(own, redis.url);
  return { platform, orders: orderModel().reader(platform.streams) };
}

async function place(orders: OrderReader, id: string, totalCents: number): Promise<number> {
  const events = [{ type: 'placed', data: { customer: 'ada', totalCents } }] as const;
  const result = await orders.store.append(id, events, { expected: 'none' });
  return result.status === 'conflict' ? 0 : result.position;
}

describe('the read model', () => {
  test('has each order and what was sold a day, which always agree', async () => {
    const { platform, orders } = await scene();
    await platform.work({ consumers: createOrderProjection() });
    await place(orders, 'o1', 1_200);
    await place(orders, 'o2', 300);
    await orders.store.append('o1', [{ type: 'shipped', data: { carrier: 'post', tracking: 'T1' } }]);
    // Told late, twice, or of nobody: none of it counts.
    await orders.store.append('o1', [{ type: 'paid', data: {} }]);
    await orders.store.append('o1', [{ type: 'placed', data: { customer: 'eve', totalCents: 9 } }]);
    await orders.store.append('o3', [{ type: 'shipped', data: { carrier: 'post' } }]);
    await orders.store.append('o2', [{ type: 'cancelled', data: {} }]);
    await orders.store.append('o2', [{ type: 'refunded', data: { refund: 'r1' } }]);
    await orders.store.append('o2', [{ type: 'cancelled', data: { reason: 'again' } }]);
    await orders.store.append('o1', [{ type: 'refunded', data: {} }]);
    expect(await orders.documents.waitFor(await orders.store.position(), { within: '20s' })).toBe(true);
    const order = await orders.order('o1');
    expect(order).toMatchObject({
      customer: 'ada',
      status: 'shipped',
      carrier: 'post',
      tracking: 'T1',
      currency: 'EUR',
    });
    expect((await orders.order('o2'))?.status).toBe('refunded');
    expect(await orders.order('o3')).toBeUndefined();
    const day = order?.day ?? '';
    expect(await orders.day(day)).toMatchObject({ orders: 2, cancelled: 1, cents: { EUR: 1_200 } });
    await orders.store.erase('o1');
    await orders.store.append('o1', [{ type: 'forgotten', data: {} }]);
    await orders.documents.waitFor(await orders.store.position(), { within: '20s' });
    expect(await orders.order('o1')).toBeUndefined();
    expect((await orders.day(day))?.cents).toMatchObject({ EUR: 1_200 });
  });

  test('counts the days of its time zone', async () => {
    const { orders, platform } = await scene();
    await place(orders, 'o1', 1);
    const days = await Promise.all(
      ['Pacific/Kiritimati', 'Pacific/Niue'].map(async (timeZone, index) => {
        const { events, projection } = orderModel({ timeZone });
        const model = project(events, {
          name: `model-${index}`,
          document: projection.checked.document,
          on: projection.checked.on,
        });
        const documents = platform.streams.events(events).projection(model);
        await documents.catchUp();
        return ((await documents.get('order:o1')) as { day: string }).day;
      }),
    );
    // 25 hours apart: never the same day.
    expect(days[0]?.localeCompare(days[1] ?? '')).toBe(1);
    expect(() => orderModel({ timeZone: 'Mars/Olympus' })).toThrow(/timeZone: expected a time zone/);
  });
});

describe('follow-ups', () => {
  const followUps: FollowUps<OrderSchemas> = {
    placed: ({ streamId }) => [
      followUp(thank, { order: streamId }),
      followUp(emailSend, { to: 'ada@example.com', subject: 'Hi', text: streamId }, { delay: '1h' }),
      followUp(emailSend, { to: 'shop@example.com', subject: 'An order', text: streamId }, { delay: '1h' }),
    ],
    cancelled: () => undefined,
  };

  test('are enqueued once for each event, though it comes again', async () => {
    const { platform, orders } = await scene();
    await place(orders, 'o1', 1);
    const consumers = createOrderProjection({ from: 'start', followUps });
    const thanked: string[] = [];
    const first = await platform.work({
      ...QUICK,
      consumers,
      handlers: [handle(thank, ({ order }) => void thanked.push(order))],
    });
    await place(orders, 'o2', 1);
    await orders.store.append('o1', [{ type: 'cancelled', data: {} }]);
    await eventually(() => expect(thanked.toSorted()).toEqual(['o1', 'o2']));
    await eventually(async () => expect((await platform.jobs.counts('email')).delayed).toBe(4));
    await first.stop();
    // As if the process had died before it noted how far it was.
    const client = platform.redis.commands();
    expect(await client.del(`${platform.prefix}:events:{orders}:subscription:follow-ups:checkpoint`)).toBe(1);
    await platform.work({ ...QUICK, consumers, handlers: [handle(thank, ({ order }) => void thanked.push(order))] });
    await place(orders, 'o3', 1);
    await eventually(() => expect(thanked.toSorted()).toEqual(['o1', 'o2', 'o3']));
    await eventually(async () => expect((await platform.jobs.counts('email')).delayed).toBe(6));
    // Three, and the same again before the last.
    expect(await platform.metrics.render()).toMatch(/events_handled_total\{[^}]*follower="follow-ups"[^}]*\} 7\n/);
  });

  test('that fail hold up those behind them, and are tried again', async () => {
    const { platform, orders } = await scene();
    let failures = 1;
    const seen: string[] = [];
    const consumers = createOrderProjection({
      from: 'end',
      followUps: {
        placed: ({ streamId }) => {
          if (streamId === 'o1' && failures-- > 0) throw new TypeError('not yet');
          seen.push(streamId);
          return undefined;
        },
      },
    });
    await place(orders, 'o0', 1);
    await platform.work({ ...QUICK, consumers });
    await place(orders, 'o1', 1);
    await place(orders, 'o2', 1);
    await eventually(() => expect(seen).toEqual(['o1', 'o2']));
  });

  test('must say where they begin, and have a key that tells one event from another', () => {
    expect(() => createOrderProjection({ followUps })).toThrow(/from: expected 'start' or 'end'/);
    const event = { streamId: 'o1', version: 1, id: 'a' } as never;
    const keys = [keyOf('orders', event, 0), keyOf('orders', event, 1), keyOf('shop', event, 0)];
    keys.push(keyOf('orders', { streamId: 'o1', version: 1, id: 'b' } as never, 0));
    expect(new Set(keys).size).toBe(4);
    expect(keyOf('orders', event, 0)).toBe(keys[0]);
  });
});

describe('orders.rebuild', () => {
  const ownEvents = defineEvents({ name: 'sales', events: { sold: z.object({ cents: z.number() }) } });
  const sums = (factor: number) =>
    project(ownEvents, {
      name: 'sums',
      document: z.number(),
      on: {
        sold: async (view, { streamId, data }) =>
          view.set(streamId, ((await view.get(streamId)) ?? 0) + data.cents * factor),
      },
    });

  test("makes read models of events of one's own anew, and sends nothing again", async () => {
    const { platform } = await scene();
    const store = platform.streams.events(ownEvents);
    const thanked: string[] = [];
    const before = { events: ownEvents, projections: [sums(1)] };
    const first = await platform.work({ consumers: createOrderProjection(before) });
    for (let index = 0; index < 5; index++) await store.append('a', [{ type: 'sold', data: { cents: 2 } }]);
    const documents = store.projection(sums(1));
    expect(await documents.waitFor(5, { within: '20s' })).toBe(true);
    await first.stop();
    const after = {
      events: ownEvents,
      // Other code, as a deploy brings it.
      projections: [sums(10)],
      from: 'end',
      followUps: {
        sold: ({ streamId }: { streamId: string }) => {
          thanked.push(streamId);
          return undefined;
        },
      },
    } as const;
    await platform.work({
      ...QUICK,
      consumers: createOrderProjection(after),
      handlers: [impatient(createRebuildHandler(after))],
    });
    const { id } = await platform.jobs.enqueue(ordersRebuild, { projection: 'sums' });
    const { result } = await ends(platform, id, 'completed');
    expect(result).toEqual({ positions: { sums: 5 } });
    expect([await documents.get('a'), thanked]).toEqual([100, []]);
    const { id: unknown } = await platform.jobs.enqueue(ordersRebuild, { projection: 'x' });
    expect((await letterOf(platform, unknown)).error.message).toBe(
      'there is no projection named x; this worker has: sums',
    );
  });

  test('and the read model run where a variable names their store', () => {
    const { settings } = readStockEnv({
      MILLRACE_ORDERS_STORE: 'shop.orders',
      MILLRACE_ORDERS_TIME_ZONE: 'Europe/Berlin',
    });
    expect(settings.orders).toEqual({ store: 'shop.orders', timeZone: 'Europe/Berlin' });
    const { consumers, handlers, summary } = stockHandlers(settings);
    expect(consumers.map(({ name }) => name)).toEqual(['shop.orders/model']);
    expect(handlers.map(({ contract }) => contract.name)).toContain('orders.rebuild');
    expect(summary).toEqual(expect.arrayContaining(['orders.project: runs', 'orders.rebuild: runs']));
    expect(() => readStockEnv({ MILLRACE_ORDERS_STORE: 'a b' })).toThrow(/MILLRACE_ORDERS_STORE: expected letters/);
    expect(() => createOrderProjection({ events: ownEvents, store: 'x', projections: [sums(1)] })).toThrow(
      /events: expected/,
    );
  });
});
