/**
 * A read-write lock: many readers at once or one writer, in the order of asking, across all processes.
 *
 * Promise: while a writer holds, nobody else does. Readers that come one after the other hold together; a reader that comes after a waiting
 * writer waits behind it, so neither is starved. A writer may become a reader without anybody getting in between (downgrade); a reader
 * cannot become a writer, because two that tried would wait for each other: release, and ask to write. The token of a writer is greater than
 * those of all before, so storage that refuses older tokens is safe from a writer that was paused.
 * Keys: see scripts.ts; a writer takes all permits, a reader one. Redis down: as with every lock, acquiring throws LOCK_UNAVAILABLE, and
 * what is held is lost with its lease.
 */
import { whileHeld } from '../acquirer.ts';
import type { LockCore } from '../core.ts';
import type { Lease } from '../lease-keeper.ts';
import type { Lock } from '../lock.ts';
import type { LockOptions, ParsedLockOptions, UsingOptions } from '../options.ts';
import type { PermitRequest } from './permit-scripts.ts';
import { holderOf, optionsAndWork, refused, type PermitHolder, type PermitType, type Work } from './permit-type.ts';
import { WriteLock } from './write-lock.ts';

/** So many readers at once at most. */
const MOST_READERS = 1_000_000;
const READER = { weight: 1, mode: 'read', declared: MOST_READERS } as const;
const WRITER = { weight: MOST_READERS, mode: 'write', declared: MOST_READERS } as const;

/** A read-write lock as it stands in Redis. */
export interface ReadWriteInspection {
  readonly name: string;
  readonly writer: PermitHolder | undefined;
  /** The first thousand, those first whose leases end first. */
  readonly readers: readonly PermitHolder[];
  /** The first thousand, in the order in which they will be granted. */
  readonly waiters: ReadonlyArray<{
    readonly owner: string;
    readonly mode: 'read' | 'write';
    readonly waitedMs: number;
  }>;
  /** How many wait in all. */
  readonly waiting: number;
}

/** Many readers or one writer. */
export class ReadWriteLock {
  readonly name: string;
  readonly #core: LockCore;
  readonly #type: PermitType;

  constructor(core: LockCore, type: PermitType, name: string) {
    this.name = name;
    this.#core = core;
    this.#type = type;
  }

  /**
   * Runs the function while nobody writes, beside other readers.
   *
   * @example
   * const prices = await locks.readWrite('prices').read(async ({ signal }) => loadPrices(signal));
   * @throws MillraceError LOCK_TIMEOUT, LOCK_UNAVAILABLE; LOCK_LOST when the function succeeded but the lock was lost meanwhile; what the
   *   function throws
   */
  read<T>(run: Work<Lock, T>): Promise<T>;
  read<T>(options: UsingOptions, run: Work<Lock, T>): Promise<T>;
  async read<T>(first: UsingOptions | Work<Lock, T>, second?: Work<Lock, T>): Promise<T> {
    const [options, run] = optionsAndWork(first, second, 'read');
    const parsed = this.#core.reader.read(options, 'read');
    return whileHeld<Lock, T>(await this.#mustRead(parsed), parsed.throwsIfLost, run);
  }

  /**
   * Runs the function while nobody else reads or writes.
   *
   * @example
   * await locks.readWrite('prices').write({ wait: '30s' }, async (lock) => {
   *   await savePrices(lock.token);
   *   await lock.downgrade(); // Readers come in; other writers do not.
   *   await tellTheShops();
   * });
   * @throws MillraceError LOCK_TIMEOUT, LOCK_UNAVAILABLE; LOCK_LOST when the function succeeded but the lock was lost meanwhile; what the
   *   function throws
   */
  write<T>(run: Work<WriteLock, T>): Promise<T>;
  write<T>(options: UsingOptions, run: Work<WriteLock, T>): Promise<T>;
  async write<T>(first: UsingOptions | Work<WriteLock, T>, second?: Work<WriteLock, T>): Promise<T> {
    const [options, run] = optionsAndWork(first, second, 'write');
    const parsed = this.#core.reader.read(options, 'write');
    return whileHeld(await this.#mustWrite(parsed), parsed.throwsIfLost, run);
  }

  /** The lock to read; whoever has it must release it. @throws MillraceError LOCK_TIMEOUT, LOCK_UNAVAILABLE, LOCK_REPLICAS_MISSING */
  async acquireRead(options?: LockOptions): Promise<Lock> {
    return this.#mustRead(this.#core.reader.read(options, 'acquireRead'));
  }

  /** The lock to write; whoever has it must release it. @throws MillraceError LOCK_TIMEOUT, LOCK_UNAVAILABLE, LOCK_REPLICAS_MISSING */
  async acquireWrite(options?: LockOptions): Promise<WriteLock> {
    return this.#mustWrite(this.#core.reader.read(options, 'acquireWrite'));
  }

  /** The lock to read, if nobody writes or waits to; undefined otherwise. @throws MillraceError LOCK_UNAVAILABLE */
  async tryAcquireRead(options?: Omit<LockOptions, 'wait'>): Promise<Lock | undefined> {
    const parsed = { ...this.#core.reader.read(options, 'tryAcquireRead'), waitMs: 0 };
    return (await this.#type.take(this.name, READER, parsed))?.lease;
  }

  /** The lock to write, if nobody holds it or waits for it; undefined otherwise. @throws MillraceError LOCK_UNAVAILABLE */
  async tryAcquireWrite(options?: Omit<LockOptions, 'wait'>): Promise<WriteLock | undefined> {
    const parsed = { ...this.#core.reader.read(options, 'tryAcquireWrite'), waitMs: 0 };
    const taken = await this.#type.take(this.name, WRITER, parsed);
    return taken && this.#writeLock(taken);
  }

  /** Who reads, who writes and who waits. @throws MillraceError LOCK_UNAVAILABLE */
  async inspect(): Promise<ReadWriteInspection> {
    const { name } = this;
    const seen = await this.#type.ask(name, () => this.#type.scripts.inspect(name, MOST_READERS));
    const writer = seen.holders.find(({ mode }) => mode === WRITER.mode);
    return {
      name,
      writer: writer && holderOf(writer),
      readers: seen.holders.filter((entry) => entry !== writer).map(holderOf),
      waiters: seen.waiters.map(({ process, mode, ms }) => ({
        owner: process,
        mode: mode === WRITER.mode ? 'write' : 'read',
        waitedMs: ms,
      })),
      waiting: seen.waiting,
    };
  }

  /**
   * Takes the lock away from the reader or writer of a token, as inspect() tells of it. Its signal aborts as soon as its process hears of
   * it; it may still be at work.
   *
   * @returns whether anybody held by that token
   * @throws MillraceError LOCK_UNAVAILABLE
   */
  forceRelease(token: number): Promise<boolean> {
    return this.#type.force(this.name, token);
  }

  async #mustRead(options: ParsedLockOptions): Promise<Lock> {
    const taken = await this.#type.take(this.name, READER, options);
    if (!taken) throw refused(this.name);
    return taken.lease;
  }

  async #mustWrite(options: ParsedLockOptions): Promise<WriteLock> {
    const taken = await this.#type.take(this.name, WRITER, options);
    if (!taken) throw refused(this.name);
    return this.#writeLock(taken);
  }

  #writeLock({ lease, request }: { lease: Lease; request: PermitRequest }): WriteLock {
    return new WriteLock(lease, () =>
      this.#type.ask(this.name, async () => {
        const kept = await this.#type.scripts.keep(request, READER.weight, READER.mode);
        if (kept) this.#core.waiting.handOver(this.#type.scripts, this.name, kept.granted, kept.sentAtMs);
        return kept !== undefined;
      }),
    );
  }
}
