/** One key that is asked for in Redis: told once of what was found, or that it failed. Not a promise, because there is one for each read. */
import type { Found } from './found.ts';
import { hashOf } from './keys.ts';

/** Who is told is up to those below. */
export abstract class Read {
  readonly namespace: string;
  readonly key: string;
  /** Of the key. */
  readonly hash: number;
  /** Whether the value is likely to have tags; where it has some nevertheless, that is found out. */
  readonly mayHaveTags: boolean;
  /** Set when it is joined. */
  redisKey = '';
  #isSettled = false;

  constructor({ namespace, key, hash, mayHaveTags }: Pick<Read, 'namespace' | 'key' | 'hash' | 'mayHaveTags'>) {
    this.namespace = namespace;
    this.key = key;
    this.hash = hash;
    this.mayHaveTags = mayHaveTags;
  }

  /** @param sentAtMs A moment before the question was sent. */
  settle(found: Found | Promise<Found>, sentAtMs: number): void {
    if (this.#isSettled) return;
    if (found instanceof Promise) {
      found.then(
        (expanded) => this.settle(expanded, sentAtMs),
        (error: unknown) => this.fail(error),
      );
      return;
    }
    this.#isSettled = true;
    this.onFound(found, sentAtMs);
  }

  /** Of no effect once it has been settled. */
  fail(error: unknown): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.onFailure(error);
  }

  protected abstract onFound(found: Found, sentAtMs: number): void;
  protected abstract onFailure(error: unknown): void;
}

/** A read that somebody awaits. */
export class AwaitedRead extends Read {
  readonly found: Promise<Found>;
  #resolve!: (found: Found) => void;
  #reject!: (error: unknown) => void;

  constructor(namespace: string, key: string) {
    super({ namespace, key, hash: hashOf(key), mayHaveTags: true });
    this.found = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  protected onFound(found: Found): void {
    this.#resolve(found);
  }

  protected onFailure(error: unknown): void {
    this.#reject(error);
  }
}
