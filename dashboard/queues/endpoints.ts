/**
 * Every endpoint of Bull Board, and the role that it takes. One that does not stand here, such as of a later release, is refused to all.
 *
 * Looking takes a viewer. An operator does what a job's own life has: try it again, let it run now, take it away, and hold up a queue. An
 * admin does what cannot be taken back for many jobs at once, and what changes how workers of all processes take jobs.
 */
import type { Role } from '../access/roles.ts';

/** What is known of an endpoint. */
export interface Endpoint {
  readonly role: Role;
  /** Its name in the audit, if it changes something. */
  readonly action?: string;
  /** Why nobody does this here, and where instead. */
  readonly refused?: string;
  /** Likewise, where the queue is one of dead letters. */
  readonly refusedForDead?: string;
}

const READS: Endpoint = { role: 'viewer' };
const NOT_FOR_LETTERS =
  'This is a queue of dead letters, which no worker takes from. Retry gives its jobs back to their queue, Clean discards them.';
const NO_SCHEDULERS = 'Schedules are declared in code and kept by Millrace: see the page Fleet.';

/** A change, which a queue of dead letters takes no part in unless `isForDead`. */
function change(role: Role, action: string, isForDead = false): Endpoint {
  return { role, action, ...(!isForDead && { refusedForDead: NOT_FOR_LETTERS }) };
}

function refused(action: string, why: string): Endpoint {
  return { role: 'operator', action, refused: why };
}

/** By method and route, as Bull Board names them. */
export const ENDPOINTS: Readonly<Record<string, Endpoint>> = {
  'get /api/redis/stats': READS,
  'get /api/queues': READS,
  'get /api/job-schedulers': READS,
  'get /api/queues/:queueName/metrics': READS,
  'get /api/queues/:queueName/default-job-options': READS,
  'get /api/queues/:queueName/workers': READS,
  'get /api/queues/:queueName/rate-limit': READS,
  'get /api/queues/:queueName/job-data-schema': READS,
  'get /api/queues/:queueName/:jobId': READS,
  'get /api/queues/:queueName/:jobId/logs': READS,
  'get /api/queues/:queueName/:jobId/flow': READS,
  'get /api/metrics/history': READS,
  'get /api/metrics/latency': READS,

  'put /api/queues/pause': change('operator', 'queue.pause-all'),
  'put /api/queues/resume': change('operator', 'queue.resume-all'),
  'put /api/queues/:queueName/pause': change('operator', 'queue.pause'),
  'put /api/queues/:queueName/resume': change('operator', 'queue.resume'),
  'put /api/queues/:queueName/promote': change('operator', 'queue.promote-all'),
  'put /api/queues/:queueName/retry/:queueStatus': change('operator', 'queue.retry-all', true),
  'put /api/queues/:queueName/rate-limit/release': change('operator', 'queue.release-rate-limit'),
  'put /api/queues/:queueName/:jobId/retry': change('operator', 'job.retry', true),
  'put /api/queues/:queueName/:jobId/promote': change('operator', 'job.promote'),
  'put /api/queues/:queueName/:jobId/clean': change('operator', 'job.remove', true),
  'patch /api/queues/:queueName/:jobId/delay': change('operator', 'job.delay'),
  'patch /api/queues/:queueName/:jobId/priority': change('operator', 'job.prioritize'),

  'put /api/queues/:queueName/clean/:queueStatus': change('admin', 'queue.clean', true),
  'put /api/queues/:queueName/empty': change('admin', 'queue.empty'),
  'put /api/queues/:queueName/obliterate': change('admin', 'queue.obliterate'),
  'put /api/queues/:queueName/concurrency': change('admin', 'queue.limit-concurrency'),
  'put /api/queues/:queueName/rate-limit': change('admin', 'queue.limit-rate'),
  'put /api/queues/:queueName/:jobId/remove-unprocessed-children': change('admin', 'job.remove-children'),

  'post /api/queues/:queueName/add': refused(
    'job.add',
    'Jobs are enqueued on the page Jobs, where the contract checks the input.',
  ),
  'patch /api/queues/:queueName/:jobId/update-data': refused(
    'job.edit',
    'An input is edited where its contract checks it: on the page of the job, by "Edit and enqueue", or on that of the dead letter.',
  ),
  'put /api/queues/:queueName/job-schedulers/:schedulerId/remove': refused('scheduler.remove', NO_SCHEDULERS),
  'put /api/queues/:queueName/job-schedulers/:schedulerId/run': refused('scheduler.run', NO_SCHEDULERS),
  'patch /api/queues/:queueName/job-schedulers/:schedulerId': refused('scheduler.edit', NO_SCHEDULERS),
};

/** What stands for an endpoint that the table does not have. */
const UNKNOWN: Endpoint = {
  role: 'admin',
  action: 'queue.unknown',
  refused: 'This release of the dashboard does not know what this does.',
};

/** All completed jobs once more is no matter of one click of an operator. */
const RETRY_ALL = 'put /api/queues/:queueName/retry/:queueStatus';

/** The endpoint of a route, as this request has it. */
export function endpointOf(route: string, params: Readonly<Record<string, unknown>>): Endpoint {
  const endpoint = Object.hasOwn(ENDPOINTS, route) ? ENDPOINTS[route] : undefined;
  if (!endpoint) return UNKNOWN;
  return route === RETRY_ALL && params['queueStatus'] !== 'failed' ? { ...endpoint, role: 'admin' } : endpoint;
}
