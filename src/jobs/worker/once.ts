/**
 * Effects that a job has once, over all its attempts.
 *
 * Promise: a later attempt is given the stored result and does not run the effect again. Only the holder of the job's lease can begin an
 * effect and store its result (scripts compare BullMQ's lock), so a worker that was paused past its lease can do neither; it is told
 * LEASE_LOST. An attempt that was given up begins no effect either.
 * What is left: from the look at the lease until the result is stored passes the time of the effect, and one round trip. Who dies within
 * it, or loses the lease, leaves an effect without a result, and the next attempt runs it again, perhaps beside it. Give the effect's
 * receiver a key of its own where even that must not be.
 * Results are kept for EFFECT_TTL_MS after the last call and after the end of each wait before the next start, and of a dead job for as long
 * as its letter (mover.ts).
 * Redis down: both are tried as long as the lease lasts without a renewal, looking only while the attempt may go on; then the attempt
 * fails.
 */
import type { Clock } from '../../clock.ts';
import { isMillraceError, MillraceError, type ErrorCode } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { RedisClient } from '../../redis/clients.ts';
import { explainRedisError } from '../../redis/explain.ts';
import { clientLabel, defineScript, type PreparedCall } from '../../redis/script.ts';
import type { JobKeys } from '../queue-names.ts';

const DAY_MS = 86_400_000;
/** So long a job may have to wait for a worker without losing its results. */
export const EFFECT_TTL_MS = 30 * DAY_MS;
/** The wait of a job that is due within this from its enqueue is covered by what its results have anyway. */
const SOON_MS = DAY_MS;
const STORED_MS = EFFECT_TTL_MS + SOON_MS;
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

const readOnce = defineScript({
  file: 'jobs/read-once.lua',
  keys: ['lock', 'effects'],
  args: ['token', 'effect', 'ttlMs'],
  reply: ([isHeld, result]: [number, string | null]) => ({ isHeld: isHeld === 1, result }),
});

const storeOnce = defineScript({
  file: 'jobs/store-once.lua',
  keys: ['lock', 'effects'],
  args: ['token', 'effect', 'result', 'ttlMs'],
  reply: (stored: number) => stored === 1,
});

const passOn = defineScript({
  file: 'jobs/pass-on-effects.lua',
  keys: ['effects', 'cancels'],
  args: ['jobId', 'ttlMs'],
  reply: (had: number) => had === 1,
});

/** Where the effects of one attempt are stored. */
export interface EffectStore {
  client: RedisClient;
  clock: Clock;
  /** BullMQ's lock of the job. */
  lock: string;
  effects: string;
  token: string;
  jobId: string;
  /** How long the lease lasts without a renewal. */
  leaseMs: number;
  /** Throws once the attempt may begin no effect any more. */
  mustGoOn: () => void;
}

/** Runs the effect unless an attempt of the job has its result. @throws MillraceError LEASE_LOST, and what mustGoOn() throws */
export async function runOnce<T>(store: EffectStore, key: string, effect: () => Promise<T> | T): Promise<T> {
  if (typeof key !== 'string' || key === '' || key.length > LONGEST_KEY) {
    const message = `once: expected a key of 1 to ${LONGEST_KEY} characters`;
    throw new MillraceError('OPTIONS_INVALID', message, { key });
  }
  store.mustGoOn();
  const stored = await read(store, key);
  if (stored !== null) return (stored === '' ? undefined : JSON.parse(stored)) as T;
  store.mustGoOn(); // The answer may have been long in coming.
  const result = await effect();
  await write(store, key, toJson(store, key, result));
  return result;
}

async function read(store: EffectStore, effect: string): Promise<string | null> {
  const { client, lock, effects, token, jobId } = store;
  const { isHeld, result } = await persistently(
    store,
    () => readOnce(client, { lock, effects }, { token, effect, ttlMs: STORED_MS }),
    store.mustGoOn,
  );
  if (isHeld) return result;
  const message = `job ${jobId}: the lease was lost before the effect "${effect}" began; another attempt may run it`;
  throw new MillraceError('LEASE_LOST', message, { jobId, effect });
}

/** What becomes of the effects of a job that dies in a queue or is given back to it; a call for the transaction that moves it. */
export function passOnEffects(keys: JobKeys, queue: string, jobId: string, keptMs = 0): PreparedCall<boolean> {
  const ttlMs = Math.max(EFFECT_TTL_MS, keptMs);
  return passOn.prepare({ effects: keys.once(queue, jobId), cancels: keys.cancels(queue) }, { jobId, ttlMs });
}

/** Where the effects of the jobs of a queue are kept. */
export interface EffectKeeper extends Pick<EffectStore, 'client' | 'clock' | 'leaseMs'> {
  readonly keys: JobKeys;
  readonly queue: string;
  readonly log: Logger;
}

/** Has the results of a job outlive a wait that is about to begin. Of most jobs they do without. Never throws: the move that follows tells more. */
export async function keepEffects(
  keeper: EffectKeeper,
  { id = '', timestamp }: { id?: string | undefined; timestamp: number },
  waitMs: number,
): Promise<void> {
  const { client, clock, keys, queue, log } = keeper;
  if (clock.wallMs() - timestamp + waitMs <= SOON_MS) return; // They are no older than their job.
  try {
    await persistently(keeper, () => expireLater(client, keys.once(queue, id), waitMs + EFFECT_TTL_MS));
  } catch (error) {
    log.warn({ queue, jobId: id, err: error }, 'the effects of a job may be forgotten before it runs again');
  }
}

async function expireLater(client: RedisClient, key: string, ttlMs: number): Promise<unknown> {
  try {
    return await client.pexpire(key, ttlMs, 'GT');
  } catch (error) {
    throw explainRedisError(error, clientLabel(client));
  }
}

/** Empty for undefined. */
function toJson({ jobId }: EffectStore, effect: string, result: unknown): string {
  try {
    return JSON.stringify(result) ?? '';
  } catch (cause) {
    throw unstorable(jobId, effect, cause);
  }
}

/** A result that cannot be stored ends the job, because each further attempt would repeat the effect. */
export function unstorable(jobId: string, effect: string, cause: unknown): MillraceError {
  const message = `job ${jobId}: what the effect "${effect}" returned has no JSON form; it has happened, and would happen again`;
  return new MillraceError('JOB_UNRECOVERABLE', message, { jobId, effect, cause });
}

async function write(store: EffectStore, effect: string, result: string): Promise<void> {
  const { client, lock, effects, token, jobId } = store;
  const isStored = await persistently(store, () =>
    storeOnce(client, { lock, effects }, { token, effect, result, ttlMs: STORED_MS }),
  );
  if (isStored) return;
  throw new MillraceError(
    'LEASE_LOST',
    `job ${jobId}: the lease was lost before the result of "${effect}" could be stored; another attempt may run it again`,
    { jobId, effect },
  );
}

/** Asks again while Redis is away, for as long as the lease may last: to fail the attempt would not bring Redis back. */
async function persistently<T>(
  { clock, leaseMs }: Pick<EffectStore, 'clock' | 'leaseMs'>,
  ask: () => Promise<T>,
  mustGoOn: () => void = () => undefined,
): Promise<T> {
  const until = clock.monotonicMs() + leaseMs;
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      const isPassing = isMillraceError(error) && PASSING.includes(error.code);
      if (!isPassing || clock.monotonicMs() >= until) throw error;
      mustGoOn();
      await clock.sleep(Math.min(RETRY_AFTER_MS * tries, LONGEST_RETRY_MS));
      mustGoOn();
    }
  }
}
