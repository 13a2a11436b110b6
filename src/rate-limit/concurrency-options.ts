/** Options of concurrency limits, and what they answer. */
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import { checkOptions, durationOption } from '../schema.ts';
import type { OnError } from './outage.ts';
import type { Slot } from './slots.ts';

/** Options of a concurrency limit. */
export interface ConcurrencyOptions {
  /** How many may hold a slot of a key at once, over all processes. */
  max: number;
  /**
   * How long the slots of a process that died stay taken; they are renewed every third of it. Default 30 s. Too short, and a process
   * that is busy for so long loses its slots to others; at least 100 ms.
   */
  ttl?: Duration | undefined;
  /** What a refusal tells as `retryAfterMs`, or less where a lease would end sooner: nobody knows when a holder is done. Default 1 s. */
  retryAfter?: Duration | undefined;
  /** When Redis does not answer. Default: that of the limits. */
  onError?: OnError | undefined;
}

/** Options of a call. */
export interface SlotOptions {
  /** In the place of the limit's own, such as the limit of a tenant's plan. */
  max?: number | undefined;
}

/** No slot was free. */
export interface NoSlot {
  readonly allowed: false;
  readonly limit: number;
  readonly inUse: number;
  /** When to ask again. */
  readonly retryAfterMs: number;
  readonly source: Slot['source'];
}

/** What using() comes to. */
export type Used<T> = { readonly allowed: true; readonly value: T } | NoSlot;

const LONGEST_TTL_MS = 86_400_000;

const optionsSchema = z.strictObject({
  max: z.int().min(1),
  ttl: durationOption
    .refine((ms) => ms >= 100 && ms <= LONGEST_TTL_MS, { error: 'expected at least 100 ms and at most 1 d' })
    .default(30_000),
  retryAfter: durationOption.refine((ms) => ms >= 1, { error: 'expected at least 1 ms' }).default(1_000),
  onError: z.enum(['allow', 'deny', 'local']).optional(),
});

/** The options with their defaults. @throws MillraceError OPTIONS_INVALID */
export function checkConcurrency(owner: string, options: ConcurrencyOptions): Readonly<z.output<typeof optionsSchema>> {
  return checkOptions(optionsSchema, options, owner);
}
