/** Two processes for tests of waits: one that enqueues and works, and one that waits; and clocks for them. */
import { expect } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.ts';
import { contractOf } from './contracts.ts';
import { eventually } from './eventually.ts';
import { failureOf } from './failures.ts';
import { untilAborted } from './gate.ts';
import type { TestJobs, TestJobsOptions } from './jobs.ts';
import type { TestServer } from './servers.ts';

const other = contractOf('other.warm-up');

/** Time in which nothing is waited for: only what somebody is told of ends a wait. */
export const noTime: Clock = {
  ...systemClock,
  sleep: (_ms, { signal } = {}) => (signal ? untilAborted(signal) : new Promise(() => undefined)),
};

/** Time in which a second goes by, and no more, whenever the test says so. */
export function turns(): { clock: Clock; next: () => Promise<void> } {
  let nowMs = 0;
  const sleepers = new Set<() => void>();
  const sleep: Clock['sleep'] = (ms, { signal } = {}) =>
    new Promise((resolve, reject) => {
      const wake = (): void => {
        sleepers.delete(wake);
        resolve();
      };
      if (ms === 1_000) sleepers.add(wake);
      signal?.addEventListener('abort', () => {
        sleepers.delete(wake);
        reject(signal.reason as Error);
      });
    });
  const next = async (): Promise<void> => {
    await eventually(() => expect(sleepers.size).toBe(1));
    nowMs += 1_001;
    for (const wake of sleepers) wake();
    await eventually(() => expect(sleepers.size).toBe(1)); // The round is over.
  };
  return { clock: { ...systemClock, monotonicMs: () => nowMs, sleep }, next };
}

/** What an apart() gives. */
export interface Apart {
  worker: TestJobs;
  waiter: TestJobs;
}

/** A process that enqueues and works, and one that waits. */
export function apart(
  jobsOf: (options: TestJobsOptions) => TestJobs,
  server: TestServer,
  { clock, url = server.url }: { clock?: Clock; url?: string } = {},
): Apart {
  const worker = jobsOf({ redis: { url: server.url } });
  const { prefix } = worker;
  const options = { enqueueDeadline: '10s' } as const;
  return { worker, waiter: jobsOf({ redis: { url }, prefix, options, ...(clock && { clock }) }) };
}

/** Both have been heard: what opens a connection when it is used first is open. */
export async function warmUp({ worker, waiter }: Apart): Promise<void> {
  const { id } = await worker.jobs.enqueue(other, {});
  const waiting = failureOf(waiter.jobs.waitFor(id), 'JOB_CANCELLED');
  await worker.jobs.cancel(id);
  await waiting;
}

/** Resolves once the workers of the process have been told that somebody waits for the jobs. */
export async function heardBy({ jobs }: TestJobs, ...ids: string[]): Promise<void> {
  const missing = new Set(ids);
  const unlisten = jobs.waitChannel.listen((message) => message.ids.forEach((id) => missing.delete(id)));
  await eventually(() => expect(missing.size).toBe(0));
  unlisten();
}
