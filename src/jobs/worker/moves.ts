/** Takes a job off its worker without using up an attempt, and tells BullMQ so. */
import { DelayedError, WaitingError, type Job } from 'bullmq';
import { keepEffects, type EffectKeeper } from './once.ts';

/** To the head of its queue. Throws what tells BullMQ that the job has been moved. */
export async function handBack(job: Job, { log }: Pick<EffectKeeper, 'log'>): Promise<never> {
  try {
    await job.moveToWait(job.token);
  } catch (error) {
    // Its lease is gone: whoever looks for stalled jobs moves it, or has moved it.
    log.debug({ jobId: job.id, err: error }, 'job not handed back');
  }
  throw new WaitingError();
}

/** Runs again later, with these texts of its attempts, and with its effects. Throws what tells BullMQ that the job has been moved. */
export async function putOff(job: Job, delayMs: number, host: EffectKeeper, traces?: string[]): Promise<never> {
  const { clock, log } = host;
  await keepEffects(host, job, delayMs);
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
