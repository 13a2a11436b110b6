/** How options of stock jobs say a rate limit, what the limiter is told, and when who was refused comes back. */
import {
  durationOption,
  isMillraceError,
  postpone,
  systemClock,
  type Duration,
  type JobFacts,
  type LimiterOptions,
} from 'millrace';
import { z } from 'zod';

/** So many in a time; `burst` of them at once after a rest. */
export interface LimitOption {
  limit: number;
  per: Duration;
  /** Default: `limit`. */
  burst?: number | undefined;
}

const LARGEST = 1e12;
const MOST_A_MS = 10_000;
const LONGEST_PER_MS = 400 * 86_400_000;
const LONGEST_REFILL_MS = 100 * 86_400_000;

/** False for no limit. What passes here, the limiter takes: what it refuses, it would refuse in each job. */
export const limitSchema: z.ZodType<LimitOption | false, LimitOption | false> = z.union([
  z.literal(false),
  z
    .strictObject({
      limit: z.int().min(1).max(LARGEST),
      per: durationOption.refine((ms) => ms >= 1 && ms <= LONGEST_PER_MS, 'expected a time of 1 ms to 400 days'),
      burst: z.int().min(1).max(LARGEST).optional(),
    })
    .refine(({ limit, per }) => limit / per <= MOST_A_MS, 'expected at most 10 million a second')
    .refine(
      ({ limit, per, burst = limit }) => (burst / limit) * per <= LONGEST_REFILL_MS,
      'expected a burst that refills within 100 days',
    ),
]);

/** The options of a limiter with this limit alone. */
export function policyOf(limit: LimitOption): LimiterOptions {
  return { policies: [{ ...limit }] };
}

const LONGEST_SPREAD_MS = 60_000;

/**
 * What a job throws that a limit has refused: it comes back at the time that the limiter tells, or somewhat later, by chance. All jobs that wait
 * are told the same time; the longer a job is there, the more it is spread, by its age up to a minute, so that few of them come for nothing.
 */
export function spreadOut(error: unknown, { enqueuedAt }: Pick<JobFacts, 'enqueuedAt'>): unknown {
  if (!isMillraceError(error, 'RATE_LIMITED')) return error;
  const { retryAfterMs } = error.facts;
  if (typeof retryAfterMs !== 'number' || !Number.isFinite(retryAfterMs)) return error;
  const ageMs = Math.max(0, systemClock.wallMs() - enqueuedAt);
  return postpone(Math.ceil(retryAfterMs + Math.random() * Math.min(ageMs, LONGEST_SPREAD_MS)), error.message);
}
