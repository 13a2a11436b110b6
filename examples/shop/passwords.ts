/** Passwords, as they are kept: `salt.hash`, by scrypt. Whoever changes the cost later keeps it beside them, or old ones fit no more. */
import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);
const BYTES = 32;
/** What OWASP asks for: 32 MiB, three times; some 150 ms. */
const COST = { N: 2 ** 15, r: 8, p: 3, maxmem: 2 ** 26 };

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  return `${salt.toString('base64url')}.${(await derive(password, salt, BYTES, COST)).toString('base64url')}`;
}

/** What an unknown user's password is compared with, so that the answer takes as long. */
const NOBODYS = `${'A'.repeat(22)}.${'A'.repeat(43)}`;

export async function isPassword(password: string, kept: string = NOBODYS): Promise<boolean> {
  const [salt = '', hash = ''] = kept.split('.');
  const derived = await derive(password, Buffer.from(salt, 'base64url'), BYTES, COST);
  return timingSafeEqual(derived, Buffer.from(hash, 'base64url'));
}
