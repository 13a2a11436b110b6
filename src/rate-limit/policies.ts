/**
 * Policies: how they are written, checked, changed, and laid out for the script.
 *
 * GCRA and token bucket are one arithmetic: a bucket of `burst` units that refills at `limit` a `per` holds `burst - debt / interval` units,
 * where debt is the time until it is full, and that time is all that GCRA keeps. The interval is whole nanoseconds, rounded up, so that a
 * limit is never exceeded, and burst * interval stays below 2^53, so that doubles keep it exact.
 */
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { MillraceError } from '../errors.ts';
import { checkOptions, durationOption } from '../schema.ts';

/** The ways to limit; docs/rate-limits.md tells which when. */
export type Algorithm = 'gcra' | 'token-bucket' | 'fixed-window' | 'sliding-window' | 'sliding-log';

/** A rule: so much in so long. */
export interface Policy {
  /** Told in results, headers and metrics. Default: the algorithm's name. Letters, digits and _ . - only. */
  name?: string | undefined;
  /** Default `gcra`. */
  algorithm?: Algorithm | undefined;
  /** How much a key may take in `per`; a whole number. */
  limit: number;
  /** The time that the limit is for, from 1 ms on. */
  per: Duration;
  /** GCRA and token bucket: how much a key that was idle may take at once. Default: `limit`. 1 spaces calls out evenly. */
  burst?: number | undefined;
  /** Fixed window: begin windows at multiples of `per` since 1970 UTC, so that a day begins at midnight UTC. Default: with the first call. */
  align?: 'utc' | undefined;
  /** A refused call counts too, up to the limit: for rules against guessing. Default false: a refused call takes nothing. */
  countDenied?: boolean | undefined;
  /** Only watch: what the policy refuses is counted and told, and passes. Default false. */
  shadow?: boolean | undefined;
}

/** What setPolicy() may change. */
export type PolicyChange = Partial<Omit<Policy, 'name'>>;

/** A policy with its defaults filled in. */
export interface PolicyInfo {
  readonly name: string;
  readonly algorithm: Algorithm;
  readonly limit: number;
  readonly perMs: number;
  /** For algorithms without a burst: the limit. */
  readonly burst: number;
  readonly align: 'utc' | undefined;
  readonly countDenied: boolean;
  readonly shadow: boolean;
}

/** The only policy of a limiter, by GCRA or token bucket. Texts are what the script takes, laid out once. */
export interface Bucket {
  readonly policy: PolicyInfo;
  /** What the empty bucket takes to fill, and what a unit takes, in ns. */
  readonly fullNs: number;
  readonly intervalNs: number;
  readonly full: string;
  readonly interval: string;
}

/** Policies as the scripts take them. */
export interface Plan {
  readonly policies: readonly PolicyInfo[];
  /** For consume.lua: take, or only look. */
  readonly take: string;
  readonly look: string;
  /** What follows the key of a limiter's key for each policy's state. */
  readonly suffixes: readonly string[];
  /** For consume-gcra.lua; undefined when there is more to it than one bucket. */
  readonly bucket: Bucket | undefined;
  /** Whether calls must be told apart. */
  readonly hasLog: boolean;
  /** Whether every refusal must reach the server, because it counts. */
  readonly countsDenied: boolean;
}

const MOST_POLICIES = 8;
const LARGEST_LIMIT = 1e12;
const LONGEST_PER_MS = 400 * 86_400_000;
/** A member of a log takes about 100 bytes. */
const LARGEST_LOG = 10_000;
/** Ten million units a second: below, rounding up to whole nanoseconds would show. */
const SHORTEST_INTERVAL_NS = 100;

const KIND_OF = {
  gcra: 'g',
  'token-bucket': 'g',
  'fixed-window': 'f',
  'sliding-window': 's',
  'sliding-log': 'l',
} as const satisfies Record<Algorithm, string>;

/** Names of limiters and policies: they become parts of keys, labels and header fields. */
export const nameOption = z.string().regex(/^[\w.-]{1,64}$/, 'expected up to 64 letters, digits and _ . -');

const count = z.int().positive().max(LARGEST_LIMIT);

const fields = {
  algorithm: z.enum(Object.keys(KIND_OF) as Algorithm[]).optional(),
  limit: count,
  per: durationOption.refine((ms) => ms >= 1 && ms <= LONGEST_PER_MS, 'expected a duration from 1 ms to 400 days'),
  burst: count.optional(),
  align: z.literal('utc').optional(),
  countDenied: z.boolean().optional(),
  shadow: z.boolean().optional(),
};

const policySchema = z.strictObject({ name: nameOption.optional(), ...fields }).superRefine((policy, context) => {
  const { algorithm = 'gcra', limit, per, burst, align } = policy;
  const refuse = (option: keyof typeof policy, message: string): void =>
    context.addIssue({ code: 'custom', path: [option], message, input: policy[option] });
  const isBucket = KIND_OF[algorithm] === 'g';
  if (policy.name === 'block') refuse('name', 'block is what a blocked key is refused by; expected another name');
  if (burst !== undefined && !isBucket) refuse('burst', `expected no burst with ${algorithm}`);
  if (align !== undefined && algorithm !== 'fixed-window') refuse('align', `expected no align with ${algorithm}`);
  if (algorithm === 'sliding-log' && limit > LARGEST_LOG)
    refuse('limit', `expected at most ${LARGEST_LOG} with sliding-log, which keeps each call; see sliding-window`);
  if (isBucket && intervalNs(limit, per) < SHORTEST_INTERVAL_NS)
    refuse('limit', `expected at most 10 million a second with ${algorithm}; count in a larger unit`);
  if (isBucket && (burst ?? limit) * intervalNs(limit, per) > Number.MAX_SAFE_INTEGER)
    refuse('per', `expected a burst that refills within 104 days with ${algorithm}; see fixed-window`);
});

/** For the options of a limiter. */
export const policiesOption = z
  .array(policySchema)
  .min(1)
  .max(MOST_POLICIES)
  .superRefine((policies, context) => {
    const names = policies.map(nameOf);
    for (const [index, name] of names.entries()) {
      if (names.indexOf(name) === index) continue;
      context.addIssue({
        code: 'custom',
        path: [index, 'name'],
        message: `expected each name once, got ${name} twice`,
      });
    }
  });

const changeSchema = z.strictObject({ ...fields, limit: fields.limit.optional(), per: fields.per.optional() });

type CheckedPolicy = z.output<typeof policySchema>;

/** The policies with their defaults. */
export function fillIn(policies: readonly CheckedPolicy[]): PolicyInfo[] {
  return policies.map((policy) => {
    const { algorithm = 'gcra', limit, per, burst = limit, align, countDenied = false, shadow = false } = policy;
    return Object.freeze({
      name: nameOf(policy),
      algorithm,
      limit,
      perMs: per,
      burst,
      align,
      countDenied,
      shadow,
    });
  });
}

/**
 * The policy with the change. A burst that the code left out follows a new limit.
 *
 * @throws MillraceError OPTIONS_INVALID when it would be none that the code could say.
 */
export function changed(policy: PolicyInfo, change: unknown): PolicyInfo {
  const { perMs, burst, limit, align, ...rest } = policy;
  const checked = checkOptions(changeSchema, change, 'setPolicy');
  const algorithm = checked.algorithm ?? policy.algorithm;
  const merged = {
    ...rest,
    limit,
    per: perMs,
    ...(KIND_OF[algorithm] === 'g' && burst !== limit && { burst }),
    ...(algorithm === 'fixed-window' && { align }),
    ...checked,
  };
  const [result] = fillIn([checkOptions(policySchema, merged, 'setPolicy')]);
  if (!result) throw new MillraceError('OPTIONS_INVALID', 'setPolicy: expected a policy', {});
  return result;
}

/** What the scripts are told of the policies, laid out once and not for every call. */
export function layOut(policies: readonly PolicyInfo[]): Plan {
  const terms = policies.map(termOf).join(' ');
  const [first] = policies;
  const isOneBucket =
    policies.length === 1 && first !== undefined && KIND_OF[first.algorithm] === 'g' && flagsOf(first) === 0;
  return {
    policies,
    take: `1 ${terms}`,
    look: `0 ${terms}`,
    suffixes: policies.map((policy) => {
      const kind = KIND_OF[policy.algorithm];
      // A state of one kind is never read as one of another: a policy that changes its algorithm begins anew.
      return `${policies.length > 1 ? `:${policy.name}` : ''}${kind === 'g' ? '' : `:${kind}`}`;
    }),
    bucket: isOneBucket ? bucketOf(first) : undefined,
    hasLog: policies.some(({ algorithm }) => algorithm === 'sliding-log'),
    countsDenied: policies.some(({ countDenied }) => countDenied),
  };
}

function bucketOf(policy: PolicyInfo): Bucket {
  const interval = intervalNs(policy.limit, policy.perMs);
  const fullNs = policy.burst * interval;
  return { policy, fullNs, intervalNs: interval, full: `${fullNs}`, interval: `${interval}` };
}

function termOf(policy: PolicyInfo): string {
  const { algorithm, limit, perMs, burst, align } = policy;
  const kind = KIND_OF[algorithm];
  const flags = flagsOf(policy);
  if (kind === 'g') return `g ${burst} ${intervalNs(limit, perMs)} ${flags}`;
  return `${align ? 'F' : kind} ${limit} ${perMs * 1_000} ${flags}`;
}

function flagsOf({ countDenied, shadow }: PolicyInfo): number {
  return (countDenied ? 1 : 0) + (shadow ? 2 : 0);
}

/** How long a bucket takes to refill by one. */
export function intervalNs(limit: number, perMs: number): number {
  return Math.ceil((perMs * 1_000_000) / limit);
}

function nameOf({
  name,
  algorithm = 'gcra',
}: {
  name?: string | undefined;
  algorithm?: Algorithm | undefined;
}): string {
  return name ?? algorithm;
}
