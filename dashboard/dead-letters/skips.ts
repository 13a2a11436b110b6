/** Why a letter was left where it is, in words. */
import type { Skipped } from 'millrace';

const TEXTS: Readonly<Record<Skipped['why'], string>> = {
  gone: 'Somebody else has taken it.',
  exists: 'The queue has a job with its id.',
  duplicate: 'Another job has its unique or idempotency key by now.',
  input: 'The input does not match.',
  contract: 'It is of another contract.',
  busy: 'It was being changed all the time; try again.',
};

export function skipText({ why, detail }: Pick<Skipped, 'why' | 'detail'>): string {
  return detail === undefined ? TEXTS[why] : `${TEXTS[why]} ${detail}`;
}
