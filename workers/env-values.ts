/** How values of the environment are written that several families of stock jobs have. */
import { toMs, type Duration } from 'millrace';
import { z } from 'zod';
import type { LimitOption } from './limit-option.ts';

/** `true` or `false`. */
export const flag: z.ZodType<boolean> = z
  .enum(['true', 'false', '1', '0'], { error: 'expected true or false' })
  .transform((text) => /^(true|1)$/.test(text));

/** A whole number, 0 or more. */
export const count: z.ZodType<number> = z
  .string()
  .regex(/^\d{1,6}$/, 'expected a whole number')
  .transform(Number);

/** Such as `30s`; what comes out is milliseconds. */
export const duration: z.ZodType<number> = z
  .string()
  .regex(/^\d+(?:\.\d+)?(?:ms|s|m|h|d)$/, 'expected a duration such as 30s')
  .transform((text) => toMs(text as Duration));

const LIMIT = /^(\d{1,7})\/(\d+(?:\.\d+)?(?:ms|s|m|h|d))(?::(\d{1,7}))?$/;

/** `120/1m`, `120/1m:30` with a burst, or `off`. */
export const limit: z.ZodType<LimitOption | false> = z.string().transform((text, context): LimitOption | false => {
  if (text === 'off') return false;
  const [, most, per, burst] = LIMIT.exec(text) ?? [];
  if (most !== undefined && per !== undefined)
    return { limit: Number(most), per: per as Duration, ...(burst !== undefined && { burst: Number(burst) }) };
  context.addIssue('expected a limit such as 120/1m, 120/1m:30 with a burst, or off');
  return z.NEVER;
});
