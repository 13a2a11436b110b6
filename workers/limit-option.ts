/** How options of stock jobs say a rate limit, and what the limiter is told. */
import { durationOption, type Duration, type LimiterOptions } from 'millrace';
import { z } from 'zod';

/** So many in a time; `burst` of them at once after a rest. */
export interface LimitOption {
  limit: number;
  per: Duration;
  /** Default: `limit`. */
  burst?: number | undefined;
}

/** False for no limit. */
export const limitSchema: z.ZodType<LimitOption | false, LimitOption | false> = z.union([
  z.literal(false),
  z.strictObject({
    limit: z.int().min(1),
    per: durationOption.refine((ms) => ms >= 1, 'expected more than 0 ms'),
    burst: z.int().min(1).optional(),
  }),
]);

/** The options of a limiter with this limit alone. */
export function policyOf(limit: LimitOption): LimiterOptions {
  return { policies: [{ ...limit }] };
}
