/**
 * The policies of one limiter as they are now: what the code says, with the changes that are kept in Redis.
 *
 * Promise: a change holds in this process once its message has come, and in a new process from its first call on, as far as Redis
 * answers it in time. A change that does not fit the code any more is logged and left out.
 *
 * Keys: `PREFIX:rate:{LIMITER}:policies`, a HASH of JSON by policy. It never expires, because it is configuration.
 * Redis down: the policies stay as they are known; they are read again when messages arrive again.
 */
import type { Logger } from '../log.ts';
import { changed, layOut, type Plan, type PolicyInfo } from './policies.ts';

/** What a book is made of. */
export interface PolicyBookParts {
  limiter: string;
  policies: readonly PolicyInfo[];
  /** Reads the changes, by policy. */
  read: () => Promise<Record<string, string>>;
  /** Called after the policies have changed. */
  onChange: () => void;
  log: Logger;
}

/** The policies of one limiter. */
export class PolicyBook {
  readonly #parts: PolicyBookParts;
  #plan: Plan;
  #seen = '';
  #reading: Promise<void> | undefined;
  #isStale = true;
  #failure: unknown;

  constructor(parts: PolicyBookParts) {
    this.#parts = parts;
    this.#plan = layOut(parts.policies);
  }

  get plan(): Plan {
    return this.#plan;
  }

  /** Whether something may have changed that was not read yet. */
  get isStale(): boolean {
    return this.#isStale;
  }

  /** Why the changes could not be read the last time; undefined when they could. */
  get failure(): unknown {
    return this.#failure;
  }

  /** What the code says of a policy. */
  ofCode(name: string): PolicyInfo | undefined {
    return this.#parts.policies.find((policy) => policy.name === name);
  }

  /** Something changed: what is read from now on counts. */
  expire(): void {
    this.#isStale = true;
  }

  /** Reads the changes, if they are not read already; who comes while they are being read waits for that. Never rejects. */
  read(): Promise<void> {
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readAll(): Promise<void> {
    while (this.#isStale) {
      this.#isStale = false;
      try {
        this.#apply(await this.#parts.read());
        this.#failure = undefined;
      } catch (error) {
        this.#isStale = true;
        this.#failure = error;
        this.#parts.log.debug({ limiter: this.#parts.limiter, err: error }, 'changes of policies not read');
        return;
      }
    }
  }

  #apply(changes: Record<string, string>): void {
    const { limiter, policies, log, onChange } = this.#parts;
    const seen = JSON.stringify(policies.map(({ name }) => changes[name]));
    if (seen === this.#seen) return;
    this.#seen = seen;
    const now = policies.map((policy) => {
      const change = changes[policy.name];
      if (change === undefined) return policy;
      try {
        return changed(policy, JSON.parse(change));
      } catch (error) {
        log.warn({ limiter, policy: policy.name, err: error }, 'a change of a policy does not fit the code; left out');
        return policy;
      }
    });
    this.#plan = layOut(now);
    onChange();
  }
}
