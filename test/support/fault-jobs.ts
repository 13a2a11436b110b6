/** The jobs of the fault tests, for those who enqueue them and for the worker processes that run them. */
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';

/** All of them are on it, so that they share the slots of a worker. */
export const QUEUE = 'load';

/** So long that the completed ones can be counted at the end. */
const retention = { age: '1d', count: 1_000_000 } as const;

/** Takes some time, and has an effect that should be had once. */
export const toil = defineJob({
  name: 'load.toil',
  input: z.object({ ms: z.number(), hasEffect: z.boolean().default(false) }),
  attempts: 20,
  backoff: { type: 'fixed', delay: '200ms' },
  retention,
});

/**
 * Held by a worker that was given a `releaseFile`: until that file is there (`released`), until its signal aborts (`aborted`), or inside of
 * an effect until the file is there (`stored`). Other workers run it without holding it.
 */
export const hold = defineJob({
  name: 'load.hold',
  input: z.object({ until: z.enum(['released', 'aborted', 'stored']) }),
  attempts: 1,
  retention,
});

/** Kills the process that runs it, each time. */
export const bane = defineJob({ name: 'load.bane', input: z.object({ afterMs: z.number() }), attempts: 5, retention });

/** What a worker process is told. */
export interface FaultWorkerOptions {
  /** As createPlatform() takes it. */
  redis: Record<string, unknown>;
  prefix: string;
  /** The file to which it writes what it does. */
  journal: string;
  /** What held jobs wait for; without it, they are not held. */
  releaseFile?: string | undefined;
  /** As runWorker() takes them. */
  worker: Record<string, unknown>;
}
