/** The sign-in page, signing in by password or by link, and out. */
import { json, urlencoded, type Request, type Response, type Router } from 'express';
import type { AuditLog } from '../audit/audit.ts';
import { frameOf, viewOf, type Desk } from '../desk.ts';
import { dropToken } from '../queues/token-cookie.ts';
import { Field } from '../view/forms.tsx';
import { field, query } from '../view/input.ts';
import { Notice } from '../view/parts.tsx';
import { renderDoor } from '../view/render.ts';
import { refusePage } from '../view/refuse.tsx';
import { USERS_AWAY, type Guard } from './guard.ts';
import { safePath } from './next-path.ts';
import type { Door } from './session.ts';
import { takeLinkToken } from './sign-in-link.ts';
import { createThrottle, type Attempt } from './throttle.ts';
import type { UserList } from './user-list.ts';

/** A name, a password and a path are all that comes; more is not read. */
const body = [urlencoded({ extended: false, limit: '8kb', parameterLimit: 8 }), json({ limit: '8kb' })];
const LONGEST_PASSWORD = 1_024;

/** What signing in works with. */
export interface SignInParts {
  desk: Desk;
  audit: AuditLog;
  door: Door;
  guard: Guard;
  users: UserList;
}

/** Adds `/sign-in` and what belongs to it; before everything that asks for a sign-in. */
export function addSignIn(router: Router, parts: SignInParts): void {
  const { desk, audit, door, guard, users } = parts;
  const throttle = createThrottle(desk.platform);
  router.get('/sign-in', async (request, response) => {
    const next = safePath(query(request, 'next'));
    const user = await door.userOf(request);
    if (user && user !== 'unknown') go(response, next);
    else show(response, { next, link: query(request, 'link'), hasUsers: !users.isEmpty });
  });

  router.post('/sign-in', body, guard.protect, async (request: Request, response: Response) => {
    const name = field(request, 'name').trim().slice(0, 64);
    const next = safePath(field(request, 'next'));
    const again = { next, name, hasUsers: !users.isEmpty };
    const { address } = frameOf(response);
    const attempt = await throttle(address, name);
    if (attempt.retryAfterMs !== undefined) return refuse(response, attempt, again);
    const password = field(request, 'password').slice(0, LONGEST_PASSWORD);
    const found = await users.find(name);
    const user = found === 'unknown' ? undefined : found;
    if (!(await users.isPassword(password, user)) || !user) {
      desk.log.warn({ name, address }, 'a sign-in was refused');
      // For every name, so that nobody learns which ones the options have.
      if (!users.isKnown) return show(response, { ...again, status: 503, problem: USERS_AWAY });
      return show(response, { ...again, status: 401, problem: 'The name or the password is wrong.' });
    }
    await attempt.succeeded();
    await door.signIn(request, user);
    await audit.write({ user, address }, { action: 'session.sign-in' });
    go(response, next);
  });

  router.post('/sign-in/link', body, guard.protect, async (request: Request, response: Response) => {
    const { address } = frameOf(response);
    const attempt = await throttle(address);
    if (attempt.retryAfterMs !== undefined) return refuse(response, attempt, { next: '/', hasUsers: !users.isEmpty });
    if (!users.isEmpty || !(await takeLinkToken(desk.platform, field(request, 'link'))))
      return show(response, {
        next: '/',
        hasUsers: !users.isEmpty,
        status: 401,
        problem: 'The link was used, or is older than 15 minutes. `millrace dashboard --link` makes a new one.',
      });
    await attempt.succeeded();
    const user = await door.signInByLink(request);
    await audit.write({ user, address }, { action: 'session.sign-in', detail: 'by link' });
    go(response, '/');
  });
}

/** Adds `/sign-out`; behind the sign-in. */
export function addSignOut(router: Router, { desk, door }: Pick<SignInParts, 'desk' | 'door'>): void {
  router.post('/sign-out', async (request, response) => {
    const view = viewOf(response);
    await desk.act(response, { action: 'session.sign-out', target: view.user.name }, () => door.signOut(request));
    dropToken(response, view);
    response.redirect(303, frameOf(response).path('/sign-in'));
  });
}

function go(response: Response, to: string): void {
  response.redirect(303, frameOf(response).path(to));
}

interface Shown {
  next: string;
  hasUsers: boolean;
  name?: string;
  link?: string;
  problem?: string;
  status?: number;
}

function refuse(response: Response, { retryAfterMs = 0, isOutage }: Attempt, shown: Shown): void {
  if (isOutage) return refusePage(response, 503, 'Redis does not answer, so that nobody can sign in for now.');
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1_000));
  response.set('Retry-After', String(seconds));
  show(response, { ...shown, status: 429, problem: `Too many attempts. Try again in ${seconds} s.` });
}

function show(response: Response, { status = 200, ...shown }: Shown): void {
  const { path } = frameOf(response);
  renderDoor(response, { title: 'Sign in', status, body: <SignIn {...shown} path={path} /> });
}

function SignIn({ next, hasUsers, name, link = '', problem, path }: Shown & { path: (to: string) => string }) {
  return (
    <>
      {problem !== undefined && <Notice tone="bad">{problem}</Notice>}
      {link !== '' && (
        <form method="post" action={path('/sign-in/link')}>
          <input type="hidden" name="link" value={link} />
          <p>This link signs in as admin, once.</p>
          <button class="primary">Sign in</button>
        </form>
      )}
      {link === '' && hasUsers && (
        <form method="post" action={path('/sign-in')}>
          <input type="hidden" name="next" value={next} />
          <Field label="Name" name="name" value={name} autocomplete="username" required />
          <Field label="Password" name="password" type="password" autocomplete="current-password" required />
          <button class="primary">Sign in</button>
        </form>
      )}
      {link === '' && !hasUsers && (
        <p>
          No users are set up. <code>millrace dashboard --link</code> prints a link that signs in once;{' '}
          <code>millrace password</code> makes a user.
        </p>
      )}
    </>
  );
}
