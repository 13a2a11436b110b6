/**
 * Accounts: a sign-in that is limited by account and by address, sessions in a cookie, and a new password, which ends the sessions on all other devices.
 *
 * Shows sessions, rate limits, and `session.revoke-user`. A shop with pages would add csrf(): see examples/sign-in.ts.
 */
import { Router } from 'express';
import type { Limiter, Platform } from 'millrace';
import { addressKey, requireSession, sessionOf } from 'millrace/http';
import { z } from 'zod';
import type { Account, Database } from './database.ts';
import { bodyOf, Refused, userOf } from './http.ts';
import { sessionRevokeUser } from './jobs.ts';
import { hashPassword, isPassword } from './passwords.ts';

export const REALM = 'shop';

/** Who is signed in to the shop. Each process that asks makes it with these options. */
export function shopRealm({ sessions }: Pick<Platform, 'sessions'>) {
  return sessions.realm(REALM, { idle: '30m', absolute: '7d', maxPerUser: 10, levels: ['customer', 'staff'] });
}

/** Tries at one account's password, from wherever they come. */
const PER_ACCOUNT = { name: 'minute', limit: 10, per: '1m' } as const;
/** Wrong ones from one address, at whichever accounts. */
export const PER_ADDRESS = { name: 'minute', limit: 20, per: '1m' } as const;

const newPassword = z.string().min(8).max(200);
const signUp = z.strictObject({
  id: z.string().regex(/^[a-z][a-z0-9-]{1,30}$/, 'expected small letters, digits and -'),
  name: z.string().min(1).max(100),
  mail: z.email(),
  password: newPassword,
});
const signIn = z.strictObject({ id: z.string().max(100), password: z.string().max(200) });
const change = z.strictObject({ current: z.string().max(200), next: newPassword });

/* eslint-disable oxc/no-async-endpoint-handlers -- Express 5 waits for them, and hands on what they throw. */
export function accountRoutes(platform: Platform, { accounts }: Database): Router {
  const perAccount = platform.limits.limiter('shop.sign-in', { policies: [PER_ACCOUNT] });
  const perAddress = platform.limits.limiter('shop.sign-in-address', { policies: [PER_ADDRESS] });

  async function checkPassword(id: string, password: string): Promise<Account> {
    await takeTry(perAccount, id);
    const account = await accounts.get(id);
    if (!(await isPassword(password, account?.password)) || !account) throw new Refused(401, 'wrong name or password');
    return account;
  }

  return Router()
    .post('/sign-up', async (request, response) => {
      const { password, ...rest } = await bodyOf(request, signUp);
      const isNew = await accounts.add({ ...rest, role: 'customer', password: await hashPassword(password) });
      if (!isNew) throw new Refused(409, 'there is an account of that name');
      response.status(201).json({ id: rest.id });
    })
    .post('/sign-in', async (request, response) => {
      const { id, password } = await bodyOf(request, signIn);
      const address = addressKey(request.ip);
      await takeTry(perAddress, address);
      const { name, role } = await checkPassword(id, password);
      await perAddress.refund(address); // Many customers may sit behind one address.
      await sessionOf(request).signIn(id, { level: role });
      response.json({ name, role });
    })
    .post('/sign-out', async (request, response) => {
      await sessionOf(request).signOut();
      response.status(204).end();
    })
    .post('/password', requireSession(), async (request, response) => {
      const { current, next } = await bodyOf(request, change);
      const account = await checkPassword(userOf(request), current);
      await accounts.put({ ...account, password: await hashPassword(next) });
      const { id: except } = sessionOf(request).current ?? {};
      const { id: job } = await platform.jobs.enqueue(sessionRevokeUser, { userId: account.id, realm: REALM, except });
      response.status(202).json({ job });
    });
}

async function takeTry(limiter: Limiter, key: string): Promise<void> {
  const { allowed, retryAfterMs } = await limiter.consume(key);
  if (!allowed) throw new Refused(429, `too many tries; come back in ${Math.ceil(retryAfterMs / 1_000)} s`);
}
