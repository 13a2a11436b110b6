/**
 * A cache in front of a store that is written later.
 *
 * Promise: once set() or delete() has resolved, the change lies in a Redis stream, and no later get() of this process gives what was there before, whether
 * the store has it yet or not; other processes follow as the cache's do, with the delay of a message. It reaches the store at least once; of several
 * changes of one key the last one does, in order. One that the store does not take is a dead letter in the end. Nothing is kept in the memory of
 * a process alone.
 * A write that throws for a connection may have been accepted all the same; set again what must be sure.
 * Redis down: set() and delete() throw, get() loads from the store (or throws, by `onOutage`), and nothing is saved until Redis is back. What a failover of
 * Redis loses of its own last writes is lost here too.
 *
 * change-log.ts has the keys; flusher.ts brings the changes to the store.
 */
import { systemClock, type Clock } from '../../clock.ts';
import { describeValue, MillraceError } from '../../errors.ts';
import { silentLogger, type Logger } from '../../log.ts';
import type { Connections } from '../../redis/connect.ts';
import { Guard } from '../../redis/guard.ts';
import { DEFAULT_PREFIX } from '../../redis/keys.ts';
import { ChangeLog, type Draft } from './change-log.ts';
import { Flusher } from './flusher.ts';
import { Invalidations } from './invalidations.ts';
import { checkBehind, type BehindPlan, type WriteBehindOptions } from './options.ts';
import { PendingLooks, type Pending } from './pending-looks.ts';
import { checkKey, keepWith, type CallOptions } from './reads.ts';
import { Saver } from './saver.ts';
import type { BehindStore, CacheLoadContext } from './store.ts';
import { StoreDeadLetters } from './store-dead-letters.ts';
import { collectStore, createStoreMeter, type StoreMeter } from './store-metrics.ts';
import { Waker } from './waker.ts';
import type { ThroughParts } from './write-through.ts';

/** What a write-behind store stands on. */
export interface BehindParts extends ThroughParts {
  connections: Pick<Connections, 'commands' | 'blocking'>;
  /** Default `millrace`. */
  prefix?: string | undefined;
}

/** How far behind the store is. */
export interface PendingChanges {
  /** Keys whose last change the store still lacks. */
  pending: number;
  /** Of these, how many failed and wait to be tried again. */
  retrying: number;
  deadLetters: number;
  /** How long the oldest pending change has waited. */
  oldestMs: number;
  /** Whether any process saves at the moment. */
  hasFlusher: boolean;
}

/** How long a reader waits for Redis before it does without. */
const LOOK_WITHIN_MS = 250;
/** How long a value is kept that was loaded without a look at what is pending. */
const UNSURE_TTL_MS = 1_000;
const FLUSH_LOOK_MS = 20;
/** What one script takes. */
const MOST_AT_ONCE = 2_000;

/** A store whose writes are kept in Redis until it has them. */
export class WriteBehind<T> {
  /** Changes that will not be tried again by themselves. */
  readonly deadLetters: StoreDeadLetters<T>;
  readonly #store: BehindStore<T>;
  readonly #plan: BehindPlan;
  readonly #cache: ThroughParts['cache'];
  readonly #changes: ChangeLog;
  readonly #looks: PendingLooks;
  readonly #invalidations: Invalidations;
  readonly #flusher: Flusher;
  readonly #meter: StoreMeter;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #uncollect: () => void;
  #isStopped = false;

  constructor(parts: BehindParts, store: BehindStore<T>, options: WriteBehindOptions = {}) {
    const { connections, cache, prefix = DEFAULT_PREFIX, clock = systemClock, metrics } = parts;
    const plan = checkBehind(store, options);
    const log = (parts.log ?? silentLogger).child({ store: store.name });
    const changes = new ChangeLog(connections, prefix, store.name);
    const invalidations = new Invalidations(cache, log, clock);
    const waker = new Waker(connections, store.name, changes.keys.changes, clock);
    const meter = createStoreMeter(metrics, store.name);
    this.#store = store;
    this.#plan = plan;
    this.#cache = cache;
    this.#log = log;
    this.#clock = clock;
    this.#changes = changes;
    this.#invalidations = invalidations;
    this.#meter = meter;
    this.#looks = new PendingLooks(changes, new Guard({ deadlineMs: LOOK_WITHIN_MS, clock, label: 'Redis' }));
    this.#flusher = new Flusher({
      changes,
      saver: new Saver(store, plan),
      waker,
      invalidations,
      plan,
      log,
      clock,
      meter,
    });
    this.deadLetters = new StoreDeadLetters(connections, changes, invalidations, plan.maxPending);
    this.#uncollect = collectStore(metrics, store.name, () => changes.describe());
  }

  /** Lets this process save. One process does at a time; the others stand by. Safe to call twice. */
  start(): void {
    this.#check();
    this.#flusher.start();
  }

  /** The value: from the cache, of a pending change, or loaded; undefined when there is none. */
  async get(key: string, options: CallOptions = {}): Promise<T | undefined> {
    this.#check();
    checkKey(key);
    const load = (context: CacheLoadContext): Promise<unknown> => this.#load(key, context);
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
   * Accepts a value. Resolves once it is in Redis and readers see it.
   *
   * @throws MillraceError CACHE_VALUE_INVALID when it has no JSON form or is too large; CACHE_STORE_FULL; what Redis answers
   */
  async set(key: string, value: T, options: CallOptions = {}): Promise<{ version: number }> {
    const [version] = await this.#accept([this.#draft(key, value)], options);
    return { version: version ?? 0 };
  }

  /** Accepts up to 2,000 values at once, all or none. @throws as set() does */
  async setMany(values: Iterable<readonly [string, T]>, options: CallOptions = {}): Promise<void> {
    const drafts = Array.from(values, ([key, value]) => this.#draft(key, value));
    if (drafts.length > MOST_AT_ONCE) {
      const message = `store ${this.#store.name}: setMany: expected at most ${MOST_AT_ONCE} values, got ${drafts.length}`;
      throw new MillraceError('OPTIONS_INVALID', message, { count: drafts.length });
    }
    await this.#accept(drafts, options);
  }

  /** Accepts the removal of a key. @throws as set() does; MillraceError OPTIONS_INVALID when the store can remove nothing */
  async delete(key: string, options: CallOptions = {}): Promise<{ version: number }> {
    checkKey(key);
    const { name } = this.#store;
    if (!this.#store.remove && !this.#store.saveMany)
      throw new MillraceError(
        'OPTIONS_INVALID',
        `store ${name} has neither remove() nor saveMany(), so delete() cannot work`,
        { store: name },
      );
    const [version] = await this.#accept([{ key, kind: 'remove', value: '' }], options);
    return { version: version ?? 0 };
  }

  /**
   * Resolves when each change that is pending now was saved, replaced by a newer one, or became a dead letter. Some process must have been started.
   *
   * @throws the signal's reason when it aborts first; what Redis answers
   */
  async flush({ signal }: CallOptions = {}): Promise<void> {
    this.#check();
    const target = await this.#changes.hurry();
    for (;;) {
      const { oldest } = await this.#changes.describe();
      if (oldest === 0 || oldest > target) return;
      await this.#clock.sleep(FLUSH_LOOK_MS, { signal });
      this.#check();
    }
  }

  /** How far behind the store is. */
  async pending(): Promise<PendingChanges> {
    const { pending, retrying, deadLetters, oldestMs, hasFlusher } = await this.#changes.describe();
    return { pending, retrying, deadLetters, oldestMs, hasFlusher };
  }

  /** Takes no more changes, saves what is pending for `drainFor` at most if this process is the one that saves, and leaves the rest in Redis. Safe to call twice. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#uncollect();
    await this.#flusher.drain(this.#plan.drainForMs);
    await this.#invalidations.stop();
    this.#looks.close();
  }

  async #accept(drafts: readonly Draft[], { signal }: CallOptions): Promise<number[]> {
    this.#check();
    signal?.throwIfAborted();
    if (drafts.length === 0) return [];
    const keys = drafts.map(({ key }) => key);
    const { maxPending } = this.#plan;
    let accepted;
    try {
      accepted = await this.#changes.append(drafts, maxPending);
    } catch (error) {
      void this.#invalidations.drop(keys); // It may have been accepted before the answer was lost.
      throw error;
    }
    const { isAccepted, pending, replacedChanges, versions } = accepted;
    this.#meter.count(isAccepted ? 'accepted' : 'refused', drafts.length);
    this.#meter.count('replaced', replacedChanges);
    if (!isAccepted) throw full(this.#store.name, pending, maxPending);
    if (await this.#invalidations.drop(keys)) this.#noteTold(versions);
    return versions;
  }

  /** Nobody waits for it: without the note, the flusher tells the cache once more. */
  #noteTold(versions: readonly number[]): void {
    this.#changes.told(versions).catch((error: unknown) => {
      this.#log.debug({ err: error }, 'could not note that the cache was told');
    });
  }

  async #load(key: string, context: CacheLoadContext): Promise<unknown> {
    let pending: Pending | undefined;
    try {
      pending = await this.#looks.look(key);
    } catch (error) {
      if (this.#plan.onOutage === 'throw' || this.#isStopped) throw error;
      context.ttl?.(UNSURE_TTL_MS);
    }
    if (pending) return pending.kind === 'set' ? JSON.parse(pending.value) : undefined;
    return this.#store.load?.(key, { signal: context.signal });
  }

  #draft(key: string, value: T): Draft {
    checkKey(key);
    const json = asJson(value);
    if (json === undefined) throw unfit(this.#store.name, key, `has no JSON form: ${describeValue(value)}`);
    const sizeBytes = Buffer.byteLength(json);
    const { maxBytes } = this.#plan;
    if (sizeBytes > maxBytes) throw unfit(this.#store.name, key, `has ${sizeBytes} bytes, the limit is ${maxBytes}`);
    return { key, kind: 'set', value: json };
  }

  #check(): void {
    if (this.#isStopped) throw new MillraceError('CLOSED', `the store ${this.#store.name} has been stopped`, {});
  }
}

function asJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined; // A cycle, a bigint; describeValue() tells which.
  }
}

function unfit(store: string, key: string, why: string): MillraceError {
  return new MillraceError('CACHE_VALUE_INVALID', `store ${store}: the value of ${key} ${why}`, { store, key });
}

function full(store: string, pending: number, maxPending: number): MillraceError {
  const message = `store ${store}: ${pending} changes are pending, and ${maxPending} may be; nothing was accepted. The store takes too little, or no process saves`;
  return new MillraceError('CACHE_STORE_FULL', message, { store, pending, maxPending });
}

/**
 * A cache in front of a store that is written later.
 *
 * @example
 * const carts = createWriteBehind({ connections, cache: cache.namespace('carts') }, {
 *   name: 'carts',
 *   load: (id) => db.carts.find(id),
 *   saveMany: (changes) => db.carts.upsertMany(changes),
 * }, { flushAfter: '2s' });
 * carts.start();
 * await carts.set('7', { items: 3 });
 * @throws MillraceError OPTIONS_INVALID
 */
export function createWriteBehind<T>(
  parts: BehindParts,
  store: BehindStore<T>,
  options: WriteBehindOptions = {},
): WriteBehind<T> {
  return new WriteBehind(parts, store, options);
}
