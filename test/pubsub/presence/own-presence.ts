/** Presence of several processes, as far as Redis can tell, in one test; each has connections of its own. */
import type { Logger } from '../../../src/log.ts';
import type { PresenceOptions, PresenceState, RoomOptions } from '../../../src/pubsub/presence/options.ts';
import { createPresence, type Presence } from '../../../src/pubsub/presence/presence.ts';
import type { Room } from '../../../src/pubsub/presence/room.ts';
import type { RedisOptions } from '../../../src/redis/address.ts';
import { createConnections, type Connections } from '../../../src/redis/connect.ts';
import { ownedByTest } from '../../support/owned.ts';

/** The presence of one pretended process. */
export interface OwnedPresence {
  presence: Presence;
  connections: Connections;
}

/** A function that makes presence which ends with the test. */
export function ownedPresence(): (redis: RedisOptions, options?: PresenceOptions, log?: Logger) => OwnedPresence {
  const own = ownedByTest();
  return (redis, options, log) => {
    const connections = own(createConnections(redis, log));
    const presence = own(createPresence(connections, { ...options, ...(log && { log }) }));
    return { presence, connections };
  };
}

/** A room that writes down what it tells. */
export interface Watched {
  room: Room;
  /** `enter ada entered`, `update ada state {"x":1}`, `leave ada left` ... */
  told: string[];
  /** The sequence of each change. */
  seqs: number[];
  /** How often the room was read as a whole. */
  syncs: () => number;
}

/** Listens to a room, and waits until it is live. */
export async function watch(presence: Presence, name: string, options?: RoomOptions): Promise<Watched> {
  const room = presence.room(name, options);
  const told: string[] = [];
  const seqs: number[] = [];
  let synced = 0;
  const note = (change: { type: string; userId: string; cause: string; state: PresenceState; seq: number }): void => {
    const { type, userId, cause, state } = change;
    const shown = type === 'update' && cause !== 'parted' ? ` ${JSON.stringify(state)}` : '';
    told.push(`${type} ${userId} ${cause}${shown}`);
    seqs.push(change.seq);
  };
  room.on('enter', note);
  room.on('update', note);
  room.on('leave', note);
  room.on('sync', () => void synced++);
  await room.ready();
  return { room, told, seqs, syncs: () => synced };
}

/** Who is in a room, as `user/connections`, in order. */
export async function usersIn(room: Room): Promise<string> {
  return (await room.users())
    .map(({ userId, connections }) => `${userId}/${connections.length}`)
    .toSorted()
    .join(' ');
}

/** Who is in a room, as this process heard it. */
export function viewOf(room: Room): string {
  const counts = new Map<string, number>();
  for (const { userId } of room.view()?.members ?? []) counts.set(userId, (counts.get(userId) ?? 0) + 1);
  return [...counts]
    .map(([userId, count]) => `${userId}/${count}`)
    .toSorted()
    .join(' ');
}
