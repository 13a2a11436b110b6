/** The options of presence and of its rooms, and how they are checked. */
import { z } from 'zod';
import type { Clock } from '../../clock.ts';
import type { Duration } from '../../durations.ts';
import { describeValue } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { checkOptions, durationOption, isSchema, type Schema } from '../../schema.ts';
import type { PresenceMetricsRegistry } from './presence-metrics.ts';

/** What a connection shows of itself: any object that has a JSON form. */
export type PresenceState = Readonly<Record<string, unknown>>;

/** Options that a room may have of its own. */
interface Leases {
  /**
   * How long the connections of a process that died stay; they are renewed every third of it. Default 30 s; 100 ms to 1 d. Too short, and
   * a process that is busy or cut off for so long leaves and enters again before everybody's eyes.
   */
  ttl?: Duration | undefined;
  /**
   * How long a user's last connection may come back before the others are told that the user has left: a reload, a change of networks.
   * Default 3 s; up to 10 min. 0 tells at once.
   */
  debounce?: Duration | undefined;
  /**
   * How many members a room has at most: connections, those that may come back among them. Whoever is one too many is refused with ROOM_FULL. Default
   * 10,000; up to 1,000,000. All of them are read at once by whoever begins to listen.
   */
  maxMembers?: number | undefined;
  /** The largest state, in bytes of JSON. Default 4,096; up to 1 MiB. Every change of it goes to everybody who watches the room. */
  maxStateBytes?: number | undefined;
  /** The shortest time between two writes of one connection's state; what comes in between is merged. Default 50 ms; up to 1 min. */
  updateEvery?: Duration | undefined;
}

/** Options of presence in one process. */
export interface PresenceOptions extends Leases {
  /** The first part of every key and channel. Default `millrace`. */
  prefix?: string | undefined;
  /** How late a lease that has run out may be noticed. Default 1 s; 10 ms to 1 min. Shorter costs a look more for each room with such a lease. */
  sweep?: Duration | undefined;
  /** How long Redis may take for an answer. Default 2 s. */
  deadline?: Duration | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count; nowhere when left out. */
  metrics?: PresenceMetricsRegistry | undefined;
}

/** Options of a room. What it leaves out is as for all rooms of the process. */
export interface RoomOptions<State extends object = PresenceState> extends Leases {
  /** What a state must be. Checked before it is sent; what other processes have sent is given as it came. */
  schema?: Schema<State, unknown> | undefined;
}

/** Who enters. */
export interface EnterOptions<State extends object = PresenceState> {
  /** Up to 256 characters. */
  userId: string;
  /** Of this user; up to 128 letters, digits and _ . : -. Default: a new one. A socket's id, say, to come back with. */
  connectionId?: string | undefined;
  /** What to show. Default: what a connection had that came back, else nothing (`{}`). */
  state?: State | undefined;
}

/** The same, before it is checked. */
export type EnterRequest = Omit<EnterOptions, 'state'> & { state?: unknown };

/** Options of a leave. */
export interface LeaveOptions {
  /** In the place of the room's own: 0 for a user who has signed off. */
  debounce?: Duration | undefined;
}

/** The options of a room, as they are worked with. */
export interface RoomRule {
  readonly ttlMs: number;
  readonly debounceMs: number;
  readonly maxMembers: number;
  readonly maxStateBytes: number;
  readonly updateEveryMs: number;
  readonly schema: Schema<unknown, unknown>;
}

const within = (lowest: number, highest: number, form: string): z.ZodType<number, Duration> =>
  durationOption.refine((ms) => ms >= lowest && ms <= highest, { error: `expected a duration of ${form}` });

const leases = {
  ttl: within(100, 86_400_000, '100 ms to 1 d').optional(),
  debounce: within(0, 600_000, '10 min at most').optional(),
  maxMembers: z.int().min(1).max(1_000_000).optional(),
  maxStateBytes: z.int().min(2).max(1_048_576).optional(),
  updateEvery: within(0, 60_000, '1 min at most').optional(),
};

const presenceSchema = z.strictObject({
  ...leases,
  prefix: z.string().optional(),
  sweep: within(10, 60_000, '10 ms to 1 min').optional(),
  deadline: within(1, 3_600_000, '1 ms to 1 h').optional(),
  log: z.custom<Logger>().optional(),
  clock: z.custom<Clock>().optional(),
  metrics: z.custom<PresenceMetricsRegistry>().optional(),
});

/** The options that an app gives, as the platform checks them. */
export const presenceOptionsSchema = presenceSchema.omit({ prefix: true, log: true, clock: true, metrics: true });

const roomSchema = z.strictObject({
  ...leases,
  schema: z
    .custom<Schema<unknown, unknown>>(isSchema, {
      error: ({ input }) => `expected a schema that follows Standard Schema, got ${describeValue(input)}`,
    })
    .optional(),
});

/** Text that arrives in Redis as it is: halves of surrogate pairs would all arrive as the same character. */
const nameOption = z
  .string()
  .min(1)
  .max(256)
  .refine((text) => !/\p{Surrogate}/u.test(text), 'expected text without halves of surrogate pairs');

const enterSchema = z.strictObject({
  userId: nameOption,
  connectionId: z
    .string()
    .regex(/^[\w.:-]{1,128}$/, 'expected up to 128 letters, digits and _ . : -')
    .optional(),
  state: z.unknown().optional(),
});

const leaveSchema = z.strictObject({ debounce: leases.debounce });

/** Without a schema, a state may be any object. */
const ANY_STATE = z.record(z.string(), z.unknown());
const DEFAULTS = {
  ttlMs: 30_000,
  debounceMs: 3_000,
  maxMembers: 10_000,
  maxStateBytes: 4_096,
  updateEveryMs: 50,
  schema: ANY_STATE,
};

/** The options of presence. @throws MillraceError OPTIONS_INVALID */
export function checkPresence(options: PresenceOptions): Readonly<z.output<typeof presenceSchema>> {
  return checkOptions(presenceSchema, options, 'createPresence');
}

/** What holds for rooms that say nothing of their own. */
export function commonRule(options: ReturnType<typeof checkPresence>): RoomRule {
  return ruleOf(options, DEFAULTS);
}

/** The options of a room. @throws MillraceError OPTIONS_INVALID */
export function checkRoom(name: string, options: unknown, common: RoomRule): RoomRule {
  const room = checkOptions(z.strictObject({ room: nameOption }), { room: name }, 'presence.room').room;
  return ruleOf(checkOptions(roomSchema, options, `room ${room}`), common);
}

/** Who enters. @throws MillraceError OPTIONS_INVALID */
export function checkEnter(room: string, options: EnterRequest): EnterRequest {
  return checkOptions(enterSchema, options, `room ${room}: enter`);
}

/** The user's id. @throws MillraceError OPTIONS_INVALID */
export function checkUser(userId: string): string {
  return checkOptions(z.strictObject({ userId: nameOption }), { userId }, 'whereIs').userId;
}

/** How long a last connection may come back. @throws MillraceError OPTIONS_INVALID */
export function checkLeave(room: string, options: LeaveOptions, debounceMs: number): number {
  return checkOptions(leaveSchema, options, `room ${room}: leave`).debounce ?? debounceMs;
}

/** How many rooms to name. @throws MillraceError OPTIONS_INVALID */
export function checkLimit(limit: number, most: number): number {
  return checkOptions(z.strictObject({ limit: z.int().min(1).max(most) }), { limit }, 'whereIs').limit;
}

function ruleOf(given: Readonly<z.output<typeof roomSchema>>, common: RoomRule): RoomRule {
  return Object.freeze({
    ttlMs: given.ttl ?? common.ttlMs,
    debounceMs: given.debounce ?? common.debounceMs,
    maxMembers: given.maxMembers ?? common.maxMembers,
    maxStateBytes: given.maxStateBytes ?? common.maxStateBytes,
    updateEveryMs: given.updateEvery ?? common.updateEveryMs,
    schema: given.schema ?? common.schema,
  });
}
