/** The contracts of `session.revoke-user` and `session.sweep`. */
import { defineJob, type JobContract } from 'millrace';
import { z } from 'zod';

/** Input of `session.revoke-user`: whose sessions end. */
export interface RevokeUserInput {
  /** As sessions are created with. */
  userId: string;
  /** One realm of the handler's. Default: all of them. */
  realm?: string | undefined;
  /** The id of a session that stays: the one in which the password was changed. */
  except?: string | undefined;
}

/** What `session.revoke-user` gives to those who wait. */
export interface RevokeUserResult {
  /** How many sessions have ended. */
  ended: number;
  /** The same by realm. */
  realms: Record<string, number>;
}

const revokeSchema = z.strictObject({
  userId: z.string().min(1).max(512),
  realm: z.string().min(1).max(64).optional(),
  except: z
    .string()
    .regex(/^[\w-]{22}\.[\w-]{22}$/, 'expected the id of a session, and no token')
    .optional(),
});

/** What the handler of `session.revoke-user` gets. */
export type ParsedRevokeUser = z.output<typeof revokeSchema>;

/**
 * Ends all sessions of a user, but one that may stay.
 *
 * Tried 30 times in about two hours: a password that was changed must not leave sessions because Redis was away for a while.
 *
 * @example
 * await platform.jobs.enqueue(sessionRevokeUser, { userId: 'ada', except: session.id });
 */
export const sessionRevokeUser: JobContract<RevokeUserInput, ParsedRevokeUser, RevokeUserResult> = defineJob({
  name: 'session.revoke-user',
  input: revokeSchema,
  output: z.object({ ended: z.number(), realms: z.record(z.string(), z.number()) }),
  attempts: 30,
  backoff: { type: 'exponential', delay: '500ms', max: '5m', jitter: 0.3 },
  timeout: '1m',
});

/** Input of `session.sweep`. A schedule gives nothing. */
export interface SweepInput {
  /** Where the run before has ended; the handler gives it to the next one. */
  cursor?: string | undefined;
}

/** What `session.sweep` gives to those who wait. */
export interface SweepResult {
  /** False where the server expires sessions by itself: then nothing was looked at. */
  needed: boolean;
  /** Keys that were looked at, of whatever kind. */
  scanned: number;
  /** Indexes of users among them. */
  indexes: number;
  /** Entries of indexes whose session had run out. */
  forgotten: number;
  /** Sessions that no index knew, so that nobody could have ended them: they have ended. */
  orphans: number;
  /** Whether another job goes on from here. */
  goesOn: boolean;
}

const sweepSchema = z.strictObject({
  cursor: z
    .string()
    .regex(/^[^/]{0,300}\/\d{1,20}$/, 'expected the cursor of the run before')
    .optional(),
});

/** What the handler of `session.sweep` gets. */
export type ParsedSweep = z.output<typeof sweepSchema>;

/**
 * Looks after the sessions of servers whose hash fields have no TTL.
 *
 * @example
 * await platform.work({ handlers: [sweep], schedules: [schedule(sessionSweep, {}, { cron: '40 3 * * *' })] });
 */
export const sessionSweep: JobContract<SweepInput, ParsedSweep, SweepResult> = defineJob({
  name: 'session.sweep',
  input: sweepSchema,
  output: z.object({
    needed: z.boolean(),
    scanned: z.number(),
    indexes: z.number(),
    forgotten: z.number(),
    orphans: z.number(),
    goesOn: z.boolean(),
  }),
  attempts: 5,
  backoff: { type: 'exponential', delay: '5s', max: '10m', jitter: 0.3 },
  timeout: '10m',
});
