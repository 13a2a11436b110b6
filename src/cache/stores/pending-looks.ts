/**
 * Looks for pending changes on behalf of readers: those of one moment in one call, within a short deadline.
 *
 * Redis down: looks fail at once after a few, so that reads are not slowed down by a deadline each.
 */
import type { Guard } from '../../redis/guard.ts';
import type { ChangeLog } from './change-log.ts';

/** A pending change; the value is JSON. */
export interface Pending {
  readonly kind: string;
  readonly value: string;
}

interface Asker {
  resolve(found: Pending | undefined): void;
  reject(error: unknown): void;
}

const MOST_AT_ONCE = 500;

/** The looks of one store. */
export class PendingLooks {
  readonly #changes: ChangeLog;
  readonly #guard: Guard;
  #waiting = new Map<string, Asker[]>();

  constructor(changes: ChangeLog, guard: Guard) {
    this.#changes = changes;
    this.#guard = guard;
  }

  /** What is pending for the key. */
  look(key: string): Promise<Pending | undefined> {
    return new Promise((resolve, reject) => {
      const asker = { resolve, reject };
      const others = this.#waiting.get(key);
      if (others) others.push(asker);
      else this.#waiting.set(key, [asker]);
      if (this.#waiting.size === 1 && !others) setImmediate(() => void this.#send());
    });
  }

  close(): void {
    this.#guard.close();
  }

  async #send(): Promise<void> {
    const all = [...this.#waiting];
    this.#waiting = new Map();
    const steps: Array<typeof all> = [];
    for (let at = 0; at < all.length; at += MOST_AT_ONCE) steps.push(all.slice(at, at + MOST_AT_ONCE));
    await Promise.all(steps.map((step) => this.#ask(step)));
  }

  async #ask(step: ReadonlyArray<[string, Asker[]]>): Promise<void> {
    try {
      const found = await this.#guard.run(() => this.#changes.look(step.map(([key]) => key)));
      for (const [at, [, askers]] of step.entries()) for (const asker of askers) asker.resolve(found[at]);
    } catch (error) {
      for (const [, askers] of step) for (const asker of askers) asker.reject(error);
    }
  }
}
