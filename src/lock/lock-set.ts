/**
 * Several locks that are held together.
 *
 * They are taken one after the other in the order of their names, whatever order the caller gave, so that two callers who want the same
 * ones never wait for each other; if one cannot be had, the others are given back. The set is held while all of them are.
 */
import type { Duration } from '../durations.ts';
import type { MillraceError } from '../errors.ts';
import type { Held, Lock, ReleaseResult } from './lock.ts';

/** How bad an outcome is: the worst of the members is that of the set. */
const WORST: readonly ReleaseResult[] = ['stolen', 'expired', 'unknown', 'released'];

/** Several locks, held as one. */
export class LockSet implements Held {
  /** In the order in which they were taken. */
  readonly locks: readonly Lock[];
  readonly #signal: AbortSignal;

  constructor(locks: readonly Lock[]) {
    this.locks = locks;
    this.#signal = AbortSignal.any(locks.map(({ signal }) => signal));
  }

  get names(): string[] {
    return this.locks.map(({ name }) => name);
  }

  /** The fencing tokens by name; each grows with the holders of its own lock. */
  get tokens(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.locks.map(({ name, token }) => [name, token]));
  }

  /** Aborts when the first of them is lost. */
  get signal(): AbortSignal {
    return this.#signal;
  }

  get held(): boolean {
    return this.locks.every(({ held }) => held);
  }

  get lost(): MillraceError | undefined {
    return this.locks.find(({ lost }) => lost)?.lost;
  }

  remainingMs(): number {
    return Math.min(...this.locks.map((lock) => lock.remainingMs()));
  }

  assertHeld(): void {
    for (const lock of this.locks) lock.assertHeld();
  }

  async extend(ttl?: Duration): Promise<void> {
    await Promise.all(this.locks.map((lock) => lock.extend(ttl)));
  }

  async release(): Promise<ReleaseResult> {
    const results = await Promise.all(this.locks.map((lock) => lock.release()));
    return WORST.find((worst) => results.includes(worst)) ?? 'released';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.release();
  }
}
