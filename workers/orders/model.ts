/**
 * Orders as events, and a read model of them: each order, and what was sold each day.
 *
 * Promise: that of a projection (docs/event-store.md): each event counts once, and an order and its day always agree, because both are documents of
 * one projection. Days are those of the server's time in the model's time zone; what is cancelled is taken off the day on which it was placed.
 */
import {
  checkOptions,
  defineEvents,
  project,
  type EventsContract,
  type EventStore,
  type Projection,
  type ProjectionState,
  type Streams,
} from 'millrace';
import { z } from 'zod';

const item = z.object({ product: z.string().min(1), quantity: z.int().min(1), cents: z.int().min(0) });

const schemas = {
  /** The first event of an order; its stream's id is that of the order. */
  placed: z.object({
    customer: z.string().min(1),
    totalCents: z.int().min(0),
    currency: z.string().length(3).default('EUR'),
    items: z.array(item).max(1_000).default([]),
  }),
  paid: z.object({ payment: z.string().optional() }),
  shipped: z.object({ carrier: z.string().min(1), tracking: z.string().optional() }),
  cancelled: z.object({ reason: z.string().optional() }),
  /** What was paid for an order that is cancelled has gone back. */
  refunded: z.object({ refund: z.string().optional() }),
  /** The customer is to be forgotten: the order is removed, its day keeps its sum. Append it behind an erase(). */
  forgotten: z.object({}),
};

/** The types of the events of an order. */
export type OrderSchemas = typeof schemas;

const orderDocument = z.object({
  kind: z.literal('order'),
  customer: z.string(),
  status: z.enum(['placed', 'paid', 'shipped', 'cancelled', 'refunded']),
  totalCents: z.number(),
  currency: z.string(),
  items: z.array(item),
  day: z.string(),
  placedAt: z.string(),
  changedAt: z.string(),
  carrier: z.string().optional(),
  tracking: z.string().optional(),
});

const dayDocument = z.object({
  kind: z.literal('day'),
  orders: z.number(),
  cancelled: z.number(),
  cents: z.record(z.string(), z.number()),
});

const documentSchema = z.discriminatedUnion('kind', [orderDocument, dayDocument]);

/** An order, as its events have made it. */
export type OrderDocument = z.output<typeof orderDocument>;
/** What was ordered on a day: how many, how many of them were cancelled, and the sum of the others by currency. */
export type OrderDay = z.output<typeof dayDocument>;
type Document = z.output<typeof documentSchema>;

/** Reads the model. */
export interface OrderReader {
  /** Appends orders, and reads their events. */
  readonly store: EventStore<OrderSchemas>;
  /** All documents, how far they have come, and waitFor(position). */
  readonly documents: ProjectionState<Document>;
  order(id: string): Promise<OrderDocument | undefined>;
  /** Of `2026-10-31`, in the model's time zone. */
  day(date: string): Promise<OrderDay | undefined>;
}

/** Orders and their read model, to be shared by apps and workers. */
export interface OrderModel {
  readonly events: EventsContract<OrderSchemas>;
  readonly projection: Projection<Document>;
  /** Reads by the streams of a platform, or of a handler's context. */
  reader(streams: Pick<Streams, 'events'>): OrderReader;
}

/** Options of orderModel(). */
export interface OrderModelOptions {
  /** The name of the event store. Default `orders`. */
  store?: string | undefined;
  /** Whose days are counted, such as `Europe/Berlin`. Default `UTC`. Rebuild after a change. */
  timeZone?: string | undefined;
}

const optionsSchema = z.strictObject({
  store: z
    .string()
    .max(100)
    .regex(/^[a-z][\w-]*(?:\.[\w-]+)*$/i, "expected letters, digits, '_', '-' and single dots, beginning with a letter")
    .default('orders'),
  timeZone: z.string().refine(isTimeZone, 'expected a time zone such as Europe/Berlin').default('UTC'),
});

/**
 * Orders and their read model.
 *
 * @example
 * const orders = orderModel().reader(platform.streams);
 * const placed = { type: 'placed', data: { customer: 'ada', totalCents: 1_200 } } as const;
 * await orders.store.append('order-42', [placed], { expected: 'none' });
 * console.log((await orders.order('order-42'))?.status);
 * @throws MillraceError OPTIONS_INVALID
 */
export function orderModel(options: OrderModelOptions = {}): OrderModel {
  const { store: name, timeZone } = checkOptions(optionsSchema, options, 'orderModel');
  const events = defineEvents({ name, events: schemas });
  const projection = projectOrders(events, dayIn(timeZone));
  return Object.freeze({
    events,
    projection,
    reader(streams: Pick<Streams, 'events'>): OrderReader {
      const store = streams.events(events);
      const documents = store.projection(projection);
      return {
        store,
        documents,
        order: async (id) => kindOf('order', await documents.get(orderKey(id))),
        day: async (date) => kindOf('day', await documents.get(dayKey(date))),
      };
    },
  });
}

function projectOrders(events: EventsContract<OrderSchemas>, dayOf: (at: Date) => string): Projection<Document> {
  return project(events, {
    name: 'model',
    document: documentSchema,
    keysOf: ({ streamId, type, at }) => [orderKey(streamId), ...(type === 'placed' ? [dayKey(dayOf(at))] : [])],
    on: {
      async placed(view, { streamId, data, at }) {
        // Counted once, also where somebody has not said that the stream must be new.
        if (await view.get(orderKey(streamId))) return;
        const [day, time] = [dayOf(at), at.toISOString()];
        const status = 'placed';
        await view.set(orderKey(streamId), { kind: 'order', ...data, status, day, placedAt: time, changedAt: time });
        const before = kindOf('day', await view.get(dayKey(day))) ?? NO_ORDERS;
        await view.set(dayKey(day), { ...withCents(before, data, 1), orders: before.orders + 1 });
      },
      async paid(view, { streamId, at }) {
        const order = kindOf('order', await view.get(orderKey(streamId)));
        // A payment that is told late does not take back what came after it.
        const status = order?.status === 'placed' ? 'paid' : order?.status;
        if (order && status) await view.set(orderKey(streamId), { ...order, status, changedAt: at.toISOString() });
      },
      async shipped(view, { streamId, data: { carrier, tracking }, at }) {
        const order = kindOf('order', await view.get(orderKey(streamId)));
        if (!order || isCancelled(order)) return;
        const shipment = { status: 'shipped', carrier, ...(tracking !== undefined && { tracking }) } as const;
        await view.set(orderKey(streamId), { ...order, ...shipment, changedAt: at.toISOString() });
      },
      async cancelled(view, { streamId, at }) {
        const order = kindOf('order', await view.get(orderKey(streamId)));
        if (!order || isCancelled(order)) return;
        await view.set(orderKey(streamId), { ...order, status: 'cancelled', changedAt: at.toISOString() });
        const before = kindOf('day', await view.get(dayKey(order.day))) ?? NO_ORDERS;
        await view.set(dayKey(order.day), { ...withCents(before, order, -1), cancelled: before.cancelled + 1 });
      },
      async refunded(view, { streamId, at }) {
        const order = kindOf('order', await view.get(orderKey(streamId)));
        if (order?.status !== 'cancelled') return;
        await view.set(orderKey(streamId), { ...order, status: 'refunded', changedAt: at.toISOString() });
      },
      forgotten(view, { streamId }) {
        view.delete(orderKey(streamId));
      },
    },
  });
}

const NO_ORDERS: OrderDay = { kind: 'day', orders: 0, cancelled: 0, cents: {} };

function isCancelled({ status }: OrderDocument): boolean {
  return status === 'cancelled' || status === 'refunded';
}

function withCents(
  day: OrderDay,
  { currency, totalCents }: { currency: string; totalCents: number },
  sign: 1 | -1,
): OrderDay {
  return { ...day, cents: { ...day.cents, [currency]: (day.cents[currency] ?? 0) + sign * totalCents } };
}

function kindOf<Kind extends Document['kind']>(
  kind: Kind,
  document: Document | undefined,
): Extract<Document, { kind: Kind }> | undefined {
  return document?.kind === kind ? (document as Extract<Document, { kind: Kind }>) : undefined;
}

function orderKey(id: string): string {
  return `order:${id}`;
}

function dayKey(date: string): string {
  return `day:${date}`;
}

/** As `2026-10-31`. */
function dayIn(timeZone: string): (at: Date) => string {
  const format = new Intl.DateTimeFormat('en-CA', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' });
  return (at) => format.format(at);
}

function isTimeZone(timeZone: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone }) instanceof Intl.DateTimeFormat;
  } catch {
    return false; // A RangeError says so.
  }
}
