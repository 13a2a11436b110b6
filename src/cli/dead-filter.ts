/** Which dead letters are meant, by flags or by ids. */
import type { DeadLetterFilter, DeadLetterTarget, DeadReason, Platform } from '../index.ts';
import { UsageError, type Flag, type Words } from './command.ts';
import { choiceOf, momentOf, textOf } from './read-flags.ts';
import { checkQueue } from './queues.ts';

const REASONS = [
  'attempts',
  'unrecoverable',
  'input',
  'version',
  'handler',
  'expired',
  'poison',
  'child',
] as const satisfies readonly DeadReason[];

/** The flags of a filter. */
export const filterFlags: Readonly<Record<string, Flag>> = {
  queue: { value: 'QUEUE', summary: 'Of this queue only.' },
  contract: { value: 'NAME', summary: 'Of this contract only.' },
  reason: { value: 'REASON', summary: 'That died for this reason only.', oneOf: REASONS },
  fingerprint: { value: 'HEX', summary: 'Of this cluster only.' },
  since: { value: 'WHEN', summary: 'Died since then: 15m ago, or a date.' },
  until: { value: 'WHEN', summary: 'Died before then.' },
};

/** What the flags say; a field that was not given is not there, as those who act on letters want it. @throws UsageError */
export function filterOf(flags: Words['flags']): DeadLetterFilter {
  const filter: DeadLetterFilter = {
    queue: textOf('queue', flags),
    contract: textOf('contract', flags),
    reason: choiceOf('reason', flags, REASONS),
    fingerprint: textOf('fingerprint', flags),
    from: momentOf('since', flags),
    to: momentOf('until', flags),
  };
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined));
}

/** Those to act on: ids, or all that the flags name; all there are takes the word `all`. @throws UsageError */
export function targetOf({ rest, flags }: Pick<Words, 'rest' | 'flags'>): DeadLetterTarget {
  const filter = filterOf(flags);
  const hasFilter = Object.keys(filter).length > 0;
  const isAll = rest.length === 1 && rest[0] === 'all';
  if (rest.includes('all') && !isAll) throw new UsageError("expected ids or 'all', not both");
  if (rest.length === 0 && !hasFilter) throw new UsageError("expected ID, flags that say which ones, or 'all'");
  if (rest.length > 0 && !isAll && hasFilter)
    throw new UsageError('expected ids or flags that say which ones, not both');
  return isAll || hasFilter ? filter : rest.length === 1 ? (rest[0] ?? '') : rest;
}

/** @throws CommandError for a filter's queue that nobody ever used */
export async function checkLetterQueue(platform: Platform, target: DeadLetterTarget): Promise<void> {
  if (typeof target !== 'object' || !('queue' in target) || target.queue === undefined) return;
  await checkQueue(platform, target.queue);
}
