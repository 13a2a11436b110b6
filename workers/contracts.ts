/**
 * Published as `millrace/workers/contracts`: what apps enqueue of the stock jobs, and the catalogues and read models that they read.
 *
 * Apps import this file alone: it loads no handler, and nothing of what handlers need.
 */
export * from './mail/contract.ts';
export * from './webhook/contract.ts';
export {
  cacheWarm,
  catalogRefresh,
  type CacheWarmInput,
  type CacheWarmResult,
  type CatalogRefreshInput,
  type CatalogRefreshResult,
} from './catalog/contract.ts';
export {
  defineCatalog,
  type Catalog,
  type CatalogOptions,
  type CatalogReader,
  type ListIds,
} from './catalog/catalog.ts';
export * from './report/contract.ts';
export * from './orders/contract.ts';
export * from './orders/model.ts';
export * from './leaderboard/contract.ts';
export * from './session/contract.ts';
export * from './search/contract.ts';
export * from './presence/contract.ts';
export { stockJobs, type StockJobs } from './stock-jobs.ts';
export type { QueuesOption } from './queues.ts';
export { attend, type Attendance, type AttendOptions } from './presence/attend.ts';
export { serveNotifications, type ServeNotificationsOptions } from './presence/server-events.ts';
