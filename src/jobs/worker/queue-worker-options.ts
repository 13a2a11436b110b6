/** What the worker of one queue is made of. */
import type { Job } from 'bullmq';
import type { RedisClient } from '../../redis/clients.ts';
import type { Handler, JobModules } from '../handler.ts';
import type { JobMeter } from '../job-metrics.ts';
import type { OpenQueue } from '../queue-set.ts';
import type { Attempt, AttemptHost } from './attempt.ts';
import type { Awaited } from './awaited.ts';
import type { Quarantine } from './quarantine.ts';

/** An attempt with the platform's modules, as handlers are given it. */
export type RunningAttempt = Attempt & JobModules;

/** Makes the attempts of one process; the platform's modules are on its prototype. */
export type AttemptClass = new (host: AttemptHost, bull: Job, token: string) => RunningAttempt;

/** What the worker of a queue is made of. */
export interface QueueWorkerOptions {
  host: Omit<AttemptHost, 'queue' | 'bullKey' | 'addLog' | 'setProgress' | 'leaseMs' | 'timeouts'>;
  /** The client for BullMQ's workers, which waits as long as it takes. */
  connection: RedisClient;
  queue: OpenQueue;
  handlers: readonly Handler[];
  meter: (contract: string) => JobMeter;
  Attempt: AttemptClass;
  /** Runs a handler; a seam for those that run in threads, which parse `data` there: it crosses, what a schema makes of it may not. */
  execute: (handler: Handler, input: unknown, attempt: RunningAttempt, data: unknown) => unknown;
  concurrency: number;
  leaseMs: number;
  stalledCheckMs: number;
  poisonAfter: number;
  /** Of the process. */
  quarantine: Quarantine;
  /** How long a job for which there is no handler, or only an older one, waits for a worker that has it. */
  strangerGraceMs: number;
  /** `host:pid`. */
  worker: string;
  version: string;
  telemetry: unknown;
  /** The job's worker died, or held its lease no longer; it will run again. */
  onStalled: (queue: string) => void;
  /** The job has failed for good. */
  onDead: (queue: string, jobId: string) => void;
  /** Of the worker. */
  awaited: Awaited;
}

/** How long BullMQ keeps a completed job; the age is in seconds. */
export type Keep = { age?: number; count: number };

export const NONE_KEPT: Keep = { count: 0 };

/** What the most patient of the contracts says: whichever job completes, BullMQ trims all completed jobs of the queue by what that one says. */
export function keepMost(handlers: readonly Handler[]): Keep {
  const kept = handlers.map(({ contract }) => contract.retention).filter(({ count }) => count > 0);
  return {
    age: Math.ceil(Math.max(0, ...kept.map(({ ageMs }) => ageMs)) / 1_000),
    count: Math.max(0, ...kept.map(({ count }) => count)),
  };
}
