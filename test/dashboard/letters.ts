/** Dead letters and jobs for tests of the dashboard: contracts, and jobs that die in a real worker. */
import { z } from 'zod';
import { defineJob, handle, unrecoverable, type Platform } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';

/** What is tried in every field that can be shown. */
export const MARKUP = '<script>alert("x")</script><img src=x onerror=alert(1)>';

export const charge = defineJob({
  name: 'billing.charge',
  input: z.object({
    customer: z.string().min(1),
    amount: z.number().int().positive(),
    card: z.object({ number: z.string(), owner: z.string() }),
    currency: z.enum(['EUR', 'USD']).default('EUR'),
    note: z.string().optional(),
  }),
  attempts: 1,
  secrets: ['card.number'],
});

export const input = (customer: string) => ({
  customer,
  amount: 7,
  card: { number: '4111-secret', owner: 'Ann' },
});

/** Runs jobs of the contract; those whose amount is 7 die with a message of their customer's name. */
export async function workOn(platform: Platform): Promise<{ stop(): Promise<void> }> {
  return platform.work({
    handlers: [
      handle(charge, async ({ customer, amount }, { log }) => {
        log.info(`charging ${customer}`);
        if (amount === 7) throw unrecoverable(new Error(`card of ${customer} refused`));
        return { charged: amount };
      }),
    ],
  });
}

/** Opens the connections that a first letter opens, so that no test seems to have left them. */
export async function warmUp(platform: Platform): Promise<void> {
  const [id = ''] = await bury(platform, ['nobody']);
  await platform.deadLetters.discard(`${id}~0`);
}

/** Enqueues jobs that die, and waits until they have. */
export async function bury(platform: Platform, customers: readonly string[]): Promise<string[]> {
  const before = await platform.deadLetters.count({ queue: undefined });
  const added = await platform.jobs.enqueueMany(charge, customers.map(input));
  await eventually(async () => {
    if ((await platform.deadLetters.count()) < before + customers.length) throw new Error('not all are dead');
  });
  return added.map(({ id }) => id);
}
