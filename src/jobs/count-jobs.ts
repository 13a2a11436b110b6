/**
 * How many jobs a queue has, by state. Asked by a script of ours and not through an object of BullMQ, of which whoever looks at all queues would
 * open thousands.
 */
import { defineScript } from '../redis/script.ts';
import type { QueueState } from './metric-definitions.ts';
import { deadQueueOf, type JobKeys } from './queue-names.ts';

/** Counts the jobs at the keys of keysToCount(); alone or in a batch. */
export const countJobs = defineScript({
  file: 'jobs/count-jobs.lua',
  keys: ['wait', 'active', 'delayed', 'prioritized', 'waitingChildren', 'completed', 'failed', 'dead'],
  args: [],
  reply: (counts: Counts): Record<QueueState, number> => {
    const [waiting, active, delayed, prioritized, waitingChildren, completed, failed, dead] = counts;
    const states = { waiting, active, delayed, prioritized, completed, failed, dead };
    return { ...states, 'waiting-children': waitingChildren };
  },
});

type Counts = [number, number, number, number, number, number, number, number];

/** Where the jobs of a queue are. */
export function keysToCount(keys: JobKeys, queue: string): Parameters<typeof countJobs>[1] {
  const key = (state: string): string => keys.bull(queue, state);
  return {
    wait: key('wait'),
    active: key('active'),
    delayed: key('delayed'),
    prioritized: key('prioritized'),
    waitingChildren: key('waiting-children'),
    completed: key('completed'),
    failed: key('failed'),
    dead: keys.bull(deadQueueOf(queue), 'wait'),
  };
}
