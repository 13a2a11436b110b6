/**
 * Orders: events that a read model follows. Who changes an order decides on what it is, and decides anew when somebody was quicker.
 *
 * Shows the event store with `orders.project` and `orders.rebuild`. What follows from an event stands in follow-ups.ts.
 */
import { createHash, randomUUID } from 'node:crypto';
import { Router, type Request } from 'express';
import type { EventStore, Platform, Streams } from 'millrace';
import { requireSession } from 'millrace/http';
import { orderModel, type Catalog, type OrderSchemas } from 'millrace/workers';
import { z } from 'zod';
import type { Product } from './database.ts';
import { bodyOf, Refused, userOf } from './http.ts';
import { productId } from './products.ts';

export const STORE = 'shop.orders';
export const model = orderModel({ store: STORE });

/** What is known of an order when something is to be decided of it. */
interface OrderState {
  customer: string | undefined;
  totalCents: number;
  /** Of the provider; undefined until it is paid. */
  payment?: string | undefined;
  status: 'none' | 'placed' | 'paid' | 'shipped' | 'cancelled' | 'refunded' | 'forgotten';
  items: ReadonlyArray<{ product: string; quantity: number }>;
}

/** Orders as their events have left them, which is sooner than the read model knows. */
export function orderStates(streams: Pick<Streams, 'events'>) {
  const store: EventStore<OrderSchemas> = streams.events(model.events);
  return store.aggregate<OrderState>({
    name: 'order',
    initial: () => ({ customer: undefined, totalCents: 0, status: 'none', items: [] }),
    apply: (state, event) =>
      event.type === 'placed'
        ? { ...event.data, status: 'placed' }
        : { ...state, ...(event.type === 'paid' && { payment: event.data.payment }), status: event.type },
  });
}

const basket = z.strictObject({
  items: z
    .array(z.strictObject({ product: productId, quantity: z.int().min(1).max(100) }))
    .min(1)
    .max(50),
});
const shipment = z.strictObject({ carrier: z.string().min(1).max(50), tracking: z.string().max(100).optional() });
const reason = z.strictObject({ reason: z.string().max(200).optional() });

/* eslint-disable oxc/no-async-endpoint-handlers -- Express 5 waits for them, and hands on what they throw. */
export function orderRoutes(platform: Platform, catalog: Catalog<Product>): Router {
  const orders = model.reader(platform.streams);
  const states = orderStates(platform.streams);
  const products = catalog.reader(platform.cache);

  async function priced(items: z.output<typeof basket>['items']) {
    const known = await products.getMany(items.map(({ product }) => product));
    return items.map(({ product, quantity }, at) => {
      const { cents } = known[at] ?? {};
      if (cents === undefined) throw new Refused(422, `there is no product ${product}`);
      return { product, quantity, cents };
    });
  }

  return Router()
    .post('/orders', requireSession(), async (request, response) => {
      const customer = userOf(request);
      const { items: wanted } = await bodyOf(request, basket);
      const items = await priced(wanted);
      const totalCents = items.reduce((sum, { quantity, cents }) => sum + quantity * cents, 0);
      const id = orderId(request, customer);
      // An order that is sent again, because the answer was lost, is the same order, at the prices of the first time.
      const placed = { type: 'placed', data: { customer, totalCents, items }, id: 'placed' } as const;
      const result = await orders.store.append(id, [placed], { expected: 'none' });
      const position = result.status === 'conflict' ? undefined : result.position;
      const known = result.status === 'appended' ? { totalCents } : (await states.load(id)).state;
      response.status(202).json({ id, totalCents: known.totalCents, position });
    })
    .get('/orders/:id', requireSession(), async (request, response) => {
      // Whoever has just changed it says with `seen` how far the read model must have come.
      const seen = Number(request.query['seen'] ?? 0);
      if (Number.isSafeInteger(seen) && seen > 0) await orders.documents.waitFor(seen, { within: '2s' });
      const found = await orders.order(request.params.id);
      if (found?.customer !== userOf(request)) throw new Refused(404, 'you have no such order');
      response.json(found);
    })
    .post('/orders/:id/cancel', requireSession(), async (request, response) => {
      const data = await bodyOf(request, reason);
      const result = await states.update(request.params.id, ({ customer, status }) => {
        if (customer !== userOf(request)) throw new Refused(404, 'you have no such order');
        if (status !== 'placed' && status !== 'paid') throw new Refused(409, `the order is ${status}`);
        return [{ type: 'cancelled', data }];
      });
      response.json({ position: positionOf(result) });
    })
    .post('/orders/:id/ship', requireSession({ level: 'staff' }), async (request, response) => {
      const data = await bodyOf(request, shipment);
      const result = await states.update(request.params.id, ({ status }) => {
        if (status === 'none') throw new Refused(404, 'there is no such order');
        if (status !== 'paid') throw new Refused(409, `the order is ${status}`);
        return [{ type: 'shipped', data }];
      });
      response.json({ position: positionOf(result) });
    });
}

/** By the `Idempotency-Key` of the request, where it has one. */
function orderId(request: Request, customer: string): string {
  const key = request.get('idempotency-key');
  if (key === undefined) return `order-${randomUUID()}`;
  return `order-${createHash('sha256')
    .update(JSON.stringify([customer, key]))
    .digest('hex')
    .slice(0, 32)}`;
}

function positionOf(result: { status: string; position?: number }): number {
  if (result.position === undefined) throw new Refused(409, 'others were quicker; look at the order again');
  return result.position;
}
