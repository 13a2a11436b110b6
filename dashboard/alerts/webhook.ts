/**
 * Posts notices to a webhook.
 *
 * Promise: a notice is posted at least once, and again with backoff until the receiver has answered with 2xx; one that it refuses (4xx) is a
 * dead letter at once. Neither the address nor the secret stands in an error, for errors are kept with the job and logged.
 */
import { createHmac } from 'node:crypto';
import { checkOptions, handle, isMillraceError, systemClock, unrecoverable, type Handler } from 'millrace';
import { alertJob } from './notice.ts';
import { webhookSchema, type WebhookOptions } from './options.ts';

/** What a receiver asks to be tried again with, beside all that is 5xx. */
const PASSING: ReadonlySet<number> = new Set([408, 409, 425, 429]);

/**
 * The handler of alert notices, for workers that are to deliver them in the place of the dashboard (its option `alerts.deliver: false`).
 *
 * @example
 * await platform.work({ handlers: [alertHandler({ url: 'https://hooks.example.com/T0/B1', secret })] });
 * @throws MillraceError OPTIONS_INVALID
 */
export function alertHandler(options: WebhookOptions): Handler {
  const { url, secret, timeout } = checkOptions(webhookSchema, options, 'alertHandler', ['url', 'secret']);
  return handle(alertJob, async (notice, { signal }) => {
    const body = JSON.stringify(notice);
    const response = await post(url, {
      method: 'POST',
      body,
      redirect: 'manual',
      headers: {
        'content-type': 'application/json',
        'user-agent': 'millrace',
        'x-millrace-notice': encodeURIComponent(notice.id),
        ...(secret !== undefined && { 'x-millrace-signature': signatureOf(body, secret, systemClock.wallMs()) }),
      },
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeout)]),
    });
    // What it says is of no use, and must not be kept in the connection's way.
    await response.body?.cancel();
    if (response.ok) return;
    const said = `the webhook answered ${response.status}`;
    if (response.status < 500 && !PASSING.has(response.status)) throw unrecoverable(said);
    throw new WebhookFailed(said);
  });
}

/** The signature of a body: `t=SECONDS,v1=HEX`, the HMAC-SHA256 of `SECONDS.BODY`. The time keeps an old notice from being sent again by others. */
export function signatureOf(body: string, secret: string, nowMs: number): string {
  const seconds = Math.floor(nowMs / 1_000);
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex')}`;
}

class WebhookFailed extends Error {
  override readonly name = 'WebhookFailed';
}

/** What fetch throws has the address in it, so it is told by its code alone. */
async function post(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (error) {
    const { name, cause } = error as { name?: string; cause?: { code?: unknown } };
    if (isMillraceError(error)) throw error; // The attempt was ended: its reason says why, and nothing of the address.
    if (name === 'TimeoutError') throw new WebhookFailed('the webhook did not answer in time');
    const code = typeof cause?.code === 'string' ? ` (${cause.code})` : '';
    throw new WebhookFailed(`the webhook cannot be reached${code}`);
  }
}
