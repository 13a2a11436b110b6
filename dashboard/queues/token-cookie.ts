/**
 * The CSRF token as Bull Board's scripts read it, in a cookie of its pages; they send it back as X-XSRF-TOKEN.
 *
 * Scripts of the page are to read it, so it is not HttpOnly; it is of no use without the session's own cookie.
 */
import type { CookieOptions, Response } from 'express';
import type { View } from '../desk.ts';

const NAME = 'XSRF-TOKEN';

export function keepToken(response: Response, view: View): void {
  response.cookie(NAME, view.csrfToken, optionsOf(view));
}

/** Its session ends. */
export function dropToken(response: Response, view: View): void {
  response.clearCookie(NAME, optionsOf(view));
}

function optionsOf({ path, isSecure }: View): CookieOptions {
  return { path: path('/queues'), sameSite: 'strict', secure: isSecure, httpOnly: false };
}
