/** The schedule that every process of a fleet declares, for the processes and for the test that counts its runs. */
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';

export const TICK_EVERY_MS = 500;

/** On a queue of its own, so that it takes no slot of the load. */
export const tick = defineJob({ name: 'clock.tick', input: z.object({}), attempts: 5 });
