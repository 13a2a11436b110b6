/**
 * Effects that a job has once, over all its attempts.
 *
 * Promise: a later attempt is given the stored result and does not run the effect again. Only the holder of the job's lease can
 * store (a script compares BullMQ's lock), so a worker that was paused past its lease can not; it is told LEASE_LOST.
 * What is left: between the effect and the storing of its result lies one round trip. Who dies there, or has lost the lease, leaves an
 * effect without a result, and the next attempt runs it again. Give the effect's receiver a key of its own where even that must not be.
 * Redis down: storing is tried as long as the lease lasts without a renewal; then the attempt fails.
 */
import type { Clock } from '../../clock.ts';
import { isMillraceError, MillraceError, type ErrorCode } from '../../errors.ts';
import type { RedisClient } from '../../redis/clients.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { defineScript } from '../../redis/script.ts';

/** Results outlive their job's retries, its time as a dead letter and its redrive. */
export const EFFECT_TTL_MS = 30 * 86_400_000;
const LONGEST_KEY = 1_000;
const RETRY_AFTER_MS = 100;
const LONGEST_RETRY_MS = 1_000;

/** What passes by itself. A lost answer too: storing the same again does no harm. */
const PASSING: readonly ErrorCode[] = [
  'REDIS_UNREACHABLE',
  'REDIS_TIMEOUT',
  'REDIS_NOT_READY',
  'REDIS_CLUSTER_DOWN',
  'REDIS_WRITES_REFUSED',
];

const storeOnce = defineScript({
  file: 'jobs/store-once.lua',
  keys: ['lock', 'effects'],
  args: ['token', 'effect', 'result', 'ttlMs'],
  reply: (stored: number) => stored === 1,
});

/** Where the effects of one attempt are stored. */
export interface EffectStore {
  client: RedisClient;
  label: string;
  clock: Clock;
  /** BullMQ's lock of the job. */
  lock: string;
  effects: string;
  token: string;
  jobId: string;
  /** How long the lease lasts without a renewal. */
  leaseMs: number;
}

/** Runs the effect unless an attempt of the job has its result. @throws MillraceError LEASE_LOST */
export async function runOnce<T>(store: EffectStore, key: string, effect: () => Promise<T> | T): Promise<T> {
  if (typeof key !== 'string' || key === '' || key.length > LONGEST_KEY) {
    const message = `once: expected a key of 1 to ${LONGEST_KEY} characters`;
    throw new MillraceError('OPTIONS_INVALID', message, { key });
  }
  const stored = await read(store, key);
  if (stored !== null) return (stored === '' ? undefined : JSON.parse(stored)) as T;
  const result = await effect();
  await write(store, key, toJson(store, key, result));
  return result;
}

async function read(store: EffectStore, key: string): Promise<string | null> {
  return persistently(store, async () => {
    try {
      return await store.client.hget(store.effects, key);
    } catch (error) {
      throw explainRedisError(error, store.label);
    }
  });
}

/** Empty for undefined. A result that cannot be stored ends the job, because each further attempt would repeat the effect. */
function toJson({ jobId }: EffectStore, effect: string, result: unknown): string {
  try {
    return JSON.stringify(result) ?? '';
  } catch (cause) {
    const message = `job ${jobId}: what the effect "${effect}" returned has no JSON form; it has happened, and would happen again`;
    throw new MillraceError('JOB_UNRECOVERABLE', message, { jobId, effect, cause });
  }
}

async function write(store: EffectStore, effect: string, result: string): Promise<void> {
  const { client, lock, effects, token, jobId } = store;
  const isStored = await persistently(store, () =>
    storeOnce(client, { lock, effects }, { token, effect, result, ttlMs: EFFECT_TTL_MS }),
  );
  if (isStored) return;
  throw new MillraceError(
    'LEASE_LOST',
    `job ${jobId}: the lease was lost before the result of "${effect}" could be stored; another attempt may run it again`,
    { jobId, effect },
  );
}

/** Asks again while Redis is away, for as long as the lease may last: to fail the attempt would not bring Redis back. */
async function persistently<T>({ clock, leaseMs }: EffectStore, ask: () => Promise<T>): Promise<T> {
  const until = clock.monotonicMs() + leaseMs;
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      const isPassing = isMillraceError(error) && PASSING.includes(error.code);
      if (!isPassing || clock.monotonicMs() >= until) throw error;
      await clock.sleep(Math.min(RETRY_AFTER_MS * tries, LONGEST_RETRY_MS));
    }
  }
}
