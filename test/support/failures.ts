/** Looks at the error that something must end with. */
import { inspect } from 'node:util';
import { expect } from 'vitest';
import { MillraceError, type ErrorCode } from '../../src/errors.ts';

/**
 * The MillraceError that the promise rejects with; anything else fails the test.
 *
 * @example
 * const error = await failureOf(connections.verify(), 'REDIS_AUTH_FAILED');
 * expect(error.message).toContain('REDIS_PASSWORD');
 */
export async function failureOf(promise: Promise<unknown>, code: ErrorCode): Promise<MillraceError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!('error' in outcome)) throw new Error(`expected ${code}, got a success: ${inspect(outcome.value)}`);
  const { error } = outcome;
  if (!(error instanceof MillraceError) || error.code !== code)
    throw new Error(`expected ${code}, got ${inspect(error)}`, { cause: error });
  return error;
}

/** The secret stands nowhere in what a person or a log could see of these things. */
export function expectNoSecret(secret: string, ...things: unknown[]): void {
  for (const thing of things) {
    expect(inspect(thing, { depth: 10, showHidden: true })).not.toContain(secret);
    expect(JSON.stringify(thing) ?? '').not.toContain(secret);
  }
}

/** The promise's outcome and how long it took. */
export async function timed<T>(promise: Promise<T>): Promise<{ value: T; ms: number }> {
  const start = performance.now();
  const value = await promise;
  return { value, ms: performance.now() - start };
}
