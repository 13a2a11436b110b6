/** Who waits for the end of a job of FakeJobs, with deadlines on the virtual clock. */
import { formatMs } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import { cancelledError } from '../jobs/worker/cancellations.ts';
import type { FakeJob, FakeStore } from './fake-store.ts';
import type { VirtualTime } from './virtual-clock.ts';

/** One wait. */
export interface FakeWait {
  readonly isOver: boolean;
  /** What the handler returned. Rejects with JOB_FAILED, JOB_CANCELLED, JOB_UNKNOWN, WAIT_TIMEOUT, or the reason of the signal. */
  readonly outcome: Promise<unknown>;
}

/** The waits of one FakeJobs. */
export class FakeWaits {
  readonly #store: FakeStore;
  readonly #time: VirtualTime;
  readonly #waits = new Map<string, Set<(job: FakeJob) => void>>();

  constructor(store: FakeStore, time: VirtualTime) {
    this.#store = store;
    this.#time = time;
  }

  /** Waits for the job from now on; without a queue, for one of any. */
  open(jobId: string, queue: string | undefined, deadlineMs: number, signal?: AbortSignal): FakeWait {
    const over = new AbortController();
    const outcome = new Promise<unknown>((resolve, reject) => {
      const leave = (): void => stop(() => reject(signal?.reason));
      const end = (job: FakeJob): void => stop(() => settle(job, resolve, reject));
      const stop = (tell: () => void): void => {
        over.abort();
        this.#waits.get(jobId)?.delete(end);
        signal?.removeEventListener('abort', leave);
        tell();
      };
      const job = this.#store.jobs.get(jobId);
      if (!job || (queue ?? job.contract.queue) !== job.contract.queue)
        return stop(() => reject(unknown(jobId, queue)));
      if (job.finishedAt !== undefined) return end(job);
      const waits = this.#waits.get(jobId) ?? new Set();
      this.#waits.set(jobId, waits.add(end));
      signal?.addEventListener('abort', leave);
      this.#time.guard.sleep(deadlineMs, { signal: over.signal }).then(
        () => stop(() => reject(late(job, deadlineMs))),
        () => undefined, // It is over before its time.
      );
    });
    return {
      outcome,
      get isOver() {
        return over.signal.aborted;
      },
    };
  }

  /** Tells those who wait for the job. */
  ended(job: FakeJob): void {
    for (const end of this.#waits.get(job.id) ?? []) end(job);
    this.#waits.delete(job.id);
  }
}

function settle(job: FakeJob, resolve: (result: unknown) => void, reject: (error: Error) => void): void {
  const { id, contract, state, result, reason = 'no reason known' } = job;
  if (state === 'completed') resolve(result);
  else if (state === 'failed') reject(failed(id, contract.queue, reason));
  else reject(cancelledError(id, reason));
}

function unknown(jobId: string, queue: string | undefined): MillraceError {
  const message =
    queue === undefined
      ? `there is no job ${jobId}: none of that id was enqueued, or it has ended and is kept no longer`
      : `job ${jobId} of queue ${queue} is no longer there: it has ended, and how is not known any more`;
  return new MillraceError('JOB_UNKNOWN', message, { jobId, queue });
}

function late({ id, contract: { queue } }: FakeJob, deadlineMs: number): MillraceError {
  const message = `job ${id} of queue ${queue} did not finish within ${formatMs(deadlineMs)}; it goes on`;
  return new MillraceError('WAIT_TIMEOUT', message, { jobId: id, queue, deadlineMs });
}

function failed(jobId: string, queue: string, reason: string): MillraceError {
  return new MillraceError('JOB_FAILED', `job ${jobId} of queue ${queue} failed: ${reason}`, { jobId, queue, reason });
}
