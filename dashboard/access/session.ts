/**
 * Who is signed in. The session says whose it is; what he may do is asked of the list of users with each request, so that a change of the list
 * holds at once, for open pages too.
 */
import type { Request, RequestHandler } from 'express';
import { z } from 'zod';
import type { Platform, Realm, Session } from 'millrace';
import { sessionMiddleware, sessionOf } from 'millrace/http';
import type { CheckedOptions } from '../options.ts';
import { frameOf } from '../desk.ts';
import type { User } from './roles.ts';
import type { KnownUser, UserList } from './user-list.ts';

/** What a session of the dashboard keeps. */
const dataSchema = z.object({
  /** How its user came in. */
  by: z.enum(['password', 'link']),
  /** Which password that was. */
  mark: z.string(),
});

type Data = z.output<typeof dataSchema>;

/** Who comes by the one-time link. */
const LINK_USER: User = { name: 'sign-in link', role: 'admin' };

/** Nothing that was asked for by a person: it does not make a session live longer. */
function isPoll({ method, path, query, headers }: Request): boolean {
  if (headers['x-millrace-poll'] !== undefined || query['poll'] !== undefined) return true;
  return method === 'GET' && (path.startsWith('/live') || path.startsWith('/queues/api/'));
}

/** The sessions of a dashboard. */
export class Door {
  readonly #realm: Realm<Data>;
  readonly #users: UserList;
  /** By whether the cookie is for TLS alone: then its name begins with `__Host-`, so that one is never taken for the other. */
  readonly #find: Readonly<Record<'secure' | 'plain', ReturnType<typeof sessionMiddleware>>>;

  constructor(platform: Platform, users: UserList, { idle, absolute }: CheckedOptions) {
    this.#users = users;
    this.#realm = platform.sessions.realm<Data>('dashboard', { idle, absolute, data: dataSchema });
    const common = { name: 'millrace-dashboard', touch: (request: Request) => !isPoll(request) };
    this.#find = {
      secure: sessionMiddleware<Data, Data, Request>(this.#realm, { ...common, secure: true }),
      plain: sessionMiddleware<Data, Data, Request>(this.#realm, { ...common, secure: false }),
    };
  }

  /** Finds the session of a request; before all that asks for it. */
  readonly find: RequestHandler = (request, response, next) => {
    this.#find[frameOf(response).isSecure ? 'secure' : 'plain'](request, response, next);
  };

  /** The id of the session, for CSRF tokens. */
  sessionId(request: Request): string | undefined {
    return this.#sessionOf(request).current?.id;
  }

  /** Who is signed in, if he may still be; a session that may not be any more is ended, one of which that is not known is left. */
  async userOf(request: Request): Promise<User | 'unknown' | undefined> {
    const session = this.#sessionOf(request);
    if (!session.current) return undefined;
    const user = await this.#userOf(session.current);
    if (!user) await session.signOut();
    return user;
  }

  /** Whether whoever has sent the request is still signed in, for answers that last. Asks Redis; makes no session live longer. */
  async stillSignedIn(request: Request): Promise<boolean> {
    const { current } = this.#sessionOf(request);
    const user = current && (await this.#userOf(current));
    if (!current || !user || user === 'unknown') return false;
    const sessions = await this.#realm.list(current.userId);
    return sessions.some(({ id }) => id === current.id);
  }

  async signIn(request: Request, { name, mark }: KnownUser): Promise<void> {
    await this.#sessionOf(request).signIn(name, { data: { by: 'password', mark } });
  }

  /** Signs in as admin, where no users are listed. */
  async signInByLink(request: Request): Promise<User> {
    await this.#sessionOf(request).signIn(LINK_USER.name, { data: { by: 'link', mark: '' } });
    return LINK_USER;
  }

  async signOut(request: Request): Promise<void> {
    await this.#sessionOf(request).signOut();
  }

  async #userOf({ userId, data: { by, mark } }: Session<Data>): Promise<User | 'unknown' | undefined> {
    if (by === 'link') return this.#users.isEmpty ? LINK_USER : undefined;
    const user = await this.#users.find(userId);
    if (user === 'unknown') return user;
    return user?.mark === mark ? { name: user.name, role: user.role } : undefined;
  }

  #sessionOf(request: Request) {
    return sessionOf(request, this.#realm);
  }
}
