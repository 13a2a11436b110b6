/**
 * A cache in front of a store that is written first.
 *
 * Promise: once set() or delete() has resolved, the store has it, and no later get() of this process gives what was there before; other processes
 * follow as the cache's do, with the delay of a message. A write that failed, or whose outcome is unknown, changes nothing in the cache but that the
 * key is loaded anew. The cache is never handed the written value: of two processes that write at once, the one whose write the store took first could
 * then be the last to tell the cache. So the next get() loads.
 * A process that is killed between the save and the invalidation leaves a value that was read in between for its TTL.
 * Redis down: the store is written all the same; the cache is told when Redis is back.
 */
import { systemClock, type Clock } from '../../clock.ts';
import { MillraceError } from '../../errors.ts';
import { silentLogger, type Logger } from '../../log.ts';
import { callStore } from './call-store.ts';
import { Invalidations } from './invalidations.ts';
import { checkThrough, type ThroughPlan, type WriteThroughOptions } from './options.ts';
import { checkKey, keepWith, type CallOptions } from './reads.ts';
import type { CacheLoadContext, StoreCache, ThroughStore } from './store.ts';
import { createStoreMeter, type StoreMeter, type StoreMetricsRegistry } from './store-metrics.ts';

/** What stands behind a store: the cache, and where to log and count. */
export interface ThroughParts {
  /** A namespace that nothing else uses. */
  cache: StoreCache;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  metrics?: StoreMetricsRegistry | undefined;
}

/** A store whose reads are cached. */
export class WriteThrough<T> {
  readonly #store: ThroughStore<T>;
  readonly #plan: ThroughPlan;
  readonly #cache: StoreCache;
  readonly #invalidations: Invalidations;
  readonly #meter: StoreMeter;
  #isStopped = false;

  constructor(parts: ThroughParts, store: ThroughStore<T>, options: WriteThroughOptions = {}) {
    const { cache, log = silentLogger, clock = systemClock, metrics } = parts;
    this.#plan = checkThrough(store, options);
    this.#store = store;
    this.#cache = cache;
    this.#invalidations = new Invalidations(cache, log.child({ store: store.name }), clock);
    this.#meter = createStoreMeter(metrics, store.name);
  }

  /** The value: from the cache, or loaded; undefined when the store has none. */
  async get(key: string, options: CallOptions = {}): Promise<T | undefined> {
    this.#check(key);
    const load = ({ signal }: CacheLoadContext): Promise<unknown> => this.#load(key, signal);
    const value = await this.#cache.getOrSet(key, load, keepWith(this.#plan.keep, options));
    return (value ?? undefined) as T | undefined;
  }

  /** The values of many keys; a key without one is missing from the map. */
  async getMany(keys: readonly string[], options: CallOptions = {}): Promise<Map<string, T>> {
    const values = await Promise.all(keys.map((key) => this.get(key, options)));
    return new Map(
      keys.flatMap((key, index): Array<[string, T]> => {
        const value = values[index];
        return value === undefined ? [] : [[key, value]];
      }),
    );
  }

  /**
   * Saves a value. What the store throws comes through unchanged.
   *
   * @throws MillraceError CACHE_SAVE_TIMEOUT when the save takes too long; whether the store took it is unknown then.
   */
  async set(key: string, value: T, options: CallOptions = {}): Promise<void> {
    this.#check(key);
    await this.#write(key, 'save', (signal) => this.#store.save(key, value, { signal }), options);
  }

  /** Removes a key. @throws as set() does; MillraceError OPTIONS_INVALID when the store has no remove(). */
  async delete(key: string, options: CallOptions = {}): Promise<void> {
    this.#check(key);
    const store = this.#store;
    if (!store.remove)
      throw new MillraceError('OPTIONS_INVALID', `store ${store.name} has no remove(), so delete() cannot work`, {
        store: store.name,
      });
    await this.#write(key, 'removal', async (signal) => store.remove?.(key, { signal }), options);
  }

  /** No more calls; what the cache is still owed is left to the TTL. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#invalidations.stop();
  }

  async #load(key: string, signal: AbortSignal): Promise<unknown> {
    return this.#store.load(key, { signal });
  }

  async #write(
    key: string,
    what: string,
    call: (signal: AbortSignal) => Promise<unknown>,
    { signal }: CallOptions,
  ): Promise<void> {
    signal?.throwIfAborted();
    const limits = { timeoutMs: this.#plan.saveTimeoutMs, signal, what: `${what} of store ${this.#store.name}` };
    // Before as well: were this process killed after the save, only a reader of this very moment could have put the old value back.
    await this.#invalidations.drop([key]);
    try {
      await callStore(call, limits);
      this.#meter.count('saved', 1);
    } catch (error) {
      this.#meter.count('failed', 1);
      throw error;
    } finally {
      await this.#invalidations.drop([key]);
    }
  }

  #check(key: string): void {
    checkKey(key);
    if (this.#isStopped) throw new MillraceError('CLOSED', `the store ${this.#store.name} has been stopped`, {});
  }
}

/**
 * A cache in front of a store that is written first.
 *
 * @example
 * const users = createWriteThrough({ cache: cache.namespace('users') }, {
 *   name: 'users',
 *   load: (id) => db.users.find(id),
 *   save: (id, user) => db.users.upsert(id, user),
 * }, { ttl: '10m' });
 * await users.set('7', { name: 'Ada' });
 * await users.get('7');
 * @throws MillraceError OPTIONS_INVALID
 */
export function createWriteThrough<T>(
  parts: ThroughParts,
  store: ThroughStore<T>,
  options: WriteThroughOptions = {},
): WriteThrough<T> {
  return new WriteThrough(parts, store, options);
}
