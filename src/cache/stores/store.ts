/**
 * What a user's store looks like, and what is needed of the cache that stands before it.
 *
 * A store is whatever holds the truth: a table, a search index, somebody's HTTP API. Keys are strings; values must survive JSON where they
 * wait in Redis (write-behind), and anything goes where they do not (write-through).
 */
import type { LoadOptions } from '../options.ts';

/** What every call of a store is given. */
export interface StoreContext {
  /** Aborts when the caller has given up, when the call has run out of time, or when this process may not save any more. */
  readonly signal: AbortSignal;
}

/** What a save or a removal is given. */
export interface SaveContext extends StoreContext {
  /**
   * Grows with each change of the store, across processes and restarts: microseconds since 1970, made larger where two would be equal.
   * A store that keeps it beside the value and refuses smaller ones cannot be overwritten by a save that comes late.
   * It is a whole number that fits a 64-bit column.
   */
  readonly version: number;
}

/** One change on its way to the store. */
export interface Change<T> {
  readonly key: string;
  /** Whether the value is to be written, or the key to be removed. */
  readonly kind: 'set' | 'remove';
  /** The value; undefined for a removal. */
  readonly value: T | undefined;
  /** As in SaveContext. */
  readonly version: number;
  /** How often it was tried, this time included. */
  readonly attempt: number;
}

/** A change of a bulk that was not saved, while others were. */
export interface FailedChange {
  readonly key: string;
  readonly error: unknown;
}

/** A store that is written before the cache is told. */
export interface ThroughStore<T> {
  /** Tells the store apart in the cache's keys, in metrics and logs: letters, digits, `_`, `.`, `-`. */
  readonly name: string;
  /** The value of a key; undefined or null when there is none. */
  load(key: string, context: StoreContext): Promise<T | null | undefined> | T | null | undefined;
  /** Writes a value. */
  save(key: string, value: T, context: StoreContext): Promise<unknown>;
  /** Removes a key; one that is not there is no failure. Without it, delete() throws. */
  remove?(key: string, context: StoreContext): Promise<unknown>;
}

/**
 * A store that is written later. A save may come twice, after a crash between it and its note in Redis, so it must be one that may:
 * an upsert, not an increment.
 */
export interface BehindStore<T> {
  /** As in ThroughStore; all processes that write to or save for one store use the same. */
  readonly name: string;
  /** As in ThroughStore. Without it, get() knows pending changes only. */
  load?(key: string, context: StoreContext): Promise<T | null | undefined> | T | null | undefined;
  /** Writes one value. Either this or saveMany is needed. */
  save?(key: string, value: T, context: SaveContext): Promise<unknown>;
  /** Removes one key; one that is not there is no failure. Without it (and without saveMany), delete() throws. */
  remove?(key: string, context: SaveContext): Promise<unknown>;
  /**
   * Writes and removes many at once, each key once; preferred to save and remove. A rejection means that none of them was saved; a list
   * that is returned names those that were not.
   */
  saveMany?(changes: ReadonlyArray<Change<T>>, context: StoreContext): Promise<readonly FailedChange[] | void>;
}

/** What a load in the cache is given; the cache gives more than is used here. */
export interface CacheLoadContext {
  readonly signal: AbortSignal;
  /** Keeps the value for another time than was asked for. */
  ttl?(durationMs: number): unknown;
}

/** How the cache keeps what a store gives. Passed on as it is, and checked by the cache at the first get(). */
export type StoreKeepOptions = Omit<LoadOptions, 'signal'>;

/**
 * What is needed of a cache: one namespace, which nothing else uses.
 *
 * A delete must win over a load that runs while it comes: what that load gives is not kept. Everything here rests on it.
 */
export interface StoreCache {
  getOrSet(key: string, load: (context: CacheLoadContext) => Promise<unknown>, options: LoadOptions): Promise<unknown>;
  /** Rejects when it is not sure that every process will see it. */
  delete(...keys: string[]): Promise<unknown>;
}
