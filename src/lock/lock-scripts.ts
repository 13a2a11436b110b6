/**
 * What every kind of lock can do in Redis: the face behind which a mutex and a set of permits wait, are kept and are let go of alike.
 *
 * A request is one waiter, and later one holder: `waiterId` never changes and is never used twice. Every act is safe to repeat for the
 * same request, so that a lost answer is met by asking again. Durations are milliseconds; tokens are whole numbers below 2^53.
 * Implementations measure `sentAtMs` with their Clock right before they send, because a lease is counted from there.
 *
 * Whoever is handed a lock by another process is told on that process's channel (Waiting.channelPrefix + process id) by
 * `grant NAME WAITER_ID`; a holder that is put out is told by `oust NAME WAITER_ID`. Of a process's waiters for one lock only the oldest
 * looks (watch), once a second and whenever the lease in its way may have ended: it looks for all of them.
 */

import type { ScriptClient } from '../redis/script.ts';

/** One waiter or holder of one lock. Kinds of locks add what they need. */
export interface LockRequest {
  /** The lock's name, as the caller spells it. */
  readonly name: string;
  /** Unique everywhere, without spaces or `|`; made by Waiting.nextId(kind), whose kind it begins with. */
  readonly waiterId: string;
  /** How long a lease lasts. */
  readonly ttlMs: number;
}

/** How to ask. */
export interface AcquireHow {
  /** Asked before without an answer: it may hold or wait already, and then says so; a lease that it holds begins anew. */
  readonly again: boolean;
  /** May join the queue. Without it the answer is granted or refused. */
  readonly mayQueue: boolean;
  /** No other waiter of this process looks after this lock, so say when the lease that is waited for ends. */
  readonly look: boolean;
}

/** The lock is held, by a lease that is at least ttlMs long when counted from sentAtMs. */
export interface Granted {
  readonly status: 'granted';
  readonly token: number;
  readonly sentAtMs: number;
  /** Redis remembers the token, whatever becomes of the lock. A hand-over within a process leaves that to the next act. */
  readonly isRecorded?: boolean;
  /** What stands in Redis for the holder, where it is known: the release then need not make it again. */
  readonly holder?: string | undefined;
}

/** It waits in the queue. */
export interface Queued {
  readonly status: 'queued';
  /** When to look again at the latest: the end of the lease that stands in the way; 0 when none does, undefined when not asked. */
  readonly leftMs: number | undefined;
}

/** It may not wait, and would have to. */
export interface Refused {
  readonly status: 'refused';
  /** Nobody holds it; others wait, who may be dead. A watch() hands it to the first of them who is not. */
  readonly isFree: boolean;
}

/** It neither holds nor waits: lost with its server, passed over because its process was not heard of, or the queue has run empty. */
export interface Gone {
  readonly status: 'gone';
}

/** A waiter of this process to whom another act has handed the lock, with its full lease. */
export interface LocalGrant {
  readonly waiterId: string;
  readonly token: number;
}

/** What came of giving something back; `granted` counts from sentAtMs. */
export interface GivenBack {
  readonly granted: readonly LocalGrant[];
  readonly sentAtMs: number;
}

/** How a release ended: stolen when another holds the lock, expired when nobody does. */
export type ReleaseOutcome = 'released' | 'expired' | 'stolen';

/** When and how a holder lets go. */
export interface ReleaseHow {
  /** For how long it has held the lock since the grant, by its own monotonic clock; of this moment, at every attempt. */
  readonly heldMs: number;
  /** Its deadline has not passed, so the lock is still its own for all it knows. */
  readonly isInTime: boolean;
  /** Asked before without an answer. */
  readonly again: boolean;
  /** Redis remembers the token already; see Granted. */
  readonly isRecorded?: boolean;
  /** See Granted. */
  readonly holder?: string | undefined;
}

/** One implementation for mutexes, one for each use of permits. Everything throws a MillraceError of src/redis when Redis cannot be asked. */
export interface LockScripts {
  /** The first letter of its waiters' ids: `m` for mutexes, `s` for semaphores, `r` for read-write locks. */
  readonly kind: string;
  /** Takes the lock, joins the queue, or is refused. */
  acquire(request: LockRequest, how: AcquireHow): Promise<Granted | Queued | Refused>;
  /**
   * A waiter looks where it stands. Granted when it has been handed the lock (by this the hand-over is confirmed and its lease begins) or is
   * the first in the queue of a free lock; queued otherwise, after a free lock was handed to the first who seems alive; or gone.
   * Keeps the queue from expiring.
   */
  watch(request: LockRequest): Promise<Granted | Queued | Gone>;
  /** A waiter leaves: out of the queue, and what it was handed meanwhile goes to the next. */
  cancel(request: LockRequest): Promise<GivenBack>;
  /** The lease begins anew with this length, if it is still its own. By the connection that is given, else by the one that all share. */
  extend(
    request: LockRequest,
    token: number,
    ttlMs: number,
    client?: ScriptClient,
  ): Promise<{ readonly isHeld: boolean; readonly sentAtMs: number }>;
  /** Lets go, and hands over to whoever is next. */
  release(
    request: LockRequest,
    token: number,
    how: ReleaseHow,
  ): Promise<GivenBack & { readonly outcome: ReleaseOutcome }>;
}

/** Of how many locks the keys are kept ready. */
const KEPT_KEYS = 1_000;

/** The keys of locks by name, made once for those in use. */
export class KeptKeys<K> {
  readonly #make: (name: string) => K;
  readonly #kept = new Map<string, K>();

  constructor(make: (name: string) => K) {
    this.#make = make;
  }

  of(name: string): K {
    const known = this.#kept.get(name);
    if (known) return known;
    const made = this.#make(name);
    if (this.#kept.size >= KEPT_KEYS) this.#kept.clear();
    this.#kept.set(name, made);
    return made;
  }
}
