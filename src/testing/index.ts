/** What tests of an application use; published as `millrace/testing`. Knows no test framework, and needs no Redis but for drainQueue() and waitForJob(). */
export { runHandler, type HandlerRun, type RunHandlerOptions } from './run-handler.ts';
export { createFakeJobs, type Drained, type DrainOptions, type FakeJobs, type FakeJobsOptions } from './fake-jobs.ts';
export type { FakeRun } from './fake-runner.ts';
export type { RunOutcome } from './fake-attempt.ts';
export type { LoggedLine } from './spy-log.ts';
export type { EnqueuedQuery, InputMatch, PartialInput, RecordedJob } from './recorded-jobs.ts';
export { createVirtualClock, type VirtualClock, type VirtualClockOptions } from './virtual-clock.ts';
export { drainQueue, waitForJob, type DrainQueueOptions, type WaitTarget, type WithinOptions } from './drain-queue.ts';
