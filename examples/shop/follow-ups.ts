/**
 * What follows from what happens to orders: each line is a job, enqueued once for its event, whoever dies when.
 *
 * Shows what `orders.project` enqueues: `email.send`, `webhook.deliver`, `leaderboard.record`, `presence.notify`, and the shop's own charges and refunds.
 */
import type { EventContext } from 'millrace';
import { followUp, type FollowUp, type FollowUps, type OrderSchemas } from 'millrace/workers';
import type { Account, Database } from './database.ts';
import { emailSend, leaderboardRecord, presenceNotify, webhookDeliver } from './jobs.ts';
import type { mails } from './mails.ts';
import { orderStates } from './orders.ts';
import { chargeOrder, refundOrder } from './payments.ts';
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
        followUp(leaderboardRecord, { scores: [spent, ...sold] }),
        ...write(account, 'confirmation', { order: id, items, totalCents }),
      ];
    },
    async paid({ streamId: id, at }, context) {
      const { customer } = await orderOf(id, context);
      return [...tellWarehouse('order.paid', id, at), ...tell(customer, 'order.paid', { order: id })];
    },
    async shipped({ streamId: id, data }, context) {
      const { customer } = await orderOf(id, context);
      return tell(customer, 'order.shipped', { order: id, ...data }, 'shipped');
    },
    async cancelled({ streamId: id, at }, context) {
      const { customer, payment } = await orderOf(id, context);
      return [
        ...(payment === undefined ? [] : [followUp(refundOrder, { id, payment })]),
        ...tellWarehouse('order.cancelled', id, at),
        ...tell(customer, 'order.cancelled', { order: id }),
      ];
    },
    async refunded({ streamId: id }, context) {
      const { customer, totalCents } = await orderOf(id, context);
      const data = { order: id, totalCents };
      return [...write(customer, 'refund', data), ...tell(customer, 'order.refunded', data)];
    },
  };

  /** As it is by now, with the account of who has ordered: undefined for an order that was forgotten meanwhile. */
  async function orderOf(id: string, { streams }: EventContext) {
    const { state } = await orderStates(streams).load(id);
    const customer = state.customer === undefined ? undefined : await accounts.get(state.customer);
    return { ...state, customer };
  }

  function tellWarehouse(type: string, order: string, at: Date): FollowUp[] {
    const payload = { type, timestamp: at.toISOString(), data: { order } };
    return warehouse ? [followUp(webhookDeliver, { ...warehouse, payload })] : [];
  }
}

type Template = keyof typeof mails;

function write(customer: Account | undefined, template: Template, data: object): FollowUp[] {
  return customer ? [followUp(emailSend, mailTo(customer, template, data))] : [];
}

/** With a template, who is not there to see it is sent a mail. */
function tell(customer: Account | undefined, type: string, data: object, template?: Template): FollowUp[] {
  if (!customer) return [];
  const email = template && mailTo(customer, template, data);
  return [followUp(presenceNotify, { userId: customer.id, type, data, email })];
}

function mailTo({ mail: to, name }: Account, template: Template, data: object) {
  return { to, template, data: { name, ...data } };
}
