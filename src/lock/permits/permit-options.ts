/** The options of semaphores, checked once. */
import { z } from 'zod';
import { checkOptions } from '../../schema.ts';
import {
  lockOptionsShape,
  type LockOptions,
  type LockOptionsReader,
  type ParsedLockOptions,
  type UsingOptions,
} from '../options.ts';

/** More are a mistake. */
export const MOST_PERMITS = 1_000_000_000;

/** Options of a semaphore. */
export interface SemaphoreOptions {
  /** How many permits there are, unless setPermits() has said otherwise. All callers should say the same. */
  permits: number;
}

/** Options of one acquire of a semaphore. */
export interface PermitOptions extends LockOptions {
  /** How many permits to take. Default 1; never more than there are. */
  weight?: number | undefined;
}

/** Options of a semaphore's using(). */
export interface PermitUsingOptions extends UsingOptions {
  /** How many permits to take. Default 1; never more than there are. */
  weight?: number | undefined;
}

/** Options of one acquire, as they are worked with. */
export interface ParsedPermitOptions extends ParsedLockOptions {
  readonly weight: number;
}

const semaphoreSchema = z.strictObject({ permits: z.int().min(1).max(MOST_PERMITS) });
const permitSchema = z.strictObject({ ...lockOptionsShape, weight: z.int().min(1).optional() });

/** How many permits a semaphore declares. @throws MillraceError OPTIONS_INVALID */
export function parseSemaphoreOptions(name: string, options: SemaphoreOptions): number {
  return checkOptions(semaphoreSchema, options, `semaphore ${name}`).permits;
}

/** Checks the options of acquires, with the defaults of the process. */
export class PermitOptionsReader {
  readonly #reader: LockOptionsReader;

  constructor(reader: LockOptionsReader) {
    this.#reader = reader;
  }

  /** @throws MillraceError OPTIONS_INVALID */
  read(options: PermitUsingOptions | undefined, owner: string): ParsedPermitOptions {
    if (options === undefined) return { ...this.#reader.read(undefined, owner), weight: 1 };
    return this.#readPlain(options) ?? this.#check(options, owner);
  }

  #check(options: PermitUsingOptions, owner: string): ParsedPermitOptions {
    const { weight = 1, ...rest } = checkOptions(permitSchema, options, owner);
    return { ...this.#reader.withDefaults(rest), weight };
  }

  /** As LockOptionsReader does, which knows no weight. */
  #readPlain(options: PermitUsingOptions): ParsedPermitOptions | undefined {
    if (options === null || typeof options !== 'object') return undefined;
    const { weight = 1, ...rest } = options;
    if (!Number.isSafeInteger(weight) || weight < 1) return undefined;
    const parsed = this.#reader.readPlain(rest);
    return parsed && { ...parsed, weight };
  }
}
