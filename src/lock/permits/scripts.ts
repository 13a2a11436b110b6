/**
 * The scripts of permits, and the keys that they take.
 *
 * All keys of one name and use share a tag, `PREFIX:lock:{NAME}:USE` where USE is `semaphore` or `read-write`:
 * - `:holders` ZSET of who holds permits, by the deadline of each in µs of the server; every script but inspect drops the dead first.
 * - `:queue` ZSET of who waits, in order of arrival.
 * - `:entries` HASH of what is known of each of both.
 * - `:heard` ZSET of the processes that wait, by when they were heard of.
 *   These four live until the last lease has run out, and a minute at least; they are gone as soon as nobody holds or waits.
 * - `:fence` STRING, the last token, for 7 days after the last grant.
 * - `:left` LIST of the last 256 who gave back, for a minute.
 * - `:permits` STRING, how many there are by setPermits(). It has no TTL: it is what an operator decided, until he decides otherwise.
 */
import type { KeySpace } from '../../redis/keys.ts';
import { defineScript } from '../../redis/script.ts';
import { heldMsOf } from '../inspect.ts';

/** What permits are used for; each use has keys of its own. */
export type PermitUse = 'semaphore' | 'read-write';

/** The keys of one semaphore or read-write lock. */
export interface PermitKeys {
  readonly holders: string;
  readonly queue: string;
  readonly entries: string;
  readonly heard: string;
  readonly fence: string;
  readonly permits: string;
  readonly left: string;
}

/** The keys of one semaphore or read-write lock. */
export function permitKeys(keys: KeySpace, use: PermitUse, name: string): PermitKeys {
  return {
    holders: keys(name, use, 'holders'),
    queue: keys(name, use, 'queue'),
    entries: keys(name, use, 'entries'),
    heard: keys(name, use, 'heard'),
    fence: keys(name, use, 'fence'),
    permits: keys(name, use, 'permits'),
    left: keys(name, use, 'left'),
  };
}

/** How acquire.lua is called: to be refused, to wait where needed, or to look without joining the queue again. */
export type AcquireMode = 'try' | 'queue' | 'watch';

/** What acquire.lua says; `nextEndMs` is the time until the next lease runs out, -1 when nothing is held. */
export type AcquireReply =
  | { readonly status: 'granted'; readonly token: number }
  | { readonly status: 'queued' | 'refused'; readonly nextEndMs: number }
  | { readonly status: 'gone' };

export const acquirePermits = defineScript({
  file: 'lock/permits/acquire.lua',
  keys: ['holders', 'queue', 'entries', 'heard', 'fence', 'permits'],
  args: [
    'me',
    'process',
    'weight',
    'mode',
    'ttlMs',
    'how',
    'declared',
    'name',
    'wakePrefix',
    'claimMs',
    'patienceMs',
    'memoryMs',
  ],
  reply: (raw: ['granted', string] | ['queued' | 'refused', number] | ['gone']): AcquireReply => {
    if (raw[0] === 'gone') return { status: 'gone' };
    return raw[0] === 'granted' ? { status: 'granted', token: Number(raw[1]) } : { status: raw[0], nextEndMs: raw[1] };
  },
});

/** What became of the caller's permits, and which waiters of its process were granted by it. */
export interface GiveBackReply {
  /** `kept`: some are held still. `left`: it only waited. `gone`: it had nothing. */
  readonly outcome: 'released' | 'kept' | 'left' | 'gone';
  readonly granted: ReadonlyArray<{ readonly waiterId: string; readonly token: number }>;
}

export const giveBackPermits = defineScript({
  file: 'lock/permits/give-back.lua',
  keys: ['holders', 'queue', 'entries', 'heard', 'fence', 'permits', 'left'],
  args: [
    'me',
    'process',
    'kept',
    'keptMode',
    'isTaken',
    'declared',
    'name',
    'wakePrefix',
    'claimMs',
    'patienceMs',
    'memoryMs',
  ],
  reply: ([outcome, ...pairs]: [GiveBackReply['outcome'], ...string[]]): GiveBackReply => ({
    outcome,
    granted: pairs.flatMap((waiterId, at) => (at % 2 === 0 ? { waiterId, token: Number(pairs[at + 1]) } : [])),
  }),
});

export const extendPermits = defineScript({
  file: 'lock/permits/extend.lua',
  keys: ['holders', 'queue', 'entries', 'heard'],
  args: ['me', 'ttlMs', 'memoryMs'],
  reply: (token: string): number | undefined => (token === '' ? undefined : Number(token)),
});

export const findHolder = defineScript({
  file: 'lock/permits/find-holder.lua',
  keys: ['holders', 'entries'],
  args: ['token'],
  reply: (holder: string) => holder,
});

/** What inspect.lua tells of one holder or waiter. */
export interface Entry {
  readonly process: string;
  readonly waiterId: string;
  readonly weight: number;
  readonly mode: string;
  readonly token: number;
  /** Whether it is known to know of its grant. */
  readonly isConfirmed: boolean;
  /** Until the lease runs out, or since it came. */
  readonly ms: number;
}

/** One that holds. */
export interface HeldEntry extends Entry {
  /** Since it was granted, as its token tells. */
  readonly heldMs: number;
}

/** What inspect.lua tells. */
export interface PermitsSeen {
  readonly permits: number;
  /** By all holders, also by those that it does not tell of. */
  readonly used: number;
  readonly holders: readonly HeldEntry[];
  /** How many hold in all. */
  readonly holding: number;
  readonly waiting: number;
  readonly waiters: readonly Entry[];
}

type FlatEntries = ReadonlyArray<string | number>;

export const inspectPermits = defineScript({
  file: 'lock/permits/inspect.lua',
  keys: ['holders', 'queue', 'entries', 'permits'],
  args: ['declared', 'most'],
  reply: ([permits, used, held, waiting, waiters, holding, nowUs]: [
    number,
    number,
    FlatEntries,
    number,
    FlatEntries,
    number,
    string,
  ]): PermitsSeen => ({
    permits,
    used,
    holders: entriesOf(held).map((entry) => ({ ...entry, heldMs: heldMsOf(entry.token, Number(nowUs)) })),
    holding,
    waiting,
    waiters: entriesOf(waiters),
  }),
});

function entriesOf(flat: FlatEntries): Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at + 2 < flat.length; at += 3) {
    const [process = '', waiterId = ''] = String(flat[at]).split('|');
    const [weight, mode = '', , token, place] = String(flat[at + 1]).split('|');
    entries.push({
      process,
      waiterId,
      weight: Number(weight),
      mode,
      token: Number(token),
      isConfirmed: place === '0',
      ms: Number(flat[at + 2]),
    });
  }
  return entries;
}
