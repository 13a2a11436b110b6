import { defineJob } from 'millrace';
import { z } from 'zod';

/** What apps import to enqueue it: await platform.jobs.enqueue(greetUserJob, { name: 'Ada' }); */
export const greetUserJob = defineJob({
  name: 'greet.user',
  input: z.object({ name: z.string().min(1) }),
  output: z.object({ greeting: z.string() }),
  attempts: 5,
  timeout: '30s',
});
