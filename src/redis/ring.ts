/**
 * Things in the order in which they came, each of which can be taken out at once.
 *
 * A Map or a Set would do, but one through which thousands pass in a second makes the collector of garbage work for longer than all the
 * rest of a call takes. So it is a ring of links, for what seldom must be found by name.
 */

/** What a ring holds. */
export class Link {
  /** Its neighbours while it is in a ring; of nobody's concern but the ring's. */
  before: Link | undefined = undefined;
  after: Link | undefined = undefined;
}

/** A ring of things that are each in one ring at most. */
export class Ring<T extends Link> {
  /** Where it begins and ends. */
  readonly #seam = new Link();

  constructor() {
    this.#seam.before = this.#seam;
    this.#seam.after = this.#seam;
  }

  get isEmpty(): boolean {
    return this.#seam.after === this.#seam;
  }

  add(item: T): void {
    const last = this.#seam.before as Link;
    item.before = last;
    item.after = this.#seam;
    last.after = item;
    this.#seam.before = item;
  }

  /** @returns whether it was there. */
  remove(item: T): boolean {
    const { before, after } = item;
    if (!before || !after) return false;
    before.after = after;
    after.before = before;
    // What is gone must not hold on to what is there, or all that come after it would be kept.
    item.before = undefined;
    item.after = undefined;
    return true;
  }

  /** All of them, the oldest first. */
  all(): T[] {
    const all: T[] = [];
    for (let link = this.#seam.after; link && link !== this.#seam; link = link.after) all.push(link as T);
    return all;
  }
}
