/** The options of alerts. */
import { z } from 'zod';
import { durationOption, type Duration } from 'millrace';
import { DEFAULT_RULES, rulesOption, type AlertRule } from './rules.ts';

/** Whom alerts tell. */
export interface WebhookOptions {
  /** Where notices are posted to. What is secret in it is shown nowhere. */
  url: string;
  /** At least 16 characters: each notice is signed with it (HMAC-SHA256), so that the receiver knows from whom it is. Default: not signed. */
  secret?: string | undefined;
  /** How long the receiver may take for an answer. Default 10 s. */
  timeout?: Duration | undefined;
}

/** Options of alerts. */
export interface AlertOptions {
  /** What is watched, in the place of DEFAULT_RULES; `[...DEFAULT_RULES, { kind: 'oldest-age', name: 'slow-mail', queues: ['email'], over: '30s' }]` adds one. */
  rules?: readonly AlertRule[] | undefined;
  /** Default: nobody is told; the page shows what fires. */
  webhook?: WebhookOptions | undefined;
  /** Whether dashboards deliver notices. Default true. With false a worker must have alertHandler() among its handlers. */
  deliver?: boolean | undefined;
}

export const webhookSchema = z.strictObject({
  // What came is not told: it may be a secret.
  url: z.url({ protocol: /^https?$/, error: 'expected an address that begins with http:// or https://' }),
  secret: z.string().min(16).optional(),
  timeout: durationOption.refine((ms) => ms >= 100 && ms <= 60_000, 'expected 100 ms to 1 minute').prefault('10s'),
});

export type CheckedWebhook = z.output<typeof webhookSchema>;

const alertsSchema = z.strictObject({
  rules: rulesOption.prefault(() => [...DEFAULT_RULES] as never),
  webhook: webhookSchema.optional(),
  deliver: z.boolean().default(true),
});

/** The check of the option `alerts`: false where they are off. */
export const alertsOption = z.union([z.literal(false), alertsSchema]).prefault({});

export type CheckedAlerts = z.output<typeof alertsSchema>;
