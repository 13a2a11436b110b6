/**
 * Loads many keys with one call, as a database likes it.
 *
 * Each key is read, leased, kept and invalidated by itself; only the loads that come together are handed to the loader together. So of two
 * processes that ask for overlapping keys each loads those for which it has the lease.
 */
import { MillraceError } from '../errors.ts';
import type { LoadOptions } from './options.ts';
import type { Loader } from './run-loader.ts';

/**
 * Gives the values of the keys: a Map, in which a missing key is "nothing", or a list in the order of the keys, in which an Error is the failure
 * of its key.
 */
export type LoadMany<T> = (
  keys: readonly string[],
  context: { signal: AbortSignal },
) => BatchResult<T> | Promise<BatchResult<T>>;

/** What a batch loader gives. */
export type BatchResult<T> = ReadonlyMap<string, T> | ReadonlyArray<T | null | undefined | Error>;

/** Options of batch(). */
export interface BatchOptions<T> extends Omit<LoadOptions<T>, 'signal'> {
  /** How many keys go to one call of the loader. Default 1,000. */
  maxKeys?: number | undefined;
}

/** Reads through a batch loader. A key for which the loader had nothing reads as undefined, or as null where that is kept. */
export interface BatchCache<T> {
  get(key: string): Promise<T | null | undefined>;
  /** In the order of the keys; one failure rejects all. */
  getMany(keys: readonly string[]): Promise<Array<T | null | undefined>>;
}

interface GetsOrSets {
  getOrSet<T>(key: string, loader: Loader<T>, options?: LoadOptions<T>): Promise<T>;
}

interface Waiting<T> {
  readonly key: string;
  readonly signal: AbortSignal;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

const MAX_KEYS = 1_000;

/** The cache, read through a loader of many keys. @throws MillraceError OPTIONS_INVALID */
export function createBatchLoader<T>(
  cache: GetsOrSets,
  loadMany: LoadMany<T>,
  options: LoadOptions<T>,
  maxKeys: number = MAX_KEYS,
): BatchCache<T> {
  if (!Number.isSafeInteger(maxKeys) || maxKeys < 1)
    throw new MillraceError('OPTIONS_INVALID', 'batch: maxKeys: expected a whole number of at least 1', { maxKeys });
  const batch = new LoadBatch(loadMany, maxKeys);
  const loader: Loader<T> = ({ key, signal }) => batch.load(key, signal);
  const get = (key: string): Promise<T | null | undefined> => cache.getOrSet(key, loader, options);
  return { get, getMany: (keys) => Promise.all(keys.map(get)) };
}

/** Gathers keys until the event loop has seen to all answers that are there, which is when the leases of one read have all come in. */
class LoadBatch<T> {
  readonly #loadMany: LoadMany<T>;
  readonly #maxKeys: number;
  #waiting: Array<Waiting<T>> = [];

  constructor(loadMany: LoadMany<T>, maxKeys: number) {
    this.#loadMany = loadMany;
    this.#maxKeys = maxKeys;
  }

  load(key: string, signal: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) setImmediate(() => this.#send());
      this.#waiting.push({ key, signal, resolve, reject });
    });
  }

  #send(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (let from = 0; from < waiting.length; from += this.#maxKeys)
      void this.#run(waiting.slice(from, from + this.#maxKeys));
  }

  async #run(some: ReadonlyArray<Waiting<T>>): Promise<void> {
    const keys = some.map(({ key }) => key);
    try {
      const result = await this.#loadMany(keys, { signal: untilAllAborted(some.map(({ signal }) => signal)) });
      const values = valuesOf(keys, result);
      for (const [index, { resolve, reject }] of some.entries()) {
        const value = values[index];
        if (value instanceof Error) reject(value);
        else resolve(value as T);
      }
    } catch (error) {
      for (const { reject } of some) reject(error);
    }
  }
}

function valuesOf<T>(keys: readonly string[], result: BatchResult<T>): ReadonlyArray<T | null | undefined | Error> {
  if (result instanceof Map) return keys.map((key) => (result as ReadonlyMap<string, T>).get(key));
  if (Array.isArray(result) && result.length === keys.length) return result as Array<T | null | undefined | Error>;
  const came = Array.isArray(result) ? `${result.length} values` : `a ${typeof result}`;
  const message = `the batch loader: expected a Map, or a list of ${keys.length} values in the order of the keys, got ${came}`;
  throw new MillraceError('CACHE_VALUE_INVALID', message, { keys: keys.length });
}

/** Aborts once nobody wants any of the values any more. */
function untilAllAborted(signals: readonly AbortSignal[]): AbortSignal {
  const controller = new AbortController();
  let left = signals.length;
  for (const signal of signals) {
    signal.addEventListener('abort', () => --left === 0 && controller.abort(signal.reason), { once: true });
  }
  return controller.signal;
}
