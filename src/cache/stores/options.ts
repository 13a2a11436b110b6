/** Options of the stores behind a cache, and how a retry is spaced. */
import { z } from 'zod';
import type { Duration } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import { checkOptions, durationOption } from '../../schema.ts';
import type { BehindStore, StoreKeepOptions, ThroughStore } from './store.ts';

/** Options of writeThrough(). */
export interface WriteThroughOptions {
  /** How long a loaded value is kept in the cache: a duration, or the name of a tier. Default 5 minutes. Also the longest time for which a value can be old, if a process is killed between a save and its note to the cache. */
  ttl?: StoreKeepOptions['ttl'];
  /** More options of the cache's getOrSet(), such as `grace`, `jitter`, `schema` or `firstLevel`. */
  cache?: Omit<StoreKeepOptions, 'ttl'> | undefined;
  /** How long a save may take; then its signal aborts and set() throws. Default 30 s. */
  saveTimeout?: Duration | undefined;
}

/** How changes that could not be saved are tried again. */
export interface RetryOptions {
  /** The wait after the first failure; it doubles with each. Default 1 s. */
  delay?: Duration | undefined;
  /** The longest wait. Default 5 minutes. */
  max?: Duration | undefined;
  /** Which part of the wait is left to chance, 0 to 1. Default 0.3. */
  jitter?: number | undefined;
}

/** Options of writeBehind(). */
export interface WriteBehindOptions {
  /** How long a value is kept in the cache: a duration, or the name of a tier. Default 5 minutes. */
  ttl?: StoreKeepOptions['ttl'];
  /** More options of the cache's getOrSet(), such as `grace`, `jitter`, `schema` or `firstLevel`. */
  cache?: Omit<StoreKeepOptions, 'ttl'> | undefined;
  /** How long a change waits for others to be saved with it. Default 1 s. Longer coalesces more, and leaves the store further behind. */
  flushAfter?: Duration | undefined;
  /** How many changes are saved at once, at most 1,000; so many do not wait. Default 100. */
  batchSize?: number | undefined;
  /** How many of save() and remove() run at once, where the store has no saveMany. Default 10. */
  concurrency?: number | undefined;
  /** How long a save may take; then its signal aborts, and it counts as failed. Default 30 s. */
  saveTimeout?: Duration | undefined;
  /** How often a change is tried before it is a dead letter. Default 15, which with the default waits is about half an hour. */
  attempts?: number | undefined;
  retry?: RetryOptions | undefined;
  /** How many keys may have a change pending; beyond that set() throws. Default 100,000. They take memory in Redis. */
  maxPending?: number | undefined;
  /** How large a value may be, in bytes of JSON. Default 1 MB. */
  maxBytes?: number | undefined;
  /** How many dead letters are kept. Default 100,000. When there is no room, changes stay pending and are tried again, so nothing is lost. */
  maxDeadLetters?: number | undefined;
  /** How long after the last word of a process that saved another takes its place. Default 5 s. Shorter than a pause of the process, and both may save at once for a moment. */
  lease?: Duration | undefined;
  /** How long stop() saves on before it leaves the rest to another process. Default 10 s. */
  drainFor?: Duration | undefined;
  /** What get() does while Redis cannot be asked for pending changes: `load` from the store, which may lack them (the default), or `throw`. */
  onOutage?: 'load' | 'throw' | undefined;
}

/** After their check; durations in milliseconds. */
export interface ThroughPlan {
  readonly keep: StoreKeepOptions;
  readonly saveTimeoutMs: number;
}

/** How retries are spaced. */
export interface RetryPlan {
  readonly delayMs: number;
  readonly maxMs: number;
  readonly jitter: number;
}

/** After their check; durations in milliseconds. */
export interface BehindPlan extends ThroughPlan {
  readonly flushAfterMs: number;
  readonly batchSize: number;
  readonly concurrency: number;
  readonly attempts: number;
  readonly retry: RetryPlan;
  readonly maxPending: number;
  readonly maxBytes: number;
  readonly maxDeadLetters: number;
  readonly leaseMs: number;
  readonly drainForMs: number;
  readonly onOutage: 'load' | 'throw';
}

const NAME = /^[\w.-]{1,64}$/;
const DAY_MS = 86_400_000;

const DEFAULT_TTL_MS = 300_000;

// The schemas are made with a store: most processes have none, and schemas take a hundred KB.
const positive = () => durationOption.refine((ms) => ms > 0, { error: 'expected more than 0' });
const atMostADay = (duration: ReturnType<typeof positive>) =>
  duration.refine((ms) => ms <= DAY_MS, { error: 'expected at most 1 day' });
const upToADay = () => atMostADay(positive());
const count = () => z.number().int().min(1);

const throughOptions = () =>
  z.strictObject({
    ttl: z.union([positive(), z.string().min(1)]).default(DEFAULT_TTL_MS),
    // The cache itself knows what may stand here.
    cache: z
      .custom<Omit<StoreKeepOptions, 'ttl'>>((value) => typeof value === 'object' && value !== null, {
        error: 'expected an object with options of getOrSet()',
      })
      .default({}),
    saveTimeout: upToADay().default(30_000),
  });

const behindOptions = () =>
  z.strictObject({
    ...throughOptions().shape,
    flushAfter: atMostADay(durationOption).default(1_000),
    batchSize: count().max(1_000).default(100),
    concurrency: count().max(1_000).default(10),
    attempts: count().max(1_000).default(15),
    retry: z
      .strictObject({
        delay: upToADay().default(1_000),
        max: upToADay().default(300_000),
        jitter: z.number().min(0).max(1).default(0.3),
      })
      .refine(({ delay, max }) => max >= delay, { path: ['max'], error: 'expected at least as long as delay' })
      .prefault({}),
    maxPending: count().max(10_000_000).default(100_000),
    maxBytes: count()
      .max(64 * 1024 * 1024)
      .default(1024 * 1024),
    maxDeadLetters: count().max(10_000_000).default(100_000),
    lease: upToADay()
      .refine((ms) => ms >= 500, { error: 'expected at least 500 ms' })
      .default(5_000),
    drainFor: atMostADay(durationOption).default(10_000),
    onOutage: z.enum(['load', 'throw']).default('load'),
  });

/** @throws MillraceError OPTIONS_INVALID */
export function checkThrough<T>(store: ThroughStore<T>, options: WriteThroughOptions): ThroughPlan {
  checkStore(store, 'writeThrough', ['load', 'save'], ['remove']);
  const { ttl: keptFor, cache, saveTimeout } = checkOptions(throughOptions(), options, 'writeThrough');
  return Object.freeze({ keep: Object.freeze({ ...cache, ttl: keptFor }), saveTimeoutMs: saveTimeout });
}

/** @throws MillraceError OPTIONS_INVALID */
export function checkBehind<T>(store: BehindStore<T>, options: WriteBehindOptions): BehindPlan {
  checkStore(store, 'writeBehind', [], ['load', 'save', 'remove', 'saveMany']);
  if (!store.save && !store.saveMany) throw invalid('writeBehind', store.name, 'save or saveMany');
  const {
    ttl: keptFor,
    cache,
    saveTimeout,
    flushAfter,
    retry,
    lease,
    drainFor,
    ...rest
  } = checkOptions(behindOptions(), options, 'writeBehind');
  return Object.freeze({
    ...rest,
    keep: Object.freeze({ ...cache, ttl: keptFor }),
    saveTimeoutMs: saveTimeout,
    flushAfterMs: flushAfter,
    retry: Object.freeze({ delayMs: retry.delay, maxMs: retry.max, jitter: retry.jitter }),
    leaseMs: lease,
    drainForMs: drainFor,
  });
}

/** The wait after so many failures in a row, from 1. */
export function retryDelayMs({ delayMs, maxMs, jitter }: RetryPlan, failures: number): number {
  const grown = Math.min(delayMs * 2 ** Math.min(failures - 1, 52), maxMs);
  return Math.ceil(grown * (1 - jitter * Math.random()));
}

function checkStore(store: object, owner: string, needed: readonly string[], others: readonly string[]): void {
  const fields = store as Record<string, unknown>;
  const name = String(fields['name']);
  if (!NAME.test(name)) {
    throw new MillraceError(
      'OPTIONS_INVALID',
      `${owner}: name: expected 1 to 64 letters, digits, _ . or - for the store's name, got ${JSON.stringify(fields['name'])}`,
      { name: fields['name'] },
    );
  }
  for (const method of needed) if (typeof fields[method] !== 'function') throw invalid(owner, name, method);
  for (const method of others) {
    if (fields[method] !== undefined && typeof fields[method] !== 'function') throw invalid(owner, name, method);
  }
}

function invalid(owner: string, name: string, method: string): MillraceError {
  return new MillraceError('OPTIONS_INVALID', `${owner}: store ${name}: expected a function ${method}()`, {
    store: name,
    method,
  });
}
