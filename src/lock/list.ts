/**
 * The locks of all processes that are held or waited for now, for operators.
 *
 * They are found by their keys, so that nobody who takes a lock pays for it: SCAN on each master, a few hundred keys a step, within bounds
 * that a busy server does not feel. Then each is looked at by itself, so every lock is told as it stood at one moment, and the list is none.
 * What is held for the whole time of the call is in the list; what comes or goes meanwhile may be.
 * Redis down: LOCK_UNAVAILABLE.
 */
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import type { ClusterClient, RedisClient, SingleClient } from '../redis/clients.ts';
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import { checkOptions } from '../schema.ts';
import { inspectLock, type LockHolder } from './inspect.ts';
import type { LockKind } from './lock-metrics.ts';
import type { MutexScripts } from './mutex-scripts.ts';
import type { PermitScripts } from './permits/permit-scripts.ts';
import type { PermitUse } from './permits/scripts.ts';

/** Options of list(). */
export interface LockListOptions {
  /** When so many are found it goes no further; the last step may bring some more. Default 200, at most 1,000. */
  limit?: number | undefined;
  /** Where the list before has ended. Default: the beginning. */
  cursor?: string | undefined;
  /** Ends the search with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Locks that are held or waited for. */
export interface LockListing {
  /** Those first for which most wait, then by name. */
  readonly locks: readonly ListedLock[];
  /** Whether the search came to its end. It goes no further once it has found `limit`, looked at 100,000 keys, or taken half a second. */
  readonly isWhole: boolean;
  /** Where the next list goes on; undefined at the end. */
  readonly cursor: string | undefined;
}

/** One of them. */
export interface ListedLock {
  readonly name: string;
  readonly kind: 'mutex' | 'semaphore' | 'read-write';
  /** The first ten, those first whose leases end first; none when it is free and others have yet to hear so. */
  readonly holders: readonly ListedHolder[];
  /** How many hold it in all. */
  readonly holding: number;
  /** How many wait. */
  readonly waiting: number;
}

/** Whoever holds one of them. */
export interface ListedHolder extends LockHolder {
  /** `exclusive` of a mutex, `permits` of a semaphore. */
  readonly mode: 'exclusive' | 'read' | 'write' | 'permits';
  /** How many permits of a semaphore; else 1. */
  readonly permits: number;
}

/** What is needed to find and to look at locks. */
export interface ListParts {
  readonly connections: Pick<Connections, 'commands'>;
  readonly keys: KeySpace;
  readonly guard: Pick<Guard, 'run'>;
  readonly clock: Clock;
  readonly mutexes: Pick<MutexScripts, 'inspect'>;
  readonly permits: (use: PermitUse) => Pick<PermitScripts, 'inspect'>;
}

/** Keys that a step looks at, and all steps together; a step takes a server some 100 µs. */
const STEP = 500;
const MOST_KEYS = 100_000;
const MOST_MS = 500;
const SHOWN_HOLDERS = 10;

const listSchema = z.strictObject({
  limit: z.number().int().min(1).max(1_000).default(200),
  cursor: z
    .string()
    .regex(/^[^/]*\/\d+$/, 'expected the cursor of the list before')
    .optional(),
  signal: z.instanceof(AbortSignal, { error: 'expected an AbortSignal' }).optional(),
});

interface Found {
  readonly name: string;
  readonly kind: LockKind;
}

/** @throws MillraceError OPTIONS_INVALID; what Redis met; the reason of the signal */
export async function listLocks(parts: ListParts, options: LockListOptions): Promise<LockListing> {
  const { limit, cursor, signal } = checkOptions(listSchema, options, 'list');
  const { found, next } = await find(parts, { limit, cursor, signal });
  const seen = await Promise.all(found.map((one) => look(parts, one)));
  signal?.throwIfAborted();
  const locks = seen
    .filter(({ holding, waiting }) => holding + waiting > 0)
    .toSorted((one, other) => other.waiting - one.waiting || (one.name < other.name ? -1 : 1));
  return { locks, isWhole: next === undefined, cursor: next };
}

async function find(
  { connections, keys, guard, clock }: ListParts,
  { limit, cursor, signal }: { limit: number; cursor: string | undefined; signal: AbortSignal | undefined },
): Promise<{ found: Found[]; next: string | undefined }> {
  const client = connections.commands();
  await guard.run(() => client.ping()); // A Cluster knows its nodes only once it is connected.
  const places = placesOf(client);
  const [node, begin = '0'] = cursor?.split('/') ?? [];
  let at = places.findIndex(({ name }) => name === node);
  let place = at === -1 ? '0' : begin; // Of a node that has gone the others are looked at anew.
  at = Math.max(0, at);

  const head = keys('-').slice(0, -2);
  const found = new Map<string, Found>();
  const untilMs = clock.monotonicMs() + MOST_MS;
  for (let looked = 0; at < places.length; looked += STEP) {
    signal?.throwIfAborted();
    if (found.size >= limit || looked >= MOST_KEYS || clock.monotonicMs() >= untilMs) break;
    const { redis } = places[at] as Place;
    const [next, some] = await guard.run(() => redis.scan(place, 'MATCH', `${head}*`, 'COUNT', STEP));
    for (const key of some) {
      const one = lockOf(key.slice(head.length));
      if (one) found.set(`${one.kind} ${one.name}`, one);
    }
    place = next;
    if (place === '0') at++;
  }
  const last = places[at];
  return { found: [...found.values()], next: last && `${last.name}/${place}` };
}

interface Place {
  readonly name: string;
  readonly redis: SingleClient;
}

/** Every server that has some of the keys, in the same order each time. */
function placesOf(client: RedisClient): Place[] {
  if (!client.isCluster) return [{ name: '', redis: client as SingleClient }];
  const masters = (client as ClusterClient)
    .nodes('master')
    .map((redis) => ({ name: `${redis.options.host}:${redis.options.port}`, redis }));
  return masters.toSorted((one, other) => (one.name < other.name ? -1 : 1));
}

/** What follows the tag in the keys that are there while a lock is held or waited for. */
const KIND_OF: Readonly<Record<string, LockKind>> = {
  '': 'mutex',
  ':queue': 'mutex',
  ':semaphore:holders': 'semaphore',
  ':semaphore:queue': 'semaphore',
  ':read-write:holders': 'read-write',
  ':read-write:queue': 'read-write',
};

/** The lock of a key without its head; undefined for keys that stay when it is free. */
function lockOf(rest: string): Found | undefined {
  const end = rest.indexOf('}');
  const kind = KIND_OF[rest.slice(end + 1)];
  return kind && { kind, name: decodeTag(rest.slice(0, end)) };
}

/** What keys.ts has encoded: braces and percent signs, and halves of surrogate pairs. */
function decodeTag(tag: string): string {
  return tag.replace(/%(25|7B|7D|D[89A-F][0-9A-F]{2})/g, (_all, code: string) =>
    String.fromCharCode(Number(`0x${code}`)),
  );
}

async function look({ mutexes, permits }: ListParts, { name, kind }: Found): Promise<ListedLock> {
  if (kind === 'mutex') {
    const { holder, waiting } = await inspectLock(mutexes, name, 1);
    const holders = holder ? [{ ...holder, mode: 'exclusive' as const, permits: 1 }] : [];
    return { name, kind, holders, holding: holders.length, waiting };
  }
  const { holders, holding, waiting } = await permits(kind).inspect(name, 0, SHOWN_HOLDERS);
  return {
    name,
    kind,
    holders: holders.map(({ process, token, heldMs, ms, isConfirmed, mode, weight }) => ({
      owner: process,
      token,
      heldMs,
      remainingMs: ms,
      confirmed: isConfirmed,
      mode: mode as ListedHolder['mode'],
      permits: kind === 'semaphore' ? weight : 1,
    })),
    holding,
    waiting,
  };
}
