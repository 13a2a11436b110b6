/**
 * Rooms as they stand in Redis.
 *
 * Keys of a room, all of one slot: `PREFIX:presence:{ROOM}:leases` ZSET, `:states` HASH, `:owners` HASH, `:users` HASH, `:clock` HASH; its
 * channel is `PREFIX:presence:{ROOM}`. They live for two leases after the last sign of life, and go at once with the last connection.
 * A member is written `CONNECTION USER`: a connection's id has no spaces, a user's may have.
 * Redis down: every call rejects within the module's deadline.
 */
import { createBatch, type Batch } from '../../redis/batch.ts';
import type { Connections } from '../../redis/connect.ts';
import type { Guard } from '../../redis/guard.ts';
import { createKeySpace, type KeySpace } from '../../redis/keys.ts';
import {
  beatRoom,
  enterRoom,
  leaveRoom,
  takeSnapshot,
  updateState,
  type EnterOutcome,
  type RoomPulse,
  type RoomState,
} from './scripts.ts';

/** What the store needs. */
export interface StoreParts {
  connections: Pick<Connections, 'commands'>;
  prefix: string;
  guard: Pick<Guard, 'run'>;
  /** How announcements are sent. */
  publish: 'PUBLISH' | 'SPUBLISH';
  /** How late a lease that has run out may be noticed. */
  sweepMs: number;
}

/** One connection in one room. */
export interface Place {
  readonly room: string;
  /** `CONNECTION USER` */
  readonly member: string;
  /** Tells this holder of the connection from an earlier or later one. */
  readonly owner: string;
  readonly ttlMs: number;
}

/** Beyond the leases, so that whoever looks for those that have run out finds the keys still there. */
const SPARE_MS = 5_000;
/** Connections that one call renews: a script takes no more arguments than Lua can unpack, and should be short besides. */
const RENEWED_AT_ONCE = 500;

/** Of one who enters a room that is full of the dead; each look takes out 500. */
const MOST_LOOKS = 20;

type RoomKeys = Readonly<Record<'leases' | 'states' | 'owners' | 'users' | 'clock', string>>;

/** The acts on rooms. */
export class Store {
  readonly #parts: StoreParts;
  readonly #keys: KeySpace;

  constructor(parts: StoreParts) {
    this.#parts = parts;
    this.#keys = createKeySpace(parts.prefix, 'presence');
  }

  /** Where the room's announcements go. */
  channelOf(room: string): string {
    return this.#keys(room);
  }

  /**
   * @param state As JSON; empty keeps what a come-back had.
   * @param most How many members the room takes.
   */
  async enter(place: Place, state: string, most: number): Promise<{ outcome: EnterOutcome; state: string }> {
    const { room, member, owner, ttlMs } = place;
    const args = { ...this.#how(room), member, owner, state, ttlMs, keepMs: this.#keepMs(ttlMs), most };
    for (let looks = 0; ; looks++) {
      const answer = await this.#run((client) => enterRoom(client, this.#keysOf(room), args));
      const { outcome } = answer;
      if (outcome !== 'overdue') return { ...answer, outcome };
      if (looks === MOST_LOOKS) return { ...answer, outcome: 'full' };
      await this.look(room); // Takes out some of the dead who have its places.
    }
  }

  update({ room, member, owner }: Place, state: string): Promise<'updated' | 'same' | 'out' | 'replaced'> {
    const { states, owners, clock } = this.#keysOf(room);
    const args = { ...this.#how(room), member, owner, state };
    return this.#run((client) => updateState(client, { states, owners, clock }, args));
  }

  leave({ room, member, owner, ttlMs }: Place, debounceMs: number): Promise<'left' | 'away' | 'gone'> {
    const keepMs = this.#keepMs(Math.max(ttlMs, debounceMs));
    const args = { ...this.#how(room), member, owner, debounceMs, keepMs };
    return this.#run((client) => leaveRoom(client, this.#keysOf(room), args));
  }

  /** Sends what is put into the batch, within the deadline. */
  async inOneBatch(fill: (batch: Batch) => Array<Promise<unknown>>): Promise<void> {
    await this.#run(async (client) => {
      const batch = createBatch(client);
      const answers = fill(batch);
      await Promise.all([batch.send(), ...answers]);
    });
  }

  /** Renews connections in a room; without any it looks only. Ends the leases that have run out, in both cases. */
  async beat(batch: Batch, room: string, ttlMs: number, places: readonly Place[]): Promise<RoomPulse> {
    const keys = this.#keysOf(room);
    const how = { ...this.#how(room), ttlMs, keepMs: this.#keepMs(ttlMs) };
    const calls: Array<Promise<RoomPulse>> = [];
    for (let from = 0; from === 0 || from < places.length; from += RENEWED_AT_ONCE) {
      const beats = places.slice(from, from + RENEWED_AT_ONCE).flatMap(({ member, owner }) => [member, owner]);
      calls.push(batch.run(beatRoom, keys, { ...how, beats }));
    }
    const pulses = await Promise.all(calls);
    const inAll = (numbers: 'out' | 'replaced'): number[] =>
      pulses.flatMap((pulse, call) => pulse[numbers].map((number) => call * RENEWED_AT_ONCE + number));
    return { ...(pulses.at(-1) as RoomPulse), out: inAll('out'), replaced: inAll('replaced') };
  }

  /** The room as it is now, after those whose lease has run out have been taken out of it. */
  async read(room: string): Promise<RoomState> {
    return this.#run(async (client) => {
      const batch = createBatch(client);
      const [{ state }] = await Promise.all([this.snapshot(batch, room), batch.send()]);
      return state;
    });
  }

  /** How many are in the room, likewise. */
  async look(room: string): Promise<RoomPulse> {
    return this.#run(async (client) => {
      const batch = createBatch(client);
      const [pulse] = await Promise.all([this.beat(batch, room, 0, []), batch.send()]);
      return pulse;
    });
  }

  /** For many rooms at once. */
  async snapshot(batch: Batch, room: string): Promise<{ pulse: RoomPulse; state: RoomState }> {
    const { states, clock } = this.#keysOf(room);
    const [pulse, state] = await Promise.all([
      this.beat(batch, room, 0, []),
      batch.run(takeSnapshot, { states, clock }, {}),
    ]);
    return { pulse, state };
  }

  /** Whether the user is in the room, after those whose lease has run out have been taken out of it. */
  async hasUser(batch: Batch, room: string, userId: string): Promise<boolean> {
    const [, isThere] = await Promise.all([
      this.beat(batch, room, 0, []),
      batch.command('HEXISTS', this.#keysOf(room).users, userId),
    ]);
    return isThere === 1;
  }

  #run<T>(call: (client: ReturnType<Connections['commands']>) => Promise<T>): Promise<T> {
    return this.#parts.guard.run(() => call(this.#parts.connections.commands()));
  }

  #how(room: string): { channel: string; publish: string } {
    return { channel: this.channelOf(room), publish: this.#parts.publish };
  }

  #keepMs(ttlMs: number): number {
    return 2 * (ttlMs + this.#parts.sweepMs) + SPARE_MS;
  }

  #keysOf(room: string): RoomKeys {
    return {
      leases: this.#keys(room, 'leases'),
      states: this.#keys(room, 'states'),
      owners: this.#keys(room, 'owners'),
      users: this.#keys(room, 'users'),
      clock: this.#keys(room, 'clock'),
    };
  }
}

/** How a member is written in Redis. */
export function memberOf(connectionId: string, userId: string): string {
  return `${connectionId} ${userId}`;
}

/** The two ids of a member. */
export function idsOf(member: string): { connectionId: string; userId: string } {
  const at = member.indexOf(' ');
  return { connectionId: member.slice(0, at), userId: member.slice(at + 1) };
}
