/** What an enqueue may say beyond its contract, and how both become the options that BullMQ stores with the job. */
import { createHash } from 'node:crypto';
import type { JobsOptions } from 'bullmq';
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions, durationOption } from '../schema.ts';
import {
  attemptsOption,
  positiveDuration,
  priorityOption,
  timeoutOption,
  type ConflictPolicy,
  type JobContract,
  type Unique,
} from './contract.ts';

/** What an enqueue may say. */
export interface EnqueueOptions {
  /** Run no sooner than so long from now. */
  delay?: Duration | undefined;
  /** Run no sooner than then. A time that has passed means now. */
  at?: Date | number | undefined;
  /** In the place of the contract's. */
  priority?: number | undefined;
  /** In the place of the contract's. */
  attempts?: number | undefined;
  /** In the place of the contract's. */
  timeout?: Duration | undefined;
  /** In the place of the contract's. */
  expiresIn?: Duration | undefined;
  /** Enqueues with the same key of the same contract are one job: the first is added, the others are told `duplicate`. */
  idempotencyKey?: string | undefined;
  /** How long the idempotency key counts. Default `1d`. */
  idempotentFor?: Duration | undefined;
  /** How long to try. Default that of the client, `2s`. */
  deadline?: Duration | undefined;
}

/** What we store with a job beside what BullMQ knows. Short names, because each waiting job pays for them. */
export interface StoredOptions extends JobsOptions {
  /** The version of the contract; absent for 1. */
  v?: number;
  /** Expires so many ms after it was due, in the place of the contract's. */
  exp?: number;
  /** Timeout of an attempt in ms, in the place of the contract's. */
  to?: number;
  /** It waits for children first: when it was due, which is when they had ended, is not known. */
  kids?: 1;
  /** Somebody waits for the end of the job. */
  wait?: 1;
  /** How often the job was redriven; absent for never. */
  redriven?: number;
}

/** An enqueue, ready to be sent. */
export interface EnqueuePlan {
  opts: StoredOptions;
  /** How what comes back is told from an addition; undefined where only an addition can come. */
  rule: ConflictPolicy | undefined;
  deadlineMs: number | undefined;
}

const IDEMPOTENT_FOR_MS = 86_400_000;
/** Ids of deduplication are part of a key, so long ones are hashed. */
const LONGEST_PLAIN_ID = 80;

function tryTime(value: unknown): number | undefined {
  const ms = value instanceof Date ? value.getTime() : value;
  return Number.isSafeInteger(ms) && Number(ms) >= 0 ? Number(ms) : undefined;
}

/** The options of an enqueue, for those that take others beside them. */
export const enqueueShape = {
  delay: durationOption.optional(),
  at: z
    .custom<Date | number>((value) => tryTime(value) !== undefined, {
      error: 'expected a Date, or milliseconds since 1970',
    })
    .transform(Number)
    .optional(),
  priority: priorityOption.optional(),
  attempts: attemptsOption.optional(),
  timeout: timeoutOption.optional(),
  expiresIn: positiveDuration.optional(),
  idempotencyKey: z.string().min(1).max(1_000).optional(),
  idempotentFor: positiveDuration.optional(),
  deadline: positiveDuration.optional(),
};

const enqueueSchema = z
  .strictObject(enqueueShape)
  .refine(({ delay, at }) => delay === undefined || at === undefined, { error: 'expected delay or at, got both' })
  .refine(({ idempotencyKey, idempotentFor }) => idempotentFor === undefined || idempotencyKey !== undefined, {
    error: 'idempotentFor says how long an idempotencyKey counts, and none was given',
  });

/** Options of an enqueue that says nothing, by contract: they are the same each time. */
const plain = new WeakMap<JobContract, EnqueuePlan>();

/**
 * What to send. The `input` is asked for its unique key only.
 *
 * @throws MillraceError OPTIONS_INVALID
 */
export function planEnqueue<Input>(
  contract: JobContract<Input>,
  input: Input,
  options: EnqueueOptions | undefined,
  nowMs: () => number,
): EnqueuePlan {
  if (options === undefined) {
    const known = plain.get(contract);
    if (known) return known;
    if (!contract.unique) {
      const plan: EnqueuePlan = { opts: baseOptions(contract), rule: undefined, deadlineMs: undefined };
      plain.set(contract, plan);
      return plan;
    }
  }
  const owner = `enqueue ${contract.name}`;
  const checked = checkOptions(enqueueSchema, options ?? {}, owner);
  const opts = baseOptions(contract);
  if (checked.attempts !== undefined) opts.attempts = checked.attempts;
  if (checked.priority !== undefined) opts.priority = checked.priority;
  if (checked.timeout !== undefined) opts.to = checked.timeout;
  if (checked.expiresIn !== undefined) opts.exp = checked.expiresIn;
  const delayMs = checked.at === undefined ? checked.delay : Math.max(0, checked.at - nowMs());
  if (delayMs !== undefined && delayMs > 0) opts.delay = delayMs;
  return { opts, rule: deduplicate(contract, input, checked, opts, owner), deadlineMs: checked.deadline };
}

function baseOptions({ attempts, version, priority }: JobContract): StoredOptions {
  return { attempts, ...(version > 1 && { v: version }), ...(priority !== undefined && { priority }) };
}

function deduplicate<Input>(
  contract: JobContract<Input>,
  input: Input,
  { idempotencyKey, idempotentFor }: { idempotencyKey?: string | undefined; idempotentFor?: number | undefined },
  opts: StoredOptions,
  owner: string,
): EnqueuePlan['rule'] {
  if (idempotencyKey !== undefined) {
    if (contract.unique) {
      throw new MillraceError(
        'OPTIONS_INVALID',
        `${owner}: idempotencyKey: the contract has a unique key already; a job can have one of them`,
        { contract: contract.name },
      );
    }
    opts.deduplication = { id: idOf(contract.name, 'once', idempotencyKey), ttl: idempotentFor ?? IDEMPOTENT_FOR_MS };
    return 'ignore';
  }
  if (!contract.unique) return undefined;
  return uniqueness(contract.unique, idOf(contract.name, 'unique', keyOf(contract.unique, input, owner)), opts);
}

function uniqueness({ onConflict, forMs }: Unique<unknown>, id: string, opts: StoredOptions): EnqueuePlan['rule'] {
  const base = { id, ...(forMs !== undefined && { ttl: forMs }) };
  switch (onConflict) {
    case 'ignore':
      opts.deduplication = base;
      return 'ignore';
    case 'replace':
      opts.deduplication = { ...base, replace: true };
      return 'replace';
    case 'reschedule':
      opts.deduplication = { ...base, reschedule: true };
      return 'reschedule';
    case 'debounce':
      opts.deduplication = { ...base, extend: true, replace: true };
      opts.delay = Math.max(opts.delay ?? 0, forMs ?? 0);
      return 'debounce';
  }
}

function keyOf<Input>(unique: Unique<Input>, input: Input, owner: string): string {
  let key: unknown;
  try {
    key = unique.key(input);
  } catch (cause) {
    throw new MillraceError('OPTIONS_INVALID', `${owner}: unique.key failed for this input`, { cause });
  }
  if (typeof key === 'string' && key !== '') return key;
  const message = `${owner}: unique.key: expected a text that is not empty, got ${describeValue(key)}`;
  throw new MillraceError('OPTIONS_INVALID', message, { key });
}

function idOf(contract: string, kind: string, key: string): string {
  const id = `${contract}/${kind}/${key}`;
  if (id.length <= LONGEST_PLAIN_ID && /^[\w./-]+$/.test(id)) return id;
  return `${contract}/${kind}/#${createHash('sha256').update(key).digest('base64url')}`;
}
