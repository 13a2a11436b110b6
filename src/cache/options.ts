/**
 * The options of the cache and of its calls: checked once, then remembered by what they say.
 *
 * A call's options are mostly written where the call stands, so each call brings a new object that says the same. Checking it by the schema
 * would cost more than the read; so what was checked is found again by its words, and only what differs from call to call (tags, schema,
 * signal) is looked at each time.
 */
import { z } from 'zod';
import { DURATION_FORM, tryToMs, type Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions, durationOption, isSchema, type Schema } from '../schema.ts';

/** How long a value is kept, and what happens around its end. */
export interface KeepOptions {
  /**
   * How long the value is fresh: a duration, or the name of a tier. Required, so that nothing stays for ever by accident. Too long, and
   * readers see old values; too short, and the loader runs more often.
   */
  ttl?: Duration | (string & {}) | undefined;
  /** How long after that the value is kept, to be served while a new one is loaded, or when loading fails. Default none. */
  grace?: Duration | undefined;
  /** By which part of itself a TTL is shortened at random, so that what was written together does not expire together. Default 0.1; 0 keeps it as it is. */
  jitter?: number | undefined;
  /** A value of more bytes than that is not kept, only returned. Default 8 MB. */
  maxBytes?: number | undefined;
  /** Whether this process may keep the value in memory. Default true. False where a value must be asked of Redis each time. */
  firstLevel?: boolean | undefined;
}

/** Options that loads of a cache, a namespace or a tier can share. */
export interface LoadDefaults extends KeepOptions {
  /** Whether a value past its TTL, but within its grace, is served at once while a new one is loaded in the background. Default true. False makes callers wait for the new one. */
  swr?: boolean | undefined;
  /** How eagerly a value that is still fresh is loaded again. 1 (the default) is as XFetch has it; more is earlier; 0 never. */
  beta?: number | undefined;
  /** How long a caller waits for a load before it is given the value past its TTL, if there is one; the load goes on. Default: no such end. */
  soft?: Duration | undefined;
  /** How long a load may take; then its signal aborts, and what it gives later is dropped. Default 10 s. */
  hard?: Duration | undefined;
  /** How long a loader's null or undefined is kept, read as null. Default: it is not kept. */
  negativeTtl?: Duration | undefined;
  /** What a failing load comes to where a value within its grace is there: that value (`stale`, the default), or the error. */
  onError?: 'stale' | 'throw' | undefined;
  /** How long no process loads the key again after a load has failed where a value within its grace is there. Default 1 s. */
  backoff?: Duration | undefined;
}

/** Options of a load. */
export interface LoadOptions<T = unknown> extends LoadDefaults {
  /** Names of what the value depends on; invalidateTags() of any of them makes it invalid. */
  tags?: readonly string[] | undefined;
  /** What every value must fit, from the loader and from Redis; what the schema gives back is the value. A kept value that does not fit is loaded again. */
  schema?: Schema<unknown, T> | undefined;
  /** Ends the wait of this caller; the load goes on for others. */
  signal?: AbortSignal | undefined;
}

/** Options of a set. */
export interface SetOptions extends KeepOptions {
  tags?: readonly string[] | undefined;
}

/** What load options come to, all of it decided. */
export interface LoadPlan {
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly jitter: number;
  readonly maxBytes: number;
  readonly firstLevel: boolean;
  readonly swr: boolean;
  readonly beta: number;
  readonly softMs: number | undefined;
  readonly hardMs: number;
  readonly negativeTtlMs: number | undefined;
  readonly servesStaleOnError: boolean;
  readonly backoffMs: number;
}

/** Options of one call. */
export interface LoadCall {
  readonly plan: LoadPlan;
  readonly tags: readonly string[];
  readonly schema: Schema | undefined;
  readonly signal: AbortSignal | undefined;
}

/** A TTL with a name, and whatever else belongs to it. */
export type Tier = LoadDefaults & { ttl: Duration };

/** By name. */
export type Tiers = Readonly<Record<string, Tier>>;

const DEFAULT_MAX_BYTES = 8 * 1024 * 1024;
const DEFAULT_HARD_MS = 10_000;
const DEFAULT_BACKOFF_MS = 1_000;
const DEFAULT_JITTER = 0.1;
/** Past this a duration is a mistake, and would not fit the server's times. */
const LONGEST_MS = 10 * 365 * 86_400_000;
/** How many ways to call a view are remembered; only TTLs that are reckoned for each call come to more. */
const MAX_REMEMBERED = 500;

/** The longest that a timer can be set for. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

const time = durationOption.refine((ms) => ms <= LONGEST_MS, 'expected at most 10 years');
const timer = durationOption.refine((ms) => ms <= LONGEST_TIMER_MS, 'expected at most 24 days');
const positiveTime = time.refine((ms) => ms > 0, 'expected more than 0');

const defaultFields = {
  grace: time.optional(),
  jitter: z.number().min(0).max(1).optional(),
  maxBytes: z.int().positive().optional(),
  firstLevel: z.boolean().optional(),
  swr: z.boolean().optional(),
  beta: z.number().min(0).optional(),
  soft: timer.optional(),
  hard: timer.refine((ms) => ms > 0, 'expected more than 0').optional(),
  negativeTtl: positiveTime.optional(),
  onError: z.enum(['stale', 'throw']).optional(),
  backoff: time.optional(),
};

const keepNames = ['grace', 'jitter', 'maxBytes', 'firstLevel'] as const;
const tagsField = z.array(z.string().min(1)).optional();
const schemaField = z.custom<Schema>(isSchema, 'expected a Standard Schema').optional();
const signalField = z.custom<AbortSignal>(isSignal, 'expected an AbortSignal').optional();

/** A tier as it is given to createCache(). */
export const tierSchema = z.strictObject({ ttl: positiveTime, ...defaultFields });
/** Defaults as they are given to createCache() and namespace(). */
export const defaultsSchema = z.strictObject({ ttl: z.union([z.string(), z.number()]).optional(), ...defaultFields });

const loadSchema = z.strictObject({
  ttl: positiveTime,
  ...defaultFields,
  tags: tagsField,
  schema: schemaField,
  signal: signalField,
});
const setSchema = z.strictObject({
  ttl: positiveTime,
  ...Object.fromEntries(keepNames.map((name) => [name, defaultFields[name]])),
  tags: tagsField,
});

const NO_TAGS: readonly string[] = Object.freeze([]);

/** Options that were decided before. */
interface Remembered {
  readonly owner: string;
  readonly plan: LoadPlan;
  readonly worded: Readonly<Record<string, unknown>>;
  /** How many those are. */
  readonly words: number;
}

/** Reads the options of calls, against the tiers of the cache and the defaults of a namespace. */
export class OptionReader {
  readonly #tiers: Tiers;
  readonly #defaults: LoadDefaults;
  /** Whether any default or tier says that values stay out of memory. */
  readonly #hasExceptions: boolean;
  readonly #remembered = new Map<string, Remembered>();
  /** Most calls are like the one before; to see that takes a third of the time that it takes to make its words. */
  #last: Remembered | undefined;

  constructor(tiers: Tiers, defaults: LoadDefaults) {
    this.#tiers = tiers;
    this.#defaults = defaults;
    this.#hasExceptions = [defaults, ...Object.values(tiers)].some(({ firstLevel }) => firstLevel === false);
  }

  /** Whether a load with these options may be given what is in memory. Checks nothing: it comes before each hit. */
  mayRecall(options: LoadOptions | undefined): boolean {
    if (options?.firstLevel !== undefined) return options.firstLevel;
    if (!this.#hasExceptions) return true;
    const { ttl, firstLevel = true } = this.#defaults;
    return this.#tierOf(options?.ttl ?? ttl)?.firstLevel ?? firstLevel;
  }

  /** @throws MillraceError OPTIONS_INVALID */
  forLoad(options: LoadOptions | undefined, owner: string): LoadCall {
    const plan = this.#plan(options ?? {}, owner, loadSchema);
    return { plan, tags: options?.tags ?? NO_TAGS, schema: options?.schema, signal: options?.signal };
  }

  /** @throws MillraceError OPTIONS_INVALID */
  forSet(options: SetOptions | undefined, owner: string): LoadCall {
    const plan = this.#plan(options ?? {}, owner, setSchema);
    return { plan, tags: options?.tags ?? NO_TAGS, schema: undefined, signal: undefined };
  }

  /** The length of a TTL that a loader gives. @throws MillraceError OPTIONS_INVALID */
  ttlMs(ttl: unknown): number {
    const ms = tryToMs(this.#tierOf(ttl)?.ttl ?? ttl);
    if (ms !== undefined && ms > 0 && ms <= LONGEST_MS) return ms;
    throw new MillraceError('OPTIONS_INVALID', `ttl(): expected ${DURATION_FORM}, got ${describeValue(ttl)}`, { ttl });
  }

  #plan(options: object, owner: string, schema: z.ZodType): LoadPlan {
    const last = this.#last;
    if (last !== undefined && last.owner === owner && isAsBefore(options, last)) return last.plan;
    const words = wordsOf(options, owner);
    const known = words === undefined ? undefined : this.#remembered.get(words);
    if (known) return (this.#last = known).plan;
    const plan = this.#check(options, owner, schema);
    if (words === undefined) return plan;
    if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear();
    this.#last = { owner, plan, ...wordedOf(options) };
    this.#remembered.set(words, this.#last);
    return plan;
  }

  #check(options: LoadOptions, owner: string, schema: z.ZodType): LoadPlan {
    const ttl = options.ttl ?? this.#defaults.ttl;
    if (ttl === undefined)
      throw new MillraceError(
        'OPTIONS_INVALID',
        `${owner}: ttl is required, so that nothing is kept for ever by accident`,
        {},
      );
    const tier = this.#tierOf(ttl);
    if (!tier && tryToMs(ttl) === undefined) throw this.#unknownTtl(ttl, owner);
    checkOptions(schema, { ...options, ttl: tier?.ttl ?? ttl }, owner);
    const all = { ...this.#defaults, ...tier, ...definedOf(options), ttl: tier?.ttl ?? (ttl as Duration) };
    return Object.freeze({
      ttlMs: msOf(all.ttl) ?? 0,
      graceMs: msOf(all.grace) ?? 0,
      jitter: all.jitter ?? DEFAULT_JITTER,
      maxBytes: all.maxBytes ?? DEFAULT_MAX_BYTES,
      firstLevel: all.firstLevel ?? true,
      swr: all.swr ?? true,
      beta: all.beta ?? 1,
      softMs: msOf(all.soft),
      hardMs: msOf(all.hard) ?? DEFAULT_HARD_MS,
      negativeTtlMs: msOf(all.negativeTtl),
      servesStaleOnError: all.onError !== 'throw',
      backoffMs: msOf(all.backoff) ?? DEFAULT_BACKOFF_MS,
    });
  }

  #tierOf(ttl: unknown): Tier | undefined {
    return typeof ttl === 'string' && Object.hasOwn(this.#tiers, ttl) ? this.#tiers[ttl] : undefined;
  }

  #unknownTtl(ttl: unknown, owner: string): MillraceError {
    const tiers = Object.keys(this.#tiers);
    const named = tiers.length === 0 ? '' : `, or a tier (${tiers.join(', ')})`;
    const message = `${owner}: ttl: expected ${DURATION_FORM}${named}, got ${describeValue(ttl)}`;
    return new MillraceError('OPTIONS_INVALID', message, { ttl });
  }
}

/**
 * What the options say, as text that is the same for the same words; what differs from call to call is looked at here. Undefined where the
 * schema must look, because something is not as it should be.
 */
function wordsOf(options: object, owner: string): string | undefined {
  let words = owner;
  for (const name in options) {
    const value = (options as Record<string, unknown>)[name];
    if (name === 'tags') {
      if (value !== undefined && !isTags(value)) return undefined;
    } else if (name === 'schema') {
      if (value !== undefined && !isSchema(value)) return undefined;
    } else if (name === 'signal') {
      if (value !== undefined && !isSignal(value)) return undefined;
    } else if (typeof value === 'string') {
      words += `,${name}"${value}`;
    } else if (typeof value === 'number' || typeof value === 'boolean' || value === undefined) {
      words += `,${name}=${value}`;
    } else {
      return undefined;
    }
  }
  return words;
}

/** Whether the options have the same words, and nothing that the schema must look at. */
function isAsBefore(options: object, { worded, words }: Remembered): boolean {
  let left = words;
  for (const name in options) {
    const value = (options as Record<string, unknown>)[name];
    if (name === 'tags') {
      if (!isTags(value)) return false;
    } else if (name === 'schema' || name === 'signal' || value === undefined || value !== worded[name]) {
      return false;
    } else {
      left--;
    }
  }
  return left === 0;
}

/** The options that words are made of, which must be the same. */
function wordedOf(options: object): Pick<Remembered, 'worded' | 'words'> {
  const entries = Object.entries(options).filter(([name, value]) => name !== 'tags' && value !== undefined);
  return { worded: Object.fromEntries(entries), words: entries.length };
}

function isTags(value: unknown): boolean {
  return Array.isArray(value) && value.every((tag) => typeof tag === 'string' && tag !== '');
}

function isSignal(value: unknown): boolean {
  return value instanceof AbortSignal;
}

function msOf(duration: Duration | undefined): number | undefined {
  return duration === undefined ? undefined : tryToMs(duration);
}

/** An option that is there but undefined must not hide its default. */
function definedOf(options: LoadOptions): LoadOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as LoadOptions;
}
