/**
 * What follows from what happens to orders: each line is a job, enqueued once for its event, whoever dies when.
 *
 * Shows what `orders.project` enqueues: `email.send`, `webhook.deliver`, `leaderboard.record`, `presence.notify`, and the shop's own charge.
 */
import type { EventContext } from 'millrace';
import { followUp, type FollowUp, type FollowUps, type OrderSchemas } from 'millrace/workers';
import type { Account, Database } from './database.ts';
import { deliverWebhook, notify, recordScores, sendMail } from './jobs.ts';
import { orderStates } from './orders.ts';
import { chargeOrder } from './payments.ts';
import { CUSTOMERS, PRODUCTS } from './rankings.ts';

/** The warehouse, which is told of orders that are paid or cancelled. */
export interface Warehouse {
  readonly url: string;
  /** The name of a secret in the settings of webhooks. */
  readonly secret: string;
}

export function followUps({ accounts }: Database, warehouse: Warehouse | undefined): FollowUps<OrderSchemas> {
  return {
    async placed({ streamId: id, data: { customer, totalCents, items } }) {
      const account = await accounts.get(customer);
      const spent = { board: CUSTOMERS, member: customer, score: totalCents, operation: `order:${id}` };
      const sold = items.map(({ product, quantity }, at) => ({
        board: PRODUCTS,
        member: product,
        score: quantity,
        operation: `order:${id}:${at}`,
      }));
      return [
        followUp(chargeOrder, { id, customer, totalCents }),
        followUp(recordScores, { scores: [spent, ...sold] }),
        ...confirm(account, { order: id, items, totalCents }),
      ];
    },
    async paid({ streamId: id, at }, context) {
      const customer = await customerOf(id, context);
      return [...tellWarehouse('order.paid', id, at), ...tell(customer, 'order.paid', { order: id })];
    },
    async shipped({ streamId: id, data }, context) {
      return tell(await customerOf(id, context), 'order.shipped', { order: id, ...data });
    },
    async cancelled({ streamId: id, at }, context) {
      const customer = await customerOf(id, context);
      return [...tellWarehouse('order.cancelled', id, at), ...tell(customer, 'order.cancelled', { order: id })];
    },
  };

  /** Who has ordered; undefined for an order that was forgotten meanwhile. */
  async function customerOf(order: string, { streams }: EventContext): Promise<Account | undefined> {
    const { state } = await orderStates(streams).load(order);
    return state.customer === undefined ? undefined : accounts.get(state.customer);
  }

  function tellWarehouse(type: string, order: string, at: Date): FollowUp[] {
    const payload = { type, timestamp: at.toISOString(), data: { order } };
    return warehouse ? [followUp(deliverWebhook, { ...warehouse, payload })] : [];
  }
}

function confirm(account: Account | undefined, order: object): FollowUp[] {
  if (!account) return [];
  const { name, mail: to } = account;
  return [followUp(sendMail, { to, template: 'confirmation', data: { name, ...order } })];
}

function tell(customer: Account | undefined, type: string, data: object): FollowUp[] {
  return customer ? [followUp(notify, { userId: customer.id, type, data })] : [];
}
