/**
 * In which rooms a user is.
 *
 * A room is one slot, a user another, so no script can write both. What the user's key holds is therefore a note of where to look, with a
 * lease of its own that is longer than that of a connection; the rooms themselves are asked, and have the last word. A process that dies
 * between the two writes leaves a note too many, or one too few of a connection that is dead as well; neither makes the answer wrong.
 *
 * Promise: once enter() has resolved, the room is found until the user is gone from it; a room is never named where the user is not. After a
 * failover that lost the note, but not the connection, the room may be missing for two leases.
 * Key: `PREFIX:presence-of:{USER}:rooms`, a ZSET of rooms by the end of their note in server µs; expires with the last note.
 */
import { createBatch, type Batch } from '../../redis/batch.ts';
import type { Connections } from '../../redis/connect.ts';
import type { Guard } from '../../redis/guard.ts';
import { createKeySpace, type KeySpace } from '../../redis/keys.ts';
import { forgetRooms, listRooms, noteRooms, type Note } from './scripts.ts';
import type { Store } from './store.ts';

/** Where a user is. */
export interface Whereabouts {
  /** The rooms, the latest entered or renewed first. */
  readonly rooms: readonly string[];
  /** False when there are more than were asked for. */
  readonly isComplete: boolean;
}

/** What the index needs. */
export interface WhereParts {
  connections: Pick<Connections, 'commands'>;
  prefix: string;
  guard: Pick<Guard, 'run'>;
  store: Store;
}

/** How many rooms are noted of a user, the latest ones. */
export const MOST_ROOMS = 1_000;
/** Notes hold for so many leases, and are renewed after so many. */
const LEASES_A_NOTE = 5;
const LEASES_BETWEEN = 2;

/** The notes of all users. */
export class WhereIndex {
  readonly #parts: WhereParts;
  readonly #keys: KeySpace;

  constructor(parts: WhereParts) {
    this.#parts = parts;
    this.#keys = createKeySpace(parts.prefix, 'presence-of');
  }

  /** How long a note of such a connection holds. */
  keepMs(ttlMs: number, debounceMs: number): number {
    return LEASES_A_NOTE * ttlMs + debounceMs;
  }

  /** Whether a note that was made then must be made again. */
  isDue(notedAtMs: number, ttlMs: number, nowMs: number): boolean {
    return nowMs - notedAtMs >= LEASES_BETWEEN * ttlMs;
  }

  /** Notes, in the batch, that the user is in these rooms. */
  async note(batch: Batch, userId: string, rooms: readonly string[], keepMs: number): Promise<void> {
    await batch.run(noteRooms, { notes: this.#keys(userId, 'rooms') }, this.#args(rooms, keepMs));
  }

  /** Notes, at once, that the user is about to be in the room. */
  async noteNow(userId: string, room: string, keepMs: number): Promise<void> {
    const { guard, connections } = this.#parts;
    const notes = this.#keys(userId, 'rooms');
    await guard.run(() => noteRooms(connections.commands(), { notes }, this.#args([room], keepMs)));
  }

  /** The rooms where the user is: those that are noted, and then each of them asked, in two round trips. */
  async find(userId: string, limit: number): Promise<Whereabouts> {
    const { guard, connections } = this.#parts;
    const notes = this.#keys(userId, 'rooms');
    const found = await guard.run(() => listRooms(connections.commands(), { notes }, { most: MOST_ROOMS }));
    const isIn = await this.#look(userId, found.notes);
    const stale = found.notes.filter((_note, at) => !isIn[at]);
    // Best effort: what stays is looked at again, until it has run out.
    if (stale.length > 0)
      await guard.run(() => forgetRooms(connections.commands(), { notes }, { stale: stale.flat() })).catch(() => 0);
    const rooms = found.notes.filter((_note, at) => isIn[at]).map(([room]) => room);
    return { rooms: rooms.slice(0, limit), isComplete: rooms.length <= limit && found.count <= MOST_ROOMS };
  }

  #args(rooms: readonly string[], keepMs: number): { keepMs: number; most: number; rooms: readonly string[] } {
    return { keepMs, most: MOST_ROOMS, rooms: rooms.slice(0, MOST_ROOMS) };
  }

  #look(userId: string, notes: readonly Note[]): Promise<boolean[]> {
    const { guard, connections, store } = this.#parts;
    return guard.run(async () => {
      const batch = createBatch(connections.commands());
      const looks = notes.map(([room]) => store.hasUser(batch, room, userId));
      const [answers] = await Promise.all([Promise.all(looks), batch.send()]);
      return answers;
    });
  }
}
