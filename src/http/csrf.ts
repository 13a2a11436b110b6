/**
 * Keeps other sites from acting in the name of whoever is signed in (CSRF), beside what SameSite does.
 *
 * A request that changes something must come from a page of ours, as far as the browser tells: Sec-Fetch-Site, or Origin against Host. It must also
 * bear a token that only our pages are given: an HMAC of the session's id under a secret, with a random part, so that no two are alike and
 * compression gives nothing away. A session that begins anew has other tokens. Nothing is stored.
 *
 * Without a session there is nobody to act in the name of, and nothing to bind a token to: then the origin alone is looked at, which keeps other
 * sites from signing somebody in as somebody else.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { checkOptions, functionOption } from '../schema.ts';
import type { Middleware } from './health.ts';
import { refuse } from './session-problem.ts';
import { sessionOf } from './session.ts';

/** What is looked at of a request; that of Express is one. */
export interface CsrfRequest extends IncomingMessage {
  /** As a body parser has read it. */
  readonly body?: unknown;
  /** Host and port as the client knows them; Express heeds `trust proxy` here. */
  readonly host?: string | undefined;
  /** Likewise; `http` also where TLS ends at a proxy that is not trusted. */
  readonly protocol?: string | undefined;
}

/** Options of csrf(). `Req` is the request as the app knows it, such as Express's own. */
export interface CsrfOptions<Req extends CsrfRequest = CsrfRequest> {
  /** At least 32 characters, the same in all processes. Of several the first makes tokens, all are believed: put a new one before the old one. */
  secret: string | readonly string[];
  /** The header that bears the token. Default `x-csrf-token`. */
  header?: string | undefined;
  /** The field of the parsed body that bears it where the header does not. Default `_csrf`. */
  field?: string | undefined;
  /** Other sites whose pages may send requests, such as `https://admin.example.com`. They need a token too. */
  origins?: readonly string[] | undefined;
  /** Requests that are not looked at, such as webhooks, which no browser sends. */
  skip?: ((request: Req) => boolean) | undefined;
  /**
   * What tokens are bound to; undefined when nobody is signed in. Default the id of sessionOf(request); where a request has sessions of several
   * realms, that of one of them. For express-session, which has an id for strangers too, a new one with each request:
   * `(request) => (request.session.userId === undefined ? undefined : request.sessionID)`.
   */
  session?: ((request: Req) => string | undefined) | undefined;
}

/** What csrf() gives. */
export interface Csrf<Req extends CsrfRequest = CsrfRequest> {
  /** Refuses requests that another site has caused: 403 with a problem document. After the session and the body parser, before the routes. */
  readonly protect: Middleware;
  /** A new token for a page or a script of ours; undefined when nobody is signed in. Each is good for as long as the session. */
  readonly tokenFor: (request: Req) => string | undefined;
}

type Refusal = 'cross-site' | 'token-missing' | 'token-invalid';

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);
const NONCE_FORM = /^[\w-]{22}$/;
const TOKEN_LENGTH = 22 + 1 + 43;
const DETAILS: Readonly<Record<Refusal, string>> = {
  'cross-site': 'The request comes from a page of another site.',
  'token-missing': 'The request bears no CSRF token.',
  'token-invalid': 'The CSRF token is not of this session. Load the page again.',
};

const secretOption = z.string().min(32);
const optionsSchema = z.strictObject({
  secret: z.union([secretOption, z.array(secretOption).min(1)]),
  header: z
    .string()
    .regex(/^[\w-]+$/, 'expected the name of a header')
    .default('x-csrf-token'),
  field: z.string().min(1).default('_csrf'),
  origins: z
    .array(z.string().refine(isOrigin, 'expected an origin, such as https://admin.example.com, without a path'))
    .default([]),
  skip: functionOption.optional(),
  session: functionOption.optional(),
});

function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin === text;
}

/**
 * Tokens against CSRF, and the middleware that asks for them.
 *
 * @example
 * const { protect, tokenFor } = csrf({ secret: [newSecret, oldSecret] });
 * app.use(sessionMiddleware(web), express.urlencoded(), protect);
 * app.get('/form', (request, response) => response.send(`<input type="hidden" name="_csrf" value="${tokenFor(request)}">`));
 * @throws MillraceError OPTIONS_INVALID
 */
export function csrf<Req extends CsrfRequest = CsrfRequest>(options: CsrfOptions<Req>): Csrf<Req> {
  const checked = checkOptions(optionsSchema, options, 'csrf', ['secret']);
  const secrets = [checked.secret].flat() as [string, ...string[]];
  const origins: ReadonlySet<string> = new Set(checked.origins);
  const header = checked.header.toLowerCase();
  const { field } = checked;
  const { skip = () => false, session = (request) => sessionOf(request).current?.id } = options;

  const refusalOf = (request: Req): Refusal | undefined => {
    if (SAFE_METHODS.has(request.method ?? '') || skip(request)) return undefined;
    if (!isOfOurSite(request, origins)) return 'cross-site';
    const id = session(request);
    if (id === undefined) return undefined;
    const token = request.headers[header] || (request.body as Record<string, unknown> | null | undefined)?.[field];
    if (token === undefined || token === '') return 'token-missing';
    return secrets.some((secret) => isTokenOf(token, id, secret)) ? undefined : 'token-invalid';
  };

  return {
    protect: (request, response, next) => {
      const refusal = refusalOf(request as Req);
      if (refusal === undefined) next();
      else refuse(response, 'CSRF_REFUSED', DETAILS[refusal], { reason: refusal });
    },
    tokenFor: (request) => {
      const id = session(request);
      if (id === undefined) return undefined;
      const nonce = randomBytes(16).toString('base64url');
      return `${nonce}.${macOf(nonce, id, secrets[0]).toString('base64url')}`;
    },
  };
}

/** Whether a page of ours has caused the request, or nothing tells of a page: then no browser of today has sent it. */
function isOfOurSite({ headers, host = headers.host, protocol }: CsrfRequest, origins: ReadonlySet<string>): boolean {
  const { origin } = headers;
  if (origin !== undefined && origins.has(origin)) return true;
  const site = headers['sec-fetch-site'];
  // Not `same-site`: what stands under another name of the domain may be somebody else's.
  if (site !== undefined) return site === 'same-origin' || site === 'none';
  if (origin === undefined) return true;
  if (!URL.canParse(origin)) return false;
  const url = new URL(origin);
  // Without TLS anybody on the way can speak for our name.
  if (protocol === 'https' && url.protocol !== 'https:') return false;
  return url.host === hostOf(origin, host);
}

/** The host as URLs write it: without the port that goes without saying. */
function hostOf(origin: string, host: string | undefined): string | undefined {
  const url = `${new URL(origin).protocol}//${host}`;
  return host !== undefined && URL.canParse(url) ? new URL(url).host : undefined;
}

function isTokenOf(token: unknown, id: string, secret: string): boolean {
  if (typeof token !== 'string' || token.length !== TOKEN_LENGTH) return false;
  const nonce = token.slice(0, 22);
  const mac = Buffer.from(token.slice(23), 'base64url');
  const expected = macOf(nonce, id, secret);
  return (
    NONCE_FORM.test(nonce) && token[22] === '.' && mac.length === expected.length && timingSafeEqual(mac, expected)
  );
}

/** The nonce has one length, so that no other pair of nonce and id makes the same text. */
function macOf(nonce: string, id: string, secret: string): Buffer {
  return createHmac('sha256', secret).update(`csrf ${nonce} ${id}`).digest();
}
