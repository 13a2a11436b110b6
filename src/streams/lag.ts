/**
 * How far behind a group is.
 *
 * Redis counts what a group has not read by two counters, and gives up once an entry was deleted out of turn (XDEL by another tool) or a group was
 * made in the middle of a stream. Then an estimate stands in, and says so. Where a stream is read to its end, or not at all, the number is
 * known whatever was deleted.
 */
import { MillraceError } from '../errors.ts';
import type { RedisClient } from '../redis/clients.ts';
import { compareIds, publishedAtOf } from './entry.ts';
import type { StreamKeys } from './keys.ts';
import { lookAtGroup, type GroupFacts } from './scripts.ts';

/** A consumer of a group, as Redis knows it. */
export interface GroupConsumer {
  readonly name: string;
  /** Entries that it was given and has not finished. */
  readonly pending: number;
  /** Whether its process holds its lease now; false also for one of another tool. */
  readonly isAlive: boolean;
}

/** What a group has still to do. */
export interface GroupLag {
  /** Entries that it has not read. */
  readonly entries: number;
  /** Whether `entries` is exact; else it is an estimate. */
  readonly isExact: boolean;
  /** Entries that it was given and has not finished; those that wait for a retry are among them. */
  readonly pending: number;
  /** How long ago the oldest of these was published; 0 without any. */
  readonly oldestPendingMs: number;
  /** Entries that wait for their next attempt. */
  readonly retrying: number;
  readonly deadLetters: number;
  readonly consumers: readonly GroupConsumer[];
}

/** The group's lag; undefined when there is no such group. @throws what Redis met */
export async function readLag(client: RedisClient, keys: StreamKeys, group: string): Promise<GroupLag | undefined> {
  const { facts } = await lookAtGroup(client, ...lookOf(keys, group));
  return facts && lagOf(facts);
}

/** More than a group ever has. */
const ALL_CONSUMERS = 1_000_000;

/** What the script is called with. */
export function lookOf(
  keys: StreamKeys,
  group: string,
  most: number = ALL_CONSUMERS,
): Parameters<typeof lookAtGroup> extends [unknown, ...infer Rest] ? Rest : never {
  const { members, tokens, retries, dead } = keys.group(group);
  return [
    { entries: keys.entries, members, tokens, retries, dead },
    { group, most },
  ];
}

/** The same from facts that were read. */
export function lagOf(facts: GroupFacts): GroupLag {
  const { nowMs, pending, oldestPending, retrying, deadLetters } = facts;
  return {
    ...unreadOf(facts),
    pending,
    oldestPendingMs: oldestPending === '' ? 0 : Math.max(0, nowMs - publishedAtOf(oldestPending)),
    retrying,
    deadLetters,
    consumers: facts.consumers.map(({ name, pending: own, leaseMs = 0 }) => ({
      name,
      pending: own,
      isAlive: leaseMs > 0,
    })),
  };
}

/** The error for a group that is not there. */
export function groupUnknown(stream: string, group: string, known: readonly string[]): MillraceError {
  const there = known.length === 0 ? 'it has none yet' : `there are ${known.join(', ')}`;
  return new MillraceError('GROUP_UNKNOWN', `stream ${stream} has no group ${group}; ${there}`, {
    stream,
    group,
    known,
  });
}

function unreadOf(facts: GroupFacts): { entries: number; isExact: boolean } {
  const { length, firstId, lastId, delivered, lag } = facts;
  if (length === 0 || compareIds(delivered, lastId) >= 0) return { entries: 0, isExact: true };
  if (compareIds(delivered, firstId) < 0) return { entries: length, isExact: true };
  if (lag !== '' && Number(lag) <= length) return { entries: Number(lag), isExact: true };
  return { entries: Math.min(length, Math.max(1, estimateOf(facts))), isExact: false };
}

/** By what was added since it read last, where that is known; else by time, as if entries came evenly. */
function estimateOf({ added, read, length, firstId, lastId, delivered }: GroupFacts): number {
  if (read !== '') return added - Number(read);
  const spanMs = publishedAtOf(lastId) - publishedAtOf(firstId);
  const leftMs = publishedAtOf(lastId) - publishedAtOf(delivered);
  return spanMs <= 0 ? length : Math.ceil((length * leftMs) / spanMs);
}
