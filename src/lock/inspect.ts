/** A lock as it stands in Redis, for people. */
import type { MutexScripts } from './mutex-scripts.ts';

/** Of how many waiters it is told who they are. */
const SHOWN_WAITERS = 100;

/** Who holds a lock, and who waits for it. */
export interface LockInspection {
  readonly name: string;
  /** Undefined when the lock is free. */
  readonly holder: LockHolder | undefined;
  /** The first hundred, in the order in which they will be granted the lock. */
  readonly waiters: readonly LockWaiter[];
  /** How many wait in all. */
  readonly waiting: number;
}

/** Whoever holds a lock. */
export interface LockHolder {
  /** Its process: host, process id, and what tells two of the same id apart. */
  readonly owner: string;
  readonly token: number;
  /** Since it was granted the lock, as its token tells: that is the time in µs, unless the server's clock was set back. */
  readonly heldMs: number;
  /** Until its lease ends, unless it is extended. */
  readonly remainingMs: number;
  /** Whether it knows yet: it was handed the lock by another process, and has not said that it took it. */
  readonly confirmed: boolean;
}

/** Somebody who waits. */
export interface LockWaiter {
  readonly owner: string;
  /** The lease that it will have. */
  readonly ttlMs: number;
}

/** Looks at a mutex. */
export async function inspectLock(
  scripts: Pick<MutexScripts, 'inspect'>,
  name: string,
  shown: number = SHOWN_WAITERS,
): Promise<LockInspection> {
  const { holder, leaseMs, waiting, nowUs, waiters } = await scripts.inspect(name, shown);
  const [owner = '', , , token, claim] = holder?.split('|') ?? [];
  return {
    name,
    holder: holder
      ? {
          owner,
          token: Number(token),
          heldMs: heldMsOf(Number(token), nowUs),
          remainingMs: Math.max(0, leaseMs),
          confirmed: claim === undefined,
        }
      : undefined,
    waiters: waiters.map((entry) => {
      const [process = '', , ttlMs] = entry.split('|');
      return { owner: process, ttlMs: Number(ttlMs) };
    }),
    waiting,
  };
}

/** How long ago a token was given. */
export function heldMsOf(token: number, nowUs: number): number {
  return Math.max(0, Math.floor((nowUs - token) / 1_000));
}
