/** The sessions of one realm: begun, checked, renewed and ended. */
import { z } from 'zod';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { encodePayload } from '../payload.ts';
import type { ServerTime } from '../redis/server-time.ts';
import { Checker, type CheckerParts } from './checker.ts';
import type { Ended, Endings } from './endings.ts';
import { Listeners, type SessionEvents, type SessionListener } from './events.ts';
import {
  checkCreate,
  checkLevel,
  checkRevokeAll,
  checkUpdate,
  checkUserId,
  deviceOf,
  type CreateSessionOptions,
  type RealmRule,
  type SessionData,
  type ValidateSessionOptions,
} from './options.ts';
import { packRest } from './packed.ts';
import { Reader } from './reader.ts';
import type { RealmMeter } from './session-metrics.ts';
import type { Session, SessionElevation, SessionUpdate, SessionValidation } from './session.ts';
import type { Store } from './store.ts';
import { newId, newSecret, readSessionId, readToken, type Token } from './tokens.ts';

/** What a realm works with. */
export interface RealmParts {
  readonly rule: RealmRule;
  readonly store: Store;
  readonly endings: Endings;
  readonly time: ServerTime;
  readonly askTime: () => Promise<void>;
  readonly meter: RealmMeter;
  readonly log: Logger;
  /** @throws MillraceError CLOSED */
  readonly checkOpen: () => void;
}

/** Each try that fails is another one's success: so many in a row are no accident. */
const MOST_TRIES = 100;
const ANY_DATA = z.record(z.string(), z.unknown());

/** Sessions with the same rules. Made by Sessions.realm(). */
export class Realm<Data extends object = SessionData, Input = Data> {
  readonly name: string;
  /** How users sign in, the weakest first. */
  readonly levels: readonly string[];
  readonly #parts: RealmParts;
  readonly #rule: RealmRule;
  readonly #reader: Reader<Data>;
  readonly #listeners: Listeners;
  readonly #checker: Checker<Data>;

  /** Made by Sessions. */
  constructor(name: string, parts: RealmParts) {
    this.name = name;
    this.levels = parts.rule.levels;
    this.#parts = parts;
    this.#rule = parts.rule;
    this.#reader = new Reader(name, parts.rule, parts.log);
    this.#listeners = new Listeners(parts.log);
    const onRenewed: CheckerParts<Data>['onRenewed'] = (change, sessionId, userId) => {
      parts.meter.changed(change);
      if (change !== 'touched') this.#tell(change, sessionId, userId);
    };
    this.#checker = new Checker({ ...parts, realm: name, reader: this.#reader, onRenewed });
  }

  /**
   * Begins a session, with a new id and a new token, whatever the client had before: nobody can be given one to sign in with.
   *
   * @example
   * const { token, session } = await web.create('ada', { device: { ip, userAgent }, level: 'password' });
   * @throws MillraceError OPTIONS_INVALID, INPUT_INVALID, PAYLOAD_TOO_LARGE, CLOSED; REDIS_* when Redis does not answer
   */
  async create(
    userId: string,
    options: CreateSessionOptions<Input> = {},
  ): Promise<{ token: string; session: Session<Data> }> {
    this.#parts.checkOpen();
    const owner = `realm ${this.name}: create`;
    const { data = {}, device, level = this.#rule.levels[0], replaces } = checkCreate(options, owner);
    const { endings, store, meter } = this.#parts;
    const [hashing] = this.#rule.hashings;
    const tag = hashing.tagOf(checkUserId(userId, owner));
    checkLevel(level, this.#rule, owner);
    const json = await this.#encode(data);
    const id = newId(await this.#checker.nowMs());
    const sessionId = `${tag}.${id}`;
    const token = readToken(`v1.${sessionId}.${newSecret()}`) as Token;
    const rest = packRest({ userId, device: deviceOf(device), json }, this.#rule.sealer, this.#reader.about(sessionId));
    const ending = endings.begin(this.name, 'evicted', tag);
    const before = readSessionId(replaces);
    const replaced = before?.tag === tag ? before.id : '';
    const hashes = { hash: hashing.hashOf(token.text), family: hashing.hashOf(token.kin) };
    const farewell = endings.begin(this.name, 'revoked', tag);
    const begun = await store.create({ tag, id }, { ...hashes, level, rest, replaced }, ending, farewell);
    const { value, ended, hasReplaced } = begun;
    if (hasReplaced) endings.ended(farewell, [replaced], userId);
    endings.ended(ending, ended, userId);
    if (before && before.tag !== tag) await this.revoke(`${before.tag}.${before.id}`); // Of another user, in another slot.
    const kept = this.#reader.kept(value);
    const session = kept && (await this.#reader.session(sessionId, kept));
    if (!session) throw new MillraceError('INPUT_INVALID', `${owner}: the schema refuses what it has made`, {});
    meter.changed('created');
    this.#tell('created', sessionId, userId);
    return { token: token.text, session };
  }

  /**
   * Whether the token lets its holder in. One command as a rule; a script where a slide of its expiry or a new token is due, or the token is not
   * the current one. Where `token` comes with the answer, the client must have it: it came with one that was replaced just now.
   *
   * @example
   * const checked = await web.validate(token, { device: { ip, userAgent } });
   * if (!checked.ok) return response.status(401).json({ reason: checked.reason });
   * if (checked.token) setCookie(checked.token);
   * @throws MillraceError OPTIONS_INVALID, CLOSED; REDIS_* when Redis does not answer
   */
  validate(token: string, options?: ValidateSessionOptions): Promise<SessionValidation<Data>> {
    return this.#checker.validate(token, options);
  }

  /**
   * Replaces a token now, as validate() does when it is due. The one before it is let in until `rotateGrace` after the new one was used.
   *
   * @example
   * const rotated = await web.rotate(token);
   * @throws MillraceError CLOSED; REDIS_* when Redis does not answer
   */
  async rotate(token: string): Promise<SessionElevation<Data>> {
    this.#parts.checkOpen();
    return (await this.#checker.check(token, { wants: 'rotate' })) as SessionElevation<Data>;
  }

  /**
   * Raises the level of a session whose user has proved more, and replaces its token. The one before it is let in at the level that it had, until
   * `rotateGrace` after the new one was used, and leads to the new one only by another elevate(): as after an answer that was lost. A session that is
   * at the level or above it stays there.
   *
   * @example
   * if (await isRightCode(code)) await web.elevate(token, 'second-factor');
   * @throws MillraceError OPTIONS_INVALID, CLOSED; REDIS_* when Redis does not answer
   */
  async elevate(token: string, level: string): Promise<SessionElevation<Data>> {
    this.#parts.checkOpen();
    const toLevel = checkLevel(level, this.#rule, `realm ${this.name}: elevate`);
    return (await this.#checker.check(token, { wants: 'elevate', toLevel })) as SessionElevation<Data>;
  }

  /** Whether the session is at the level or above it. @throws MillraceError OPTIONS_INVALID for a level that the realm has not */
  reaches(session: Pick<Session<Data>, 'level'>, level: string): boolean {
    const least = checkLevel(level, this.#rule, `realm ${this.name}: reaches`);
    return this.levels.indexOf(session.level) >= this.levels.indexOf(least);
  }

  /**
   * Merges a patch into the data of a session, if it is there; a value that is undefined takes its name out. No two changes lose one another:
   * without `ifVersion` it is merged again into what another one has left. It is no use of the session, and slides nothing. The level in its answer is the
   * session's, which the token of this request may not have come to: judge that by what validate() has said.
   *
   * @example
   * const updated = await web.update(session.id, { theme: 'dark' }, { ifVersion: session.version });
   * @throws MillraceError OPTIONS_INVALID, INPUT_INVALID, PAYLOAD_TOO_LARGE, CLOSED; REDIS_* when Redis does not answer
   */
  async update(
    sessionId: string,
    patch: Partial<Input>,
    options: { ifVersion?: number | undefined } = {},
  ): Promise<SessionUpdate<Data>> {
    this.#parts.checkOpen();
    const ifVersion = checkUpdate(options, `realm ${this.name}: update`);
    if (typeof patch !== 'object' || patch === null || Array.isArray(patch))
      throw new MillraceError('INPUT_INVALID', `realm ${this.name}: update: expected an object`, {});
    const place = readSessionId(sessionId);
    if (!place) return { ok: false, reason: 'gone' };
    let version: number | undefined;
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const value = await this.#parts.store.read(place);
      const kept = value === null ? undefined : this.#reader.kept(value);
      const before = kept && this.#reader.rest(sessionId, kept);
      if (!kept || !before) return { ok: false, reason: 'gone' };
      version = kept.version;
      if (ifVersion !== undefined && version !== ifVersion) return { ok: false, reason: 'version', version };
      const json = await this.#encode({ ...before.data, ...patch });
      const rest = packRest({ ...before, json }, this.#rule.sealer, this.#reader.about(sessionId));
      const updated = await this.#parts.store.update(place, version, rest);
      if (updated.outcome === 'gone') return { ok: false, reason: 'gone' };
      if (updated.outcome === 'version' || updated.value === undefined) continue;
      const session = await this.#sessionOf(sessionId, updated.value);
      if (!session) return { ok: false, reason: 'gone' };
      this.#parts.meter.changed('updated');
      return { ok: true, session };
    }
    return { ok: false, reason: 'version', ...(version !== undefined && { version }) };
  }

  /**
   * Ends a session. Whatever is under way with it can write no more.
   *
   * @example
   * await web.revoke(session.id); // logged out
   * @returns whether it was there.
   * @throws MillraceError CLOSED; REDIS_* when Redis does not answer
   */
  async revoke(sessionId: string): Promise<boolean> {
    this.#parts.checkOpen();
    const place = readSessionId(sessionId);
    if (!place) return false;
    const ending = this.#parts.endings.begin(this.name, 'revoked', place.tag);
    const isEnded = await this.#parts.store.revoke(place, ending);
    if (isEnded) this.#parts.endings.ended(ending, [place.id]);
    return isEnded;
  }

  /**
   * Ends all sessions of a user, but one that may stay. What it costs does not grow with the sessions of others.
   *
   * @example
   * await web.revokeAll('ada', { except: session.id }); // after a change of the password
   * @returns how many have ended.
   * @throws MillraceError OPTIONS_INVALID, CLOSED; REDIS_* when Redis does not answer
   */
  async revokeAll(userId: string, options: { except?: string | undefined } = {}): Promise<number> {
    this.#parts.checkOpen();
    const stays = readSessionId(checkRevokeAll(options, `realm ${this.name}: revokeAll`));
    const counts = this.#tagsOf(userId, 'revokeAll').map((tag) =>
      this.#revokeAllOf(userId, tag, stays?.tag === tag ? stays.id : ''),
    );
    return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
  }

  async #revokeAllOf(userId: string, tag: string, except: string): Promise<number> {
    const { endings, store } = this.#parts;
    let count = 0;
    let left: readonly string[] | undefined;
    do {
      const ending = endings.begin(this.name, 'revoked', tag);
      const answer = await store.revokeAll(tag, except, ending, left);
      endings.ended(ending, answer.ended, userId);
      count += answer.ended.length;
      left = answer.left;
    } while (left.length > 0);
    return count;
  }

  /**
   * The sessions of a user, the one that was seen last first: for a page of devices.
   *
   * @example
   * for (const { id, device, lastSeenAt } of await web.list('ada')) show(id, device, lastSeenAt);
   * @throws MillraceError OPTIONS_INVALID, CLOSED; REDIS_* when Redis does not answer
   */
  async list(userId: string): Promise<Array<Session<Data>>> {
    this.#parts.checkOpen();
    const found = await Promise.all(
      this.#tagsOf(userId, 'list').map(async (tag) => {
        const { nowMs, sessions } = await this.#parts.store.list(tag);
        const all = await Promise.all(sessions.map(({ id, value }) => this.#sessionOf(`${tag}.${id}`, value)));
        return all.filter((session) => session && nowMs < session.idleExpiresAt); // It may have begun when it was let live longer.
      }),
    );
    const sessions = found.flat().filter((session) => session !== undefined);
    return sessions.toSorted((left, right) => right.lastSeenAt - left.lastSeenAt || right.createdAt - left.createdAt);
  }

  /**
   * How many sessions a user has.
   *
   * @example
   * const devices = await web.count('ada');
   * @throws MillraceError OPTIONS_INVALID, CLOSED; REDIS_* when Redis does not answer
   */
  async count(userId: string): Promise<number> {
    this.#parts.checkOpen();
    const found = await Promise.all(this.#tagsOf(userId, 'count').map((tag) => this.#parts.store.list(tag)));
    const isOver = (value: string, nowMs: number): boolean => {
      const kept = this.#reader.kept(value);
      return kept !== undefined && this.#reader.endOf(kept) <= nowMs;
    };
    return found
      .map(({ nowMs, sessions }) => sessions.filter(({ value }) => !isOver(value, nowMs)).length)
      .reduce((sum, count) => sum + count, 0);
  }

  /**
   * Hears what happens to sessions, until the function that is returned is called. `created`, `rotated` and `elevated` are of this process;
   * how sessions were ended is told in all of them. That one has run out by itself is told by nobody: `session.idleExpiresAt` and `expiresAt` say when.
   *
   * @example
   * web.on('revoked', ({ sessionId }) => socketsOf(sessionId).forEach((socket) => socket.close()));
   * web.on('gap', () => closeAllSockets()); // They come back, and are validated again.
   * @throws MillraceError CLOSED
   */
  on<Type extends keyof SessionEvents>(type: Type, listener: SessionListener<SessionEvents[Type]>): () => void {
    this.#parts.checkOpen();
    const off = this.#listeners.add(type, listener);
    if (type !== 'created' && type !== 'rotated' && type !== 'elevated') void this.#parts.endings.open();
    return off;
  }

  /**
   * Resolves once the ends of sessions by other processes are heard here, for the first time.
   *
   * @example
   * await web.ready({ signal: AbortSignal.timeout(2_000) });
   * @throws the reason of the signal; MillraceError CLOSED
   */
  async ready({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#parts.checkOpen();
    signal?.throwIfAborted();
    const opened = this.#parts.endings.open();
    if (!signal) await opened;
    else
      await new Promise<void>((resolve, reject) => {
        const abort = (): void => reject(signal.reason as Error);
        signal.addEventListener('abort', abort, { once: true });
        void opened.finally(() => signal.removeEventListener('abort', abort)).then(resolve);
      });
    this.#parts.checkOpen();
  }

  /** Sessions of this realm have ended. */
  onEnded({ cause, sessionIds, userId, isLocal }: Ended): void {
    if (isLocal) this.#parts.meter.changed(cause, sessionIds.length);
    for (const sessionId of sessionIds)
      this.#listeners.tell(cause, { type: cause, realm: this.name, sessionId, userId, isLocal });
  }

  /** Ends may have been missed. */
  onGap(): void {
    this.#listeners.tell('gap', { type: 'gap', realm: this.name });
  }

  #tell(type: 'created' | 'rotated' | 'elevated', sessionId: string, userId: string): void {
    this.#listeners.tell(type, { type, realm: this.name, sessionId, userId, isLocal: true });
  }

  /** Where a user's sessions are, one for each pepper. */
  #tagsOf(userId: unknown, call: string): string[] {
    const checked = checkUserId(userId, `realm ${this.name}: ${call}`);
    return this.#rule.hashings.map((hashing) => hashing.tagOf(checked));
  }

  async #sessionOf(sessionId: string, value: string): Promise<Session<Data> | undefined> {
    const kept = this.#reader.kept(value);
    return kept && this.#reader.session(sessionId, kept);
  }

  /** The data as JSON. */
  async #encode(data: unknown): Promise<string> {
    const { schema = ANY_DATA, maxDataBytes: maxBytes } = this.#rule;
    const what = `data of a session of realm ${this.name}`;
    const json = await encodePayload(data, { schema, contract: this.name, what, maxBytes });
    if (json.startsWith('{')) return json;
    throw new MillraceError('INPUT_INVALID', `${what}: expected an object`, {});
  }
}
