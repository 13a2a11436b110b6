/**
 * The stock jobs, on queues of the shop's own.
 *
 * Workers of a queue share its jobs, whatever program they are part of. The worker of `npm start` knows the same stock jobs, but neither the shop's
 * templates nor its boards: on one queue it would take the shop's jobs and fail them.
 */
import { stockJobs } from 'millrace/workers/contracts';

/** Named by shop.ts, too, for the handlers. */
export const QUEUES = 'shop';

export const {
  cacheWarm,
  catalogRefresh,
  emailSend,
  leaderboardRecord,
  ordersRebuild,
  presenceNotify,
  reportExport,
  searchIndexDocument,
  searchRebuild,
  sessionRevokeUser,
  webhookDeliver,
} = stockJobs({ queues: QUEUES });
