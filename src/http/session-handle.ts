/** The session of one request, as handlers know it. */
import type { ServerResponse } from 'node:http';
import { MillraceError } from '../errors.ts';
import { isOutage } from '../redis/guard.ts';
import type { SessionData } from '../session/options.ts';
import type { SessionDevice } from '../session/packed.ts';
import type { Session, SessionRefusal, SessionUpdate } from '../session/session.ts';
import { checkHeaders, clearCookie, readCookie, setCookie, type CookieRule } from './cookie.ts';
import type { HttpRealm } from './session.ts';

/** What a session begins with. */
export interface SignInOptions<Input = SessionData> {
  data?: Input | undefined;
  /** How the user has signed in. Default: the lowest level of the realm. */
  level?: string | undefined;
  /** In the place of what the middleware finds out. */
  device?: SessionDevice | undefined;
}

/** Who is signed in, and what signs in and out. Given by sessionOf(). */
export interface HttpSession<Data extends object = SessionData, Input = Data> {
  /** Undefined when nobody is signed in. */
  readonly current: Session<Data> | undefined;
  readonly userId: string | undefined;
  /** Why the cookie that came was refused. */
  readonly refusal: SessionRefusal | undefined;
  /** Whether Redis did not answer, so that it is not known who is signed in. */
  readonly isUnavailable: boolean;
  /**
   * Begins a session with a new id in the place of the one before it, if any, and sets its cookie. When that fails, the browser keeps what it has.
   *
   * @throws MillraceError HEADERS_SENT; OPTIONS_INVALID where the request was skipped; what the realm throws
   */
  signIn(userId: string, options?: SignInOptions<Input>): Promise<Session<Data>>;
  /**
   * Ends the session and takes its cookie away. When Redis does not answer, the cookie stays, so that it can be tried again.
   *
   * @returns whether there was one
   * @throws MillraceError HEADERS_SENT; OPTIONS_INVALID where the request was skipped; what the realm throws
   */
  signOut(): Promise<boolean>;
  /**
   * Raises the level of the session, which gives it a new token. The cookie stays when that is refused: of a double click the first one's
   * answer has brought the new token.
   *
   * @throws MillraceError HEADERS_SENT; OPTIONS_INVALID where the request was skipped; what the realm throws
   */
  elevate(
    level: string,
  ): Promise<{ ok: true; session: Session<Data> } | { ok: false; reason: SessionRefusal | 'missing' }>;
  /**
   * Merges a patch into the session's data, if the session is there; see Realm.update(). `gone` when nobody is signed in. The level stays the
   * one that this request came with.
   */
  update(patch: Partial<Input>, options?: { ifVersion?: number | undefined }): Promise<SessionUpdate<Data>>;
}

/** What the session of a request works with. */
export interface RequestSessionParts<Data extends object, Input> {
  readonly realm: HttpRealm<Data, Input>;
  readonly rule: CookieRule;
  readonly persistent: boolean;
  readonly device: SessionDevice | undefined;
  readonly response: ServerResponse;
  /** Nobody has looked at the cookie. */
  readonly isSkipped: boolean;
}

export class RequestSession<Data extends object, Input> implements HttpSession<Data, Input> {
  readonly #parts: RequestSessionParts<Data, Input>;
  #session: Session<Data> | undefined;
  /** The one that the browser has, or will have with this response. */
  #token = '';
  #refusal: SessionRefusal | undefined;
  /** Why it is not known who is signed in. */
  #outage: unknown;

  constructor(parts: RequestSessionParts<Data, Input>) {
    this.#parts = parts;
  }

  get current(): Session<Data> | undefined {
    return this.#session;
  }

  get userId(): string | undefined {
    return this.#session?.userId;
  }

  get refusal(): SessionRefusal | undefined {
    return this.#refusal;
  }

  get isUnavailable(): boolean {
    return this.#outage !== undefined;
  }

  reaches(level: string): boolean {
    return this.#session !== undefined && this.#parts.realm.reaches(this.#session, level);
  }

  /** Looks at the cookie of the request. */
  async find(header: string | undefined, touch: boolean, onError: 'fail' | 'anonymous'): Promise<void> {
    const { realm, rule, device } = this.#parts;
    const cookie = readCookie(header, rule.name);
    if (cookie === 'none') return;
    if (cookie === 'malformed') return this.#refuse('malformed');
    if (cookie === 'ambiguous') {
      this.#refusal = 'malformed'; // Ours may be among them: it stays, for when the other one is gone.
      return;
    }
    let checked;
    try {
      checked = await realm.validate(cookie.value, { touch, ...(device && { device }) });
    } catch (error) {
      if (onError === 'fail' || !(error instanceof MillraceError && isOutage(error))) throw error;
      this.#outage = error;
      return;
    }
    if (!checked.ok) return this.#refuse(checked.reason);
    if (checked.token !== undefined) this.#give(checked.token, checked.session);
    this.#token = checked.token ?? cookie.value;
    this.#session = checked.session;
  }

  async signIn(userId: string, options: SignInOptions<Input> = {}): Promise<Session<Data>> {
    const { realm, response, device } = this.#parts;
    this.#checkReady();
    const before = this.#session;
    // In one step, so that no other device of the user has to make room.
    const replaces = before && { replaces: before.id };
    const { token, session } = await realm.create(userId, { ...(device && { device }), ...options, ...replaces });
    if (response.headersSent) await realm.revoke(session.id); // Nobody will ever have its token.
    this.#give(token, session);
    this.#token = token;
    this.#session = session;
    return session;
  }

  async signOut(): Promise<boolean> {
    const { realm, rule, response } = this.#parts;
    this.#checkReady();
    if (!this.#session) return false;
    const wasThere = await realm.revoke(this.#session.id);
    this.#session = undefined;
    clearCookie(response, rule);
    return wasThere;
  }

  async elevate(
    level: string,
  ): Promise<{ ok: true; session: Session<Data> } | { ok: false; reason: SessionRefusal | 'missing' }> {
    this.#checkReady();
    if (!this.#session) return { ok: false, reason: 'missing' };
    const elevated = await this.#parts.realm.elevate(this.#token, level);
    if (!elevated.ok) {
      if (elevated.reason !== 'revoked') this.#session = undefined; // It has ended.
      return { ok: false, reason: elevated.reason };
    }
    this.#give(elevated.token, elevated.session);
    this.#token = elevated.token;
    this.#session = elevated.session;
    return { ok: true, session: elevated.session };
  }

  async update(patch: Partial<Input>, options: { ifVersion?: number | undefined } = {}): Promise<SessionUpdate<Data>> {
    const before = this.#session;
    if (!before) return { ok: false, reason: 'gone' };
    const updated = await this.#parts.realm.update(before.id, patch, options);
    if (!updated.ok) return updated;
    // What is read anew has the level of the newest token, and this request may have come with the one before it.
    const now = this.#session;
    if (now?.id === before.id && now.version < updated.session.version)
      this.#session = { ...updated.session, level: now.level };
    return { ok: true, session: { ...updated.session, level: before.level } };
  }

  /** Before anything is done that only a cookie could tell of. */
  #checkReady(): void {
    checkHeaders(this.#parts.response);
    if (this.#outage !== undefined) throw this.#outage; // There may be a session, and it would live on.
    if (!this.#parts.isSkipped) return;
    const message = 'the option skip leaves this request out, so a session that it comes with would live on unseen';
    throw new MillraceError('OPTIONS_INVALID', `sessionMiddleware: ${message}: sign in and out elsewhere`, {});
  }

  #give(token: string, { expiresAt, lastSeenAt }: Session<Data>): void {
    const { response, rule, persistent } = this.#parts;
    // Both by the server's clock, whatever this machine's says.
    const maxAgeS = persistent ? Math.ceil((expiresAt - lastSeenAt) / 1_000) : undefined;
    setCookie(response, rule, token, maxAgeS);
  }

  /** What is dead is taken away. `revoked` may be a token that was replaced twice at once, and the browser has the last one. */
  #refuse(reason: SessionRefusal): void {
    this.#refusal = reason;
    if (reason !== 'revoked') clearCookie(this.#parts.response, this.#parts.rule);
  }
}
