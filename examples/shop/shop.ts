/** The shop, put together: its API, its handlers and consumers, and what comes again by itself. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Express } from 'express';
import type { Duration, Handler, Member, Platform, Schedule } from 'millrace';
import { stockHandlers, type EmailOptions, type WebhookOptions } from 'millrace/workers';
import { shopRealm, REALM } from './accounts.ts';
import { createApp } from './app.ts';
import { openDatabase, type Database } from './database.ts';
import { followUps, type Warehouse } from './follow-ups.ts';
import { forgetHandler, forgetSchedule } from './forget.ts';
import { QUEUES } from './jobs.ts';
import { mails } from './mails.ts';
import { STORE } from './orders.ts';
import { chargeHandler, refundHandler, type PaymentProvider } from './payments.ts';
import { INDEX, productCatalog, productIndex } from './products.ts';
import { boards, CUSTOMERS, viewRanking } from './rankings.ts';
import { orderReport } from './reports.ts';

/** What a shop is told. */
export interface ShopSettings {
  /** Where reports and the standings of seasons are written. */
  readonly folder: string;
  readonly payments: PaymentProvider;
  /** How mails are sent. Without it they wait. */
  readonly email?: Omit<EmailOptions, 'templates'> | undefined;
  /** How webhooks are sent, and the warehouse that is told. Without it, it is not. */
  readonly webhooks?: WebhookOptions | undefined;
  readonly warehouse?: Warehouse | undefined;
  /** How long reports are kept. Default a week. */
  readonly keepReportsFor?: Duration | undefined;
  /** How long orders are kept, and how often is looked for older ones. Default 400 days, once a day. */
  readonly orders?: { readonly keepFor: Duration; readonly lookEvery: Duration } | undefined;
}

/** A shop, ready to be listened for and worked for. */
export interface Shop {
  readonly app: Express;
  readonly database: Database;
  readonly handlers: readonly Handler[];
  readonly consumers: readonly Member[];
  /** For declareSchedules(). */
  readonly schedules: readonly Schedule[];
  /** A line for each stock job. */
  readonly summary: readonly string[];
  /** Lets go of what handlers hold, when the worker has stopped. */
  close(): void;
}

/** The shop on a platform that has been started. */
export function openShop(platform: Platform, settings: ShopSettings): Shop {
  const { folder, payments, orders = { keepFor: '400d', lookEvery: '1d' } } = settings;
  const [reports, seasons] = ['reports', 'seasons'].map((name) => join(folder, name)) as [string, string];
  mkdirSync(seasons, { recursive: true });
  const database = openDatabase(platform);
  const catalog = productCatalog(database);
  const realm = shopRealm(platform);
  const stock = stockHandlers({
    queues: QUEUES,
    email: settings.email && { ...settings.email, templates: mails },
    webhooks: settings.webhooks,
    catalog: { catalogs: [catalog] },
    reports: { reports: { orders: orderReport(platform) }, folder: reports, keepFor: settings.keepReportsFor },
    orders: { store: STORE, from: 'start', idempotentFor: '1h', followUps: followUps(database, settings.warehouse) },
    leaderboards: { boards, seasons: { [CUSTOMERS]: { every: 'month' } }, folder: seasons, keep: '365d' },
    sessionRevoke: { realms: { [REALM]: {} } },
    sessionSweep: { redis: () => platform.redis, prefix: platform.prefix, every: 86_400_000 },
    search: { indexes: { [INDEX]: productIndex(database) } },
  });
  return {
    app: createApp(platform, { database, catalog, realm, reports }),
    database,
    handlers: [...stock.handlers, chargeHandler(payments), refundHandler(payments), forgetHandler(orders.keepFor)],
    consumers: [...stock.consumers, viewRanking(database)],
    schedules: [...stock.schedules, forgetSchedule(orders.lookEvery)],
    summary: stock.summary,
    close: () => stock.close(),
  };
}
