/**
 * Reads rooms as a whole, those that ask at about the same time in one batch.
 *
 * After a lost connection every process would read all of its rooms at the same moment, so each waits a random part of a quarter of a second.
 * Redis down: tried again, within a second each, until the room is closed.
 */
import type { Logger } from '../../log.ts';
import type { RoomPulse, RoomState } from './scripts.ts';
import type { Store } from './store.ts';

/** A room that is read. */
export interface Synced {
  readonly room: string;
  readonly isOpen: boolean;
  /** A reading begins; what is returned takes its answer. */
  reading(): (state: RoomState, pulse: RoomPulse) => void;
}

const SPREAD_MS = 250;
const AGAIN_MS = 1_000;
/** A reply of a large room may be a megabyte. */
const READ_AT_ONCE = 100;

/** The rooms of one process that are to be read. */
export class Syncs {
  readonly #store: Store;
  readonly #log: Logger;
  #asked = new Set<Synced>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(store: Store, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  /** @param isSpread Whether all processes ask for it at the same moment. */
  ask(synced: Synced, isSpread: boolean): void {
    this.#asked.add(synced);
    this.#readIn(isSpread ? Math.random() * SPREAD_MS : 0);
  }

  /** Twice is fine. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #readIn(ms: number): void {
    if (!this.#isStopped) this.#timer ??= setTimeout(() => void this.#read(), ms);
  }

  /** Never rejects. */
  async #read(): Promise<void> {
    this.#timer = undefined;
    const open = [...this.#asked].filter(({ isOpen }) => isOpen);
    this.#asked = new Set(open.slice(READ_AT_ONCE));
    const rooms = open.slice(0, READ_AT_ONCE);
    if (rooms.length === 0) return;
    try {
      await this.#store.inOneBatch((batch) => rooms.map((synced) => this.#readOne(batch, synced)));
    } catch (error) {
      if (this.#isStopped) return;
      this.#log.debug({ err: error, rooms: rooms.length }, 'rooms not read; tried again soon');
    }
    if (this.#asked.size > 0) this.#readIn(0);
  }

  async #readOne(batch: Parameters<Store['snapshot']>[0], synced: Synced): Promise<void> {
    const take = synced.reading();
    try {
      const { state, pulse } = await this.#store.snapshot(batch, synced.room);
      take(state, pulse);
    } catch (error) {
      this.#asked.add(synced);
      this.#readIn(AGAIN_MS * (0.5 + Math.random() / 2));
      throw error;
    }
  }
}
