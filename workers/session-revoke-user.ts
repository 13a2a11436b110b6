/**
 * `session.revoke-user`: all sessions of a user end, on all devices, but one that may stay.
 *
 * Promise: when the job is done, no session that the user had when it ran is let in by any process. An attempt that follows one that has ended
 * a realm's sessions leaves that realm alone, so a retry signs nobody out who has signed in since. A login that is under way with the former
 * password is the login's own business: docs/sessions.md has the recipe.
 * Redis down: the attempt fails, and is tried again for two hours.
 */
import {
  checkOptions,
  createSessions,
  handle,
  isMillraceError,
  unrecoverable,
  type Handler,
  type RealmOptions,
} from 'millrace';
import { z } from 'zod';
import { sessionRevokeUser } from './session/contract.ts';

/** Options of createSessionRevokeUserHandler(). */
export interface SessionRevokeUserOptions {
  /**
   * The realms whose sessions end, by name, with the options that find a user's sessions: the pepper (`secret`), where the app gives one. Without
   * the same pepper nothing is found. `{}` takes the realm as this process has it.
   */
  realms: Readonly<Record<string, RealmOptions>>;
}

const optionsSchema = z.strictObject({
  realms: z
    .record(
      z.string(),
      z.custom<RealmOptions>((value) => typeof value === 'object' && value !== null, 'expected an object'),
    )
    .superRefine((realms, context) => {
      if (Object.keys(realms).length === 0) context.addIssue('expected at least one realm');
      for (const [name, options] of Object.entries(realms)) {
        const fault = faultOf(name, options);
        if (fault !== undefined) context.addIssue({ code: 'custom', path: [name], message: fault });
      }
    }),
});

/**
 * The handler of `session.revoke-user`.
 *
 * @example
 * const revoke = createSessionRevokeUserHandler({ realms: { web: { secret: pepper }, admin: { secret: pepper } } });
 * await platform.work({ handlers: [revoke] });
 * @throws MillraceError OPTIONS_INVALID, which tells nothing of a secret
 */
export function createSessionRevokeUserHandler(options: SessionRevokeUserOptions): Handler {
  const { realms } = checkOptions(optionsSchema, options, 'createSessionRevokeUserHandler', ['realms']);
  const names = Object.keys(realms);
  return handle(sessionRevokeUser, async ({ userId, realm: only, except }, { log, once, sessions, signal }) => {
    if (only !== undefined && !names.includes(only))
      throw unrecoverable(`there is no realm ${only}; this worker has: ${names.join(', ')}`);
    const ended: Record<string, number> = {};
    for (const name of only === undefined ? names : [only]) {
      signal.throwIfAborted();
      const given = realms[name] ?? {};
      const realm = Object.keys(given).length === 0 ? sessions.realm(name) : sessions.realm(name, given);
      ended[name] = await once(`ended ${name}`, () => realm.revokeAll(userId, except === undefined ? {} : { except }));
    }
    const sum = Object.values(ended).reduce((all, count) => all + count, 0);
    log.info({ ended }, 'sessions ended');
    return { ended: sum, realms: ended };
  });
}

/** A realm is made that nobody uses: that checks its options and asks nothing of Redis. */
function faultOf(name: string, options: RealmOptions): string | undefined {
  try {
    const none = { label: 'none', commands: unused, subscriber: unused, capabilities: unused };
    createSessions(none).realm(name, options);
    return undefined;
  } catch (error) {
    if (isMillraceError(error, 'OPTIONS_INVALID')) return error.message;
    throw error;
  }
}

function unused(): never {
  throw unrecoverable('a realm that is made for its check was used');
}
