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
  let gathering: Gathering<T> | undefined;
  const get = (key: string): Promise<T | null | undefined> => {
    if (!gathering) {
      gathering = new Gathering(loadMany, maxKeys);
      process.nextTick(() => (gathering = undefined));
    }
    return gathering.get(key, (loader) => cache.getOrSet(key, loader, options));
  };
  return { get, getMany: (keys) => Promise.all(keys.map(get)) };
}

/** One key of a gathering may have to wait for another process; the others go without it then. */
const PATIENCE_MS = 3;

/**
 * The keys that are asked for in one tick. Each comes to be loaded, or is settled without; once that is so of all of them, or when for a
 * moment none has come, those that are to be loaded go to the loader together.
 */
class Gathering<T> {
  readonly #loadMany: LoadMany<T>;
  readonly #maxKeys: number;
  /** Keys that are neither settled nor sent. */
  readonly #open = new Set<string>();
  #waiting: Array<Waiting<T>> = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(loadMany: LoadMany<T>, maxKeys: number) {
    this.#loadMany = loadMany;
    this.#maxKeys = maxKeys;
  }

  /** Asks for one more key. */
  get(key: string, ask: (loader: Loader<T>) => Promise<T>): Promise<T> {
    this.#open.add(key);
    const found = ask(this.#load);
    const settled = (): void => {
      this.#open.delete(key);
      this.#sendIfComplete();
    };
    found.then(settled, settled);
    return found;
  }

  readonly #load: Loader<T> = ({ key, signal }) =>
    new Promise((resolve, reject) => {
      this.#waiting.push({ key, signal, resolve, reject });
      if (this.#timer) this.#timer.refresh();
      else this.#timer = setTimeout(() => this.#send(), PATIENCE_MS);
      // One that was settled with an older value is loaded in the background, and others of its kind may come.
      if (this.#open.has(key)) this.#sendIfComplete();
    });

  #sendIfComplete(): void {
    if (this.#waiting.length > 0 && this.#waiting.length >= this.#open.size) this.#send();
  }

  #send(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { key } of waiting) this.#open.delete(key);
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
