/** Published as `millrace/workers`: the stock jobs with their handlers. Apps that only enqueue import `millrace/workers/contracts`. */
export * from './contracts.ts';
export { createEmailHandler, type EmailHandler, type EmailOptions } from './email-send.ts';
export type { LimitOption } from './limit-option.ts';
export type { Address, Mailbox } from './mail/address.ts';
export { html, Html, rawHtml, type HtmlValue } from './mail/html.ts';
export type { MailContent, MailTemplate, MailTemplates } from './mail/templates.ts';
export { createWebhookHandler, type WebhookOptions } from './webhook-deliver.ts';
export { readStockEnv, type StockSettings } from './env.ts';
export { runStockWorker } from './run-stock-worker.ts';
export { stockHandlers, type Stock } from './stock.ts';
