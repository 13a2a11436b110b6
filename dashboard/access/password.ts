/**
 * Passwords are kept as scrypt hashes with their parameters, so that these can be raised later and old hashes still hold:
 * `$scrypt$ln=15,r=8,p=3$SALT$HASH`.
 *
 * Hashes are compared in constant time, and a name that nobody has takes as much work as one that somebody has.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

/** Fewer characters are refused by `millrace password`. */
export const LEAST_PASSWORD_LENGTH = 12;

/** A hash in its parts. */
export interface PasswordHash {
  /** The logarithm of what scrypt calls N. */
  readonly ln: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

const derive = promisify<string, Buffer, number, object, Buffer>(scrypt);

/** What OWASP asks for: 32 MiB, three times; some 150 ms. */
const COST = { ln: 15, r: 8, p: 3 } as const;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
const FORM = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w+/]{16,88})\$([\w+/]{22,88})$/;
const MOST_BYTES = 256 * 1024 * 1024;
const MOST_PASSES = 16;

/**
 * A password's hash, as lists of users have it.
 *
 * @example
 * createDashboard(platform, { users: [`ada:admin:${await hashPassword(password)}`] });
 */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await work(password, { ...COST, salt, hash: Buffer.alloc(HASH_BYTES) });
  return `$scrypt$ln=${COST.ln},r=${COST.r},p=${COST.p}$${unpadded(salt)}$${unpadded(hash)}`;
}

/** The parts of a hash; undefined for what is none, or takes more memory than any server should give. */
export function readHash(text: string): PasswordHash | undefined {
  const [, ln, r, p, salt = '', hash = ''] = FORM.exec(text) ?? [];
  const cost = { ln: Number(ln), r: Number(r), p: Number(p) };
  if (hash === '' || cost.ln < 10 || cost.r < 1 || cost.p < 1 || cost.p > MOST_PASSES) return undefined;
  if (bytesOf(cost) > MOST_BYTES) return undefined;
  return { ...cost, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') };
}

/** Whether the password is the one of the hash. */
export async function isPassword(password: string, known: PasswordHash): Promise<boolean> {
  return timingSafeEqual(await work(password, known), known.hash);
}

/** A hash that no password has, whose check costs as much as the costliest of those that are known: for names that nobody has. */
export function decoyFor(known: Iterable<PasswordHash>): PasswordHash {
  const [costliest = COST] = [...known].toSorted((one, other) => workOf(other) - workOf(one));
  return { ...costliest, salt: randomBytes(SALT_BYTES), hash: randomBytes(HASH_BYTES) };
}

function workOf({ ln, r, p }: PasswordHash): number {
  return 2 ** ln * r * p;
}

function work(password: string, { ln, r, p, salt, hash }: PasswordHash): Promise<Buffer> {
  // The same characters may be typed in several forms of Unicode.
  return derive(password.normalize('NFKC'), salt, hash.length, {
    N: 2 ** ln,
    r,
    p,
    maxmem: 2 * bytesOf({ ln, r }),
  });
}

function bytesOf({ ln, r }: { ln: number; r: number }): number {
  return 128 * 2 ** ln * r;
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}
