/**
 * `orders.project`: read models that follow the events of orders, and jobs that follow from them.
 *
 * Promise: each event counts once in each read model, whoever dies when. What follows from an event is enqueued at least once and adds one job: a
 * process that dies makes the last events come again, and their keys are known. Events are taken in order: a follow-up that fails holds up those
 * behind it, is tried again 1 s to 10 min apart, and is logged each time.
 * Redis down: all of it waits, and goes on from where it was.
 */
import type { EventSchemas, Member } from 'millrace';
import { followEvents } from './orders/follow-up.ts';
import type { OrderSchemas } from './orders/model.ts';
import { checkOrders, type OrdersOptions } from './orders/options.ts';

/**
 * What keeps the read models up to date, and enqueues follow-ups.
 *
 * @example
 * const orders = createOrderProjection({
 *   from: 'end',
 *   followUps: { placed: ({ streamId, data }) => followUp(emailSend, { to: data.customer, template: 'placed', data: { order: streamId } }) },
 * });
 * await platform.work({ consumers: orders });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createOrderProjection<Schemas extends EventSchemas = OrderSchemas>(
  options: OrdersOptions<Schemas> = {},
): readonly Member[] {
  const { events, projections, followUps, from, idempotentForMs } = checkOrders(options, 'createOrderProjection');
  const following = followUps ? [followEvents(events, followUps, { from, idempotentFor: idempotentForMs })] : [];
  return [...projections, ...following];
}
