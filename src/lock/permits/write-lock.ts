/** What a writer holds: a lock that can become a reader's. */
import type { Duration } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import type { Lock, ReleaseResult } from '../lock.ts';

/** The lock of a writer, or of a reader that was one. */
export class WriteLock implements Lock {
  readonly name: string;
  readonly names: readonly string[];
  readonly token: number;
  readonly #lock: Lock;
  readonly #letReadersIn: () => Promise<boolean>;

  /** @param letReadersIn Gives all permits but one back; false when none are held any more. */
  constructor(lock: Lock, letReadersIn: () => Promise<boolean>) {
    this.name = lock.name;
    this.names = lock.names;
    this.token = lock.token;
    this.#lock = lock;
    this.#letReadersIn = letReadersIn;
  }

  get signal(): AbortSignal {
    return this.#lock.signal;
  }

  get held(): boolean {
    return this.#lock.held;
  }

  get lost(): MillraceError | undefined {
    return this.#lock.lost;
  }

  /**
   * Becomes a reader: others may read from now on, and no writer gets in between. Its lease, token and signal stay. Calling it again does
   * nothing.
   *
   * @example
   * const lock = await locks.readWrite('prices').acquireWrite();
   * await savePrices(lock.token);
   * await lock.downgrade();
   * @throws MillraceError LOCK_LOST when it is not held any more, LOCK_UNAVAILABLE when Redis could not be asked
   */
  async downgrade(): Promise<void> {
    this.assertHeld();
    if (await this.#letReadersIn()) return;
    await this.extend(); // Finds the same, and aborts the signal.
    throw new MillraceError('LOCK_LOST', `lock ${this.name} was lost before it could be downgraded`, {
      name: this.name,
      fence: this.token,
    });
  }

  remainingMs(): number {
    return this.#lock.remainingMs();
  }

  assertHeld(): void {
    this.#lock.assertHeld();
  }

  extend(ttl?: Duration): Promise<void> {
    return this.#lock.extend(ttl);
  }

  release(): Promise<ReleaseResult> {
    return this.#lock.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock.release();
  }
}
