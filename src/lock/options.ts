/** The options of locks, and how they are checked. */
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { DURATION_FORM, tryToMs, type Duration } from '../durations.ts';
import { describeValue } from '../errors.ts';
import type { Logger } from '../log.ts';
import { checkOptions, durationOption } from '../schema.ts';
import type { LockMetricsRegistry } from './lock-metrics.ts';

/** Options of all locks of a process. */
export interface LocksOptions {
  /** The first part of every key and channel. Default `millrace`. */
  prefix?: string | undefined;
  /** The lease of a lock that names none. Default 30 s. A holder that dies holds others up for so long. */
  ttl?: Duration | undefined;
  /** How long an acquire waits that does not say. Default 10 s. */
  wait?: Duration | undefined;
  /** How long Redis may take for an answer. Default 2 s. Then acquire() throws LOCK_UNAVAILABLE, and release() gives up. */
  deadline?: Duration | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count; nowhere when left out. */
  metrics?: LockMetricsRegistry | undefined;
}

/** Options of one acquire. */
export interface LockOptions {
  /** The lease: if the holder dies, the lock is free after it. Default 30 s; at least 10 ms. */
  ttl?: Duration | undefined;
  /** How long to wait in the queue. 0 tries once, Infinity waits until the signal aborts. Default 10 s. */
  wait?: Duration | undefined;
  /** Ends the waiting; does nothing once the lock is held. */
  signal?: AbortSignal | undefined;
  /** Extend the lease for as long as the lock is held. Default true. Without it the lock is lost after its ttl, unless extend() is called. */
  autoExtend?: boolean | undefined;
  /** Throw LOCK_REPLICAS_MISSING, and give the lock back, unless so many replicas have it in time. Default: do not ask them. */
  waitReplicas?: { count: number; within: Duration } | undefined;
}

/** Options of using(). */
export interface UsingOptions extends LockOptions {
  /** When the function succeeds but the lock was lost meanwhile: `throw` LOCK_LOST, or `ignore` it and give the result. Default `throw`. */
  onLost?: 'throw' | 'ignore' | undefined;
}

/** Options of one acquire, as they are worked with. */
export interface ParsedLockOptions {
  readonly ttlMs: number;
  readonly waitMs: number;
  readonly signal: AbortSignal | undefined;
  readonly autoExtend: boolean;
  readonly waitReplicas: { readonly count: number; readonly withinMs: number } | undefined;
  readonly throwsIfLost: boolean;
}

/** A lease that is shorter is over before an answer is here. */
const SHORTEST_TTL_MS = 10;
/** A timer of Node's takes no more, some 24 days. */
const LONGEST_MS = 2 ** 31 - 1;

const waitOption: z.ZodType<number, Duration> = z
  .custom<Duration>((value) => value === Number.POSITIVE_INFINITY || isWithin(value, 0), {
    error: ({ input }) => `expected ${DURATION_FORM}, of 24 days at most, or Infinity, got ${describeValue(input)}`,
  })
  .transform((value) => tryToMs(value) ?? Number.POSITIVE_INFINITY);

const ttlOption: z.ZodType<number, Duration> = z
  .custom<Duration>((value) => isWithin(value, SHORTEST_TTL_MS), {
    error: ({ input }) => `expected ${DURATION_FORM}, of 10 ms to 24 days, got ${describeValue(input)}`,
  })
  .transform((value) => tryToMs(value) ?? SHORTEST_TTL_MS);

const locksSchema = z.strictObject({
  prefix: z.string().optional(),
  ttl: ttlOption.optional(),
  wait: waitOption.optional(),
  deadline: durationOption.optional(),
  log: z.custom<Logger>().optional(),
  clock: z.custom<Clock>().optional(),
  metrics: z.custom<LockMetricsRegistry>().optional(),
});

/** The options that an app gives, as the platform checks them. */
export const locksOptionsSchema = locksSchema.omit({ prefix: true, log: true, clock: true, metrics: true });

/** The options of one acquire, for kinds of locks that add their own. */
export const lockOptionsShape = {
  ttl: ttlOption.optional(),
  wait: waitOption.optional(),
  signal: z
    .custom<AbortSignal>((value) => value instanceof AbortSignal, {
      error: ({ input }) => `expected an AbortSignal, got ${describeValue(input)}`,
    })
    .optional(),
  autoExtend: z.boolean().optional(),
  waitReplicas: z.strictObject({ count: z.int().min(1), within: durationOption }).optional(),
  onLost: z.enum(['throw', 'ignore']).optional(),
};
const lockSchema = z.strictObject(lockOptionsShape);

/** The options of all locks. @throws MillraceError OPTIONS_INVALID */
export function parseLocksOptions(options: LocksOptions): Readonly<z.output<typeof locksSchema>> {
  return checkOptions(locksSchema, options, 'createLocks');
}

/** A lease that a caller names. @throws MillraceError OPTIONS_INVALID */
export function leaseMs(ttl: Duration): number {
  return checkOptions(z.strictObject({ ttl: ttlOption }), { ttl }, 'extend').ttl;
}

/** Checks the options of acquires, with the defaults of the process. */
export class LockOptionsReader {
  readonly #defaults: ParsedLockOptions;
  /** What was read last: nearly all calls of a process ask for the same times. */
  #last:
    | { readonly ttl: Duration | undefined; readonly wait: Duration | undefined; readonly parsed: ParsedLockOptions }
    | undefined;

  constructor(ttlMs: number, waitMs: number) {
    this.#defaults = {
      ttlMs,
      waitMs,
      signal: undefined,
      autoExtend: true,
      waitReplicas: undefined,
      throwsIfLost: true,
    };
  }

  /** @throws MillraceError OPTIONS_INVALID */
  read(options: UsingOptions | undefined, owner: string): ParsedLockOptions {
    if (options === undefined) return this.#defaults;
    return this.readPlain(options) ?? this.withDefaults(checkOptions(lockSchema, options, owner));
  }

  /** What was checked already, by a schema of the same shape and more. */
  withDefaults(checked: z.output<typeof lockSchema>): ParsedLockOptions {
    const { ttl, wait, signal, autoExtend, waitReplicas, onLost } = checked;
    return {
      ttlMs: ttl ?? this.#defaults.ttlMs,
      waitMs: wait ?? this.#defaults.waitMs,
      signal,
      autoExtend: autoExtend ?? true,
      waitReplicas: waitReplicas && { count: waitReplicas.count, withinMs: waitReplicas.within },
      throwsIfLost: onLost !== 'ignore',
    };
  }

  /** The options of nearly every call, which the schema would take as long for as Redis for the lock; undefined for all others. */
  readPlain(options: UsingOptions): ParsedLockOptions | undefined {
    if (options === null || typeof options !== 'object') return undefined;
    let { ttl, wait, signal }: UsingOptions = {};
    for (const option in options) {
      const value: unknown = options[option as keyof UsingOptions];
      if (option === 'ttl') ttl = value as Duration;
      else if (option === 'wait') wait = value as Duration;
      else if (option === 'signal' && value instanceof AbortSignal) signal = value;
      else if (value !== undefined || !(option in lockOptionsShape)) return undefined;
    }
    const known = this.#last;
    if (known && known.ttl === ttl && known.wait === wait) {
      return signal ? { ...known.parsed, signal } : known.parsed;
    }
    if (ttl !== undefined && !isWithin(ttl, SHORTEST_TTL_MS)) return undefined;
    if (wait !== undefined && !isWithin(wait, 0)) return undefined;
    const { ttlMs, waitMs } = this.#defaults;
    const parsed = { ...this.#defaults, ttlMs: tryToMs(ttl) ?? ttlMs, waitMs: tryToMs(wait) ?? waitMs };
    this.#last = { ttl, wait, parsed };
    return signal ? { ...parsed, signal } : parsed;
  }
}

function isWithin(value: unknown, shortestMs: number): boolean {
  const ms = tryToMs(value);
  return ms !== undefined && ms >= shortestMs && ms <= LONGEST_MS;
}
