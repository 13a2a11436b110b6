/**
 * A cache in two levels: the memory of this process, and Redis.
 *
 * Promise: a key that nobody has is loaded once, however many callers in however many processes ask. A value is given no longer than its TTL and
 * its grace. Once delete(), set(), invalidateTags() or clear() has resolved, no read of this process gives what was there before, and no load that
 * began before brings it back; other processes follow as soon as they hear of it, or drop all that they hold in memory when they might not.
 * Keys: src/cache/keys.ts.
 * Redis down: getOrSet() calls the loader, once a key in each process, and keeps its value in memory for a moment; get() finds nothing beyond memory;
 * what changes or invalidates throws, because another process might not see it.
 */
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions } from '../schema.ts';
import type { Ask } from './ask.ts';
import { admit } from './admit.ts';
import { createBatchLoader, type BatchCache, type BatchOptions, type LoadMany } from './batch.ts';
import type { CacheCore } from './cache-core.ts';
import type { CacheStats } from './counts.ts';
import { drawRandom, isDueEarly } from './early-refresh.ts';
import { copyOf, type Kept } from './first-level.ts';
import type { Flight } from './flight.ts';
import { hashOf } from './keys.ts';
import { jittered } from './load-and-store.ts';
import type { Loads } from './loads.ts';
import {
  defaultsSchema,
  OptionReader,
  type LoadCall,
  type LoadDefaults,
  type LoadOptions,
  type SetOptions,
  type Tiers,
} from './options.ts';
import { pack } from './packed.ts';
import type { Loader } from './run-loader.ts';
import type { SharedState } from './shared-state.ts';
import type { WriteBehindOptions, WriteThroughOptions } from './stores/options.ts';
import type { BehindStore, ThroughStore } from './stores/store.ts';
import { createWriteBehind, type WriteBehind } from './stores/write-behind.ts';
import { createWriteThrough, type WriteThrough } from './stores/write-through.ts';

/** Options of wrap(). */
export interface WrapOptions<Args extends readonly unknown[], T> extends Omit<LoadOptions<T>, 'signal'> {
  /** The key of a call; calls whose results may differ need different keys. */
  key: (...args: Args) => string;
}

/** What a view is made of. */
export interface CacheParts {
  readonly core: CacheCore;
  readonly loads: Loads;
  readonly tiers: Tiers;
  readonly defaults: LoadDefaults;
}

/** The namespace of keys that are in none. */
export const ROOT = 'main';
/** Values of one setMany() share at most so many TTLs, so that they do not all expire together. */
const JITTER_GROUPS = 8;

/** One namespace of a cache; createCache() and namespace() make it. */
export class Cache {
  /** Which namespace this is. */
  readonly name: string;
  readonly #parts: CacheParts;
  readonly #core: CacheCore;
  readonly #reader: OptionReader;
  readonly #readTtl: (ttl: unknown) => number;
  /** Options of a get: no loader, so nothing is decided but whether memory counts, as for a load that names no TTL. */
  readonly #readOptions: { readonly ttl: number; readonly firstLevel: boolean };
  #state: SharedState;

  constructor(name: string, parts: CacheParts) {
    this.name = name;
    this.#parts = parts;
    this.#core = parts.core;
    this.#reader = new OptionReader(parts.tiers, parts.defaults);
    this.#readTtl = (ttl) => this.#reader.ttlMs(ttl);
    this.#readOptions = Object.freeze({ ttl: 1, firstLevel: this.#reader.mayRecall(undefined) });
    this.#state = parts.core.viewOf(name);
  }

  /**
   * The value of the key; the loader is called when there is none. A kept "nothing" reads as null.
   *
   * @throws what the loader throws, when there is no value within its grace; MillraceError OPTIONS_INVALID, KEY_INVALID, CACHE_LOAD_TIMEOUT,
   * CACHE_VALUE_INVALID, CLOSED
   */
  getOrSet<T>(key: string, loader: Loader<T>, options?: LoadOptions<T>): Promise<T> {
    // A value in memory is given before anything else is looked at, options included.
    const { shelf } = this.#state;
    const kept = shelf.get(key);
    if (kept !== undefined && isFor(kept, options?.schema) && this.#reader.mayRecall(options)) {
      const nowMs = this.#core.clock.monotonicMs();
      shelf.use(kept, nowMs);
      const isFresh = nowMs < kept.freshUntilMs;
      if (
        nowMs < kept.quietUntilMs ||
        (isFresh && !isDueEarly(kept.freshUntilMs - nowMs, kept.deltaMs, options?.beta ?? kept.beta, drawRandom()))
      ) {
        if (isFresh) this.#core.counts.hits++;
        else this.#core.counts.staleHits++;
        return kept.give() as Promise<T>;
      }
    }
    return this.#load(key, loader as Loader<unknown>, options) as Promise<T>;
  }

  /** The value of the key if it is there and within its TTL; undefined if not, or if Redis cannot be asked. A kept "nothing" reads as null. */
  async get<T = unknown>(key: string): Promise<T | null | undefined> {
    const [value] = await this.getMany<T>([key]);
    return value;
  }

  /** As get(), for each of the keys, in their order; those that are not in memory take one round trip together. */
  async getMany<T = unknown>(keys: readonly string[]): Promise<Array<T | null | undefined>> {
    return Promise.all(keys.map((key) => this.#find(key) as Promise<T | null | undefined>));
  }

  /** The value if it is in the memory of this process and within its TTL. */
  // eslint-disable-next-line typescript/no-unnecessary-type-parameters -- only the caller knows what he keeps there.
  peek<T = unknown>(key: string): T | null | undefined {
    const kept = this.#state.shelf.get(key);
    if (!kept || this.#core.clock.monotonicMs() >= kept.freshUntilMs) return undefined;
    return (this.#core.options.isolation === 'cloned' ? copyOf(kept.value) : kept.value) as T | null;
  }

  /**
   * Keeps a value; a load of the key that is under way will not replace it. False when it is too large to be kept; then there is none.
   *
   * @throws MillraceError OPTIONS_INVALID, KEY_INVALID, CACHE_VALUE_INVALID, CLOSED, REDIS_TIMEOUT and the like
   */
  async set(key: string, value: unknown, options?: SetOptions): Promise<boolean> {
    const [isKept] = await this.setMany([[key, value]], options);
    return isKept === true;
  }

  /** As set(), for each pair; of pairs with the same key the last one counts. */
  async setMany(entries: Iterable<readonly [key: string, value: unknown]>, options?: SetOptions): Promise<boolean[]> {
    const { plan, tags } = this.#reader.forSet(options, 'set');
    const state = this.#live();
    const { codec } = this.#core.options;
    const packed = Array.from(entries, ([key, value]) => {
      checkKey(key);
      if (value === undefined)
        throw new MillraceError('CACHE_VALUE_INVALID', `the value of ${key} is undefined; delete() removes a key`, {
          key,
        });
      return { key, value: pack(value, codec) };
    });
    const last = [...new Map(packed.map((entry) => [entry.key, entry])).values()];
    const groups = Math.min(JITTER_GROUPS, last.length);
    const outcomes = new Map<string, boolean>();
    await this.#change(
      () => packed.forEach(({ key }) => state.dropKey(key)),
      () =>
        Promise.all(
          Array.from({ length: groups }, async (_, group) => {
            const some = last.filter((_entry, index) => index % groups === group);
            const freshMs = jittered(plan.ttlMs, plan.jitter);
            const how = {
              freshMs,
              graceMs: plan.graceMs,
              deltaMs: 0,
              tags,
              isNegative: false,
              maxBytes: plan.maxBytes,
            };
            const answers = await this.#core.second.setMany(state.name, some, how);
            for (const [index, { key }] of some.entries()) outcomes.set(key, answers[index] === 'stored');
            const tooLarge = some.filter(({ key }) => outcomes.get(key) === false).map(({ key }) => key);
            if (tooLarge.length > 0) await this.#core.second.delete(state.name, tooLarge); // What was there before is not the value any more.
          }),
        ),
    );
    return packed.map(({ key }) => {
      const isKept = outcomes.get(key) === true;
      if (!isKept) this.#core.counts.tooLarge++;
      return isKept;
    });
  }

  /** Removes keys, and makes loads of them that are under way not count. How many of them Redis held. */
  async delete(...keys: string[]): Promise<number> {
    for (const key of keys) checkKey(key);
    const state = this.#live();
    if (keys.length === 0) return 0;
    return this.#change(
      () => keys.forEach((key) => state.dropKey(key)),
      () => this.#core.second.delete(state.name, keys),
    );
  }

  /** Makes every value with one of the tags invalid, and loads that carry one not count. Takes the same time however many values there are. */
  async invalidateTags(...tags: string[]): Promise<void> {
    const state = this.#live();
    if (tags.length === 0) return;
    await this.#change(
      () => tags.forEach((tag) => state.dropTag(tag)),
      () => this.#core.second.invalidateTags(state.name, tags),
    );
  }

  /** Makes every value of the namespace invalid. Takes the same time however many there are; those below it, such as `a/b` of `a`, stay. */
  async clear(): Promise<void> {
    const state = this.#live();
    await this.#change(
      () => state.dropAll(),
      () => this.#core.second.clear(state.name),
    );
  }

  /**
   * The function, with its results cached by key.
   *
   * @throws MillraceError OPTIONS_INVALID, at once
   */
  wrap<Args extends readonly unknown[], T>(
    compute: (...args: Args) => T | Promise<T>,
    { key, ...options }: WrapOptions<Args, T>,
  ): (...args: Args) => Promise<T> {
    if (typeof key !== 'function') throw notFunction('wrap: key', key);
    this.#reader.forLoad(options, 'wrap');
    return async (...args) => this.getOrSet(key(...args), () => compute(...args), options);
  }

  /** Loads many keys with one call: misses that come together go to the loader together. */
  batch<T>(loadMany: LoadMany<T>, options: BatchOptions<T>): BatchCache<T> {
    const { maxKeys, ...load } = options;
    this.#reader.forLoad(load, 'batch');
    return createBatchLoader(this, loadMany, load, maxKeys);
  }

  /** Keys of their own within this cache, with defaults of their own. */
  namespace(name: string, defaults: LoadDefaults = {}): Cache {
    checkKey(name);
    checkOptions(defaultsSchema, defaults, 'namespace');
    const isBelow = this.name !== ROOT || name === ROOT || name.startsWith(`${ROOT}/`); // Nobody's name is that of the keys in none.
    const below = isBelow ? `${this.name}/${name}` : name;
    return new Cache(below, { ...this.#parts, defaults: { ...this.#parts.defaults, ...defaults } });
  }

  /** A store whose reads are cached and whose writes go to it first. Stopped with the cache. */
  writeThrough<T>(store: ThroughStore<T>, options?: WriteThroughOptions): WriteThrough<T> {
    return this.#core.own(createWriteThrough(this.#storeParts(store), store, options));
  }

  /** A store that is written later: changes are kept in Redis until it has taken them. Saves nothing before its start(); stopped with the cache. */
  writeBehind<T>(store: BehindStore<T>, options?: WriteBehindOptions): WriteBehind<T> {
    const { connections } = this.#core;
    return this.#core.own(createWriteBehind({ ...this.#storeParts(store), connections }, store, options));
  }

  /** What was counted since the start, of all namespaces. */
  stats(): CacheStats {
    return this.#core.stats();
  }

  /** Resolves once this process hears of what others invalidate; before that, values stay in memory only for a moment. Waits for Redis. */
  ready(): Promise<void> {
    return this.#core.listen();
  }

  /** Ends loads and lets go of everything, for all namespaces. Calls after that are refused with CLOSED. */
  stop(): Promise<void> {
    return this.#core.stop();
  }

  /** A store has a namespace of its own, the same in every process, so that nothing else invalidates its values. */
  #storeParts({ name }: { name: string }) {
    const { prefix, log, clock, metrics } = this.#core.options;
    return { cache: this.namespace('store').namespace(name), prefix, log, clock, metrics };
  }

  /** Not async: the promise of the flight is the caller's. */
  #load(key: string, loader: Loader<unknown>, options: LoadOptions | undefined): Promise<unknown> {
    try {
      checkKey(key);
      if (typeof loader !== 'function') throw notFunction('getOrSet: loader', loader);
      const call = this.#reader.forLoad(options, 'getOrSet');
      call.signal?.throwIfAborted();
      const state = this.#live();
      const ask: Ask = { state, key, hash: hashOf(key), loader, call, readTtl: this.#readTtl };
      const kept = call.plan.firstLevel ? state.shelf.get(key) : undefined;
      return kept && isFor(kept, call.schema) ? this.#replace(ask, kept) : this.#fetch(ask, undefined);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** The value in memory was not given at once, so it is time to load it again. */
  #replace(ask: Ask, kept: Kept): Promise<unknown> {
    const nowMs = this.#core.clock.monotonicMs();
    if (!isGiven(kept, nowMs, ask.call)) return this.#fetch(ask, nowMs < kept.staleUntilMs ? kept : undefined);
    const isFresh = nowMs < kept.freshUntilMs;
    if (isFresh) this.#core.counts.hits++;
    else this.#core.counts.staleHits++;
    this.#parts.loads.refresh(ask, kept, isFresh ? 'early' : 'stale', kept.id);
    return kept.give();
  }

  #fetch(ask: Ask, inHand: Kept | undefined): Promise<unknown> {
    const known = ask.state.flights.get(ask.key, ask.hash);
    if (!known) return this.#await(this.#parts.loads.begin(ask, inHand), ask.call);
    this.#core.counts.joined++;
    const given = known.isLending ? known.inHand : undefined;
    if (given && isGiven(given, this.#core.clock.monotonicMs(), ask.call)) return given.give();
    return this.#await(known, ask.call);
  }

  #await(flight: Flight, { plan, signal }: LoadCall): Promise<unknown> {
    const given = plan.softMs === undefined ? flight.promise : flight.orInHandAfter(plan.softMs);
    const value = signal ? untilAborted(given, signal) : given;
    return this.#core.options.isolation === 'cloned' ? value.then(copyOf) : value;
  }

  async #find(key: string): Promise<unknown> {
    checkKey(key);
    const core = this.#core;
    const { shelf } = this.#state;
    const kept = this.#readOptions.firstLevel ? shelf.get(key) : undefined;
    const nowMs = core.clock.monotonicMs();
    if (kept && nowMs < kept.freshUntilMs) {
      shelf.use(kept, nowMs);
      core.counts.hits++;
      return kept.give();
    }
    const state = this.#live();
    const moment = core.now(state);
    try {
      const found = await core.second.read(state.name, key);
      if (found.status !== 'fresh') {
        core.counts.misses++;
        return undefined;
      }
      core.counts.secondLevelHits++;
      const call = this.#reader.forLoad(this.#readOptions, 'get');
      const value = await admit(core, { state, key, call }, found, moment);
      return await value?.give();
    } catch (error) {
      core.missed(error);
      return undefined;
    }
  }

  /** Memory is dropped before, so that nothing old is read meanwhile by those who asked for the change; and after, with what came meanwhile. */
  async #change<R>(drop: () => void, change: () => Promise<R>): Promise<R> {
    this.#core.counts.invalidations++;
    drop();
    try {
      return await change();
    } catch (error) {
      this.#core.missed(error);
      throw error;
    } finally {
      drop();
    }
  }

  /** The state of this namespace, now that the call goes beyond memory. */
  #live(): SharedState {
    this.#state = this.#core.stateOf(this.name);
    return this.#state;
  }
}

/** Whether the value is what the schema makes of it, if there is one: get() brings into memory what no schema has seen. */
function isFor(kept: Kept, schema: unknown): boolean {
  return kept.isChecked || schema === undefined;
}

/** Whether the value is given to this call without waiting for another. */
function isGiven(kept: Kept, nowMs: number, { plan }: LoadCall): boolean {
  return nowMs < kept.freshUntilMs || (plan.swr && nowMs < kept.staleUntilMs);
}

function checkKey(key: unknown): void {
  if (typeof key === 'string' && key !== '') return;
  throw new MillraceError('KEY_INVALID', `expected a key (a string that is not empty), got ${describeValue(key)}`, {
    key,
  });
}

function notFunction(what: string, value: unknown): MillraceError {
  return new MillraceError('OPTIONS_INVALID', `${what}: expected a function, got ${describeValue(value)}`, {});
}

/** The promise's outcome, or the reason of the signal; what was waited for goes on. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    promise
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', abort))
      .catch(abort);
  });
}
