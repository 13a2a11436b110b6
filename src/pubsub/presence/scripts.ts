/** The acts of presence, each one script; what they do to the keys stands at the top of each file. */
import { defineScript } from '../../redis/script.ts';

/** What became of an enter. `here`: it was in already, as when it is sent again. `full`: there is no place, and nothing was done. */
export type EnterOutcome = 'entered' | 'joined' | 'returned' | 'taken-over' | 'here' | 'full';

const ROOM_KEYS = ['leases', 'states', 'owners', 'users', 'clock'] as const;

export const enterRoom = defineScript({
  file: 'pubsub/presence/enter.lua',
  keys: ROOM_KEYS,
  args: ['channel', 'publish', 'member', 'owner', 'state', 'ttlMs', 'keepMs', 'most'],
  reply: ([outcome, state]: [EnterOutcome | 'overdue', string]) => ({ outcome, state }),
});

export const updateState = defineScript({
  file: 'pubsub/presence/update.lua',
  keys: ['states', 'owners', 'clock'],
  args: ['channel', 'publish', 'member', 'owner', 'state'],
  reply: (outcome: 'updated' | 'same' | 'out' | 'replaced') => outcome,
});

export const leaveRoom = defineScript({
  file: 'pubsub/presence/leave.lua',
  keys: ROOM_KEYS,
  args: ['channel', 'publish', 'member', 'owner', 'debounceMs', 'keepMs'],
  reply: (outcome: 'left' | 'away' | 'gone') => outcome,
});

/** A room after a beat or a look. */
export interface RoomPulse {
  /** The last announcement; 0 when nobody is there. */
  readonly seq: number;
  /** Until the next lease ends; undefined when there is none. */
  readonly nextMs: number | undefined;
  readonly users: number;
  readonly connections: number;
  /** Which of the connections that were to be renewed are not in the room, by their place in the call. */
  readonly out: readonly number[];
  /** Which of them another keeps. */
  readonly replaced: readonly number[];
}

type Pulse = [seq: string, nextMs: number, users: number, connections: number, out: number[], replaced: number[]];

export const beatRoom = defineScript({
  file: 'pubsub/presence/beat.lua',
  keys: ROOM_KEYS,
  args: ['channel', 'publish', 'ttlMs', 'keepMs', '...beats'],
  reply: ([seq, nextMs, users, connections, out, replaced]: Pulse): RoomPulse => ({
    seq: Number(seq),
    nextMs: nextMs < 0 ? undefined : nextMs,
    users,
    connections,
    out,
    replaced,
  }),
});

/** A room at one moment. */
export interface RoomState {
  /** The last announcement that is in it. */
  readonly seq: number;
  /** When the room began; another one after everybody was gone, or after Redis has lost its data. */
  readonly born: number;
  /** Each member's state as JSON. */
  readonly states: ReadonlyMap<string, string>;
}

export const takeSnapshot = defineScript({
  file: 'pubsub/presence/snapshot.lua',
  keys: ['states', 'clock'],
  args: [],
  reply: ([seq, born, pairs]: [string, string, string[]]): RoomState => ({
    seq: Number(seq),
    born: Number(born),
    states: mapOf(pairs),
  }),
});

export const noteRooms = defineScript({
  file: 'pubsub/presence/note-rooms.lua',
  keys: ['notes'],
  args: ['keepMs', 'most', '...rooms'],
  reply: (count: number) => count,
});

/** A room that is noted for a user, and the note's score as it was read. */
export type Note = readonly [room: string, score: string];

export const listRooms = defineScript({
  file: 'pubsub/presence/list-rooms.lua',
  keys: ['notes'],
  args: ['most'],
  reply: ([count, ...pairs]: [number, ...string[]]): { count: number; notes: Note[] } => ({
    count,
    notes: [...mapOf(pairs)],
  }),
});

export const forgetRooms = defineScript({
  file: 'pubsub/presence/forget-rooms.lua',
  keys: ['notes'],
  args: ['...stale'],
  reply: (count: number) => count,
});

function mapOf(pairs: readonly string[]): Map<string, string> {
  const map = new Map<string, string>();
  for (let at = 0; at < pairs.length; at += 2) map.set(pairs[at] ?? '', pairs[at + 1] ?? '');
  return map;
}
