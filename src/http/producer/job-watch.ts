/**
 * Looks at jobs until whoever watches them has seen enough.
 *
 * One look serves all who watch a job, and looks are paced: at most LOOKS_A_SECOND of them in a process, however many jobs are watched, and
 * AT_ONCE in one moment, so that what waits is a bounded and even load on Redis. Nothing runs while nobody watches.
 * Redis down: it goes on looking, and tells of each look that failed.
 */
import { systemClock } from '../../clock.ts';
import type { Sight } from './job-sight.ts';

/** What a look has given: the job, nothing any more, or why it could not be looked at. */
export type Look = { sight: Sight } | { gone: true } | { failure: unknown };

type Watcher = (look: Look) => void;

const LOOK_EVERY_MS = 250;
const LOOKS_A_SECOND = 100;
const AT_ONCE = 10;
/** A job that moves from one place to another may be missed once. */
const MISSES = 2;

/** Watches jobs for all requests of a router. */
export class JobWatch {
  readonly #find: (id: string) => Promise<Sight | undefined>;
  readonly #watched = new Map<string, { watchers: Set<Watcher>; misses: number }>();
  #isLooking = false;

  constructor(find: (id: string) => Promise<Sight | undefined>) {
    this.#find = find;
  }

  /** How many jobs are watched now. */
  get size(): number {
    return this.#watched.size;
  }

  /** Calls the watcher with each look from now on. @returns what ends that */
  watch(id: string, watcher: Watcher): () => void {
    const entry = this.#watched.get(id) ?? { watchers: new Set<Watcher>(), misses: 0 };
    this.#watched.set(id, entry);
    entry.watchers.add(watcher);
    if (!this.#isLooking) void this.#lookOn();
    return () => {
      entry.watchers.delete(watcher);
      if (entry.watchers.size === 0 && this.#watched.get(id) === entry) this.#watched.delete(id);
    };
  }

  async #lookOn(): Promise<void> {
    this.#isLooking = true;
    while (this.#watched.size > 0) {
      const ids = [...this.#watched.keys()];
      const shareMs = Math.max(LOOK_EVERY_MS / ids.length, 1_000 / LOOKS_A_SECOND);
      for (let from = 0; from < ids.length && this.#watched.size > 0; from += AT_ONCE) {
        const group = ids.slice(from, from + AT_ONCE).filter((id) => this.#watched.has(id));
        await systemClock.sleep(group.length * shareMs);
        await Promise.all(group.map((id) => this.#look(id)));
      }
    }
    this.#isLooking = false;
  }

  /** Never rejects. */
  async #look(id: string): Promise<void> {
    const entry = this.#watched.get(id);
    if (!entry) return;
    let look: Look;
    try {
      const sight = await this.#find(id);
      entry.misses = sight ? 0 : entry.misses + 1;
      if (!sight && entry.misses < MISSES) return;
      look = sight ? { sight } : { gone: true };
    } catch (failure) {
      look = { failure };
    }
    for (const watcher of entry.watchers) watcher(look);
  }
}
