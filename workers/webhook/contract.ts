/** What apps enqueue to have a webhook delivered. */
import { defineJob, type JobContract } from 'millrace';
import { z } from 'zod';
import { requestHeadersSchema } from './request-headers.ts';

/** Input of `webhook.deliver`: one request to one endpoint. */
export interface WebhookInput {
  /** `https://...`, without a user or password in it. */
  url: string;
  /** The name of the secret that signs it, as the worker's settings know it: no secret travels through Redis. */
  secret: string;
  /** Anything with a JSON form. The scheme recommends `{ type, timestamp, data }`. */
  payload: unknown;
  /** Further headers, such as `Authorization`. They do not follow a redirect to another origin. */
  headers?: Record<string, string> | undefined;
}

/** What `webhook.deliver` gives to those who wait. */
export interface WebhookResult {
  /** What the receiver answered, 200 to 299. */
  status: number;
}

const webhookSchema = z.strictObject({
  url: z
    .url({ protocol: /^https?$/, error: 'expected an address such as https://example.com/hooks' })
    .max(2_048)
    .refine((url) => !hasUser(url), 'expected an address without a user or password; headers can carry them'),
  secret: z.string().min(1).max(100),
  payload: z.unknown().refine((payload) => payload !== undefined, 'expected something with a JSON form'),
  headers: requestHeadersSchema.optional(),
});

/** What the handler of `webhook.deliver` gets. */
export type ParsedWebhook = z.output<typeof webhookSchema>;

/** The waits that the scheme suggests, over three days. */
const WEBHOOK_WAITS_MS = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map(
  (seconds) => seconds * 1_000,
);

/**
 * Posts JSON to an endpoint, signed by the Standard Webhooks scheme.
 *
 * Tried 10 times in three days. Payload and headers are masked wherever jobs are shown; the address is not.
 *
 * @example
 * await platform.jobs.enqueue(webhookDeliver, {
 *   url: 'https://shop.example/hooks',
 *   secret: 'orders',
 *   payload: { type: 'order.paid', timestamp: new Date().toISOString(), data: { id: 7 } },
 * });
 */
export const webhookDeliver: JobContract<WebhookInput, ParsedWebhook, WebhookResult> = defineJob({
  name: 'webhook.deliver',
  input: webhookSchema,
  output: z.object({ status: z.number() }),
  attempts: WEBHOOK_WAITS_MS.length + 1,
  // A fifth more or less, so that what failed together does not come back together.
  backoff: (attempt) => Math.round((WEBHOOK_WAITS_MS[attempt - 1] ?? 86_400_000) * (0.8 + Math.random() * 0.4)),
  timeout: '2m',
  secrets: ['payload', 'headers'],
});

function hasUser(url: string): boolean {
  const { username, password } = new URL(url);
  return username !== '' || password !== '';
}
