/** Published as `millrace/workers`: the stock jobs with their handlers. Apps that only enqueue import `millrace/workers/contracts`. */
export * from './contracts.ts';
export { createEmailHandler, type EmailHandler, type EmailOptions } from './email-send.ts';
export type { LimitOption } from './limit-option.ts';
export type { Address, Mailbox } from './mail/address.ts';
export { html, Html, rawHtml, type HtmlValue } from './mail/html.ts';
export type { MailContent, MailTemplate, MailTemplates } from './mail/templates.ts';
export { createWebhookHandler, type WebhookOptions } from './webhook-deliver.ts';
export { createCatalogHandler } from './catalog-refresh.ts';
export { createWarmHandler } from './cache-warm.ts';
export type { CatalogsOptions } from './catalog/options.ts';
export type { Source } from './pages.ts';
export {
  createReportHandler,
  report,
  type AnyReport,
  type Report,
  type ReportCursor,
  type ReportOptions,
} from './report-export.ts';
export type { Column } from './report/format.ts';
export { createOrderProjection } from './orders-project.ts';
export { createRebuildHandler } from './orders-rebuild.ts';
export { followUp, type Follow, type FollowUp, type FollowUps } from './orders/follow-up.ts';
export type { OrdersOptions } from './orders/options.ts';
export {
  createLeaderboardCloseSeasonHandler,
  type ClosedBoard,
  type LeaderboardCloseSeasonOptions,
} from './leaderboard-close-season.ts';
export { createLeaderboardRecordHandler, type LeaderboardRecordOptions } from './leaderboard-record.ts';
export type { BoardsOption } from './leaderboard/boards.ts';
export { leaderboardSchedules, type SeasonTiming } from './leaderboard/schedules.ts';
export { createPresenceNotifyHandler, type PresenceNotifyOptions } from './presence-notify.ts';
export { createSearchIndexHandler } from './search-index-document.ts';
export { createSearchRebuildHandlers } from './search-rebuild.ts';
export type { LoadDocuments, SearchDocument, SearchIndex, SearchOptions } from './search/options.ts';
export { createSessionRevokeUserHandler, type SessionRevokeUserOptions } from './session-revoke-user.ts';
export { createSessionSweepHandler, type SessionSweepOptions } from './session-sweep.ts';
export { readStockEnv } from './env.ts';
export type { StockSettings } from './families.ts';
export { runStockWorker } from './run-stock-worker.ts';
export { declareSchedules, stockHandlers, type Stock } from './stock.ts';
