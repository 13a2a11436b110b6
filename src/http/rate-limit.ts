/**
 * Rate limits for Express 5: one for callers that are signed in, another for addresses.
 *
 * A call that is let in goes on with fields that tell what is left. One that is refused is answered with 429, Retry-After and a
 * problem document (RFC 9457), and goes no further.
 *
 * The address is Express's `req.ip`, so `trust proxy` decides what is believed: without it behind a proxy all callers share one limit;
 * with `true` anybody can make up an address. Set it to the number of proxies, or to their addresses.
 * Redis down: what the limiter's `onError` says, within its deadline. A call that is then refused is no fault of its caller: 503.
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { systemClock } from '../clock.ts';
import type { ConsumeResult } from '../rate-limit/limiter.ts';
import { checkOptions, functionOption } from '../schema.ts';
import { addressKey, DEFAULT_IPV6_PREFIX, userKey } from './caller-key.ts';
import type { Middleware } from './health.ts';
import {
  RATE_LIMIT_FORMS,
  secondsOf,
  setFields,
  violatedPolicies,
  type RateLimitForm,
  type ToldPolicy,
} from './rate-limit-fields.ts';

export { addressKey, userKey, type AddressKeyOptions } from './caller-key.ts';
export type { RateLimitForm, ToldPolicy } from './rate-limit-fields.ts';

/** What is asked of a limiter; `limits.limiter()` gives one. */
export interface HttpLimiter {
  /** Told in `RateLimit-Policy`. */
  readonly policies?: readonly ToldPolicy[] | undefined;
  consume(key: string, options: { cost: number }): Promise<ConsumeResult>;
}

/** What is looked at of a request; that of Express is one. */
export interface LimitedRequest extends IncomingMessage {
  readonly ip?: string | undefined;
}

type Awaitable<T> = T | Promise<T>;

/** Options of rateLimit(). `Req` is the request as the app knows it, such as Express's own. */
export interface RateLimitOptions<Req extends LimitedRequest = LimitedRequest> {
  /** For callers whose address is all that is known. `false` lets them all in: for routes that only signed-in users reach. */
  anonymous: HttpLimiter | false;
  /** For callers that are signed in; needs `user`. Without it all are told apart by address. */
  limiter?: HttpLimiter | undefined;
  /** Who is signed in, if anybody is. What it throws is the request's error, so that a broken session lets nobody past a limit. */
  user?: ((request: Req) => Awaitable<string | number | bigint | null | undefined>) | undefined;
  /** How many bits of an IPv6 address tell one caller from another. Default 56; more, and one customer of a provider counts as many. */
  ipv6Prefix?: number | undefined;
  /** Makes the keys of addresses such that nobody who reads Redis can find the addresses. The same in all processes. */
  secret?: string | undefined;
  /** What a request takes. Default 1; 0 takes nothing and is let in. */
  cost?: number | ((request: Req) => Awaitable<number>) | undefined;
  /** Requests that are not limited. */
  skip?: ((request: Req) => Awaitable<boolean>) | undefined;
  /** How limits are told. Default `draft-10` and `x-ratelimit`; `draft-6` is instead of `draft-10`, as both have a field of one name. */
  headers?: readonly RateLimitForm[] | undefined;
  /** Tell in draft-10 a key by which a client can tell apart the limits of several users or addresses. Default false. */
  partitionKey?: boolean | undefined;
  /**
   * Up to this part of the wait is added to Retry-After, so that those that were refused until the same moment do not all come back in
   * it: in whole seconds, up to 1 for short waits too, and at most 30. Default 0.1; 0 adds nothing.
   */
  retryJitter?: number | undefined;
  /** Answers in the place of the problem document; status and fields are set. */
  onRefused?: ((request: Req, response: ServerResponse, result: ConsumeResult) => Awaitable<unknown>) | undefined;
  /** When the limiter throws, as it does once it is stopped: `fail` passes the error on, `allow` lets the request in. Default `fail`. */
  onError?: 'fail' | 'allow' | undefined;
}

const MOST_JITTER_S = 30;
const QUOTA_EXCEEDED = 'https://iana.org/assignments/http-problem-types#quota-exceeded';
const REDUCED_CAPACITY = 'https://iana.org/assignments/http-problem-types#temporary-reduced-capacity';

const isLimiter = (value: unknown): boolean =>
  typeof (value as Partial<HttpLimiter> | null | undefined)?.consume === 'function';
const LIMITER_FORM = 'expected a limiter, as limits.limiter() gives one';

const optionsSchema = z
  .strictObject({
    anonymous: z.custom<HttpLimiter | false>((value) => value === false || isLimiter(value), {
      error: `${LIMITER_FORM}, or false to let all of them in`,
    }),
    limiter: z.custom<HttpLimiter>(isLimiter, { error: LIMITER_FORM }).optional(),
    user: functionOption.optional(),
    ipv6Prefix: z.int().min(1).max(128).default(DEFAULT_IPV6_PREFIX),
    secret: z.string().min(16).optional(),
    cost: z.union([z.int().min(0), functionOption]).default(1),
    skip: functionOption.optional(),
    headers: z.array(z.enum(RATE_LIMIT_FORMS)).readonly().default(['draft-10', 'x-ratelimit']),
    partitionKey: z.boolean().default(false),
    retryJitter: z.number().min(0).max(1).default(0.1),
    onRefused: functionOption.optional(),
    onError: z.enum(['fail', 'allow']).default('fail'),
  })
  .refine(({ limiter, user }) => (limiter === undefined) === (user === undefined), {
    path: ['user'],
    error: 'expected with limiter, and neither of them alone',
  })
  .refine(({ headers }) => !(headers.includes('draft-6') && headers.includes('draft-10')), {
    path: ['headers'],
    error: 'expected draft-6 or draft-10, not both: their RateLimit-Policy differs',
  });

/**
 * Express middleware that limits requests.
 *
 * @example
 * const signedIn = platform.limits.limiter('api', { policies: [{ name: 'burst', limit: 20, per: '1s', burst: 40 }] });
 * const anonymous = platform.limits.limiter('anonymous', { policies: [{ name: 'minute', limit: 60, per: '1m' }] });
 * app.set('trust proxy', 1);
 * app.use(rateLimit<express.Request>({ limiter: signedIn, user: (request) => request.user?.id, anonymous }));
 * @throws MillraceError OPTIONS_INVALID
 */
export function rateLimit<Req extends LimitedRequest = LimitedRequest>(options: RateLimitOptions<Req>): Middleware {
  const gate = new Gate<Req>({ ...options, ...checkOptions(optionsSchema, options, 'rateLimit', ['secret']) });
  return (request, response, next) => void pass(gate, request as Req, response, next);
}

async function pass<Req extends LimitedRequest>(
  gate: Gate<Req>,
  request: Req,
  response: ServerResponse,
  next: (error?: unknown) => void,
): Promise<void> {
  try {
    if (await gate.admit(request, response)) next();
  } catch (error) {
    next(error); // Also what next() itself throws, as Express does it: here it would be a rejection that nobody handles.
  }
}

/** Options that have a default. */
type Defaulted = 'ipv6Prefix' | 'cost' | 'headers' | 'partitionKey' | 'retryJitter' | 'onError';
type Checked<Req extends LimitedRequest> = RateLimitOptions<Req> & {
  readonly [Name in Defaulted]: NonNullable<RateLimitOptions<Req>[Name]>;
};

class Gate<Req extends LimitedRequest> {
  readonly #options: Checked<Req>;
  readonly #forms: ReadonlySet<RateLimitForm>;

  constructor(options: Checked<Req>) {
    this.#options = options;
    this.#forms = new Set(options.headers);
  }

  /** Whether the request goes on; if not, it has been answered. */
  async admit(request: Req, response: ServerResponse): Promise<boolean> {
    const { skip, cost: costOption, onError } = this.#options;
    if (skip && (await skip(request))) return true;
    const cost = typeof costOption === 'function' ? await costOption(request) : costOption;
    if (cost === 0) return true;
    const { limiter, key } = await this.#callerOf(request);
    if (!limiter) return true;
    let result: ConsumeResult;
    try {
      result = await limiter.consume(key, { cost });
    } catch (error) {
      if (onError === 'allow') return true;
      throw error;
    }
    const retryAfterS = result.allowed ? undefined : this.#retryAfterS(result);
    setFields(response, this.#forms, limiter.policies ?? [], result, {
      nowMs: systemClock.wallMs(),
      retryAfterS,
      partition: this.#options.partitionKey ? partitionOf(key) : undefined,
    });
    if (!result.allowed) await this.#refuse(request, response, result, retryAfterS);
    return result.allowed;
  }

  async #callerOf(request: Req): Promise<{ limiter: HttpLimiter | undefined; key: string }> {
    const { limiter, user, anonymous, ipv6Prefix, secret } = this.#options;
    const id = limiter && user ? await user(request) : undefined;
    if (limiter && id !== undefined && id !== null && id !== '') return { limiter, key: userKey(id) };
    if (anonymous === false) return { limiter: undefined, key: '' };
    const address = request.ip ?? request.socket.remoteAddress;
    return { limiter: anonymous, key: addressKey(address, { ipv6Prefix, secret }) };
  }

  /** Undefined where waiting would not help. */
  #retryAfterS({ retryAfterMs }: ConsumeResult): number | undefined {
    if (!Number.isFinite(retryAfterMs)) return undefined;
    const seconds = Math.max(1, secondsOf(retryAfterMs));
    const { retryJitter } = this.#options;
    if (retryJitter === 0) return seconds;
    const mostS = Math.min(MOST_JITTER_S, Math.max(1, Math.floor(seconds * retryJitter)));
    return seconds + Math.floor(Math.random() * (mostS + 1));
  }

  async #refuse(
    request: Req,
    response: ServerResponse,
    result: ConsumeResult,
    retryAfterS: number | undefined,
  ): Promise<void> {
    const isOutage = result.source === 'outage';
    response.statusCode = isOutage ? 503 : 429;
    response.setHeader('Cache-Control', 'no-store');
    if (retryAfterS !== undefined) response.setHeader('Retry-After', retryAfterS);
    const { onRefused } = this.#options;
    if (onRefused) {
      await onRefused(request, response, result);
      return;
    }
    const text = JSON.stringify({
      type: isOutage ? REDUCED_CAPACITY : QUOTA_EXCEEDED,
      title: isOutage ? 'Requests cannot be counted for now' : 'Too many requests',
      status: response.statusCode,
      detail: detailOf(result, retryAfterS),
      code: 'RATE_LIMITED',
      'violated-policies': isOutage ? [] : violatedPolicies(result),
      retryAfterMs: Number.isFinite(result.retryAfterMs) ? result.retryAfterMs : null,
    });
    response.setHeader('Content-Type', 'application/problem+json; charset=utf-8');
    response.setHeader('Content-Length', Buffer.byteLength(text));
    response.end(text);
  }
}

function detailOf({ source }: ConsumeResult, retryAfterS: number | undefined): string {
  if (retryAfterS === undefined) return 'This request takes more than the limit allows at once.';
  const again = `Come again in ${retryAfterS} s.`;
  return source === 'outage' ? again : `The limit is used up. ${again}`;
}

/** Not the key itself, which may be an address or a name. */
function partitionOf(key: string): string {
  return createHash('sha256').update(key).digest().subarray(0, 9).toString('base64');
}
