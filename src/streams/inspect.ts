/**
 * A stream as it stands in Redis, for people: found by its name, without its contract.
 *
 * It costs two round trips, whatever the stream holds: groups beyond the first hundred are left out, and consumers beyond a hundred of a
 * group. Each group is told of as it stood at one moment, the stream as a whole is not.
 * Redis down: it throws.
 */
import { isMillraceError } from '../errors.ts';
import { createBatch } from '../redis/batch.ts';
import type { RedisClient } from '../redis/clients.ts';
import { compareIds, fieldsOf, publishedAtOf } from './entry.ts';
import { createEventKeys } from './event-store/keys.ts';
import { createStreamKeys, type StreamKeys } from './keys.ts';
import { EVENTS, readKnown, type KnownContract } from './known.ts';
import { lagOf, lookOf } from './lag.ts';
import { lookAtGroup, type GroupFacts, type HeldBy } from './scripts.ts';

/** A stream, its groups, and what of it is kept. */
export interface StreamInfo {
  /** As known() tells it. */
  readonly name: string;
  /** `events` for all events of an event store, whose name stands behind `events:`. */
  readonly kind: 'stream' | 'events';
  /** Entries that it has. */
  readonly length: number;
  /** About how much memory it takes in Redis; undefined where it may not be asked. */
  readonly bytes: number | undefined;
  /** Undefined without any entry. */
  readonly firstId: string | undefined;
  readonly lastId: string | undefined;
  /** When its first entry was published, in ms since 1970 on the server's clock; undefined without one, and of events. */
  readonly oldestAt: number | undefined;
  /** The first hundred. */
  readonly groups: readonly StreamGroupInfo[];
  /** Groups that its contract declares, and nobody has made yet. */
  readonly missing: readonly string[];
  /** Undefined of a stream whose contract nobody has told Redis, and of events, which are kept for ever. */
  readonly keep: StreamKeep | undefined;
  /** Paths of what its contract calls secret in the data, in any version that was told: for maskSecrets(). */
  readonly secrets: readonly string[];
}

/** What becomes of entries that all groups have finished. */
export interface StreamKeep {
  /** The contract's bounds; undefined for none. */
  readonly count: number | undefined;
  readonly ageMs: number | undefined;
  /** What keeps entries that the bounds would let go; undefined when nothing does. */
  readonly heldBy: HeldBy | undefined;
}

/** One group of a stream. */
export interface StreamGroupInfo {
  readonly name: string;
  /** Entries that it has not read. */
  readonly lag: number;
  /** Whether Redis cannot tell `lag` exactly. */
  readonly isEstimate: boolean;
  /** Entries that it was given and has not finished. */
  readonly pending: number;
  /** How long ago the oldest of these was published; undefined without any. */
  readonly oldestPendingMs: number | undefined;
  /** Of the pending ones, those that wait for their next attempt. */
  readonly retrying: number;
  readonly deadLetters: number;
  /** Whether all its consumers that hold their lease were told to take nothing for now. */
  readonly isPaused: boolean;
  /** The first hundred. */
  readonly consumers: readonly StreamConsumerInfo[];
  /** How many there are in all. */
  readonly consumerCount: number;
}

/** A consumer of a group. */
export interface StreamConsumerInfo {
  readonly name: string;
  /** Entries that it was given and has not finished. */
  readonly pending: number;
  /** Since it last asked Redis for entries; undefined when it never has, as one of an ordered group that stands by. */
  readonly idleMs: number | undefined;
  /** Its lease is over: others take its entries. Also of one of another tool, which never had a lease. */
  readonly isGone: boolean;
  readonly isPaused: boolean;
}

const MOST_GROUPS = 100;
const MOST_CONSUMERS = 100;

/** What is needed to look at a stream. */
export interface InspectParts {
  readonly client: RedisClient;
  readonly prefix: string;
  /** The key of what is known of all streams. */
  readonly known: string;
}

/** The stream; undefined when there is none, and nobody has told of it. @throws what Redis met */
export async function inspectStream(
  { client, prefix, known }: InspectParts,
  name: string,
): Promise<StreamInfo | undefined> {
  const isEvents = name.startsWith(EVENTS);
  const keys = createStreamKeys(prefix)(name);
  const entries = isEvents ? createEventKeys(prefix, name.slice(EVENTS.length)).all : keys.entries;
  const batch = createBatch(client);
  const asked = [
    batch.command('HGET', known, name),
    orNothing(batch.command('XINFO', 'STREAM', entries), isAbsent),
    orNothing(batch.command('XINFO', 'GROUPS', entries), isAbsent),
    orNothing(batch.command('MEMORY', 'USAGE', entries), isForbidden),
    batch.command('TIME'),
    batch.command('SMEMBERS', keys.secrets),
  ] as const;
  await batch.send();
  const [said, stream, groups, bytes, time, secrets] = await Promise.all(asked);
  if (said === null && stream === undefined) return undefined;

  const contract = readKnown(said);
  const { length, firstId, lastId } = streamOf(stream as unknown[] | undefined);
  const names = isEvents ? [] : ((groups as string[][] | undefined) ?? []).map(nameOf);
  const all = await lookAtGroups(client, keys, names.slice(0, MOST_GROUPS));
  const isOver = contract && isBeyond(contract.keep, { length, firstId, nowMs: Number((time as [string])[0]) * 1_000 });
  const missing = contract?.groups.filter((group) => !names.includes(group)) ?? [];
  return {
    name,
    kind: isEvents ? 'events' : 'stream',
    length,
    bytes: bytes === undefined ? undefined : Number(bytes ?? 0),
    firstId,
    lastId,
    oldestAt: isEvents || firstId === undefined ? undefined : publishedAtOf(firstId),
    groups: all.map(({ group, facts }) => groupOf(group, facts)),
    missing,
    keep: contract && {
      ...boundsOf(contract),
      heldBy: isOver && firstId !== undefined ? heldBy(firstId, missing, all) : undefined,
    },
    secrets: isEvents ? [] : (secrets as string[]).toSorted(),
  };
}

interface LookedAt {
  readonly group: string;
  readonly facts: GroupFacts;
}

async function lookAtGroups(client: RedisClient, keys: StreamKeys, names: readonly string[]): Promise<LookedAt[]> {
  const batch = createBatch(client);
  const looks = names.map((group) => batch.run(lookAtGroup, ...lookOf(keys, group, MOST_CONSUMERS)));
  await batch.send();
  const all = await Promise.all(looks);
  // One that was removed meanwhile has no facts.
  return all.flatMap(({ facts }, at) => (facts ? [{ group: names[at] as string, facts }] : []));
}

function nameOf(flat: string[]): string {
  return fieldsOf(flat).get('name') ?? '';
}

function streamOf(flat: unknown[] | undefined): Pick<StreamInfo, 'length' | 'firstId' | 'lastId'> {
  const fields = fieldsOf((flat ?? []) as string[]);
  const idOf = (field: string): string | undefined => (fields.get(field) as [string] | null | undefined)?.[0];
  return { length: Number(fields.get('length') ?? 0), firstId: idOf('first-entry'), lastId: idOf('last-entry') };
}

function groupOf(name: string, facts: GroupFacts): StreamGroupInfo {
  const { entries, isExact, pending, oldestPendingMs, retrying, deadLetters } = lagOf(facts);
  const consumers = facts.consumers.map(({ name: consumer, pending: own, idleMs, leaseMs = 0, isPaused }) => ({
    name: consumer,
    pending: own,
    idleMs,
    isGone: leaseMs <= 0,
    isPaused,
  }));
  const present = consumers.filter(({ isGone }) => !isGone);
  return {
    name,
    lag: entries,
    isEstimate: !isExact,
    pending,
    oldestPendingMs: pending === 0 ? undefined : oldestPendingMs,
    retrying,
    deadLetters,
    isPaused: present.length > 0 && present.every(({ isPaused }) => isPaused),
    consumers,
    consumerCount: facts.consumerCount,
  };
}

/** JSON has no undefined. */
function boundsOf({ keep }: KnownContract): Omit<StreamKeep, 'heldBy'> {
  return { count: keep.count, ageMs: keep.ageMs };
}

/** What holds entries of which there are too many, or too old ones: as trim-step.lua tells it, which finds it out before it removes any. */
function heldBy(firstId: string, missing: readonly string[], all: readonly LookedAt[]): HeldBy | undefined {
  const absent = missing.at(-1);
  if (absent !== undefined) return { group: absent, why: 'absent', id: undefined };
  let held: (HeldBy & { id: string }) | undefined;
  for (const { group, facts } of all) {
    const { delivered, oldestPending } = facts;
    const one =
      oldestPending === ''
        ? { group, why: 'unread' as const, id: after(delivered) }
        : { group, why: 'pending' as const, id: oldestPending };
    if (held === undefined || compareIds(one.id, held.id) < 0) held = one;
  }
  return held !== undefined && compareIds(firstId, held.id) >= 0 ? held : undefined;
}

function isBeyond(
  { count, ageMs }: KnownContract['keep'],
  { length, firstId, nowMs }: { length: number; firstId: string | undefined; nowMs: number },
): boolean {
  if (firstId === undefined) return false;
  return (count !== undefined && length > count) || (ageMs !== undefined && publishedAtOf(firstId) < nowMs - ageMs);
}

/** The id behind an id. */
function after(id: string): string {
  const [ms, seq = '0'] = id.split('-');
  return `${ms}-${BigInt(seq) + 1n}`;
}

async function orNothing<T>(answer: Promise<T>, isExpected: (error: Error) => boolean): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Error && isExpected(error)) return undefined;
    throw error;
  }
}

function isAbsent({ message, cause }: Error): boolean {
  return `${message} ${String(cause)}`.includes('no such key');
}

function isForbidden(error: Error): boolean {
  return isMillraceError(error, 'REDIS_FORBIDDEN');
}
