/**
 * A message for the next page, in a cookie that ends with it. It is signed under the session, so that no other host of the domain can put
 * words into our mouth.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { CookieOptions, Request, Response } from 'express';
import { frameOf, type Flash } from '../desk.ts';

const NAME = 'millrace-flash';
const LONGEST_TEXT = 500;

/** Keeps the message for the next page. */
export function keepFlash(response: Response, { tone, text }: Flash, key: Buffer): void {
  const body = Buffer.from(JSON.stringify({ tone, text: text.slice(0, LONGEST_TEXT) })).toString('base64url');
  response.cookie(NAME, `${body}.${macOf(body, key)}`, { ...optionsOf(response), maxAge: 60_000 });
}

/** The message, once. Scripts and their like leave it to the page that comes. */
export function readFlash(request: Request, response: Response, key: Buffer): Flash | undefined {
  if (request.method !== 'GET' || !(request.headers.accept ?? '').includes('text/html')) return undefined;
  const value = cookieOf(request, NAME);
  if (value === undefined) return undefined;
  response.clearCookie(NAME, optionsOf(response));
  const [body = '', mac = ''] = value.split('.');
  const given = Buffer.from(mac);
  const expected = Buffer.from(macOf(body, key));
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  return JSON.parse(Buffer.from(body, 'base64url').toString()) as Flash;
}

/** A cookie of the request, as it is. */
export function cookieOf({ headers }: Request, name: string): string | undefined {
  const parts = (headers.cookie ?? '').split(';').map((part) => part.trim());
  return parts.find((part) => part.startsWith(`${name}=`))?.slice(name.length + 1);
}

function optionsOf(response: Response): CookieOptions {
  return { httpOnly: true, sameSite: 'lax', secure: frameOf(response).isSecure, path: '/' };
}

function macOf(body: string, key: Buffer): string {
  return createHmac('sha256', key).update(body).digest('base64url');
}
