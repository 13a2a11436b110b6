/** Sessions, as a worker's process has them. */
import { schedule, type PlatformOptions, type RealmOptions } from 'millrace';
import { z } from 'zod';
import { duration } from '../env-values.ts';
import { optionsOf, type Family, type StockPart, type Variables } from '../family.ts';
import { createSessionRevokeUserHandler, type SessionRevokeUserOptions } from '../session-revoke-user.ts';
import { createSessionSweepHandler, type SessionSweepOptions } from '../session-sweep.ts';
import { sessionRevokeUser, sessionSweep } from './contract.ts';

/** Options of the session jobs that are configured. */
export interface SessionSettings {
  sessionRevoke?: SessionRevokeUserOptions | undefined;
  sessionSweep?:
    | (SessionSweepOptions & {
        /** How often it runs by a schedule, in ms. Default: when it is enqueued. */
        every?: number | undefined;
      })
    | undefined;
}

/** `web admin`, with spaces or commas between. */
const names = z.string().transform((text) => text.split(/[\s,]+/).filter((name) => name !== ''));

const REVOKE: Variables = { realms: 'MILLRACE_SESSION_REALMS' };

export const sessionFamily: Family<SessionSettings> = {
  prefix: 'SESSION',
  variables: {
    MILLRACE_SESSION_REALMS: names,
    MILLRACE_SESSION_SECRET: names,
    MILLRACE_SESSION_SWEEP_EVERY: duration.refine((ms) => ms >= 60_000, 'expected at least 1m'),
  },
  settings(values, faults, platform) {
    const secret = values['MILLRACE_SESSION_SECRET'] as string[] | undefined;
    const realms = values['MILLRACE_SESSION_REALMS'] as string[] | undefined;
    const options: RealmOptions = secret ? { secret } : {};
    const ofRealms = realms && { MILLRACE_SESSION_REALMS: Object.fromEntries(realms.map((name) => [name, options])) };
    if (secret && !realms)
      faults.push({ path: REVOKE['realms'] ?? '', reason: 'expected it beside MILLRACE_SESSION_SECRET, got none' });
    return {
      sessionRevoke: optionsOf(REVOKE, { ...ofRealms }, createSessionRevokeUserHandler, faults),
      sessionSweep: sweepOf(values['MILLRACE_SESSION_SWEEP_EVERY'] as number | undefined, platform),
    };
  },
  secretsOf: ({ sessionRevoke }) => Object.values(sessionRevoke?.realms ?? {}).flatMap(({ secret }) => secret ?? []),
  parts: ({ sessionRevoke, sessionSweep: sweep }) => [
    {
      name: sessionRevokeUser.name,
      needs: 'set MILLRACE_SESSION_REALMS',
      handler: sessionRevoke && createSessionRevokeUserHandler(sessionRevoke),
    },
    {
      name: sessionSweep.name,
      needs: 'set MILLRACE_SESSION_SWEEP_EVERY and REDIS_URL',
      ...sweepParts(sweep),
    },
  ],
};

/** The embedded Redis has no address here, and no need: it expires fields. */
function sweepOf(
  every: number | undefined,
  { redis, prefix }: Pick<PlatformOptions, 'redis' | 'prefix'>,
): SessionSettings['sessionSweep'] {
  return every === undefined || !redis ? undefined : { every, redis, ...(prefix !== undefined && { prefix }) };
}

function sweepParts(settings: SessionSettings['sessionSweep']): Pick<StockPart, 'handler' | 'schedules'> {
  if (!settings) return {};
  const { every, ...options } = settings;
  const handler = createSessionSweepHandler(options);
  return every === undefined
    ? { handler }
    : { handler, schedules: [schedule(sessionSweep, {}, { every, missed: 'skip' })] };
}
