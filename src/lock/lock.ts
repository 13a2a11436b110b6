/** What a caller holds: one lock, or several at once. */
import type { Duration } from '../durations.ts';
import type { MillraceError } from '../errors.ts';
import type { ReleaseOutcome } from './lock-scripts.ts';

/**
 * How a release ended. `released`: it was ours, and is free or the next one's now. `expired`: the lease had run out and nobody holds it.
 * `stolen`: another holds it, or it was taken away by forceRelease(). `unknown`: Redis did not answer; the lease ends by itself.
 */
export type ReleaseResult = ReleaseOutcome | 'unknown';

/** What all that is held has in common. */
export interface Held extends AsyncDisposable {
  /** What is held, in the order in which it was taken. */
  readonly names: readonly string[];
  /** Aborts when the lock is lost, with LOCK_LOST as its reason; never by a release. */
  readonly signal: AbortSignal;
  /** Whether it is held at this moment, by the clock: true also right after a pause only if the lease has outlasted it. */
  readonly held: boolean;
  /** Why it was lost; undefined while it is held, and when it was released before. */
  readonly lost: MillraceError | undefined;
  /** How long it is held for certain, without another extension; 0 when it is not. */
  remainingMs(): number;
  /** @throws MillraceError LOCK_LOST when it is not held any more */
  assertHeld(): void;
  /**
   * Begins the lease anew, with another length if one is given, which then stays. Seldom needed: leases are extended by themselves.
   * A shorter length counts from when it is sent, also if this throws LOCK_UNAVAILABLE, because Redis may have set it.
   *
   * @throws MillraceError LOCK_LOST when it is not held any more, LOCK_UNAVAILABLE when Redis could not be asked
   */
  extend(ttl?: Duration): Promise<void>;
  /** Lets go. Never rejects; the second call gives what the first one gave. */
  release(): Promise<ReleaseResult>;
}

/** A lock that is held. */
export interface Lock extends Held {
  readonly name: string;
  /** The fencing token: greater than that of every holder before. Hand it to the storage that refuses older ones. */
  readonly token: number;
}
