/**
 * `webhook.deliver`: JSON to an endpoint, signed by the Standard Webhooks scheme.
 *
 * Promise: `webhook-id` is the same in all attempts, and an attempt that follows one that was answered with 2xx sends nothing (`once`); who is
 * killed between the answer and its storing, or loses the answer on its way, sends again, and the receiver can tell by the id. Nothing is sent to what is not the public internet
 * unless the options say so. An endpoint that asks for time, or fails again and again, is left alone by all workers; jobs that wait for that use
 * up no attempt for `patience`.
 * Redis down: `once` waits for it within the lease; limit and breaker let everything through.
 */
import {
  checkOptions,
  durationOption,
  handle,
  postpone,
  systemClock,
  unrecoverable,
  type Duration,
  type Handler,
  type JobContext,
} from 'millrace';
import { z } from 'zod';
import { limitSchema, spreadOut, type LimitOption } from './limit-option.ts';
import { stableId } from './stable-id.ts';
import { networksOf, resolveBySystem, type Resolve } from './webhook/addresses.ts';
import { webhookDeliver, type ParsedWebhook, type WebhookResult } from './webhook/contract.ts';
import { Endpoint, isLeftAlone } from './webhook/endpoint.ts';
import { post, WebhookFailed, type Answer } from './webhook/post.ts';
import { retryAfterMs } from './webhook/retry-after.ts';
import { readSecret, SECRET_FORM, signedHeaders } from './webhook/signature.ts';

/** Options of createWebhookHandler(). */
export interface WebhookOptions {
  /** By the names that jobs use: `whsec_...`, or several while one is being changed; each signs. */
  secrets: Readonly<Record<string, string | readonly string[]>>;
  /** How much an endpoint is sent, over all workers. Default `{ limit: 10, per: '1s', burst: 20 }`; false for no limit. */
  perEndpoint?: LimitOption | false | undefined;
  /** After how many failures an endpoint is left alone, and for how long. Default 5 and `30s`; false for never. */
  breaker?: { failures?: number | undefined; openFor?: Duration | undefined } | false | undefined;
  /** How long a request may take with all its redirects, 100 ms to 1 min. Default 20 s. */
  timeout?: Duration | undefined;
  /** How many redirects are followed, each checked as the first address was. Default 3; 0 takes a redirect for a failure. */
  redirects?: number | undefined;
  /** The longest wait that `Retry-After` may ask for. Default `1h`. */
  maxRetryAfter?: Duration | undefined;
  /** How old a job may be for waits that use up no attempt; then they do. Default `3d`. */
  patience?: Duration | undefined;
  /** What 4xx means, but for 408, 409, 425, 429 and 410: `retry`, as the scheme has it, or `dead`. Default `retry`. */
  clientErrors?: 'retry' | 'dead' | undefined;
  /** Tell the first 200 characters of a refusal in errors. It may repeat what is secret of the request. Default false. */
  showAnswers?: boolean | undefined;
  /** Also to `http://`. Default false. */
  allowHttp?: boolean | undefined;
  /** Also to addresses that are not public: all, or networks such as `10.1.0.0/16`. Default false. */
  allowPrivate?: boolean | readonly string[] | undefined;
  /** How much of an answer is read. Default 65,536. */
  maxResponseBytes?: number | undefined;
}

const secretOption = z.string().transform((text, context) => {
  const secret = readSecret(text);
  if (secret) return secret;
  context.addIssue(`expected ${SECRET_FORM}`);
  return z.NEVER;
});

const networksOption = z.array(z.string()).transform((list, context) => {
  try {
    return networksOf(list);
  } catch {
    context.addIssue('expected networks such as 10.1.0.0/16 or fd00::/8');
    return z.NEVER;
  }
});

const optionsSchema = z.strictObject({
  secrets: z.record(
    z.string().min(1),
    z.union([secretOption.transform((one) => [one]), z.array(secretOption).min(1).max(5)]),
  ),
  perEndpoint: limitSchema.default({ limit: 10, per: '1s', burst: 20 }),
  breaker: z
    .union([
      z.literal(false),
      z.strictObject({
        failures: z.int().min(1).max(1_000).default(5),
        openFor: durationOption.refine((ms) => ms >= 100 && ms <= 86_400_000, 'expected 100 ms to 1 d').prefault('30s'),
      }),
    ])
    .prefault({}),
  timeout: durationOption.refine((ms) => ms >= 100 && ms <= 60_000, 'expected 100 ms to 1 min').prefault('20s'),
  redirects: z.int().min(0).max(10).default(3),
  maxRetryAfter: durationOption
    .refine((ms) => ms >= 1_000 && ms <= 7 * 86_400_000, 'expected 1 s to 7 d')
    .prefault('1h'),
  patience: durationOption.prefault('3d'),
  clientErrors: z.enum(['retry', 'dead']).default('retry'),
  showAnswers: z.boolean().default(false),
  allowHttp: z.boolean().default(false),
  allowPrivate: z.union([z.boolean(), networksOption]).default(false),
  maxResponseBytes: z.int().min(0).max(10_000_000).default(65_536),
});

type Rules = z.output<typeof optionsSchema>;

/** A receiver that says 429 and not for how long. */
const PAUSE_MS = 30_000;
/** What a 4xx says of the moment, and not of the request. */
const PASSING: ReadonlySet<number> = new Set([408, 409, 425, 429]);

/**
 * The handler of `webhook.deliver`.
 *
 * @example
 * const webhooks = createWebhookHandler({ secrets: { orders: 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD' } });
 * await platform.work({ handlers: [webhooks] });
 * @throws MillraceError OPTIONS_INVALID, which tells nothing of a secret
 */
export function createWebhookHandler(options: WebhookOptions): Handler {
  return webhookHandler(options, resolveBySystem);
}

/** The same with another way to resolve names, for tests of names that change what they mean. */
export function webhookHandler(options: WebhookOptions, resolve: Resolve): Handler {
  const rules = checkOptions(optionsSchema, options, 'createWebhookHandler', ['secrets']);
  return handle(webhookDeliver, (input, context) =>
    context.once('delivered', () => deliver(input, context, rules, resolve)),
  );
}

async function deliver(
  input: ParsedWebhook,
  { job, limits, log, signal }: JobContext,
  rules: Rules,
  resolve: Resolve,
): Promise<WebhookResult> {
  const secrets = Object.hasOwn(rules.secrets, input.secret) ? rules.secrets[input.secret] : undefined;
  if (!secrets) throw unrecoverable(`there is no secret named ${input.secret}; this worker has: ${namesOf(rules)}`);
  const url = new URL(input.url);
  const breaker = rules.breaker && { failures: rules.breaker.failures, openForMs: rules.breaker.openFor };
  const endpoint = new Endpoint(limits, url, rules.perEndpoint, breaker, log);
  const isPatient = systemClock.wallMs() - job.enqueuedAt < rules.patience;
  await endpoint.enter().catch((error: unknown) => {
    // Who waits for an endpoint for days must come to an end; who waits for its turn comes to it.
    if (isPatient || !isLeftAlone(error)) throw spreadOut(error, job);
    throw new WebhookFailed(`${url.host} is left alone, as it asked for or has failed`, 'BREAKER_OPEN');
  });
  const body = JSON.stringify(input.payload);
  const message = { id: stableId(job.id), timestamp: Math.floor(systemClock.wallMs() / 1_000), body };
  const headers = signedHeaders(message, secrets);
  const request = { url: input.url, body, headers, ownHeaders: input.headers ?? {}, signal };
  const { timeout: timeoutMs, allowPrivate: allowed } = rules;
  const answer = await post(request, { ...rules, timeoutMs, allowed, resolve }).catch(async (error: unknown) => {
    if (error instanceof WebhookFailed) await endpoint.failed();
    throw error;
  });
  if (answer.status >= 200 && answer.status < 300) {
    await endpoint.succeeded();
    log.info({ host: url.host, status: answer.status }, 'webhook delivered');
    return { status: answer.status };
  }
  throw await failureOf(answer, url, endpoint, isPatient, rules);
}

/** What an answer means that is no success. */
async function failureOf(
  { status, text, retryAfter }: Answer,
  { host }: URL,
  endpoint: Endpoint,
  isPatient: boolean,
  { maxRetryAfter, clientErrors, showAnswers }: Rules,
): Promise<Error> {
  const said = `${host} answered ${status}${showAnswers && text !== '' ? `: ${text}` : ''}`;
  if (status === 410) return unrecoverable(`${said}; it wants no more webhooks`);
  if (status === 429 || status === 503) {
    const told = retryAfterMs(retryAfter, systemClock.wallMs(), maxRetryAfter);
    const waitMs = told ?? (status === 429 ? Math.min(PAUSE_MS, maxRetryAfter) : undefined);
    if (waitMs !== undefined) {
      await endpoint.pause(waitMs);
      return isPatient ? postpone(waitMs, said) : new WebhookFailed(said, String(status));
    }
  }
  if (status < 400 || status >= 500) await endpoint.failed();
  const isRefused = status >= 400 && status < 500 && !PASSING.has(status);
  return isRefused && clientErrors === 'dead' ? unrecoverable(said) : new WebhookFailed(said, String(status));
}

function namesOf({ secrets }: Rules): string {
  return Object.keys(secrets).join(', ') || 'none';
}
