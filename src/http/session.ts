/**
 * Sessions for Express 5: who is signed in, by a cookie.
 *
 * Promise: the cookie is `__Host-session`: HttpOnly, Secure, SameSite=Lax, for this host alone, so that no script reads it and no other site of
 * the domain sets it. Whoever signs in gets a session with a new id, and the one before it ends: nobody can be given one to sign in with. A
 * token that the realm has replaced reaches the browser with the same response; one that is dead is taken away from it. A response that sets a
 * cookie is kept by no cache. What is malformed, huge or there twice is nobody's session, and is not asked for. A request may have sessions of
 * several realms: then each question names its realm, and none is answered for another one.
 * Redis down: the request's error, within the realm's deadline; or, with `onError: 'anonymous'`, nobody is signed in, and requireSession()
 * answers 503. Nobody is ever signed in by it, and no cookie is taken away.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { MillraceError } from '../errors.ts';
import { checkOptions, functionOption } from '../schema.ts';
import type { SessionData } from '../session/options.ts';
import type { SessionDevice } from '../session/packed.ts';
import type { Session, SessionElevation, SessionUpdate, SessionValidation } from '../session/session.ts';
import type { CookieRule } from './cookie.ts';
import type { Middleware } from './health.ts';
import { RequestSession, type HttpSession } from './session-handle.ts';
import { refuse } from './session-problem.ts';

export type { HttpSession, SignInOptions } from './session-handle.ts';

/** What is asked of a realm; `sessions.realm()` gives one. */
export interface HttpRealm<Data extends object = SessionData, Input = Data> {
  create(
    userId: string,
    options: { data?: Input | undefined; device?: SessionDevice | undefined; level?: string | undefined },
  ): Promise<{ token: string; session: Session<Data> }>;
  validate(
    token: string,
    options: { touch: boolean; device?: SessionDevice | undefined },
  ): Promise<SessionValidation<Data>>;
  elevate(token: string, level: string): Promise<SessionElevation<Data>>;
  update(
    sessionId: string,
    patch: Partial<Input>,
    options: { ifVersion?: number | undefined },
  ): Promise<SessionUpdate<Data>>;
  revoke(sessionId: string): Promise<boolean>;
  reaches(session: Pick<Session<Data>, 'level'>, level: string): boolean;
}

/** What is looked at of a request; that of Express is one. */
export interface SessionRequest extends IncomingMessage {
  readonly ip?: string | undefined;
}

/** Options of sessionMiddleware(). `Req` is the request as the app knows it, such as Express's own. */
export interface SessionMiddlewareOptions<Req extends SessionRequest = SessionRequest> {
  /**
   * The cookie travels over TLS only, and its name begins with `__Host-`. Default true, whatever the request looks like: behind a proxy each
   * looks like plain HTTP from this machine. `false` is for development over plain HTTP.
   */
  secure?: boolean | undefined;
  /** The cookie's name, without `__Host-`. Default `session`. Two realms of one site need one each. */
  name?: string | undefined;
  /** Which requests that other sites cause carry the cookie. Default `lax`: links do, forms and scripts do not. `none` needs `secure`. */
  sameSite?: 'lax' | 'strict' | 'none' | undefined;
  /** The browser keeps the cookie when it closes, for as long as the session can live. Default true. */
  persistent?: boolean | undefined;
  /** Whether a request is a use of the session, which makes it live longer. Default all are; a page that polls is none. */
  touch?: ((request: Req) => boolean) | undefined;
  /** What is kept of the device. Default its address (Express's `req.ip`) and its User-Agent; false for nothing. */
  device?: ((request: Req) => SessionDevice) | false | undefined;
  /** Requests that have no session, such as for files. sessionOf() has nobody signed in then, and nobody can sign in or out. */
  skip?: ((request: Req) => boolean) | undefined;
  /** When Redis does not answer, and in no other case: `fail` passes the error on, `anonymous` goes on with nobody signed in. Default `fail`. */
  onError?: 'fail' | 'anonymous' | undefined;
}

const realmMethods = ['create', 'validate', 'elevate', 'update', 'revoke', 'reaches'] as const;
const optionsSchema = z
  .strictObject({
    secure: z.boolean().default(true),
    name: z
      .string()
      .regex(/^(?!__)[\w-]{1,64}$/, 'expected up to 64 letters, digits, _ and -, without __Host-')
      .default('session'),
    sameSite: z.enum(['lax', 'strict', 'none']).default('lax'),
    persistent: z.boolean().default(true),
    touch: functionOption.optional(),
    device: z.union([z.literal(false), functionOption]).optional(),
    skip: functionOption.optional(),
    onError: z.enum(['fail', 'anonymous']).default('fail'),
  })
  .refine(({ secure, sameSite }) => secure || sameSite !== 'none', {
    path: ['sameSite'],
    error: 'expected lax or strict without secure: browsers refuse none',
  });

const guardSchema = z.strictObject({
  realm: z.custom<HttpRealm>(isRealm, { error: 'expected a realm, as sessions.realm() gives one' }).optional(),
  level: z.string().min(1).optional(),
});

type AnySession = RequestSession<object, unknown>;
/** The sessions of each request that is under way, by their realms. */
const sessions = new WeakMap<IncomingMessage, Map<unknown, AnySession>>();

/**
 * Express middleware that finds out who is signed in. Put it before whatever asks sessionOf().
 *
 * @example
 * const web = platform.sessions.realm('web', { idle: '30m', absolute: '30d' });
 * app.set('trust proxy', 1);
 * app.use(sessionMiddleware(web, { secure: true }));
 * @throws MillraceError OPTIONS_INVALID
 */
export function sessionMiddleware<Data extends object, Input, Req extends SessionRequest = SessionRequest>(
  realm: HttpRealm<Data, Input>,
  options: SessionMiddlewareOptions<Req> = {},
): Middleware {
  const checked = checkOptions(optionsSchema, options, 'sessionMiddleware');
  if (!isRealm(realm))
    throw new MillraceError(
      'OPTIONS_INVALID',
      'sessionMiddleware: expected a realm, as sessions.realm() gives one',
      {},
    );
  const { secure, sameSite, persistent, onError } = checked;
  const rule: CookieRule = { name: secure ? `__Host-${checked.name}` : checked.name, secure, sameSite };
  const { touch = () => true, skip = () => false, device = deviceOf } = options;
  const find = async (request: Req, response: ServerResponse): Promise<void> => {
    const isSkipped = skip(request);
    const seen = device === false || isSkipped ? undefined : device(request);
    const session = new RequestSession<Data, Input>({ realm, rule, persistent, device: seen, response, isSkipped });
    const known = sessions.get(request) ?? new Map<unknown, AnySession>();
    sessions.set(request, known.set(realm, session));
    if (!isSkipped) await session.find(request.headers.cookie, touch(request), onError);
  };
  return (request, response, next) => void pass(find(request as Req, response), next);
}

/**
 * The session of a request: who is signed in, and what signs in and out.
 *
 * @example
 * app.post('/sign-in', async (request, response) => {
 *   const user = await checkPassword(request.body);
 *   await sessionOf(request).signIn(user.id);
 *   response.redirect('/');
 * });
 * app.get('/me', (request, response) => response.json({ user: sessionOf(request).userId ?? null }));
 * @param realm needed where a request has sessions of several
 * @throws MillraceError OPTIONS_INVALID when no sessionMiddleware() of the realm came before, or several did and none is named
 */
export function sessionOf<Data extends object = SessionData, Input = Data>(
  request: IncomingMessage,
  realm?: HttpRealm<Data, Input>,
): HttpSession<Data, Input> {
  const known = sessions.get(request) ?? new Map<unknown, AnySession>();
  // To choose one would let users of one realm in where those of another are meant.
  if (realm === undefined && known.size > 1)
    throw invalid(`the request has sessions of ${known.size} realms: say which, as in sessionOf(request, realm)`);
  const session = realm === undefined ? [...known.values()][0] : known.get(realm);
  if (!session) throw invalid('app.use(sessionMiddleware(realm)) must come before');
  return session as unknown as HttpSession<Data, Input>;
}

function invalid(message: string): MillraceError {
  return new MillraceError('OPTIONS_INVALID', `sessionOf: ${message}`, {});
}

function isRealm(value: unknown): boolean {
  return realmMethods.every((name) => typeof (value as Partial<HttpRealm> | null | undefined)?.[name] === 'function');
}

/**
 * Lets only those requests pass that are signed in, and at the level or above it. Others are answered with 401, or 403 where the level is too low,
 * and a problem document. Where a request has sessions of several realms, the realm must be named.
 *
 * @example
 * app.use('/account', requireSession());
 * app.post('/transfer', requireSession({ level: 'second-factor' }), transfer);
 * app.use('/admin', requireSession({ realm: admin }));
 * @throws MillraceError OPTIONS_INVALID
 */
export function requireSession<Data extends object = SessionData, Input = Data>(
  options: { realm?: HttpRealm<Data, Input> | undefined; level?: string | undefined } = {},
): Middleware {
  const { level } = checkOptions(guardSchema, options, 'requireSession');
  const { realm } = options;
  return (request, response, next) => {
    const session = sessionOf(request, realm) as RequestSession<Data, Input>;
    if (session.isUnavailable) refuse(response, 'SESSION_UNAVAILABLE', 'Sessions cannot be looked at for now.');
    else if (!session.current) refuse(response, 'SESSION_MISSING', 'Sign in first.');
    else if (level !== undefined && !session.reaches(level))
      refuse(response, 'SESSION_LEVEL_LOW', `This takes a session of the level ${level}.`, { level });
    else next();
  };
}

async function pass(found: Promise<void>, next: (error?: unknown) => void): Promise<void> {
  try {
    await found;
    next();
  } catch (error) {
    next(error); // Also what next() itself throws, as Express does it: here it would be a rejection that nobody handles.
  }
}

function deviceOf(request: SessionRequest): SessionDevice {
  const ip = request.ip ?? request.socket.remoteAddress;
  const userAgent = request.headers['user-agent'];
  return { ...(ip !== undefined && { ip }), ...(userAgent !== undefined && { userAgent }) };
}
