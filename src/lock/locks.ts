/**
 * Locks: one holder at a time, in the order of asking, across all processes.
 *
 * Promise: two holders overlap only if one is paused past its lease and looks neither at `lock.signal` nor at `lock.held`, or if a failover
 * or a restart of Redis loses the write. `lock.token` grows with each holder, so storage that refuses older tokens stays right even
 * then. Waiters are served in the order in which Redis heard of them, without polling. No machine's clock counts but the server's;
 * processes only measure durations.
 * Keys: see mutex-scripts.ts, permits/scripts.ts and fence.ts.
 * Redis down: acquire() throws LOCK_UNAVAILABLE; what is held is lost once its lease has run out here, and its signal aborts then.
 */
import { z } from 'zod';
import { formatMs, type Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import { checkOptions } from '../schema.ts';
import { whileHeld, type LockType } from './acquirer.ts';
import { createLockCore, type LockConnections, type LockCore } from './core.ts';
import { Fence } from './fence.ts';
import { inspectLock, type LockInspection } from './inspect.ts';
import { listLocks, type LockListing, type LockListOptions } from './list.ts';
import { LockSet } from './lock-set.ts';
import type { Lock } from './lock.ts';
import { MutexScripts } from './mutex-scripts.ts';
import type { LockOptions, LocksOptions, ParsedLockOptions, UsingOptions } from './options.ts';
import type { SemaphoreOptions } from './permits/permit-options.ts';
import type { PermitScripts } from './permits/permit-scripts.ts';
import { Permits } from './permits/permits.ts';
import type { ReadWriteLock } from './permits/read-write.ts';
import type { PermitUse } from './permits/scripts.ts';
import type { Semaphore } from './permits/semaphore.ts';
import { unavailable } from './waiting.ts';

const forceReleaseSchema = z.strictObject({ token: z.number().int().optional() });

/** What runs while a lock is held. */
type Work<L, T> = (lock: L) => T | Promise<T>;

/**
 * The locks of one process.
 *
 * @example
 * const locks = createLocks(connections, { log });
 * await locks.using('order:42', async (lock) => {
 *   await ship(order, { signal: lock.signal, fence: lock.token });
 * });
 * await locks.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createLocks(connections: LockConnections, options: LocksOptions = {}): Locks {
  return new Locks(createLockCore(connections, options));
}

/** Takes, inspects and breaks locks. */
export class Locks {
  readonly #core: LockCore;
  readonly #scripts: MutexScripts;
  readonly #mutex: LockType;
  readonly #permits: Permits;
  #stopping: Promise<void> | undefined;

  constructor(core: LockCore) {
    this.#core = core;
    this.#scripts = new MutexScripts(core);
    core.waiting.register(this.#scripts);
    this.#permits = new Permits(core);
    this.#mutex = {
      scripts: this.#scripts,
      meter: core.meterOf('mutex'),
      keyOf: (name) => this.#scripts.keyOf(name),
    };
  }

  /**
   * Runs the function while it alone holds the lock, or all of several locks, and lets go of it, whatever comes of the function.
   *
   * @example
   * const total = await locks.using('order:42', { ttl: '30s', wait: '5s' }, async (lock) => {
   *   const order = await load(42, { signal: lock.signal });
   *   lock.assertHeld();
   *   return save(order, { fence: lock.token });
   * });
   * await locks.using(['account:1', 'account:2'], async ({ tokens }) => transfer(tokens));
   * @returns what the function gives
   * @throws MillraceError LOCK_TIMEOUT, LOCK_UNAVAILABLE; LOCK_LOST when the function succeeded but the lock was lost meanwhile; what the
   *   function throws
   */
  using<T>(name: string, run: Work<Lock, T>): Promise<T>;
  using<T>(name: string, options: UsingOptions, run: Work<Lock, T>): Promise<T>;
  using<T>(names: readonly string[], run: Work<LockSet, T>): Promise<T>;
  using<T>(names: readonly string[], options: UsingOptions, run: Work<LockSet, T>): Promise<T>;
  async using<T>(
    what: string | readonly string[],
    second: UsingOptions | Work<never, T>,
    third?: Work<never, T>,
  ): Promise<T> {
    const [options, run] = typeof second === 'function' ? [undefined, second] : [second, third];
    if (typeof run !== 'function') throw notFunction();
    const parsed = this.#core.reader.read(options, 'using');
    const lock = (await this.#take(what, parsed)) ?? refuse(what, parsed.waitMs);
    return whileHeld(lock, parsed.throwsIfLost, run as Work<Lock | LockSet, T>);
  }

  /**
   * The lock, or several at once; whoever has it must release it.
   *
   * @example
   * await using lock = await locks.acquire('order:42', { wait: '5s', signal });
   * @throws MillraceError LOCK_TIMEOUT when it is not granted within `wait`; LOCK_UNAVAILABLE, LOCK_REPLICAS_MISSING; the reason of the signal
   */
  acquire(name: string, options?: LockOptions): Promise<Lock>;
  acquire(names: readonly string[], options?: LockOptions): Promise<LockSet>;
  async acquire(what: string | readonly string[], options?: LockOptions): Promise<Lock | LockSet> {
    const parsed = this.#core.reader.read(options, 'acquire');
    return (await this.#take(what, parsed)) ?? refuse(what, parsed.waitMs);
  }

  /**
   * The lock if it is free at this moment and nobody waits for it; undefined otherwise.
   *
   * @example
   * const lock = await locks.tryAcquire('nightly-report');
   * if (!lock) return; // Another process makes it.
   * @throws MillraceError LOCK_UNAVAILABLE, LOCK_REPLICAS_MISSING
   */
  tryAcquire(name: string, options?: Omit<LockOptions, 'wait'>): Promise<Lock | undefined>;
  tryAcquire(names: readonly string[], options?: Omit<LockOptions, 'wait'>): Promise<LockSet | undefined>;
  async tryAcquire(
    what: string | readonly string[],
    options?: Omit<LockOptions, 'wait'>,
  ): Promise<Lock | LockSet | undefined> {
    return this.#take(what, { ...this.#core.reader.read(options, 'tryAcquire'), waitMs: 0 });
  }

  /**
   * A semaphore: so many at once.
   *
   * @example
   * await locks.semaphore('exports', { permits: 5 }).using({ weight: 2 }, ({ signal }) => exportAll(signal));
   * @throws MillraceError OPTIONS_INVALID
   */
  semaphore(name: string, options: SemaphoreOptions): Semaphore {
    return this.#permits.semaphore(name, options);
  }

  /**
   * A read-write lock: many readers or one writer.
   *
   * @example
   * const prices = await locks.readWrite('prices').read(() => loadPrices());
   * await locks.readWrite('prices').write(({ token }) => savePrices(prices, { fence: token }));
   */
  readWrite(name: string): ReadWriteLock {
    return this.#permits.readWrite(name);
  }

  /**
   * A fence: what a store asks before it lets the holder of a token write, where it cannot compare tokens itself.
   *
   * @example
   * const { accepted } = await locks.fence('ledger').check(lock.token);
   * @param memory How long the newest token is remembered after anybody came. Default 7 days.
   */
  fence(resource: string, memory?: Duration): Fence {
    return new Fence(this.#core, resource, memory);
  }

  /**
   * Who holds the lock, and who waits for it.
   *
   * @example
   * const { holder, waiting } = await locks.inspect('order:42');
   * @throws MillraceError LOCK_UNAVAILABLE when Redis could not be asked
   */
  inspect(name: string): Promise<LockInspection> {
    return askedOf(name, inspectLock(this.#scripts, name));
  }

  /**
   * The locks of all processes that are held or waited for now: mutexes, semaphores and read-write locks. It looks through the keys of all
   * servers within bounds, so it is for operators; `isWhole` tells whether it came to the end, and `cursor` goes on.
   *
   * @example
   * const { locks: held, isWhole } = await locks.list({ limit: 50 });
   * for (const { name, holders, waiting } of held) console.log(name, holders[0]?.owner, waiting);
   * @throws MillraceError OPTIONS_INVALID; LOCK_UNAVAILABLE when Redis could not be asked; the reason of the signal
   */
  async list(options: LockListOptions = {}): Promise<LockListing> {
    const { connections, keys, guard, clock } = this.#core;
    const permits = (use: PermitUse): PermitScripts => this.#permits.scriptsOf(use);
    try {
      return await listLocks({ connections, keys, guard, clock, mutexes: this.#scripts, permits }, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      throw unavailable('list', error);
    }
  }

  /**
   * Takes the lock away from whoever holds it, and hands it to the first who waits. The holder's signal aborts as soon as its process hears
   * of it; it may still be at work, so this is for operators who know that it is not.
   *
   * @example
   * const { holder } = await locks.inspect('order:42');
   * if (holder) await locks.forceRelease('order:42', { token: holder.token }); // false when it held it no more
   * @param options `token`: only from the holder with this token, so that it never hits the one that came after it
   * @returns whether it was taken from anybody
   * @throws MillraceError OPTIONS_INVALID; LOCK_UNAVAILABLE when Redis could not be asked
   */
  async forceRelease(name: string, options: { token?: number | undefined } = {}): Promise<boolean> {
    const { token } = checkOptions(forceReleaseSchema, options, 'forceRelease');
    return askedOf(name, this.#scripts.force(name, token));
  }

  /**
   * Whoever waits is told CLOSED; whoever holds is told so by its signal, and its lease ends by itself unless it is released. Safe twice.
   *
   * @example
   * await locks.stop();
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#core.stop();
    return this.#stopping;
  }

  #take(what: string | readonly string[], options: ParsedLockOptions): Promise<Lock | LockSet | undefined> {
    return typeof what === 'string' ? this.#takeOne(what, options) : this.#takeAll(what, options);
  }

  #takeOne(name: string, options: ParsedLockOptions): Promise<Lock | undefined> {
    const { waiting, acquirer } = this.#core;
    const waiterId = waiting.nextId(this.#scripts.kind);
    return acquirer.take(this.#mutex, { name, waiterId, ttlMs: options.ttlMs }, options);
  }

  async #takeAll(given: readonly string[], options: ParsedLockOptions): Promise<LockSet | undefined> {
    if (!Array.isArray(given) || given.length === 0) {
      const message = `acquire: expected a name, or a list of at least one, got ${describeValue(given)}`;
      throw new MillraceError('OPTIONS_INVALID', message);
    }
    const names = [...new Set<string>(given)].toSorted();
    const { clock } = this.#core;
    const untilMs = clock.monotonicMs() + options.waitMs;
    const locks: Lock[] = [];
    try {
      for (const name of names) {
        const waitMs = Math.max(0, untilMs - clock.monotonicMs());
        const lock = await this.#takeOne(name, { ...options, waitMs });
        if (!lock) break;
        locks.push(lock);
      }
      if (locks.length === names.length) {
        const set = new LockSet(locks);
        set.assertHeld();
        return set;
      }
    } catch (error) {
      await releaseAll(locks);
      throw error;
    }
    await releaseAll(locks);
    return undefined;
  }
}

/** Who may not wait, and would have to; or whose time was over before the last of several was asked for. */
function refuse(what: string | readonly string[], waitMs: number): never {
  const names = typeof what === 'string' ? what : what.join(', ');
  const why = waitMs > 0 ? `not granted within ${formatMs(waitMs)}` : 'held by another, and not to be waited for';
  throw new MillraceError('LOCK_TIMEOUT', `lock ${names}: ${why}`, { names, waitMs });
}

async function releaseAll(locks: readonly Lock[]): Promise<void> {
  await Promise.all(locks.map((lock) => lock.release()));
}

async function askedOf<T>(name: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw unavailable(name, error);
  }
}

function notFunction(): MillraceError {
  return new MillraceError('OPTIONS_INVALID', 'using: expected a function to run while the lock is held', {});
}
