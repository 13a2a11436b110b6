/** Takes a job off its worker without using up an attempt, and tells BullMQ so. */
import { DelayedError, WaitingError, type Job } from 'bullmq';
import type { Clock } from '../../clock.ts';
import type { Logger } from '../../log.ts';

interface Host {
  clock: Clock;
  log: Logger;
}

/** To the head of its queue. Throws what tells BullMQ that the job has been moved. */
export async function handBack(job: Job, { log }: Host): Promise<never> {
  try {
    await job.moveToWait(job.token);
  } catch (error) {
    // Its lease is gone: whoever looks for stalled jobs moves it, or has moved it.
    log.debug({ jobId: job.id, err: error }, 'job not handed back');
  }
  throw new WaitingError();
}

/** Runs again later, with these texts of its attempts. Throws what tells BullMQ that the job has been moved. */
export async function putOff(job: Job, delayMs: number, { clock, log }: Host, traces?: string[]): Promise<never> {
  try {
    // As job.moveToDelayed() does, which cannot write the texts along with the move.
    await job['backend'].moveToDelayed(job.id ?? '', clock.wallMs(), delayMs, job.token, {
      skipAttempt: true,
      ...(traces && { fieldsToUpdate: { stacktrace: JSON.stringify(traces) } }),
    });
  } catch (error) {
    log.debug({ jobId: job.id, err: error }, 'job not put off'); // As above.
  }
  throw new DelayedError();
}
