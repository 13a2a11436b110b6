/** The stock jobs that a worker can run, as its settings say. */
import type { Handler } from 'millrace';
import { emailSend, webhookDeliver } from './contracts.ts';
import { createEmailHandler } from './email-send.ts';
import type { StockSettings } from './env.ts';
import { createWebhookHandler } from './webhook-deliver.ts';

/** What stockHandlers() gives. */
export interface Stock {
  readonly handlers: readonly Handler[];
  /** A line for each stock job: that it runs, or what it lacks. */
  readonly summary: readonly string[];
  /** Lets go of what handlers hold. Call it when the worker has stopped. */
  close(): void;
}

/** A job, and its handler where the settings have what it needs. */
interface Entry {
  name: string;
  needs: string;
  handler: (Handler & { close?: () => void }) | undefined;
}

/**
 * The handlers of the stock jobs that are configured; the others are left out.
 *
 * @example
 * const { handlers, summary } = stockHandlers({ email: { smtp: 'smtp://mail.example.com', from: 'shop@example.com' } });
 * await platform.work({ handlers: [...handlers, myOwn] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function stockHandlers({ email, webhooks }: StockSettings): Stock {
  const entries: Entry[] = [
    { name: emailSend.name, needs: 'SMTP_URL and MILLRACE_MAIL_FROM', handler: email && createEmailHandler(email) },
    {
      name: webhookDeliver.name,
      needs: 'MILLRACE_WEBHOOK_SECRETS',
      handler: webhooks && createWebhookHandler(webhooks),
    },
  ];
  return {
    handlers: entries.flatMap(({ handler }) => handler ?? []),
    summary: entries.map(({ name, needs, handler }) => `${name}: ${handler ? 'runs' : `left out, set ${needs}`}`),
    close: () => {
      for (const { handler } of entries) handler?.close?.();
    },
  };
}
