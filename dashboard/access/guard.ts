/** What stands before every page: who is signed in, that the request is of our own pages, and that the role suffices. */
import { createHmac } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { Request, RequestHandler, Response } from 'express';
import { csrf, type Csrf } from 'millrace/http';
import { frameOf, keepView, type Page, type View } from '../desk.ts';
import { refusePage } from '../view/refuse.tsx';
import { readFlash } from '../view/flash.ts';
import { needs, reaches } from './roles.ts';
import type { Door } from './session.ts';

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD']);
/** Signing in has no session that a token could be bound to; one that the browser still has is about to end. */
const SIGN_IN = /^\/sign-in(\/|$)/;

/** Why nobody is let in while the file of users is away. */
export const USERS_AWAY = 'The list of users cannot be read for now. The log says why.';

/** The checks of a dashboard. */
export interface Guard {
  /** Refuses requests that another site has caused. After the body parser. */
  readonly protect: RequestHandler;
  /** Lets only those pass who are signed in, and gives their requests a view. Others are sent to sign in, and back here after it. */
  readonly signedIn: RequestHandler;
  /** The role that a page takes for reading, and the one for all else. */
  roles(page: Page): RequestHandler;
}

export function createGuard(door: Door, secret: string, pages: readonly Page[]): Guard {
  const { protect, tokenFor } = csrf<Request>({
    secret,
    session: (request) => (SIGN_IN.test(request.path) ? undefined : door.sessionId(request)),
  });
  return {
    protect: withPage(protect),
    async signedIn(request, response, next) {
      const user = await door.userOf(request);
      if (user === 'unknown') return refusePage(response, 503, USERS_AWAY);
      if (!user) return refuseStranger(request, response);
      const csrfToken = tokenFor(request) ?? '';
      const view: View = {
        ...frameOf(response),
        user,
        csrfToken,
        flash: readFlash(request, response, flashKey(secret, door.sessionId(request))),
        pages,
        may: (role) => reaches(user.role, role),
      };
      keepView(response, view);
      next();
    },
    roles({ needs: reading, acts = 'operator' }) {
      const reads = needs(reading);
      const changes = needs(reaches(acts, reading) ? acts : reading);
      return (request, response, next) =>
        void (SAFE_METHODS.has(request.method) ? reads : changes)(request, response, next);
    },
  };
}

/** A browser is told by a page, a script by the problem document. */
function withPage(protect: Csrf<Request>['protect']): RequestHandler {
  return (request, response, next) => {
    // The name that axios, and so Bull Board, has for it.
    request.headers['x-csrf-token'] ??= request.headers['x-xsrf-token'];
    if (!wantsPage(request)) return protect(request, response, next);
    const refusal = {
      setHeader: () => refusal,
      end: () => {
        refusePage(
          response,
          403,
          'The page was open for too long, or the request comes from elsewhere. Load it again.',
        );
      },
    };
    protect(request, refusal as unknown as ServerResponse, next);
  };
}

function refuseStranger(request: Request, response: Response): void {
  const { path, here } = frameOf(response);
  if (wantsPage(request)) {
    const next = SAFE_METHODS.has(request.method) && here !== '/' ? `?next=${encodeURIComponent(here)}` : '';
    response.redirect(303, path(`/sign-in${next}`));
    return;
  }
  response
    .status(401)
    .set('WWW-Authenticate', 'Cookie')
    .type('application/problem+json')
    .send(JSON.stringify({ type: 'about:blank', title: 'Unauthorized', status: 401, code: 'SESSION_MISSING' }));
}

/** Browsers ask for HTML by name; scripts and tools do not. */
function wantsPage(request: Request): boolean {
  return (request.headers.accept ?? '').includes('text/html');
}

/** Messages are bound to the session, as tokens are. */
export function flashKey(secret: string, sessionId: string | undefined): Buffer {
  return createHmac('sha256', secret).update(`flash ${sessionId}`).digest();
}
