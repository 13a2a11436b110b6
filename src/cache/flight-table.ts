/**
 * The flights that callers can join, by key.
 *
 * Not a Map: each time a Map makes room it leaves its old table pointing at the new one, so once an old table has outlived its youth, everything
 * that was ever in those after it stays until the next full collection. With a flight for each read that is a fifth of a read's time.
 */
import type { Flight } from './flight.ts';

/** Powers of two. */
const FEWEST_CHAINS = 64;
/** A table of so many stays as it is when it is empty, so that it does not grow again with each batch of reads. */
const KEPT_CHAINS = 4_096;

/** At most one flight a key. */
export class FlightTable {
  #chains = chains(FEWEST_CHAINS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: string, hash: number): Flight | undefined {
    let flight = this.#chains[hash & (this.#chains.length - 1)];
    while (flight && flight.key !== key) flight = flight.next;
    return flight;
  }

  /** For a key that has none. */
  add(flight: Flight): void {
    if (this.#size === this.#chains.length) this.#resize(this.#size * 2);
    this.#size++;
    this.#link(flight);
  }

  /** Whether it was there. */
  remove(flight: Flight): boolean {
    const at = flight.hash & (this.#chains.length - 1);
    let before: Flight | undefined;
    let met = this.#chains[at];
    while (met && met !== flight) {
      before = met;
      met = met.next;
    }
    if (!met) return false;
    if (before) before.next = met.next;
    else this.#chains[at] = met.next;
    met.next = undefined;
    this.#size--;
    if (this.#size === 0 && this.#chains.length > KEPT_CHAINS) this.#chains = chains(FEWEST_CHAINS);
    return true;
  }

  /** As they are now, whatever becomes of them meanwhile. */
  all(): Flight[] {
    const flights: Flight[] = [];
    for (let flight of this.#chains) {
      for (; flight; flight = flight.next) flights.push(flight);
    }
    return flights;
  }

  #link(flight: Flight): void {
    const at = flight.hash & (this.#chains.length - 1);
    flight.next = this.#chains[at];
    this.#chains[at] = flight;
  }

  #resize(size: number): void {
    const flights = this.all();
    this.#chains = chains(size);
    for (const flight of flights) this.#link(flight);
  }
}

function chains(count: number): Array<Flight | undefined> {
  return Array.from<undefined>({ length: count }).fill(undefined);
}
