/**
 * A job of the shop's own beside the stock jobs: the order is charged, and a paid order says so by an event.
 *
 * It may run twice for one order, as any job may: once() keeps the payment, and who pays decides on what the order is by then.
 */
import { defineJob, handle, unrecoverable, type Handler } from 'millrace';
import { z } from 'zod';
import { orderStates } from './orders.ts';

/**
 * What the payment provider is asked; it gives its number of the payment. Hand the order's id on as the provider's idempotency key: a worker that
 * dies before the payment is kept asks again. Throw unrecoverable() where another try is of no use.
 */
export type Charge = (
  order: { id: string; customer: string; totalCents: number },
  signal: AbortSignal,
) => Promise<string>;

export const chargeOrder = defineJob({
  name: 'shop.charge-order',
  queue: 'shop.payments',
  input: z.object({ id: z.string(), customer: z.string(), totalCents: z.number() }),
  output: z.object({ status: z.enum(['paid', 'cancelled']) }),
  attempts: 3,
  backoff: { type: 'exponential', delay: '2s', max: '30s' },
  timeout: '5s',
});

const isPaid = ({ status }: { status: string }): boolean => status === 'paid' || status === 'shipped';

export function chargeHandler(charge: Charge): Handler {
  return handle(chargeOrder, async (order, { log, once, signal, streams }) => {
    const states = orderStates(streams);
    const { state } = await states.load(order.id);
    if (isPaid(state)) return { status: 'paid' };
    if (state.status !== 'placed') return { status: 'cancelled' };
    const payment = await once('charged', () => charge(order, signal));
    const { status } = await states.update(order.id, (now) => {
      if (isPaid(now)) return [];
      if (now.status === 'placed') return [{ type: 'paid', data: { payment } }];
      // A dead letter, for a person to look at.
      throw unrecoverable(`the order was ${now.status} while it was charged: give back ${payment}`);
    });
    if (status === 'conflict') throw new Error('others were quicker');
    log.info({ order: order.id }, 'order paid');
    return { status: 'paid' };
  });
}
