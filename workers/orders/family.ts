/** Orders, as a worker's process has them: with the read model of orderModel() they need no code; follow-ups do. */
import { z } from 'zod';
import { optionsOf, type Family, type Variables } from '../family.ts';
import { createOrderProjection } from '../orders-project.ts';
import { createRebuildHandler } from '../orders-rebuild.ts';
import { ordersRebuild } from './contract.ts';
import type { OrdersOptions } from './options.ts';

/** Options of what projects orders. */
export interface OrderSettings {
  orders?: OrdersOptions | undefined;
}

const ORDERS: Variables = { store: 'MILLRACE_ORDERS_STORE', timeZone: 'MILLRACE_ORDERS_TIME_ZONE' };
const NEEDS = 'set MILLRACE_ORDERS_STORE';

export const ordersFamily: Family<OrderSettings> = {
  prefix: 'ORDERS',
  variables: { MILLRACE_ORDERS_STORE: z.string(), MILLRACE_ORDERS_TIME_ZONE: z.string() },
  settings: (values, faults) => ({
    orders: optionsOf<OrdersOptions>(ORDERS, values, createOrderProjection, faults),
  }),
  parts: ({ orders }) => [
    { name: 'orders.project', needs: NEEDS, consumers: orders && createOrderProjection(orders) },
    { name: ordersRebuild.name, needs: NEEDS, handler: orders && createRebuildHandler(orders) },
  ],
};
