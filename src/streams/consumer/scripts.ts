/**
 * What a consumer asks of its group, and what Redis does for it in one step each.
 *
 * An entry is pending for one consumer at any moment; which one is what every script looks at, because the name of a consumer is given to one
 * process at one time only. What waits for a retry is pending for RETRIES, which is nobody.
 */
import { defineScript } from '../../redis/script.ts';
import type { RedisClient } from '../../redis/clients.ts';
import type { GroupKeys } from '../keys.ts';

/** An entry as Redis lists it. */
export type Listed = readonly [id: string, fields: readonly string[] | null];

/** One that was tried before, or whose consumer died. */
export interface Taken {
  readonly id: string;
  readonly fields: readonly string[];
  /** Attempts so far. */
  readonly made: number;
  /** How many of them ended with their process. */
  readonly deaths: number;
  /** How long it has to wait yet; of an ordered group only. */
  readonly waitMs: number;
}

type RawTaken = [id: string, fields: string[], made: number, deaths: number, waitMs?: number];

const takenOf = ([id, fields, made, deaths, waitMs = 0]: RawTaken): Taken => ({ id, fields, made, deaths, waitMs });

export const joinGroup = defineScript({
  file: 'streams/consumer/join.lua',
  keys: ['entries', 'members', 'tokens'],
  args: ['group', 'consumer', 'name', 'leaseMs', 'startAt', 'before'],
  reply: (answer: 'made' | 'joined' | 'replaced') => answer,
});

/** How a consumer finds its group. `replaced`: another process came with its lasting name. `lapsed`: its lease has ended. */
export type Standing = 'ok' | 'gone' | 'replaced' | 'lapsed';

type RawTick = [Standing, number, number, number, number, string, string];

export const tick = defineScript({
  file: 'streams/consumer/tick.lua',
  keys: ['entries', 'members', 'tokens', 'retries', 'leader'],
  args: ['group', 'consumer', 'name', 'leaseMs', 'isOrdered', 'isPaused'],
  reply: ([standing, pending, orphans, dueMs, leads, last, generation]: RawTick) => ({
    standing,
    pending,
    orphans,
    dueInMs: dueMs < 0 ? undefined : dueMs,
    leads: leads === 1,
    /** The last id that the group was given. */
    last: last === '' ? undefined : last,
    /** Which making of the group it is. */
    generation,
  }),
});

export const takeWaiting = defineScript({
  file: 'streams/consumer/take.lua',
  keys: ['entries', 'members', 'retries', 'attempts'],
  args: ['group', 'consumer', 'room', 'leaseMs'],
  reply: ([isMember, dueMs, more, vanished, ...taken]: [number, number, number, number, ...RawTaken[]]) => ({
    isMember: isMember === 1,
    dueInMs: dueMs < 0 ? undefined : dueMs,
    hasMore: more === 1,
    vanished,
    taken: taken.map(takenOf),
  }),
});

export const inherit = defineScript({
  file: 'streams/consumer/inherit.lua',
  keys: ['entries', 'retries', 'attempts', 'leader', 'members'],
  args: ['group', 'consumer', 'after', 'count', 'own'],
  reply: ([leads, after, vanished, ...taken]: [number, string, number, ...RawTaken[]]) => ({
    leads: leads === 1,
    after: after === '' ? undefined : after,
    vanished,
    taken: taken.map(takenOf),
  }),
});

export const noteAttempts = defineScript({
  file: 'streams/consumer/note.lua',
  keys: ['entries', 'attempts'],
  args: ['group', 'consumer', '...items'],
  reply: (isMine: number[]) => isMine.map((one) => one === 1),
});

/**
 * What became of an entry that was put back. `lost`: it is another consumer's. `gone`: it is pending for nobody. `vanished`: it was deleted from
 * the stream.
 */
export type PutBack = 'back' | 'lost' | 'gone' | 'vanished';

export const putBack = defineScript({
  file: 'streams/consumer/put-back.lua',
  keys: ['entries', 'retries', 'attempts'],
  args: ['group', 'consumer', '...items'],
  reply: (outcomes: PutBack[]) => outcomes,
});

/** What became of an entry that was to be a dead letter; as with one that was put back. */
export type Buried = 'dead' | 'lost' | 'gone';

export const bury = defineScript({
  file: 'streams/consumer/bury.lua',
  keys: ['entries', 'retries', 'attempts', 'dead'],
  args: ['group', 'consumer', '...items'],
  reply: (outcomes: Buried[]) => outcomes,
});

export const acknowledge = defineScript({
  file: 'streams/consumer/acknowledge.lua',
  keys: ['entries', 'attempts'],
  args: ['group', '...ids'],
  reply: (count: number) => count,
});

export const leaveGroup = defineScript({
  file: 'streams/consumer/leave.lua',
  keys: ['entries', 'members', 'tokens', 'retries', 'leader', 'attempts'],
  args: ['group', 'consumer', 'name', 'count'],
  reply: ([given, hasLeft]: [number, number]) => ({ given, hasLeft: hasLeft === 1 }),
});

export const revive = defineScript({
  file: 'streams/consumer/revive.lua',
  keys: ['entries', 'retries', 'tokens'],
  args: ['group', 'consumer', 'last', '...ids'],
  reply: ([made, again]: [number, number]) => ({ made: made === 1, again }),
});

/** One group of one stream, as its consumers see it. */
export interface Group {
  readonly stream: string;
  readonly name: string;
  readonly keys: GroupKeys & { readonly entries: string };
  /** For everything but blocking reads. */
  readonly redis: RedisClient;
}
