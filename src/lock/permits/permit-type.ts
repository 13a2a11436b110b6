/** What semaphores and read-write locks have in common: permits of one use, asked for by requests, kept as leases. */
import { MillraceError } from '../../errors.ts';
import type { LockType } from '../acquirer.ts';
import type { LockCore } from '../core.ts';
import type { Lease } from '../lease-keeper.ts';
import type { Lock } from '../lock.ts';
import type { ParsedLockOptions } from '../options.ts';
import { unavailable } from '../waiting.ts';
import { PermitScripts, type PermitRequest } from './permit-scripts.ts';
import type { HeldEntry, PermitUse } from './scripts.ts';

/** What runs while something is held. */
export type Work<L, T> = (lock: L) => T | Promise<T>;

/** How many permits a request takes, and what for. */
export type PermitsWanted = Pick<PermitRequest, 'weight' | 'mode' | 'declared'>;

/** Permits of one use: how they are asked for, counted and told of. */
export class PermitType implements LockType {
  readonly scripts: PermitScripts;
  readonly meter: LockType['meter'];
  readonly #core: LockCore;

  constructor(core: LockCore, use: PermitUse) {
    this.#core = core;
    this.scripts = new PermitScripts(core, use);
    this.meter = core.meterOf(use);
    core.waiting.register(this.scripts);
  }

  keyOf(name: string): string {
    return this.scripts.keysOf(name).holders;
  }

  /** The lease and its request; undefined when it may not wait and would have to. */
  async take(
    name: string,
    wanted: PermitsWanted,
    options: ParsedLockOptions,
  ): Promise<{ lease: Lease; request: PermitRequest } | undefined> {
    const { waiting, acquirer } = this.#core;
    const waiterId = waiting.nextId(this.scripts.kind);
    const request: PermitRequest = { name, waiterId, ttlMs: options.ttlMs, ...wanted };
    const lease = await acquirer.take(this, request, options);
    return lease && { lease, request };
  }

  /** Takes away what the holder of a token holds. @returns whether anybody holds by that token */
  async force(name: string, token: number): Promise<boolean> {
    return this.ask(name, () => this.scripts.takeFrom(name, token));
  }

  /** @throws MillraceError LOCK_UNAVAILABLE when Redis cannot be asked */
  async ask<T>(name: string, question: () => Promise<T>): Promise<T> {
    try {
      return await question();
    } catch (error) {
      throw unavailable(name, error);
    }
  }
}

/** What is not to be waited for, and not there. */
export function refused(name: string): MillraceError {
  return new MillraceError('LOCK_TIMEOUT', `lock ${name}: held by others, and not to be waited for`, {
    name,
    waitMs: 0,
  });
}

/** The options, if there are any, and the function. @throws MillraceError OPTIONS_INVALID without a function */
export function optionsAndWork<O extends object, L extends Lock, T>(
  first: O | Work<L, T>,
  second: Work<L, T> | undefined,
  owner: string,
): [O | undefined, Work<L, T>] {
  const [options, work] = typeof first === 'function' ? [undefined, first] : [first, second];
  if (typeof work === 'function') return [options, work];
  throw new MillraceError('OPTIONS_INVALID', `${owner}: expected a function to run while it is held`, {});
}

/** Somebody who holds permits. */
export interface PermitHolder {
  /** Its process: host, process id, and what tells two of the same id apart. */
  readonly owner: string;
  readonly token: number;
  /** Since it was granted them, as its token tells. */
  readonly heldMs: number;
  /** Until its lease ends, unless it is extended. */
  readonly remainingMs: number;
  /** Whether it knows yet: it was granted them by another process, and has not said that it took them. */
  readonly confirmed: boolean;
}

/** What is told of a holder. */
export function holderOf({ process, token, heldMs, ms, isConfirmed }: HeldEntry): PermitHolder {
  return { owner: process, token, heldMs, remainingMs: ms, confirmed: isConfirmed };
}
