/**
 * A store for express-session, in the place of connect-redis.
 *
 * Promise: whoever has signed out stays signed out. A request that was slow writes into a session only while that is there: what was destroyed
 * or has run out never comes back. Redis holds the id of no session, only its hash. A session lives as long as its cookie says, or `ttl`, and
 * never longer than `absolute`. Of two requests at once the one that saves last wins, as in every store of express-session.
 * `all`, `length` and `clear`, which express-session does not need, are left out: they would scan all of Redis.
 * Redis down: the callback is given the error within `deadline`. Of a read express-session makes the request's error, and takes nobody for a
 * stranger. When it saves at the end of a request it has begun the response already: that is sent, and what was to be saved is lost, so save what
 * matters before you answer. The store does not emit `disconnect`: express-session would let requests in without any session.
 */
import { MillraceError } from '../errors.ts';
import { silentLogger, type Logger } from '../log.ts';
import type { Connections } from '../redis/connect.ts';
import {
  SessionTexts,
  type SessionTextsOptions,
  type StoredSession,
  type UserId,
} from '../session/store/session-texts.ts';

export type {
  SessionTextsOptions as ExpressSessionStoreOptions,
  StoredSession,
} from '../session/store/session-texts.ts';

/** What is used of express-session: its default export has it. */
export interface ExpressSessionModule<BaseStore extends object> {
  readonly Store: abstract new () => BaseStore;
}

/** What the sessions of a store hold. */
export type SessionDataOf<BaseStore extends object> = BaseStore extends {
  set(id: string, session: infer Data, ...rest: never[]): unknown;
}
  ? Data & StoredSession
  : StoredSession;

type Callback<T = void> = (error: unknown, value?: T) => void;

/** What the store can do beside what express-session asks of it. Without a callback the methods give promises. */
export interface SessionStoreMethods<Data extends StoredSession = StoredSession> {
  get(id: string, callback?: Callback<Data | null>): Promise<Data | null>;
  set(id: string, session: Data, callback?: Callback): Promise<void>;
  touch(id: string, session: Data, callback?: Callback): Promise<void>;
  destroy(id: string, callback?: Callback): Promise<void>;
  /**
   * Ends all sessions of a user, such as after a change of the password.
   *
   * @param userId as the option `user` gives it
   * @param options.except the id of a session that stays, such as `request.sessionID`
   * @returns how many were ended
   * @throws MillraceError OPTIONS_INVALID when the store has no option `user`, or that is no id; REDIS_* when Redis does not answer
   */
  endAll(userId: UserId, options?: { except?: string | undefined }): Promise<number>;
}

/**
 * A store for express-session. It takes express-session itself, because a store must be a child of its class.
 *
 * @example
 * const { redis, prefix, log } = platform;
 * const store = expressSessionStore(session, redis, { prefix, log, absolute: '30d', user: ({ userId }) => userId });
 * app.use(session({ store, secret, resave: false, saveUninitialized: false }));
 * await store.endAll('ada', { except: request.sessionID });
 * @throws MillraceError OPTIONS_INVALID
 */
export function expressSessionStore<BaseStore extends object>(
  session: ExpressSessionModule<BaseStore>,
  connections: Pick<Connections, 'commands' | 'label'>,
  options: SessionTextsOptions<SessionDataOf<BaseStore>> = {},
): SessionStoreMethods<SessionDataOf<BaseStore>> & BaseStore {
  type Data = SessionDataOf<BaseStore>;
  checkArguments(session, connections);
  const store = new SessionTexts<Data>(connections, options);
  const { log = silentLogger } = options;
  const Base = session.Store as unknown as new () => {
    createSession(request: unknown, data: StoredSession): StoredSession;
  };
  class MillraceStore extends Base {
    get(id: string, callback?: Callback<Data | null>): Promise<Data | null> {
      return told(store.get(id), callback, log);
    }

    set(id: string, data: Data, callback?: Callback): Promise<void> {
      return told(store.set(id, data), callback, log);
    }

    touch(id: string, data: Data, callback?: Callback): Promise<void> {
      return told(store.touch(id, data), callback, log);
    }

    destroy(id: string, callback?: Callback): Promise<void> {
      return told(store.destroy(id), callback, log);
    }

    endAll(userId: UserId, { except }: { except?: string | undefined } = {}): Promise<number> {
      return store.endAll(userId, except);
    }

    /** What express-session makes of what was read is as well known as that. */
    override createSession(request: unknown, data: StoredSession): StoredSession {
      const made = super.createSession(request, data);
      store.passOn(data, made);
      return made;
    }
  }
  return new MillraceStore() as unknown as SessionStoreMethods<Data> & BaseStore;
}

/** @throws MillraceError OPTIONS_INVALID */
function checkArguments(session: unknown, connections: unknown): void {
  if (hasMethod(session, 'Store') && hasMethod(connections, 'commands')) return;
  const message = 'expected express-session itself and connections, as in expressSessionStore(session, platform.redis)';
  throw new MillraceError('OPTIONS_INVALID', `expressSessionStore: ${message}`, {});
}

function hasMethod(value: unknown, name: string): boolean {
  return typeof (value as Record<string, unknown> | null | undefined)?.[name] === 'function';
}

/** Tells the callback, if there is one: its own errors are not the store's. */
function told<T>(outcome: Promise<T>, callback: Callback<T> | undefined, log: Logger): Promise<T> {
  outcome.then(
    (value) => callback && process.nextTick(callback, null, value),
    (error: unknown) => {
      if (callback) process.nextTick(callback, error);
      // Nobody may be waiting, as for request.session.destroy(): that must not end the process.
      else log.warn({ err: error }, 'a session could not be read, saved or destroyed');
    },
  );
  return outcome;
}
