/** What reads of both kinds of stores have in common. */
import { MillraceError } from '../../errors.ts';
import type { LoadOptions } from '../options.ts';
import type { StoreKeepOptions } from './store.ts';

/** Options of a read or a write. */
export interface CallOptions {
  /** Ends the wait of this caller. */
  signal?: AbortSignal | undefined;
}

/** What the cache is asked with: the same object for all calls without a signal, so that it is checked once. */
export function keepWith(keep: StoreKeepOptions, { signal }: CallOptions): LoadOptions {
  return signal ? { ...keep, signal } : keep;
}

/** Longer ones would make the index of pending changes heavy. */
const LONGEST_KEY = 1_024;

/** @throws MillraceError KEY_INVALID */
export function checkKey(key: unknown): asserts key is string {
  const isKey = typeof key === 'string' && key !== '' && key.length <= LONGEST_KEY;
  // Half a surrogate pair would leave as the same bytes as any other half, and two keys would be one.
  if (isKey && !/\p{Surrogate}/u.test(key)) return;
  throw new MillraceError(
    'KEY_INVALID',
    `a key of a store must be a string of 1 to ${LONGEST_KEY} well-formed characters`,
    {
      key: typeof key === 'string' ? key.slice(0, 100) : key,
    },
  );
}
