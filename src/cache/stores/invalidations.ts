/**
 * Drops keys from the cache, and does not forget those that could not be dropped.
 *
 * Promise: drop() never rejects. What the cache could not be told, because Redis was down, it is told once Redis is back; until then readers may see the
 * older value. A process that dies first takes its debts with it, and the TTL ends them.
 */
import type { Clock } from '../../clock.ts';
import { isMillraceError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { StoreCache } from './store.ts';

/** Keys that are remembered; beyond them only the TTL helps. */
const MOST_OWED = 10_000;
const CHUNK = 500;
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;

/** The invalidations of one store in this process. */
export class Invalidations {
  readonly #cache: StoreCache;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #owed = new Set<string>();
  readonly #stopping = new AbortController();
  #paying: Promise<void> | undefined;

  constructor(cache: StoreCache, log: Logger, clock: Clock) {
    this.#cache = cache;
    this.#log = log;
    this.#clock = clock;
  }

  /** Whether the cache was told. */
  async drop(keys: readonly string[]): Promise<boolean> {
    if (keys.length === 0) return true;
    try {
      await this.#cache.delete(...keys);
      return true;
    } catch (error) {
      this.#owe(keys, error);
      return false;
    }
  }

  /** Drops the debts. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#paying;
  }

  #owe(keys: readonly string[], error: unknown): void {
    if (this.#stopping.signal.aborted || isMillraceError(error, 'CLOSED')) return;
    let forgotten = 0;
    for (const key of keys) {
      if (this.#owed.size < MOST_OWED) this.#owed.add(key);
      else forgotten++;
    }
    if (forgotten > 0)
      this.#log.warn(
        { forgotten },
        'more keys could not be dropped from the cache than are remembered; their TTL ends them',
      );
    if (this.#paying) return;
    this.#log.warn({ err: error }, 'the cache could not be told of a change; trying until it can');
    this.#paying = this.#pay().finally(() => (this.#paying = undefined));
  }

  async #pay(): Promise<void> {
    const { signal } = this.#stopping;
    let waitMs = FIRST_WAIT_MS;
    while (this.#owed.size > 0) {
      await this.#clock.sleep(waitMs, { signal }).catch(() => undefined); // It rejects at a stop only, which is looked at next.
      if (signal.aborted) return;
      const keys = [...this.#owed].slice(0, CHUNK);
      for (const key of keys) this.#owed.delete(key); // Before the call: one that fails meanwhile owes it again.
      try {
        await this.#cache.delete(...keys);
        waitMs = 0;
      } catch (error) {
        if (isMillraceError(error, 'CLOSED')) return;
        for (const key of keys) this.#owed.add(key);
        waitMs = Math.min(Math.max(waitMs, FIRST_WAIT_MS) * 2, LONGEST_WAIT_MS);
      }
    }
    this.#log.info('the cache was told of all changes');
  }
}
