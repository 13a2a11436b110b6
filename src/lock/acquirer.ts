/** From a request to a lease that is kept, for every kind of lock. */
import type { Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import type { LeaseKeeper, Lease } from './lease-keeper.ts';
import type { AcquireOutcome, LockMeter } from './lock-metrics.ts';
import type { LockRequest, LockScripts } from './lock-scripts.ts';
import type { Held } from './lock.ts';
import type { ParsedLockOptions } from './options.ts';
import type { Replicas } from './replicas.ts';
import type { Waiting } from './waiting.ts';

/** A kind of lock. */
export interface LockType {
  readonly scripts: LockScripts;
  readonly meter: LockMeter;
  /** A key of the lock, which tells its node on a Cluster. */
  keyOf(name: string): string;
}

/** What acquiring needs. */
export interface AcquirerParts {
  waiting: Waiting;
  keeper: LeaseKeeper;
  replicas: Replicas;
  clock: Clock;
}

/** Acquires locks of every kind for one process. */
export class Acquirer {
  readonly #parts: AcquirerParts;

  constructor(parts: AcquirerParts) {
    this.#parts = parts;
  }

  /**
   * The lease of a request.
   *
   * @param request Made with Waiting.nextId().
   * @returns undefined when it may not wait and would have to
   * @throws MillraceError LOCK_TIMEOUT, LOCK_UNAVAILABLE, LOCK_REPLICAS_MISSING, CLOSED; or the reason of the signal
   */
  async take(type: LockType, request: LockRequest, options: ParsedLockOptions): Promise<Lease | undefined> {
    const { waiting, keeper, clock } = this.#parts;
    const { scripts, meter } = type;
    const sinceMs = clock.monotonicMs();
    try {
      const granted = await waiting.acquire(scripts, request, options.waitMs, options.signal);
      meter.acquired(granted ? 'granted' : 'refused', clock.monotonicMs() - sinceMs);
      if (!granted) return undefined;
      const lease = keeper.keep(scripts, request, granted, { autoExtend: options.autoExtend, meter });
      if (options.waitReplicas) await this.#replicate(type, request, lease, options.waitReplicas);
      return lease;
    } catch (error) {
      const outcome = outcomeOf(error);
      if (outcome) meter.acquired(outcome, clock.monotonicMs() - sinceMs);
      throw error;
    }
  }

  async #replicate(
    type: LockType,
    request: LockRequest,
    lease: Lease,
    wanted: { readonly count: number; readonly withinMs: number },
  ): Promise<void> {
    try {
      await this.#parts.replicas.mustHave(type.keyOf(request.name), wanted, async (client) => {
        const { isHeld } = await type.scripts.extend(request, lease.token, request.ttlMs, client);
        return isHeld;
      });
      lease.assertHeld();
    } catch (error) {
      await lease.release();
      throw error;
    }
  }
}

/** How a failed acquire is counted; one that was granted first has been. */
function outcomeOf(error: unknown): AcquireOutcome | undefined {
  if (!(error instanceof MillraceError)) return 'aborted';
  if (error.code === 'LOCK_TIMEOUT') return 'timeout';
  if (error.code === 'LOCK_UNAVAILABLE') return 'unavailable';
  return error.code === 'LOCK_REPLICAS_MISSING' || error.code === 'LOCK_LOST' ? undefined : 'aborted';
}

/**
 * Runs the function while the lock is held, and lets go of it. What came of the function is what comes of this: a release never hides it.
 *
 * @throws MillraceError LOCK_LOST when the function has succeeded but the lock was lost meanwhile, unless that is to be ignored
 */
export async function whileHeld<L extends Held, T>(
  lock: L,
  throwsIfLost: boolean,
  run: (lock: L) => T | Promise<T>,
): Promise<T> {
  let result: T;
  try {
    result = await run(lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
  const wasLost = lock.lost;
  const outcome = await lock.release();
  if (!throwsIfLost) return result;
  if (wasLost) throw wasLost;
  if (outcome !== 'expired' && outcome !== 'stolen') return result;
  throw new MillraceError(
    'LOCK_LOST',
    `lock ${lock.names.join(', ')} was lost: it was ${outcome} when it was released`,
    {
      names: lock.names,
    },
  );
}
