// What the app and the worker agree on. No handler is loaded here, so the app carries none of the worker's code.
import { defineJob } from 'millrace';
import { z } from 'zod';

export const confirmOrder = defineJob({
  name: 'orders.confirm',
  input: z.object({ order: z.string(), cents: z.number().int() }),
  output: z.object({ receipt: z.string() }),
  attempts: 5,
  timeout: '30s',
});
