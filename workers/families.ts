/** The families of stock jobs, in the order in which they are told. */
import { catalogFamily, type CatalogSettings } from './catalog/family.ts';
import type { Family } from './family.ts';
import { leaderboardFamily, type LeaderboardSettings } from './leaderboard/family.ts';
import { mailFamily, type MailSettings } from './mail/family.ts';
import { ordersFamily, type OrderSettings } from './orders/family.ts';
import { reportFamily, type ReportSettings } from './report/family.ts';
import { presenceFamily, type PresenceSettings } from './presence/family.ts';
import type { QueuesOption } from './queues.ts';
import { searchFamily, type SearchSettings } from './search/family.ts';
import { sessionFamily, type SessionSettings } from './session/family.ts';
import { webhookFamily, type WebhookSettings } from './webhook/family.ts';

/** Options of the stock jobs that are configured. What only code can say, such as where rows of a report come from, is added to what readStockEnv() gives. */
export interface StockSettings
  extends
    MailSettings,
    WebhookSettings,
    CatalogSettings,
    ReportSettings,
    OrderSettings,
    LeaderboardSettings,
    SessionSettings,
    SearchSettings,
    PresenceSettings,
    QueuesOption {}

/** Each family; a name is in one of them. */
export const FAMILIES: ReadonlyArray<Family<StockSettings>> = [
  mailFamily,
  webhookFamily,
  catalogFamily,
  reportFamily,
  ordersFamily,
  leaderboardFamily,
  sessionFamily,
  searchFamily,
  presenceFamily,
];
