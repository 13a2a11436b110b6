/** How full the queues are: for a scrape, an autoscaler, the dashboard. Two commands a queue, all in one round trip. */
import type { Clock } from '../clock.ts';
import { withDeadline } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import { explainRedisError } from '../redis/explain.ts';
import type { QueueDepth, QueueState } from './metric-definitions.ts';
import { deadQueueOf } from './queue-names.ts';
import type { QueueSet } from './queue-set.ts';

const STATES = ['waiting', 'active', 'delayed', 'prioritized', 'waiting-children', 'completed', 'failed'] as const;
const WITHIN_MS = 1_500;

/** How full the queues are that were ever used. */
export async function readDepths(queues: QueueSet, clock: Clock): Promise<QueueDepth[]> {
  const late = (): MillraceError =>
    new MillraceError('REDIS_TIMEOUT', `no counts of the queues within ${WITHIN_MS} ms`, {});
  const names = await queues.known();
  return withDeadline(Promise.all(names.map((name) => readDepth(queues, name, clock))), WITHIN_MS, late);
}

async function readDepth(queues: QueueSet, name: string, clock: Clock): Promise<QueueDepth> {
  const { queue } = queues.get(name);
  try {
    const [counts, dead, [oldest]] = await Promise.all([
      queue.getJobCounts(...STATES),
      queues.get(deadQueueOf(name)).queue.getJobCounts('waiting'),
      queue.getJobs(['waiting'], 0, 0, true),
    ]);
    const oldestWaitingMs = oldest ? Math.max(0, clock.wallMs() - oldest.timestamp - (oldest.delay || 0)) : undefined;
    return {
      queue: name,
      counts: { ...counts, dead: dead['waiting'] ?? 0 } as Record<QueueState, number>,
      oldestWaitingMs,
    };
  } catch (error) {
    throw explainRedisError(error, queues.connections.label);
  }
}
