/**
 * The stock jobs, on queues of the shop's own.
 *
 * Workers of a queue share its jobs, whatever program they are part of. The worker of `npm start` knows the same stock jobs, but neither the shop's
 * templates nor its boards: on one queue it would take the shop's jobs and fail them. So each job keeps its name and gets a queue `shop.*`.
 */
import type { Handler, JobContract, Schedule } from 'millrace';
import {
  cacheWarm,
  catalogRefresh,
  emailSend,
  leaderboardCloseSeason,
  leaderboardRecord,
  ordersRebuild,
  presenceNotify,
  reportExport,
  searchIndexDocument,
  searchRebuild,
  sessionRevokeUser,
  sessionSweep,
  webhookDeliver,
} from 'millrace/workers/contracts';

/** The contract on the shop's queue. A queue `shop.email` and its dead letters are of the family `shop`: one node of a Cluster. */
export function inShop<Input, Parsed, Result>(
  contract: JobContract<Input, Parsed, Result>,
): JobContract<Input, Parsed, Result> {
  return Object.freeze({ ...contract, queue: `shop.${contract.queue}` });
}

export const sendMail = inShop(emailSend);
export const deliverWebhook = inShop(webhookDeliver);
export const refreshCatalog = inShop(catalogRefresh);
export const warmCache = inShop(cacheWarm);
export const exportReport = inShop(reportExport);
export const rebuildOrders = inShop(ordersRebuild);
export const recordScores = inShop(leaderboardRecord);
export const closeSeason = inShop(leaderboardCloseSeason);
export const revokeUser = inShop(sessionRevokeUser);
export const sweepSessions = inShop(sessionSweep);
export const indexDocument = inShop(searchIndexDocument);
export const rebuildIndex = inShop(searchRebuild);
export const notify = inShop(presenceNotify);

/** What stockHandlers() gives, for the shop's queues. */
export function handlersInShop(handlers: readonly Handler[]): Handler[] {
  return handlers.map((handler) => ({ ...handler, contract: inShop(handler.contract) }));
}

/** Its schedules: under ids of the shop's own, too, as ids are known to all under a prefix. */
export function schedulesInShop(schedules: readonly Schedule[]): Schedule[] {
  return schedules.map((one) => ({ ...one, id: `shop.${one.id}`, contract: inShop(one.contract) }));
}
