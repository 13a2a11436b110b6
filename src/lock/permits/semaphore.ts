/**
 * A semaphore: as many at once as there are permits, in the order of asking, across all processes.
 *
 * Promise: the weights of those who hold never exceed the permits, unless permits were taken away while they were held, or Redis lost a
 * write (a failover, a restart without persistence). Each holder has a lease of its own; one that dies gives back by it. Nobody passes
 * a heavy waiter. Tokens grow from grant to grant; as several hold at once, they tell who came later, and fence nobody off.
 * Keys: see scripts.ts. Redis down: as with every lock, acquire() throws LOCK_UNAVAILABLE, and what is held is lost with its lease.
 */
import { describeValue, MillraceError } from '../../errors.ts';
import { whileHeld } from '../acquirer.ts';
import type { Lock } from '../lock.ts';
import {
  MOST_PERMITS,
  type ParsedPermitOptions,
  type PermitOptions,
  type PermitOptionsReader,
  type PermitUsingOptions,
} from './permit-options.ts';
import { holderOf, optionsAndWork, refused, type PermitHolder, type PermitType, type Work } from './permit-type.ts';

/** A semaphore as it stands in Redis. */
export interface SemaphoreInspection {
  readonly name: string;
  /** How many permits there are: by setPermits(), else by what the caller declares. */
  readonly permits: number;
  /** By all holders together. */
  readonly used: number;
  /** The first thousand, those first whose leases end first. */
  readonly holders: ReadonlyArray<PermitHolder & { readonly weight: number }>;
  /** The first thousand, in the order in which they will be granted. */
  readonly waiters: ReadonlyArray<{ readonly owner: string; readonly weight: number; readonly waitedMs: number }>;
  /** How many wait in all. */
  readonly waiting: number;
}

/** So many at once. */
export class Semaphore {
  readonly name: string;
  readonly #type: PermitType;
  readonly #reader: PermitOptionsReader;
  readonly #declared: number;

  constructor(type: PermitType, reader: PermitOptionsReader, name: string, declared: number) {
    this.name = name;
    this.#type = type;
    this.#reader = reader;
    this.#declared = declared;
  }

  /**
   * Runs the function while it holds permits, and gives them back, whatever comes of the function.
   *
   * @example
   * await locks.semaphore('exports', { permits: 5 }).using({ weight: 2, wait: '1m' }, async ({ signal }) => exportAll(signal));
   * @throws MillraceError LOCK_TIMEOUT, LOCK_UNAVAILABLE; LOCK_LOST when the function succeeded but the permits were lost meanwhile;
   *   what the function throws
   */
  using<T>(run: Work<Lock, T>): Promise<T>;
  using<T>(options: PermitUsingOptions, run: Work<Lock, T>): Promise<T>;
  async using<T>(first: PermitUsingOptions | Work<Lock, T>, second?: Work<Lock, T>): Promise<T> {
    const [options, run] = optionsAndWork(first, second, 'using');
    const parsed = this.#read(options, 'using');
    return whileHeld(await this.#mustTake(parsed), parsed.throwsIfLost, run);
  }

  /**
   * Permits; whoever has them must release them.
   *
   * @throws MillraceError LOCK_TIMEOUT when they are not granted within `wait`; LOCK_UNAVAILABLE, LOCK_REPLICAS_MISSING; the reason of the
   *   signal
   */
  async acquire(options?: PermitOptions): Promise<Lock> {
    return this.#mustTake(this.#read(options, 'acquire'));
  }

  /**
   * Permits, if they are there at this moment and nobody waits before; undefined otherwise.
   *
   * @throws MillraceError LOCK_UNAVAILABLE, LOCK_REPLICAS_MISSING
   */
  async tryAcquire(options?: Omit<PermitOptions, 'wait'>): Promise<Lock | undefined> {
    return this.#take({ ...this.#read(options, 'tryAcquire'), waitMs: 0 });
  }

  /**
   * Sets how many permits there are, for all processes and until it is set again or unset, whatever they declare. More are granted to
   * those who wait at once. When there are fewer, those who hold keep what they have, and nobody is granted any until enough are back.
   * 0 lets nobody in.
   *
   * @throws MillraceError OPTIONS_INVALID, LOCK_UNAVAILABLE
   */
  async setPermits(permits: number): Promise<void> {
    if (!Number.isSafeInteger(permits) || permits < 0 || permits > MOST_PERMITS) {
      const message = `semaphore ${this.name}: permits: expected a whole number from 0 to ${MOST_PERMITS}, got ${describeValue(permits)}`;
      throw new MillraceError('OPTIONS_INVALID', message, { name: this.name });
    }
    await this.#type.ask(this.name, () => this.#type.scripts.setPermits(this.name, permits));
  }

  /** What callers declare counts again. @throws MillraceError LOCK_UNAVAILABLE */
  async unsetPermits(): Promise<void> {
    await this.#type.ask(this.name, () => this.#type.scripts.unsetPermits(this.name, this.#declared));
  }

  /** Who holds permits, and who waits for them. @throws MillraceError LOCK_UNAVAILABLE */
  async inspect(): Promise<SemaphoreInspection> {
    const { name } = this;
    const seen = await this.#type.ask(name, () => this.#type.scripts.inspect(name, this.#declared));
    return {
      name,
      permits: seen.permits,
      used: seen.used,
      holders: seen.holders.map((entry) => ({ ...holderOf(entry), weight: entry.weight })),
      waiters: seen.waiters.map(({ process, weight, ms }) => ({ owner: process, weight, waitedMs: ms })),
      waiting: seen.waiting,
    };
  }

  /**
   * Takes away what the holder of a token holds, as inspect() tells of it. Its signal aborts as soon as its process hears of it; it may
   * still be at work.
   *
   * @returns whether anybody held by that token
   * @throws MillraceError LOCK_UNAVAILABLE
   */
  forceRelease(token: number): Promise<boolean> {
    return this.#type.force(this.name, token);
  }

  #read(options: PermitUsingOptions | undefined, owner: string): ParsedPermitOptions {
    const parsed = this.#reader.read(options, owner);
    if (parsed.weight <= this.#declared) return parsed;
    const message = `${owner}: weight: expected at most ${this.#declared}, the permits of semaphore ${this.name}, got ${parsed.weight}`;
    throw new MillraceError('OPTIONS_INVALID', message, { name: this.name });
  }

  async #mustTake(options: ParsedPermitOptions): Promise<Lock> {
    const lock = await this.#take(options);
    if (!lock) throw refused(this.name);
    return lock;
  }

  async #take(options: ParsedPermitOptions): Promise<Lock | undefined> {
    const wanted = { weight: options.weight, mode: 'permits', declared: this.#declared };
    return (await this.#type.take(this.name, wanted, options))?.lease;
  }
}
