// What the worker runs: npx millrace worker ./handlers.js
import { handle, unrecoverable } from 'millrace';
import { confirmOrder } from './contracts.js';

export const confirmOrderHandler = handle(confirmOrder, async ({ order, cents }, { log, once }) => {
  // Not worth a second attempt: a dead letter at once, for a person to look at.
  if (cents <= 0) throw unrecoverable(`order ${order} has nothing to pay`);
  // In the place of your payment service. Its answer is kept with the job, so that a second attempt does not charge twice.
  const receipt = await once('charge', () => `receipt of ${order}`);
  log.info({ order }, 'confirmed');
  return { receipt };
});
