/** One cookie of our own: read from a request, set on a response. Its value is a token, which needs no quoting. */
import type { ServerResponse } from 'node:http';
import { MillraceError } from '../errors.ts';

/** What a cookie is set with. It is never readable by scripts, is for the whole site and for this host alone. */
export interface CookieRule {
  readonly name: string;
  readonly secure: boolean;
  readonly sameSite: 'lax' | 'strict' | 'none';
}

/** Longer than any token of ours. */
const LONGEST_VALUE = 512;
/** What a cookie may consist of (RFC 6265) without what would end it. */
const VALUE_FORM = /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+$/;

/**
 * The cookie's value. Several cookies of one name are set by somebody else, such as another site of the same domain, and which of them is ours
 * cannot be told: `ambiguous`. What no token of ours can look like is `malformed`, and goes no further.
 */
export function readCookie(
  header: string | undefined,
  name: string,
): { value: string } | 'none' | 'ambiguous' | 'malformed' {
  const values = new Set<string>();
  for (const pair of (header ?? '').split(';')) {
    const at = pair.indexOf('=');
    if (at !== -1 && pair.slice(0, at).trim() === name) values.add(pair.slice(at + 1).trim());
  }
  if (values.size > 1) return 'ambiguous';
  const [value] = values;
  if (value === undefined) return 'none';
  return value.length <= LONGEST_VALUE && VALUE_FORM.test(value) ? { value } : 'malformed';
}

/**
 * Sets the cookie with the response's head, in the place of one of that name which was set before. It is added last, so that nothing a handler sets
 * takes its place, and no cache may keep the response, whatever the handler says.
 *
 * @param maxAgeS until the browser closes when undefined
 * @throws MillraceError HEADERS_SENT
 */
export function setCookie(
  response: ServerResponse,
  rule: CookieRule,
  value: string,
  maxAgeS: number | undefined,
): void {
  checkHeaders(response);
  const parts = [`${rule.name}=${value}`, 'Path=/'];
  if (maxAgeS !== undefined) parts.push(`Max-Age=${maxAgeS}`);
  parts.push('HttpOnly');
  if (rule.secure) parts.push('Secure');
  parts.push(`SameSite=${{ lax: 'Lax', strict: 'Strict', none: 'None' }[rule.sameSite]}`);
  ownCookiesOf(response).set(rule.name, parts.join('; '));
}

/** The cookies that a response will have, by name. */
const ownCookies = new WeakMap<ServerResponse, Map<string, string>>();

function ownCookiesOf(response: ServerResponse): Map<string, string> {
  const known = ownCookies.get(response);
  if (known) return known;
  const cookies = new Map<string, string>();
  ownCookies.set(response, cookies);
  const writeHead = response.writeHead.bind(response) as (...args: unknown[]) => ServerResponse;
  // Whatever begins a response calls it, also write(), end() and flushHeaders().
  response.writeHead = (status: number, ...rest: unknown[]): ServerResponse => {
    if (response.headersSent) return writeHead(status, ...rest); // It says so.
    const reason = typeof rest[0] === 'string' ? [rest[0]] : [];
    setHeaders(response, rest[reason.length] ?? rest[1]);
    const before = [response.getHeader('Set-Cookie') ?? []].flat().map(String);
    const others = before.filter((cookie) => !cookies.has(cookie.split('=', 1)[0] ?? ''));
    response.setHeader('Set-Cookie', [...others, ...cookies.values()]);
    response.setHeader('Cache-Control', 'no-store');
    return writeHead(status, ...reason);
  };
  return cookies;
}

/** As writeHead() takes them: an object; or a list, of names and values or of pairs, in which a name may come again. */
function setHeaders(response: ServerResponse, headers: unknown): void {
  if (typeof headers !== 'object' || headers === null) return;
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value as string);
    return;
  }
  const flat = (Array.isArray(headers[0]) ? headers.flat() : headers) as string[];
  const names = flat.filter((_part, at) => at % 2 === 0);
  for (const name of names) response.removeHeader(name);
  names.forEach((name, at) => response.appendHeader(name, flat[2 * at + 1] ?? ''));
}

/** Takes the cookie away from the browser. @throws MillraceError HEADERS_SENT */
export function clearCookie(response: ServerResponse, rule: CookieRule): void {
  setCookie(response, rule, '', 0);
}

/** Before anything is done that only a cookie could tell of. @throws MillraceError HEADERS_SENT */
export function checkHeaders(response: ServerResponse): void {
  if (!response.headersSent) return;
  const message =
    'the response has begun, so it can carry no cookie: sign in, sign out or elevate before anything is sent';
  throw new MillraceError('HEADERS_SENT', message, {});
}
