/**
 * How full the queues are: for a scrape, an autoscaler, the dashboard.
 *
 * An installation may have thousands of queues, few of them in use. So they are asked some at a time, each first by two commands, and only one
 * that has a job by the others.
 */
import type { Clock } from '../clock.ts';
import { withDeadline } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import { createBatch, type Batch } from '../redis/batch.ts';
import type { RedisClient } from '../redis/clients.ts';
import { explainRedisError } from '../redis/explain.ts';
import { countJobs, keysToCount } from './count-jobs.ts';
import type { StoredOptions } from './enqueue-options.ts';
import type { QueueDepth, QueueState } from './metric-definitions.ts';
import type { QueueSet } from './queue-set.ts';
import { waitedMs } from './worker/attempt.ts';

const NOTHING: Readonly<Record<QueueState, number>> = {
  waiting: 0,
  active: 0,
  delayed: 0,
  prioritized: 0,
  'waiting-children': 0,
  completed: 0,
  failed: 0,
  dead: 0,
};
const WITHIN_MS = 1_500;
/** Queues that are asked at once: a batch of two commands each. */
const AT_ONCE = 50;
/** So many times more after a turn in which some were late: a node that is away must not hold up the others time and again. */
const MORE_AFTER_LATE = 8;
/** No turn begins later than this. */
const LAST_TURN_MS = 6_000;
/** BullMQ's scores of prioritized jobs are their priority, shifted by so much, and their place in it. */
const SCORE_PER_PRIORITY = 0x100000000;
/** Priorities that are looked at, the most urgent first. */
const MOST_PRIORITIES = 10;

/** A queue as it is now. */
export interface QueueLook extends QueueDepth {
  isPaused: boolean;
}

/** How full the queues are that were ever used; without those that cannot be asked now. @throws MillraceError when none can */
export async function readDepths(queues: QueueSet, clock: Clock): Promise<QueueLook[]> {
  const late = (): MillraceError =>
    new MillraceError('REDIS_TIMEOUT', `no counts of the queues within ${WITHIN_MS} ms`, {});
  const names = await withDeadline(queues.known(), WITHIN_MS, late);
  const depths: QueueLook[] = [];
  const failures: unknown[] = [];
  const beganMs = clock.monotonicMs();
  for (let first = 0, atOnce = AT_ONCE; first < names.length;) {
    const turnMs = clock.monotonicMs();
    if (turnMs - beganMs > LAST_TURN_MS) {
      failures.push(late());
      break;
    }
    const turn = names.slice(first, first + atOnce);
    const batch = createBatch(queues.client);
    const asked = turn.map((name) => withDeadline(readDepth(queues, name, batch, clock), WITHIN_MS, late));
    void batch.send(); // Each answer settles its own promise.
    for (const look of await Promise.allSettled(asked)) {
      if (look.status === 'fulfilled') depths.push(look.value);
      else failures.push(look.reason);
    }
    first += turn.length;
    if (clock.monotonicMs() - turnMs >= WITHIN_MS) atOnce *= MORE_AFTER_LATE;
  }
  if (failures.length === 0) return depths;
  if (depths.length === 0) throw failures[0];
  const queuesLeft = names.length - depths.length;
  queues.log.debug({ err: failures[0], queues: queuesLeft }, 'not known how full some queues are');
  return depths;
}

async function readDepth(queues: QueueSet, queue: string, batch: Batch, clock: Clock): Promise<QueueLook> {
  const keys = keysToCount(queues.keys, queue);
  // Before the first await, as the batch is sent then.
  const asked = [
    batch.command('EXISTS', ...Object.values(keys)),
    batch.command('HEXISTS', queues.keys.bull(queue, 'meta'), 'paused'),
  ] as const;
  try {
    const [used, paused] = await Promise.all(asked);
    const isPaused = paused === 1;
    if (used === 0) return { queue, counts: NOTHING, oldestWaitingMs: undefined, isPaused };
    const counts = await countJobs(queues.client, keys, {});
    const first = await Promise.all([
      counts.waiting > 0 ? queues.client.lindex(keys.wait, -1) : null,
      counts.prioritized > 0 ? firstOfPriorities(queues.client, keys.prioritized) : [],
    ]);
    const ids = first.flat().filter((id) => id !== null);
    const nowMs = clock.wallMs();
    const waits = await Promise.all(ids.map((id) => waitOf(queues.client, queues.keys.bull(queue, id), nowMs)));
    const known = waits.filter((waited) => waited !== undefined);
    return { queue, counts, oldestWaitingMs: known.length === 0 ? undefined : Math.max(...known), isPaused };
  } catch (error) {
    throw explainRedisError(error, queues.connections.label);
  }
}

/** The first job of each priority: jobs of one are taken in their order, while those of a late one may wait for ever. */
async function firstOfPriorities(client: RedisClient, key: string): Promise<string[]> {
  const ids: string[] = [];
  let from = 0;
  while (ids.length < MOST_PRIORITIES) {
    const [id, score] = await client.zrangebyscore(key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1);
    if (id === undefined) break;
    ids.push(id);
    from = (Math.floor(Number(score) / SCORE_PER_PRIORITY) + 1) * SCORE_PER_PRIORITY;
  }
  return ids;
}

/** How long the job has waited; undefined when it is gone. */
async function waitOf(client: RedisClient, key: string, nowMs: number): Promise<number | undefined> {
  const [timestamp, opts] = await client.hmget(key, 'timestamp', 'opts');
  if (timestamp === null || timestamp === undefined) return undefined;
  return waitedMs({ timestamp: Number(timestamp), opts: JSON.parse(opts || '{}') as StoredOptions }, nowMs);
}
