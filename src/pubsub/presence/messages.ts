/**
 * What is said on a room's channel, as beat.lua, enter.lua, update.lua and leave.lua write it:
 *
 *   [prev, seq, "enter" | "join", member, state, lease ms]      a user's first connection, a further one
 *   [prev, seq, "update", member, state, lease ms?]             another state; with the lease where another process keeps it from now on
 *   [prev, seq, "swap", member, state, member before, lease ms] a come-back by another connection
 *   [prev, seq, "part" | "leave", member, "left" | "lapsed"]    one of a user's connections, the last one
 *   ["away", ms]                                                a last connection may come back for so long; or a lease ends then of a
 *                                                               connection that is kept anew, and of which nothing is announced
 *
 * Each announcement names the one before it, so whoever missed one knows. Numbers are server µs and only grow, but for a server that lost
 * its data. A lease is said so that a room is looked at when it ends; where it is left out, the next beat finds it. Anybody who may publish can say anything: what has not this form is refused, and never thrown.
 */
import type { PresenceState } from './options.ts';

/** Something that happened in a room. */
export type Announcement = Readonly<{ prev: number; seq: number; member: string }> &
  Readonly<
    | { kind: 'enter' | 'join' | 'update'; state: PresenceState; leaseMs?: number | undefined }
    | { kind: 'swap'; state: PresenceState; old: string; leaseMs?: number | undefined }
    | { kind: 'part' | 'leave'; cause: 'left' | 'lapsed' }
  >;

/** What is no announcement: when to look. */
export type Hint = Readonly<{ kind: 'away'; ms: number }>;

/** What the text says; undefined when it says nothing that we know. */
export function readMessage(text: string): Announcement | Hint | undefined {
  const message = parse(text);
  if (!Array.isArray(message)) return undefined;
  if (message[0] === 'away') return isCount(message[1]) ? { kind: 'away', ms: message[1] } : undefined;
  const [prev, seq, kind, member, what, fifth, sixth] = message as unknown[];
  if (!isCount(prev) || !isCount(seq) || seq <= prev || !isMember(member)) return undefined;
  const head = { prev, seq, member };
  switch (kind) {
    case 'enter':
    case 'join':
    case 'update':
      return isState(what) && isLease(fifth) ? { ...head, kind, state: what, leaseMs: fifth } : undefined;
    case 'swap':
      if (!isState(what) || !isMember(fifth) || !isLease(sixth)) return undefined;
      return { ...head, kind, state: what, old: fifth, leaseMs: sixth };
    case 'part':
    case 'leave':
      return what === 'left' || what === 'lapsed' ? { ...head, kind, cause: what } : undefined;
    default:
      return undefined;
  }
}

/** A state as it is kept in Redis; empty when it is none, as only another program could have left it. */
export function readState(json: string): PresenceState {
  const state = parse(json);
  return isState(state) ? state : {};
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isLease(value: unknown): value is number | undefined {
  return value === undefined || isCount(value);
}

function isMember(value: unknown): value is string {
  return typeof value === 'string' && /^\S+ ./s.test(value);
}

function isState(value: unknown): value is PresenceState {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
