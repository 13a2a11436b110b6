/** The secret that CSRF tokens and messages are signed with: one of the options, or one that Redis keeps for all dashboards of the prefix. */
import { randomBytes } from 'node:crypto';
import { createKeySpace, type Platform } from 'millrace';

/** The secret of the dashboards; the first of them makes it. It does not expire, as pages that are open stand on it. */
export async function sharedSecret({ redis, prefix }: Platform, given: string | undefined): Promise<string> {
  if (given !== undefined) return given;
  const key = createKeySpace(prefix, 'dashboard')('secret'); // STRING
  const client = redis.commands();
  const made = randomBytes(32).toString('base64url');
  await client.set(key, made, 'NX');
  return (await client.get(key)) ?? made;
}
