/** All stock jobs, for apps that have them on queues of their own. */
import type { Flow, JobContract } from 'millrace';
import { cacheWarm, catalogRefresh } from './catalog/contract.ts';
import { leaderboardCloseSeason, leaderboardRecord } from './leaderboard/contract.ts';
import { emailSend } from './mail/contract.ts';
import { ordersRebuild } from './orders/contract.ts';
import { presenceNotify } from './presence/contract.ts';
import { checkQueues, contractIn, type QueuesOption } from './queues.ts';
import { reportExport } from './report/contract.ts';
import {
  rebuildFlow,
  searchIndexDocument,
  searchRebuild,
  searchRebuildPart,
  type RebuildFlowOptions,
} from './search/contract.ts';
import { sessionRevokeUser, sessionSweep } from './session/contract.ts';
import { webhookDeliver } from './webhook/contract.ts';

const CONTRACTS = {
  emailSend,
  webhookDeliver,
  catalogRefresh,
  cacheWarm,
  reportExport,
  ordersRebuild,
  leaderboardRecord,
  leaderboardCloseSeason,
  sessionRevokeUser,
  sessionSweep,
  searchIndexDocument,
  searchRebuildPart,
  searchRebuild,
  presenceNotify,
} as const;

/** The contract of each stock job, and the flow that rebuilds an index. */
export interface StockJobs extends Readonly<typeof CONTRACTS> {
  rebuildFlow(this: void, options: Omit<RebuildFlowOptions, 'queues'>): Flow;
}

/**
 * What apps enqueue of the stock jobs, on queues of their own. The worker names the same queues.
 *
 * @example
 * export const { emailSend, presenceNotify } = stockJobs({ queues: 'shop' });
 * await platform.jobs.enqueue(emailSend, { to: 'ada@example.com', template: 'welcome', data: { name: 'Ada' } });
 * const { handlers } = stockHandlers({ queues: 'shop', email: { smtp, from } }); // in the worker
 * @throws MillraceError OPTIONS_INVALID
 */
export function stockJobs(options: QueuesOption): StockJobs {
  const queues = checkQueues(options, 'stockJobs');
  const moved = Object.entries<JobContract>(CONTRACTS).map(([name, contract]) => [name, contractIn(queues, contract)]);
  return Object.freeze({
    ...(Object.fromEntries(moved) as typeof CONTRACTS),
    rebuildFlow: (flow: Omit<RebuildFlowOptions, 'queues'>) => rebuildFlow({ ...flow, queues }),
  });
}
