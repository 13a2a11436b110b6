/**
 * What was invalidated lately in a namespace, for what was under way meanwhile.
 *
 * Whoever reads from Redis to keep the answer in memory takes the time before, and asks afterwards whether anything that concerns the answer
 * was invalidated since: if so, the answer may be older than the invalidation, and is not kept. Bounded: beyond a number of names it
 * forgets them and says yes to everything that began before.
 */

/** Keys, and tags. There may be a namespace for each tenant; but of more keys that are loaded at once, the rest is not kept in memory. */
const MAX_NAMES = 2_000;

/** The invalidations of one namespace, of keys and of tags. */
export class RecentInvalidations {
  /** Counts invalidations. */
  #now = 0;
  /** Whatever began before this moment counts as invalidated. */
  #floor = 0;
  readonly #keys = new Map<string, number>();
  readonly #tags = new Map<string, number>();

  /** How many names are remembered. */
  get size(): number {
    return this.#keys.size + this.#tags.size;
  }

  /** This moment, for a question later on. */
  get now(): number {
    return this.#now;
  }

  noteKey(key: string): void {
    this.#note(this.#keys, key);
  }

  noteTag(tag: string): void {
    this.#note(this.#tags, tag);
  }

  /** Everything is invalidated. */
  noteAll(): void {
    this.#floor = ++this.#now;
    this.#keys.clear();
    this.#tags.clear();
  }

  /** Whether the key or one of the tags was invalidated since the moment. */
  concerned(since: number, key: string, tags: readonly string[]): boolean {
    if (since === this.#now) return false;
    if (since < this.#floor) return true;
    if ((this.#keys.get(key) ?? 0) > since) return true;
    for (const tag of tags) if ((this.#tags.get(tag) ?? 0) > since) return true;
    return false;
  }

  #note(names: Map<string, number>, name: string): void {
    if (names.size >= MAX_NAMES && !names.has(name)) this.noteAll();
    names.set(name, ++this.#now);
  }
}
