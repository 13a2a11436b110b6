/** What a failure of an index means for the job. */
import { isMillraceError, postpone, systemClock, unrecoverable, type JobFacts } from 'millrace';
import { spreadOut } from '../limit-option.ts';

/** What is wrong with a document, and not with the moment. */
const OF_DOCUMENT = ['EMBEDDING_REFUSED', 'INPUT_INVALID', 'PAYLOAD_TOO_LARGE'] as const;

/** Whether the document itself is refused. */
export function isRefused(error: unknown): boolean {
  return OF_DOCUMENT.some((code) => isMillraceError(error, code));
}

/** What a job throws for it: limits, ours and the embedder's, use up no attempt, and what will not change is a dead letter. */
export function failureOf(error: unknown, job: Pick<JobFacts, 'enqueuedAt'>, patienceMs: number): unknown {
  if (!isMillraceError(error) || error.code === 'JOB_POSTPONED') return error;
  if (error.code === 'RATE_LIMITED') return spreadOut(error, job);
  if (isRefused(error)) return unrecoverable(error);
  const { retryAfterMs } = error.facts;
  const isPatient = systemClock.wallMs() - job.enqueuedAt < patienceMs;
  if (error.code === 'EMBEDDING_FAILED' && typeof retryAfterMs === 'number' && isPatient)
    return postpone(retryAfterMs, error.message);
  return error;
}
