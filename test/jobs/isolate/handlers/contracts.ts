/** The contracts of the isolated handlers in this folder. */
import { z } from 'zod';
import { defineJob } from '../../../../src/jobs/contract.ts';

/** Does what `act` names; see acts.ts. */
export const act = defineJob({
  name: 'isolated.act',
  input: z.object({ act: z.string(), with: z.unknown().optional() }),
  attempts: 1,
  backoff: { type: 'fixed', delay: 10 },
});

/** What an isolated handler enqueues. */
export const follow = defineJob({
  name: 'isolated-follow',
  input: z.object({ n: z.number() }),
  unique: { key: ({ n }) => `n${n}`, for: '1m' },
});

/** Its schema makes of the input what no message could carry. */
export const parsed = defineJob({
  name: 'isolated.parsed',
  input: z.object({ url: z.string().transform((url) => ({ open: () => new URL(url) })) }),
  output: z.object({ host: z.string() }),
  attempts: 1,
});

/** For modules that are not what they should be. */
export const astray = defineJob({ name: 'isolated.astray', input: z.object({}), attempts: 1 });
