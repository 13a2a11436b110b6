/**
 * The way in where no users are listed: a link that signs in as admin, once, within 15 minutes.
 *
 * Redis has the hash of its token only, so that whoever reads Redis cannot make the link of it. It is asked and removed in one step.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createKeySpace, type Platform } from 'millrace';

const LINK_FOR_MS = 15 * 60_000;
const TOKEN = /^[\w-]{43}$/;

/** Makes a link's token. */
export async function makeLinkToken(platform: Platform): Promise<string> {
  const token = randomBytes(32).toString('base64url');
  await platform.redis.commands().set(keyOf(platform, token), '1', 'PX', LINK_FOR_MS);
  return token;
}

/** Takes the token: true for the first who shows it in time. */
export async function takeLinkToken(platform: Platform, token: string): Promise<boolean> {
  if (!TOKEN.test(token)) return false;
  return (await platform.redis.commands().getdel(keyOf(platform, token))) !== null;
}

/** STRING, there until it was used or has run out. */
function keyOf({ prefix }: Platform, token: string): string {
  return createKeySpace(prefix, 'dashboard')('link', createHash('sha256').update(token).digest('base64url'));
}
