/**
 * Jobs of the shop's own beside the stock jobs: an order is charged, and what was paid for one that is cancelled is given back.
 *
 * Each may run twice for one order, as any job may: once() keeps what the provider has said, and who tells of it decides on what the order is by
 * then. So no order is paid twice, and no payment is kept for one that is cancelled.
 */
import { defineJob, handle, unrecoverable, type Handler } from 'millrace';
import { z } from 'zod';
import { orderStates } from './orders.ts';

/** Whom the shop asks for money. Throw unrecoverable() where another try is of no use. */
export interface PaymentProvider {
  /**
   * Gives its number of the payment. Hand the order's id on as the provider's idempotency key: a worker that dies before the payment is kept
   * asks again.
   */
  charge(order: { id: string; customer: string; totalCents: number }, signal: AbortSignal): Promise<string>;
  /** Gives all of a payment back, and its number of that. The idempotency key is the payment. */
  refund(payment: string, signal: AbortSignal): Promise<string>;
}

const QUEUE = 'shop.payments';

export const chargeOrder = defineJob({
  name: 'shop.charge-order',
  queue: QUEUE,
  input: z.object({ id: z.string(), customer: z.string(), totalCents: z.number() }),
  output: z.object({ status: z.enum(['paid', 'cancelled']) }),
  attempts: 3,
  backoff: { type: 'exponential', delay: '2s', max: '30s' },
  timeout: '5s',
});

export const refundOrder = defineJob({
  name: 'shop.refund-order',
  queue: QUEUE,
  input: z.object({ id: z.string(), payment: z.string() }),
  output: z.object({ refund: z.string() }),
  attempts: 10,
  backoff: { type: 'exponential', delay: '2s', max: '10m' },
  timeout: '5s',
});

export function chargeHandler(provider: PaymentProvider): Handler {
  return handle(chargeOrder, async (order, { enqueue, log, once, signal, streams }) => {
    const { id } = order;
    const states = orderStates(streams);
    // Decided once, before the provider is asked. A later attempt asks on also when the order is cancelled by then: the provider may have been paid.
    const status = await once('status', async () => (await states.load(id)).state.status);
    if (status !== 'placed') return { status: status === 'paid' || status === 'shipped' ? 'paid' : 'cancelled' };
    const payment = await once('charged', () => provider.charge(order, signal));
    const paid = { type: 'paid', data: { payment } } as const;
    const told = await states.update(id, (now) => (now.status === 'placed' ? [paid] : []));
    if (told.status === 'conflict') throw new Error('others were quicker');
    const { state } = await states.load(id);
    if (state.payment === payment) {
      log.info({ order: id }, 'order paid');
      return { status: 'paid' };
    }
    // Cancelled while it was charged. One that is cancelled later is given back by what follows from that: see follow-ups.ts.
    if (state.status === 'cancelled') await enqueue(refundOrder, { id, payment }, { idempotencyKey: payment });
    else if (state.status !== 'refunded')
      throw unrecoverable(`the order was ${state.status} when it had been charged: give back ${payment}`); // For a person to look at.
    return { status: 'cancelled' };
  });
}

export function refundHandler(provider: PaymentProvider): Handler {
  return handle(refundOrder, async ({ id, payment }, { log, once, signal, streams }) => {
    const refund = await once('refunded', () => provider.refund(payment, signal));
    const refunded = { type: 'refunded', data: { refund } } as const;
    const told = await orderStates(streams).update(id, ({ status }) => (status === 'cancelled' ? [refunded] : []));
    if (told.status === 'conflict') throw new Error('others were quicker');
    log.info({ order: id }, 'order refunded');
    return { refund };
  });
}
