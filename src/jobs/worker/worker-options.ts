/** Options of a worker process. */
import { z } from 'zod';
import type { Duration } from '../../durations.ts';
import { describeValue } from '../../errors.ts';
import { durationOption } from '../../schema.ts';
import { timeoutOption } from '../contract.ts';
import type { Handler } from '../handler.ts';
import { threadOptionsSchema, type ThreadOptions } from '../isolate/threads.ts';
import type { Schedule } from '../schedules/schedule.ts';

/** What of a queue this process runs. */
export interface QueueOptions {
  /** Jobs of the queue that run at once in this process. Default that of the worker. */
  concurrency?: number | undefined;
}

/** Options of a worker process. */
export interface WorkerOptions {
  /** What it runs; handlers of one queue share that queue's slots. */
  handlers: readonly Handler[];
  /** Jobs that run at once, of each queue. Default 10. */
  concurrency?: number | undefined;
  /** Queues that differ, by name. */
  queues?: Readonly<Record<string, QueueOptions>> | undefined;
  /** How long stop() may take: running jobs are waited for, then aborted and handed back to their queues. Default `25s`, below the 30 s that container platforms give. */
  drainFor?: Duration | undefined;
  /** How long a handler may go on after its signal has aborted, at most 24 days. Default `5s`. */
  grace?: Duration | undefined;
  /** How long a job is this worker's without a renewal; after a crash its jobs wait so long. Default `30s`, at least `1s`, at most 24 days. */
  lease?: Duration | undefined;
  /** How often stalled jobs are looked for, at most 24 days. Default: the lease. */
  stalledCheck?: Duration | undefined;
  /** A job whose worker died, or lost its lease, more often than this is a dead letter (`poison`). Default 3. */
  poisonAfter?: number | undefined;
  /** How long a job without a handler here, or of a newer version, is left to other workers before it is a dead letter. Default `5m`. */
  strangerGrace?: Duration | undefined;
  /** Not alive when jobs wait, slots are free, and nothing was taken for so long, at most 24 days. Default `1m`. */
  silentFor?: Duration | undefined;
  /** What comes again by itself, made with schedule(). Given, also as an empty list, it takes the place of what this owner had declared before. */
  schedules?: readonly Schedule[] | undefined;
  /** The application that declares the schedules; all its workers must declare the same. Default: all workers under the prefix are one. */
  owner?: string | undefined;
  /** Grows with each release, such as a build number: a worker with a lower one than was seen leaves the schedules alone. */
  revision?: number | undefined;
  /** Threads of handlers with `isolate`. */
  threads?: ThreadOptions | undefined;
  /** Called once, with the reason, when rebuilding a silent worker did not help; the process should then end, as runWorker() does. */
  onSilent?: ((reason: string) => void) | undefined;
  /** The version of the application, kept with each attempt and told to the fleet. Default `appVersion` of the platform; with neither, attempts keep that of Millrace. */
  version?: string | undefined;
}

/** Of what a timer waits for: one of Node's that is set for longer than 24.8 days fires at once. */
const LONGEST_MS = 24 * 86_400_000;
const count = z.number().int().min(1).max(10_000);
const isHandler = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'contract' in value && 'run' in value;

/** The checks of WorkerOptions. */
export const workerOptionsSchema = z.strictObject({
  handlers: z
    .array(
      z.custom<Handler>(isHandler, {
        error: ({ input }) => `expected a handler of handle(), got ${describeValue(input)}`,
      }),
    )
    .min(1),
  concurrency: count.default(10),
  queues: z.record(z.string(), z.strictObject({ concurrency: count.optional() })).default({}),
  drainFor: durationOption.default(25_000),
  grace: durationOption.pipe(z.number().max(LONGEST_MS, 'expected at most 24 days')).default(5_000),
  lease: timeoutOption.pipe(z.number().min(1_000, 'expected at least 1s')).default(30_000),
  stalledCheck: timeoutOption.optional(),
  poisonAfter: z.number().int().min(0).default(3),
  strangerGrace: durationOption.default(300_000),
  silentFor: timeoutOption.default(60_000),
  schedules: z
    .array(
      z.custom<Schedule>(
        (value) => typeof value === 'object' && value !== null && 'contract' in value,
        'expected a schedule of schedule()',
      ),
    )
    .optional(),
  owner: z.string().min(1).max(200).optional(),
  revision: z.number().int().min(0).optional(),
  threads: threadOptionsSchema.optional(),
  onSilent: z
    .custom<(reason: string) => void>((value) => typeof value === 'function', { error: 'expected a function' })
    .optional(),
  version: z.string().optional(),
});

/** WorkerOptions, checked. */
export type CheckedWorkerOptions = z.output<typeof workerOptionsSchema>;
