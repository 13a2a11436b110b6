/**
 * What a limiter can be asked, and what it answers.
 *
 * A refusal is an outcome and is returned; only require() throws it, as RATE_LIMITED. All times are milliseconds that are left, told from
 * one reading of the server's clock, rounded up: whoever comes back after `retryAfterMs` is let in, unless others came in between.
 */
import type { Duration } from '../durations.ts';
import type { PolicyChange, PolicyInfo } from './policies.ts';

/**
 * Who decided: the server, this process from what the server told it before, this process because the server did not answer
 * (`local` counts a share of the limit, `outage` lets through or refuses everything).
 */
export type DecisionSource = 'redis' | 'deny-cache' | 'local' | 'outage';

/** What one policy says of a call. */
export interface PolicyResult {
  /** The policy's name. */
  policy: string;
  allowed: boolean;
  /** The most that can be taken at once from a key that was not used for a while. */
  limit: number;
  /** What can be taken now, after this call. */
  remaining: number;
  /** When a call of the same cost would pass; 0 for one that passed, Infinity for one that costs more than `limit`. */
  retryAfterMs: number;
  /** When the key will be as if it had never been used, if nothing more is taken. */
  resetMs: number;
  /** Whether the policy only watches: what it refuses passes all the same. */
  shadow: boolean;
}

/** What became of a call. */
export interface ConsumeResult {
  allowed: boolean;
  /** The name of the policy that is the nearest to its limit or, of a refused call, that holds it up longest; `block` for a blocked key. */
  policy: string;
  /** Of that policy. */
  limit: number;
  /** Of that policy. */
  remaining: number;
  /** When all policies would let a call of the same cost pass; 0 when it passed, Infinity when it never will. */
  retryAfterMs: number;
  /** Of that policy. */
  resetMs: number;
  /** Each policy, in the order of the limiter's options. Empty when the server was not asked and nothing is known of it. */
  policies: readonly PolicyResult[];
  source: DecisionSource;
  /** Whether a policy that only watches would have refused the call. */
  shadow: boolean;
}

/** Options of a call. */
export interface ConsumeOptions {
  /** How much the call takes, a whole number from 1 on. Default 1. More than a policy's burst is never let in. */
  cost?: number | undefined;
}

/** Options of wait(). */
export interface LimitWaitOptions extends ConsumeOptions {
  /** How long to wait at most, all in all. Default 10 s. What would take longer is refused at once; 0 asks once. */
  max?: Duration | undefined;
  /** Ends the waiting with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** A limiter: one or several policies, kept for each key apart. */
export interface Limiter {
  readonly name: string;
  /** The policies as they are now, with changes by setPolicy(). */
  readonly policies: readonly PolicyInfo[];
  /**
   * Takes the cost from every policy, or from none if one of them refuses. Never throws for a refusal, and not when Redis is down:
   * then the option `onError` decides.
   *
   * @throws MillraceError OPTIONS_INVALID, KEY_INVALID, CLOSED
   */
  consume(key: string, options?: ConsumeOptions): Promise<ConsumeResult>;
  /** What consume() would answer, without taking anything. `remaining` is what can be taken now. */
  peek(key: string, options?: ConsumeOptions): Promise<ConsumeResult>;
  /** As consume(), but a refusal is thrown. @throws MillraceError RATE_LIMITED with retryAfterMs, limiter, policy, limit, remaining */
  require(key: string, options?: ConsumeOptions): Promise<ConsumeResult>;
  /** As consume(), but waits until the call is let in; gives the refusal when that would take longer than `max`. */
  wait(key: string, options?: LimitWaitOptions): Promise<ConsumeResult>;
  /** Gives back what a call took, at most what was taken. */
  refund(key: string, cost?: number): Promise<void>;
  /** Forgets everything about the key, a block too. */
  reset(key: string): Promise<void>;
  /**
   * Refuses every call for so long, whatever the policies say. It takes the place of an earlier block, unless `atLeast` is set: then one that
   * lasts longer stays. Default false.
   */
  block(key: string, duration: Duration, options?: { atLeast?: boolean | undefined }): Promise<void>;
  /** Ends a block. What was taken before it counts on. */
  unblock(key: string): Promise<void>;
  /**
   * Changes a policy in every process that has this limiter, now and after restarts, until it is changed again; `undefined` goes back to what
   * the code says.
   */
  setPolicy(name: string, change: PolicyChange | undefined): Promise<void>;
}
