/** How full the queues are: for a scrape, an autoscaler, the dashboard. A few commands a queue, all queues at once. */
import type { Job } from 'bullmq';
import type { Clock } from '../clock.ts';
import { withDeadline } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import { explainRedisError } from '../redis/explain.ts';
import type { QueueDepth, QueueState } from './metric-definitions.ts';
import { deadQueueOf } from './queue-names.ts';
import type { OpenQueue, QueueSet } from './queue-set.ts';
import { waitedMs } from './worker/attempt.ts';

const STATES = ['waiting', 'active', 'delayed', 'prioritized', 'waiting-children', 'completed', 'failed'] as const;
const WITHIN_MS = 1_500;
/** BullMQ's scores of prioritized jobs are their priority, shifted by so much, and their place in it. */
const SCORE_PER_PRIORITY = 0x100000000;
/** Priorities that are looked at, the most urgent first. */
const MOST_PRIORITIES = 10;

/** How full the queues are that were ever used; without those that cannot be asked now. @throws MillraceError when none can */
export async function readDepths(queues: QueueSet, clock: Clock): Promise<QueueDepth[]> {
  const late = (): MillraceError =>
    new MillraceError('REDIS_TIMEOUT', `no counts of the queues within ${WITHIN_MS} ms`, {});
  const names = await withDeadline(queues.known(), WITHIN_MS, late);
  const looks = await Promise.allSettled(
    names.map((name) => withDeadline(readDepth(queues, name, clock), WITHIN_MS, late)),
  );
  const depths = looks.flatMap((look) => (look.status === 'fulfilled' ? look.value : []));
  for (const [index, look] of looks.entries()) {
    if (look.status === 'fulfilled') continue;
    if (depths.length === 0) throw look.reason;
    queues.log.debug({ queue: names[index], err: look.reason }, 'not known how full the queue is');
  }
  return depths;
}

async function readDepth(queues: QueueSet, name: string, clock: Clock): Promise<QueueDepth> {
  const open = queues.get(name);
  const { queue } = open;
  try {
    const [counts, dead, [oldest]] = await Promise.all([
      queue.getJobCounts(...STATES),
      queues.get(deadQueueOf(name)).queue.getJobCounts('waiting'),
      queue.getJobs(['waiting'], 0, 0, true),
    ]);
    const prioritized = (counts['prioritized'] ?? 0) > 0 ? await firstOfPriorities(open) : [];
    const nowMs = clock.wallMs();
    const waits = [oldest, ...prioritized].flatMap((job) => (job ? waitedMs(job, nowMs) : []));
    return {
      queue: name,
      counts: { ...counts, dead: dead['waiting'] ?? 0 } as Record<QueueState, number>,
      oldestWaitingMs: waits.length === 0 ? undefined : Math.max(...waits),
    };
  } catch (error) {
    throw explainRedisError(error, queues.connections.label);
  }
}

/** The first job of each priority: jobs of one are taken in their order, while those of a late one may wait for ever. */
async function firstOfPriorities(open: OpenQueue): Promise<Array<Job | undefined>> {
  const key = open.key('prioritized');
  const ids: string[] = [];
  let from = 0;
  while (ids.length < MOST_PRIORITIES) {
    const [id, score] = await open.redis.zrangebyscore(key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1);
    if (id === undefined) break;
    ids.push(id);
    from = (Math.floor(Number(score) / SCORE_PER_PRIORITY) + 1) * SCORE_PER_PRIORITY;
  }
  return Promise.all(ids.map((id) => open.queue.getJob(id)));
}
