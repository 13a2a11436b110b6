/** Who waits for the end of a job of FakeJobs, with deadlines on the virtual clock. */
import { formatMs } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import { cancelledError } from '../jobs/worker/cancellations.ts';
import type { FakeJob, FakeStore } from './fake-store.ts';
import type { VirtualTime } from './virtual-clock.ts';

/** One wait. */
export interface FakeWait {
  readonly isOver: boolean;
  /** What the handler returned. Rejects with JOB_FAILED, JOB_CANCELLED or WAIT_TIMEOUT. */
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

  /** Waits for the job from now on. */
  open(jobId: string, queue: string, deadlineMs: number): FakeWait {
    const over = new AbortController();
    const outcome = new Promise<unknown>((resolve, reject) => {
      const end = (job: FakeJob): void => {
        over.abort();
        this.#waits.get(jobId)?.delete(end);
        settle(job, resolve, reject);
      };
      const job = this.#store.jobs.get(jobId);
      if (job && job.finishedAt !== undefined) return end(job);
      if (!job) {
        over.abort();
        const message = `job ${jobId} of queue ${queue} is no longer there: it has ended, and how is not known any more`;
        return reject(new MillraceError('JOB_UNKNOWN', message, { jobId, queue }));
      }
      const waits = this.#waits.get(jobId) ?? new Set();
      this.#waits.set(jobId, waits.add(end));
      this.#time.guard.sleep(deadlineMs, { signal: over.signal }).then(
        () => {
          over.abort();
          return reject(late(jobId, queue, deadlineMs));
        },
        () => undefined, // The job has ended first.
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

function late(jobId: string, queue: string, deadlineMs: number): MillraceError {
  const message = `job ${jobId} of queue ${queue} did not finish within ${formatMs(deadlineMs)}; it goes on`;
  return new MillraceError('WAIT_TIMEOUT', message, { jobId, queue, deadlineMs });
}

function failed(jobId: string, queue: string, reason: string): MillraceError {
  return new MillraceError('JOB_FAILED', `job ${jobId} of queue ${queue} failed: ${reason}`, { jobId, queue, reason });
}
