/** The scripts of streams, but those of consumers and dead letters. */
import { defineScript } from '../redis/script.ts';

/** What became of a publish. */
export interface Published {
  /** The id of the entry; of a duplicate that of the first one. */
  readonly id: string;
  readonly status: 'added' | 'duplicate';
}

export const publishScript = defineScript({
  file: 'streams/publish.lua',
  keys: ['entries', '...sent'],
  args: ['...items'],
  reply: (flat: ReadonlyArray<string | number>): Published[] => {
    const published: Published[] = [];
    for (let at = 0; at < flat.length; at += 2)
      published.push({ id: String(flat[at]), status: flat[at + 1] === 1 ? 'added' : 'duplicate' });
    return published;
  },
});

/** What Redis tells of a group; texts, because counters of streams go beyond what a number holds exactly. Empty for unknown. */
export interface GroupFacts {
  readonly nowMs: number;
  readonly length: number;
  readonly added: number;
  readonly firstId: string;
  readonly lastId: string;
  readonly delivered: string;
  readonly read: string;
  readonly lag: string;
  readonly pending: number;
  readonly oldestPending: string;
  readonly retrying: number;
  readonly deadLetters: number;
  /** Consumers in all. */
  readonly consumerCount: number;
  readonly consumers: readonly ConsumerFacts[];
}

/** What is told of a consumer. */
export interface ConsumerFacts {
  readonly name: string;
  readonly pending: number;
  /** How long its lease goes on; undefined when it never had one. */
  readonly leaseMs: number | undefined;
  /** Since it asked for entries; undefined when it never has. */
  readonly idleMs: number | undefined;
  readonly isPaused: boolean;
}

/** The group's facts, or the names of the groups that there are. */
export type GroupLook =
  | { readonly facts: GroupFacts }
  | { readonly facts: undefined; readonly groups: readonly string[] };

type LookReply = [isThere: 0, names: string[]] | [isThere: 1, facts: string[], consumers: string[]];

export const lookAtGroup = defineScript({
  file: 'streams/look-at-group.lua',
  keys: ['entries', 'members', 'tokens', 'retries', 'dead'],
  args: ['group', 'most'],
  reply: (raw: LookReply): GroupLook =>
    raw[0] === 0 ? { facts: undefined, groups: raw[1] } : { facts: factsOf(raw[1], raw[2]) },
});

function factsOf(texts: readonly string[], flat: readonly string[]): GroupFacts {
  const [nowMs, length, added = '', firstId = '', lastId = '', delivered = '', read = '', lag = ''] = texts;
  const [pending, oldestPending = '', retrying, deadLetters, consumerCount] = texts.slice(8);
  const consumers: ConsumerFacts[] = [];
  for (let at = 0; at < flat.length; at += 5) {
    const leaseMs = flat[at + 2];
    consumers.push({
      name: flat[at] as string,
      pending: Number(flat[at + 1]),
      leaseMs: leaseMs === '' ? undefined : Number(leaseMs),
      idleMs: flat[at + 3] === '' ? undefined : Number(flat[at + 3]),
      isPaused: flat[at + 4] === '1',
    });
  }
  return {
    nowMs: Number(nowMs),
    length: Number(length),
    added: Number(added),
    firstId,
    lastId,
    delivered,
    read,
    lag,
    pending: Number(pending),
    oldestPending,
    retrying: Number(retrying),
    deadLetters: Number(deadLetters),
    consumerCount: Number(consumerCount),
    consumers,
  };
}

export const removeGroupScript = defineScript({
  file: 'streams/remove-group.lua',
  keys: ['entries', 'members', 'tokens', 'retries', 'attempts', 'dead', 'leader'],
  args: ['group', 'force'],
  reply: (raw: 'absent' | 'kept' | 'removed') => raw,
});

/** What one step of a trim has done. */
export interface TrimStep {
  readonly removed: number;
  readonly heldBy: HeldBy | undefined;
}

/** What keeps entries in a stream that its contract would let go. */
export interface HeldBy {
  readonly group: string;
  /**
   * `absent`: the contract declares the group, and nobody has made it yet. `unread`: it has not been given the entry. `pending`: its consumers or
   * its retries have.
   */
  readonly why: 'absent' | 'unread' | 'pending';
  /** The first entry that the group has still to finish; undefined of an absent one. */
  readonly id: string | undefined;
}

export const trimStep = defineScript({
  file: 'streams/trim-step.lua',
  keys: ['entries'],
  args: ['most', 'ageMs', 'step', 'acked', '...needed'],
  reply: ([removed, group, why, id]: [number, string, HeldBy['why'] | '', string]): TrimStep => ({
    removed,
    heldBy: why === '' ? undefined : { group, why, id: id === '' ? undefined : id },
  }),
});
