/**
 * How many requests wait at once in this process: each holds a connection, so that one caller must not take them all.
 */

const MOST_OF_ALL = 1_000;

/** Counts those who wait, by API key. */
export class WaitingRoom {
  readonly #mostOfKey: number;
  readonly #waiting = new Map<string, number>();
  #all = 0;

  constructor(mostOfKey: number) {
    this.#mostOfKey = mostOfKey;
  }

  /** How many wait now. */
  get size(): number {
    return this.#all;
  }

  /** What ends the wait; safe to call twice. Undefined when there is no room. */
  enter(key: string): (() => void) | undefined {
    const count = this.#waiting.get(key) ?? 0;
    if (count >= this.#mostOfKey || this.#all >= MOST_OF_ALL) return undefined;
    this.#waiting.set(key, count + 1);
    this.#all++;
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      this.#all--;
      const left = (this.#waiting.get(key) ?? 1) - 1;
      if (left === 0) this.#waiting.delete(key);
      else this.#waiting.set(key, left);
    };
  }
}
