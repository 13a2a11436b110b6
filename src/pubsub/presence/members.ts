/** Who is in a room, kept right by announcements, and what changes for the users when something is announced or was missed. */
import type { PresenceState } from './options.ts';
import { readState, type Announcement } from './messages.ts';
import { idsOf } from './store.ts';
import type { RoomState } from './scripts.ts';

/** A connection of a user in a room. */
export interface Member<State extends object = PresenceState> {
  readonly userId: string;
  readonly connectionId: string;
  readonly state: State;
}

/** A user in a room. */
export interface PresentUser<State extends object = PresenceState> {
  readonly userId: string;
  readonly connections: ReadonlyArray<Member<State>>;
}

/** Something that others see of a user. */
export interface PresenceChange<State extends object = PresenceState> extends Member<State> {
  /** `enter`: the user is here. `leave`: the user is gone, with the last connection. `update`: anything between. */
  readonly type: 'enter' | 'update' | 'leave';
  /**
   * - of an enter: `entered`
   * - of an update: `state`; `joined`, `parted`: a further connection came, or one of several went; `resumed`: back with another state
   * - of a leave: `left`; `lapsed`: nobody renewed the lease; `missed`: it happened while this process did not hear
   */
  readonly cause: 'entered' | 'state' | 'joined' | 'parted' | 'resumed' | 'left' | 'lapsed' | 'missed';
  /** The place of the change in the room's sequence. */
  readonly seq: number;
}

const TYPE_OF = {
  entered: 'enter',
  state: 'update',
  joined: 'update',
  parted: 'update',
  resumed: 'update',
  left: 'leave',
  lapsed: 'leave',
  missed: 'leave',
} as const satisfies Record<PresenceChange['cause'], PresenceChange['type']>;

/** The members of one room. */
export class RoomMembers {
  #members = new Map<string, Member>();
  #users = new Map<string, Set<string>>();
  #seq = 0;
  #born = 0;

  /** The last announcement that is in it; 0 while nobody is there, as Redis then knows of none either. */
  get seq(): number {
    return this.isEmpty ? 0 : this.#seq;
  }

  /** When the room began. */
  get born(): number {
    return this.#born;
  }

  get isEmpty(): boolean {
    return this.#members.size === 0;
  }

  all(): Member[] {
    return [...this.#members.values()].toSorted(byIds);
  }

  /** Whether the announcement is the next one, is in it already, or comes after one that was missed. */
  placeOf({ prev, seq }: Announcement): 'next' | 'known' | 'gap' {
    if (seq <= this.#seq) return 'known';
    return prev === this.seq ? 'next' : 'gap';
  }

  /** @returns what users see of it; undefined for a come-back that nobody need know of */
  apply(said: Announcement): PresenceChange | undefined {
    const { member, seq } = said;
    if (this.isEmpty) this.#born = seq;
    this.#seq = seq;
    if ('cause' in said) {
      const known = this.#remove(member);
      if (!known) return undefined;
      return changeOf(known, said.kind === 'part' ? 'parted' : said.cause, seq);
    }
    const before = said.kind === 'swap' ? this.#remove(said.old) : undefined;
    const now = this.#add(member, said.state);
    switch (said.kind) {
      case 'enter':
        return changeOf(now, 'entered', seq);
      case 'join':
        return changeOf(now, 'joined', seq);
      case 'update':
        return changeOf(now, 'state', seq);
      case 'swap':
        return before && isSame(before, now) ? undefined : changeOf(now, 'resumed', seq);
    }
  }

  /** Takes the room as it is. @returns what users see of the difference: who is gone first. */
  replaceBy({ seq, born, states }: RoomState): PresenceChange[] {
    const before = { members: this.#members, users: this.#users };
    this.#members = new Map();
    this.#users = new Map();
    for (const [member, json] of states) this.#add(member, readState(json));
    this.#seq = seq;
    this.#born = born;
    const changes: PresenceChange[] = [];
    for (const [userId, keys] of before.users) {
      if (!this.#users.has(userId)) changes.push(changeOf(lastOf(keys, before.members), 'missed', seq));
    }
    for (const [userId, keys] of this.#users) {
      const earlier = before.users.get(userId) ?? new Set<string>();
      changes.push(...this.#difference(keys, earlier, before.members));
    }
    return changes;
  }

  /** What has changed of one user who is here. */
  #difference(keys: Set<string>, earlier: Set<string>, members: Map<string, Member>): PresenceChange[] {
    const changes: PresenceChange[] = [];
    const gone = [...earlier].filter((key) => !keys.has(key)).map((key) => members.get(key) as Member);
    const isNew = earlier.size === 0;
    for (const key of keys) {
      const now = this.#members.get(key) as Member;
      const before = members.get(key);
      const swapped = before ? undefined : gone.shift();
      if (before) {
        if (!isSame(before, now)) changes.push(changeOf(now, 'state', this.#seq));
      } else if (swapped) {
        if (!isSame(swapped, now)) changes.push(changeOf(now, 'resumed', this.#seq));
      } else {
        changes.push(changeOf(now, isNew && changes.length === 0 ? 'entered' : 'joined', this.#seq));
      }
    }
    return [...changes, ...gone.map((member) => changeOf(member, 'parted', this.#seq))];
  }

  #add(key: string, state: PresenceState): Member {
    const member: Member = Object.freeze({ ...idsOf(key), state: Object.freeze(state) });
    this.#members.set(key, member);
    const keys = this.#users.get(member.userId);
    if (keys) keys.add(key);
    else this.#users.set(member.userId, new Set([key]));
    return member;
  }

  #remove(key: string): Member | undefined {
    const member = this.#members.get(key);
    if (!member) return undefined;
    this.#members.delete(key);
    const keys = this.#users.get(member.userId);
    keys?.delete(key);
    if (keys?.size === 0) this.#users.delete(member.userId);
    return member;
  }
}

/** The members of a snapshot, in the order of their ids. */
export function membersOf(states: ReadonlyMap<string, string>): Member[] {
  const members = [...states].map(([member, json]) => Object.freeze({ ...idsOf(member), state: readState(json) }));
  return members.toSorted(byIds);
}

/** The users among the members. */
export function usersOf<State extends object>(members: ReadonlyArray<Member<State>>): Array<PresentUser<State>> {
  const users = new Map<string, Array<Member<State>>>();
  for (const member of members) {
    const connections = users.get(member.userId);
    if (connections) connections.push(member);
    else users.set(member.userId, [member]);
  }
  return [...users].map(([userId, connections]) => ({ userId, connections }));
}

function changeOf(member: Member, cause: PresenceChange['cause'], seq: number): PresenceChange {
  return Object.freeze({ type: TYPE_OF[cause], cause, ...member, seq });
}

function lastOf(keys: Set<string>, members: Map<string, Member>): Member {
  return members.get([...keys].at(-1) ?? '') as Member;
}

/** The same list each time, wherever it is read. */
function byIds(left: Member, right: Member): number {
  const [one, other] =
    left.userId === right.userId ? [left.connectionId, right.connectionId] : [left.userId, right.userId];
  return one < other ? -1 : 1;
}

function isSame(left: Member, right: Member): boolean {
  return JSON.stringify(left.state) === JSON.stringify(right.state);
}
