/** A job's id in the words of other protocols. */
import { createHash } from 'node:crypto';

/** Letters, digits, - and _ alone: the id itself, or a digest of one that has more. The same in each attempt, and after a redrive. */
export function stableId(jobId: string): string {
  return /^[\w-]{1,64}$/.test(jobId) ? jobId : createHash('sha256').update(jobId).digest('hex');
}
