/**
 * What all views of one namespace share in this process: its shelf, its flights, and what was invalidated lately.
 *
 * Invalidations of this process and messages of others come in here, and have the same effect.
 */
import type { Flight } from './flight.ts';
import { FlightTable } from './flight-table.ts';
import { hashOf } from './keys.ts';
import { Shelf, type FirstLevel } from './first-level.ts';
import { RecentInvalidations } from './recent-invalidations.ts';

/** One namespace in this process. */
export class SharedState {
  readonly name: string;
  readonly shelf: Shelf;
  readonly recent = new RecentInvalidations();
  /** The flight that callers of a key join. */
  readonly flights = new FlightTable();
  /** Flights that look for a lease, detached ones too; messages wake them. */
  readonly #looking = new Map<string, Set<Flight>>();

  constructor(name: string, level: FirstLevel) {
    this.name = name;
    this.shelf = new Shelf(level);
  }

  /** Whether nothing would be lost with it. */
  get isIdle(): boolean {
    return this.shelf.isEmpty && this.flights.size === 0 && this.#looking.size === 0;
  }

  /** The key was set, stored or deleted, here or elsewhere. */
  dropKey(key: string): void {
    this.recent.noteKey(key);
    this.shelf.delete(key);
    const flight = this.flights.get(key, hashOf(key));
    if (flight) this.#detach(flight);
    this.wake(key);
  }

  dropTag(tag: string): void {
    this.recent.noteTag(tag);
    this.shelf.deleteTag(tag);
    for (const flight of this.flights.all()) {
      // The tags of what is being read are not known yet; the value in hand may have others than the one that is loaded.
      const isKnown = flight.phase === 'loading' || flight.phase === 'waiting';
      const isTagged = flight.inHand?.tags.includes(tag) === true || flight.tags.has(tag);
      if (isTagged || !isKnown) this.#detach(flight);
    }
  }

  dropAll(): void {
    this.recent.noteAll();
    this.shelf.clear();
    for (const flight of this.flights.all()) this.#detach(flight);
  }

  /** What is in memory may be wrong, because messages may have been missed; values in Redis are as they were. */
  flush(): void {
    this.recent.noteAll();
    this.shelf.clear();
    for (const flight of this.flights.all()) flight.isLending = false;
    for (const [key] of this.#looking) this.wake(key);
  }

  wake(key: string): void {
    for (const flight of this.#looking.get(key) ?? []) flight.wake();
  }

  look(flight: Flight): void {
    const looking = this.#looking.get(flight.key);
    if (looking) looking.add(flight);
    else this.#looking.set(flight.key, new Set([flight]));
  }

  lookNoMore(flight: Flight): void {
    const looking = this.#looking.get(flight.key);
    if (looking?.delete(flight) && looking.size === 0) this.#looking.delete(flight.key);
  }

  /** Nobody joins the flight any more. */
  leave(flight: Flight): void {
    this.flights.remove(flight);
  }

  /** Who waits looks again before he is given anything, so whoever joins him is given what is valid then; what is in hand may not be. */
  #detach(flight: Flight): void {
    if (flight.phase === 'waiting') {
      flight.inHand = undefined;
      return;
    }
    flight.isDetached = true;
    this.leave(flight);
  }
}
