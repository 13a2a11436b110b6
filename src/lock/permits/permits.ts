/** Makes the semaphores and the read-write locks of one process. */
import type { LockCore } from '../core.ts';
import { parseSemaphoreOptions, PermitOptionsReader, type SemaphoreOptions } from './permit-options.ts';
import type { PermitScripts } from './permit-scripts.ts';
import { PermitType } from './permit-type.ts';
import { ReadWriteLock } from './read-write.ts';
import type { PermitUse } from './scripts.ts';
import { Semaphore } from './semaphore.ts';

/** Semaphores and read-write locks. */
export class Permits {
  readonly #core: LockCore;
  readonly #semaphores: PermitType;
  readonly #readWrites: PermitType;
  readonly #reader: PermitOptionsReader;

  constructor(core: LockCore) {
    this.#core = core;
    this.#semaphores = new PermitType(core, 'semaphore');
    this.#readWrites = new PermitType(core, 'read-write');
    this.#reader = new PermitOptionsReader(core.reader);
  }

  /** @throws MillraceError OPTIONS_INVALID */
  semaphore(name: string, options: SemaphoreOptions): Semaphore {
    return new Semaphore(this.#semaphores, this.#reader, name, parseSemaphoreOptions(name, options));
  }

  /** The scripts of one use, for whoever looks at all locks. */
  scriptsOf(use: PermitUse): PermitScripts {
    return (use === 'semaphore' ? this.#semaphores : this.#readWrites).scripts;
  }

  readWrite(name: string): ReadWriteLock {
    return new ReadWriteLock(this.#core, this.#readWrites, name);
  }
}
