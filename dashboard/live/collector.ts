/**
 * The one process of all that looks, while somebody watches or alerts are on.
 *
 *   idle --a tab is opened, or alerts are on--> candidate --has the lease--> collecting --a look every few seconds--> collecting
 *    ^                                              ^                            |
 *    '---------- nobody watches any more -----------'------ the lease is lost ---'
 *
 * Promise: Redis is looked at by one process at a time, however many dashboards and tabs are open; a collector that crashes is replaced within
 * the lease (6 s), one that stops at once. Who was replaced and does not know yet publishes what nobody takes, as its fence is older.
 * Redis down: the candidate asks again every second; the pages show since when nothing is new.
 */
import { once } from 'node:events';
import {
  isMillraceError,
  systemClock,
  withDeadline,
  MillraceError,
  type Lock,
  type Logger,
  type Platform,
} from 'millrace';
import type { Look, Observer } from './look.ts';
import { snapshotTopic, type Snapshot } from './snapshot.ts';

/** What fires, and how many things cannot be judged. */
export type Verdict = Required<Pick<Snapshot, 'alerts' | 'unjudged'>>;

/** What is done with each look beside publishing it: alerts. Undefined where they are off. */
export type Judge = (look: Look, lock: Lock) => Promise<Verdict | undefined>;

/** What the collector is made of. */
export interface CollectorParts {
  readonly platform: Platform;
  readonly log: Logger;
  readonly observer: Observer;
  readonly everyMs: number;
  /** Whether anybody in this process needs what is collected. */
  readonly isWanted: () => boolean;
  readonly judge: Judge;
  readonly onSnapshot: (snapshot: Snapshot) => void;
  /** How long a look may take until it is told as trouble; three times as long, and the lease is given up. Default 10 s. */
  readonly longestLookMs?: number;
}

const LEASE = 'dashboard.collector';
const LONGEST_LEASE_MS = 6_000;
const SHORTEST_LEASE_MS = 1_000;
const AGAIN_MS = 1_000;
const LONGEST_LOOK_MS = 10_000;

export class Collector {
  readonly #parts: CollectorParts;
  readonly #stopping = new AbortController();
  readonly #leaseMs: number;
  #running: Promise<void> | undefined;
  #wake: () => void = () => undefined;
  #trouble: unknown;
  #isCollecting = false;

  constructor(parts: CollectorParts) {
    this.#parts = parts;
    this.#leaseMs = Math.min(LONGEST_LEASE_MS, Math.max(SHORTEST_LEASE_MS, parts.everyMs * 3));
  }

  /** Whether this process has the lease. */
  get isCollecting(): boolean {
    return this.#isCollecting;
  }

  /** What the last attempt to look met; undefined after one that went well. */
  get trouble(): unknown {
    return this.#trouble;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Somebody may want it now. */
  wake(): void {
    this.#wake();
  }

  /** Gives up the lease, so that another one goes on at once. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      if (this.#parts.isWanted()) await this.#tryToCollect(signal);
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async #tryToCollect(signal: AbortSignal): Promise<void> {
    const { platform, log } = this.#parts;
    try {
      const lock = await platform.locks.acquire(LEASE, { ttl: this.#leaseMs, wait: Number.POSITIVE_INFINITY, signal });
      try {
        this.#isCollecting = true;
        log.debug({ fence: lock.token }, 'this process collects for all dashboards');
        await this.#collect(lock, AbortSignal.any([signal, lock.signal]));
      } finally {
        this.#isCollecting = false;
        await lock.release();
      }
    } catch (error) {
      // The platform was stopped before its dashboard: nothing comes any more.
      if (isMillraceError(error, 'CLOSED')) this.#stopping.abort();
      if (signal.aborted) return;
      this.#trouble = error;
      await systemClock.sleep(AGAIN_MS, { signal }).catch(() => undefined);
    }
  }

  async #collect(lock: Lock, signal: AbortSignal): Promise<void> {
    const { everyMs, isWanted, longestLookMs = LONGEST_LOOK_MS } = this.#parts;
    for (let round = 1; !signal.aborted && isWanted(); round += 1) {
      const beganMs = systemClock.monotonicMs();
      const looking = this.#look(lock, round);
      await this.#watch(looking, longestLookMs, signal);
      // One that is late still judges and writes, so the next one waits for it. Where it never ends, another lease is had, whose fence is newer.
      await withDeadline(untilOver(looking, signal), longestLookMs * 2, () => late(longestLookMs * 3));
      const tookMs = systemClock.monotonicMs() - beganMs;
      // However long a look takes, Redis has as long a rest from it.
      await systemClock.sleep(Math.max(everyMs - tookMs, everyMs / 4, tookMs), { signal }).catch(() => undefined);
    }
  }

  /** Notes whether a look goes well. */
  async #watch(looking: Promise<void>, longestMs: number, signal: AbortSignal): Promise<void> {
    try {
      await withDeadline(Promise.race([looking, untilOver(looking, signal)]), longestMs, () => late(longestMs));
      this.#trouble = undefined;
    } catch (error) {
      if (this.#trouble === undefined && !signal.aborted)
        this.#parts.log.warn({ err: error }, 'the dashboard could not look at Redis; tried again');
      this.#trouble = error;
    }
  }

  async #look(lock: Lock, round: number): Promise<void> {
    const { platform, observer, judge, onSnapshot } = this.#parts;
    const beganMs = systemClock.monotonicMs();
    const look = await observer.look();
    const verdict = await judge(look, lock);
    if (!lock.held) return;
    // The next one comes after as long a rest.
    const everyMs = Math.max(this.#parts.everyMs, Math.round((systemClock.monotonicMs() - beganMs) * 2));
    const snapshot: Snapshot = { at: look.at, everyMs, fence: lock.token, round, ...look.found, ...verdict };
    onSnapshot(snapshot);
    await platform.pubsub.publish(snapshotTopic, snapshot);
  }
}

function late(ms: number): MillraceError {
  return new MillraceError('REDIS_TIMEOUT', `no look within ${ms} ms`, {});
}

/** Resolves when a look has ended in any way, or its result is of no use any more. */
async function untilOver(looking: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const over = new AbortController();
  const aborted = once(signal, 'abort', { signal: over.signal }).catch(() => undefined);
  await Promise.race([looking.catch(() => undefined), aborted]);
  over.abort();
}
