/** What operators enqueue to have read models of orders made anew. */
import { defineJob, type JobContract } from 'millrace';
import { z } from 'zod';

/** Input of `orders.rebuild`. */
export interface OrdersRebuildInput {
  /** The name of a projection. Default: each of them, one after the other. */
  projection?: string | undefined;
}

/** What `orders.rebuild` gives to those who wait. */
export interface OrdersRebuildResult {
  /** By the name of the projection: the position that its new documents had come to. */
  positions: Record<string, number>;
}

const rebuildSchema = z.strictObject({ projection: z.string().min(1).max(100).optional() });

/** What the handler of `orders.rebuild` gets. */
export type ParsedOrdersRebuild = z.output<typeof rebuildSchema>;

/**
 * Makes read models anew from the first event, with the code of the worker, and puts them in the place of the old ones once they have come as far.
 *
 * Enqueue it after a deploy that changed what events do to documents. Follow-ups are not sent again.
 *
 * @example
 * await platform.jobs.enqueue(ordersRebuild, {});
 */
export const ordersRebuild: JobContract<OrdersRebuildInput, ParsedOrdersRebuild, OrdersRebuildResult> = defineJob({
  name: 'orders.rebuild',
  input: rebuildSchema,
  output: z.object({ positions: z.record(z.string(), z.number()) }),
  timeout: '6h',
  unique: { key: ({ projection }) => projection ?? '*' },
});
