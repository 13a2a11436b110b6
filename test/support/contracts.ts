/** Contracts for tests of jobs: inputs are objects of any kind, failed attempts are tried again at once. */
import { z } from 'zod';
import { defineJob, type JobContract, type JobOptions } from '../../src/jobs/contract.ts';

const anyObject = z.record(z.string(), z.unknown());

/** What a test's job is given. */
export type AnyInput = Record<string, unknown>;

/** A contract that takes any object. */
export function contractOf(
  name: string,
  options: Omit<JobOptions<typeof anyObject, z.ZodType>, 'name' | 'input'> = {},
): JobContract<AnyInput, AnyInput> {
  return defineJob({ name, input: anyObject, backoff: { type: 'fixed', delay: 1 }, ...options });
}
