/** What FakeJobs tells of its jobs, in the form in which the real jobs do. */
import { attemptHistory } from '../jobs/attempt-history.ts';
import type { JobInfo } from '../jobs/inspect.ts';
import type { QueueCounts } from '../jobs/jobs.ts';
import type { FakeJob, FakeStore } from './fake-store.ts';

/** All that is known of the job. */
export function infoOf(job: FakeJob): JobInfo {
  const { id, contract, state, opts, enqueuedAt, starts, finishedAt, reason } = job;
  const base = { id, name: contract.name, queue: contract.queue, state, input: JSON.parse(job.json), enqueuedAt };
  return {
    ...base,
    version: opts.v ?? 1,
    ...(state === 'completed' && { result: job.result }),
    ...(job.progress !== undefined && state !== 'cancelled' && { progress: job.progress }),
    ...(reason !== undefined && { reason }),
    attemptsMade: job.attemptsMade,
    attempts: opts.attempts ?? 1,
    ...(job.startedAt !== undefined && state !== 'cancelled' && { startedAt: job.startedAt }),
    ...(finishedAt !== undefined && { finishedAt }),
    history: attemptHistory(job.traces, {
      attemptsStarted: starts,
      stalls: 0,
      withoutLast: state === 'active' || state === 'completed' || (state === 'cancelled' && job.wasActive === true),
    }).attempts,
    log: state === 'cancelled' ? [] : [...job.log],
  };
}

/** How many jobs the queue has. */
export function countJobs(store: FakeStore, queue: string): QueueCounts {
  const of = (state: FakeJob['state']): number =>
    [...store.jobs.values()].filter((job) => job.state === state && job.contract.queue === queue).length;
  return {
    waiting: of('waiting'),
    active: of('active'),
    delayed: of('delayed'),
    prioritized: of('prioritized'),
    'waiting-children': of('waiting-children'),
    completed: of('completed'),
    failed: of('failed'),
    dead: store.letters.filter((letter) => letter.queue === queue).length,
  };
}
