/** The options of sessions and of realms, and how they are checked. */
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { describeValue, MillraceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { checkOptions, durationOption, isSchema, type Schema } from '../schema.ts';
import type { SessionDevice } from './packed.ts';
import { keyBytesOf, Sealer, type SessionKey } from './seal.ts';
import type { SessionMetricsRegistry } from './session-metrics.ts';
import { Hashing, readSessionId } from './tokens.ts';

/** A session's data without a schema: any object that has a JSON form. */
export type SessionData = Readonly<Record<string, unknown>>;

/** What realms may have in common. */
interface Secrets {
  /**
   * A pepper: at least 16 characters that stand nowhere in Redis. Without one, whoever reads Redis can check guesses of user ids. Of a list the
   * first makes tokens, all are known. A new one is put after the old everywhere first, then before it, and the old one is left out after `absolute`.
   */
  secret?: string | readonly string[] | undefined;
  /**
   * Encrypts users, devices and data at rest; the first key writes, all read. Default: they stand in Redis as JSON. Whatever stands there as JSON is
   * not read any more once there are keys, so the first key logs everybody out.
   */
  encryptWith?: readonly SessionKey[] | undefined;
}

/** Options of the sessions of a process. */
export interface SessionsOptions extends Secrets {
  /** The first part of every key and channel. Default `millrace`. */
  prefix?: string | undefined;
  /** How long Redis may take for an answer. Default 2 s. */
  deadline?: Duration | undefined;
  /**
   * How sessions are kept: `fields`, a hash for each user whose fields expire, which takes Redis 8.0 or Valkey 9; `keys`, a key for each session and
   * an index for each user. Default `auto`: fields where the server has them. Sessions of one layout are not seen by the other, not by
   * revokeAll() either: pin it before an upgrade of the server.
   */
  layout?: 'auto' | 'fields' | 'keys' | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count; nowhere when left out. */
  metrics?: SessionMetricsRegistry | undefined;
}

/** Options of a realm: of sessions with the same rules. */
export interface RealmOptions<Data extends object = SessionData, Input = Data> extends Secrets {
  /** What the data of a session must be. Default: any object. */
  data?: Schema<Input, Data> | undefined;
  /** How long a session lives without being used. Default 30 min; 100 ms to 400 d. */
  idle?: Duration | undefined;
  /** How long a session lives at most, however much it is used: so long may a stolen token be of use. Default 30 d; at least `idle`. */
  absolute?: Duration | undefined;
  /** How old a token becomes before it is replaced by the next validate(). Default 15 min; false for never, by which a stolen token is not found out. */
  rotateEvery?: Duration | false | undefined;
  /**
   * How long a replaced token is let in once its successor was used, for requests that are under way with it. Default 20 s; up to 10 min, and less
   * than half of `rotateEvery`. Within it a stolen one is not found out.
   */
  rotateGrace?: Duration | undefined;
  /** How many sessions a user may have; the one idle longest makes room. Default 10; up to 1,000. */
  maxPerUser?: number | undefined;
  /** How much of `idle` passes before a use is written down. Default 0.1; 0 (each use is a write) to 0.5. */
  touchEvery?: number | undefined;
  /** How users sign in, the weakest first. Default `password`, `second-factor`. */
  levels?: readonly [string, ...string[]] | undefined;
  /** The largest data, in bytes of JSON. Default 4,096; up to 1 MiB, and `maxPerUser` times it to 16 MiB. It is read with each validate(). */
  maxDataBytes?: number | undefined;
}

/** What a session begins with. */
export interface CreateSessionOptions<Input = SessionData> {
  data?: Input | undefined;
  device?: SessionDevice | undefined;
  /** Default: the lowest. */
  level?: string | undefined;
  /** The id of the session that this browser has had: it ends with this one's beginning, before others of the user have to make room. */
  replaces?: string | undefined;
}

/** Options of validate(). */
export interface ValidateSessionOptions {
  /** Whether this is a use of the session. Default true; false neither slides its expiry nor replaces its token, as for a page that polls. */
  touch?: boolean | undefined;
  /** What the device looks like now; kept with the next slide that is due. */
  device?: SessionDevice | undefined;
}

/** What a realm is worked with. */
export interface RealmRule {
  readonly schema: Schema<unknown, object> | undefined;
  readonly idleMs: number;
  readonly absoluteMs: number;
  /** 0 for never. */
  readonly rotateMs: number;
  readonly graceMs: number;
  readonly maxPerUser: number;
  readonly touchMs: number;
  readonly levels: readonly [string, ...string[]];
  readonly maxDataBytes: number;
  /** The first one writes. */
  readonly hashings: readonly [Hashing, ...Hashing[]];
  readonly sealer: Sealer | undefined;
}

const DAY_MS = 86_400_000;
/** They are listed in one answer. */
const MOST_BYTES_PER_USER = 16 * 1_048_576;
const LONGEST_USER_ID = 512;
const LONGEST = { ip: 64, userAgent: 256, name: 128 } as const;

const within = (lowest: number, highest: number, form: string): z.ZodType<number, Duration> =>
  durationOption.refine((ms) => ms >= lowest && ms <= highest, { error: `expected a duration of ${form}` });

const pepper = z.string().min(16);

const keyOption = z
  .strictObject({
    id: z.string().regex(/^[\w-]{1,32}$/, 'expected up to 32 letters, digits, - and _'),
    key: z.custom<Uint8Array | string>(
      (key) => keyBytesOf(key) !== undefined,
      'expected 32 bytes, as such or as base64 or hex',
    ),
  })
  .transform(({ id, key }) => ({ id, key: keyBytesOf(key) as Buffer }));

const secrets = {
  secret: z
    .union([
      pepper,
      z
        .array(pepper)
        .min(1)
        .refine((all) => new Set(all).size === all.length, 'expected different peppers'),
    ])
    .optional(),
  encryptWith: z
    .array(keyOption)
    .min(1)
    .refine((keys) => new Set(keys.map(({ id }) => id)).size === keys.length, 'expected keys of different ids')
    .optional(),
};

const sessionsSchema = z.strictObject({
  ...secrets,
  prefix: z.string().optional(),
  deadline: within(1, 3_600_000, '1 ms to 1 h').optional(),
  layout: z.enum(['auto', 'fields', 'keys']).optional(),
  log: z.custom<Logger>().optional(),
  clock: z.custom<Clock>().optional(),
  metrics: z.custom<SessionMetricsRegistry>().optional(),
});

/** The options that an app gives, as the platform checks them. */
export const sessionsOptionsSchema = sessionsSchema.omit({ prefix: true, log: true, clock: true, metrics: true });

const levelOption = z.string().regex(/^[\w-]{1,32}$/, 'expected up to 32 letters, digits, - and _');

const realmSchema = z
  .strictObject({
    ...secrets,
    data: z
      .custom<Schema<unknown, object>>(isSchema, {
        error: ({ input }) => `expected a schema that follows Standard Schema, got ${describeValue(input)}`,
      })
      .optional(),
    idle: within(100, 400 * DAY_MS, '100 ms to 400 d').default(1_800_000),
    absolute: within(100, 4_000 * DAY_MS, '100 ms to 4,000 d').default(30 * DAY_MS),
    rotateEvery: z.union([z.literal(false), within(10, 400 * DAY_MS, '10 ms to 400 d')]).default(900_000),
    rotateGrace: within(0, 600_000, '10 min at most').default(20_000),
    maxPerUser: z.int().min(1).max(1_000).default(10),
    touchEvery: z.number().min(0).max(0.5).default(0.1),
    levels: z
      .array(levelOption)
      .min(1)
      .max(16)
      .refine((levels) => new Set(levels).size === levels.length, 'expected different levels')
      .default(['password', 'second-factor']),
    maxDataBytes: z.int().min(2).max(1_048_576).default(4_096),
  })
  // These messages say themselves what came: all options have come, secrets among them.
  .refine(({ idle, absolute }) => absolute >= idle, { path: ['absolute'], error: 'expected at least idle, got less' })
  .refine(({ rotateEvery, rotateGrace }) => rotateEvery === false || rotateGrace * 2 < rotateEvery, {
    path: ['rotateGrace'],
    error: 'expected less than half of rotateEvery, got more',
  })
  .refine(({ maxPerUser, maxDataBytes }) => maxPerUser * maxDataBytes <= MOST_BYTES_PER_USER, {
    path: ['maxPerUser'],
    error: 'expected at most 16 MiB of sessions of a user: maxPerUser times maxDataBytes, got more',
  });

const nameSchema = z.strictObject({
  name: z.string().regex(/^[\w.-]{1,64}$/, 'expected up to 64 letters, digits and _ . -'),
});

const deviceSchema = z.strictObject({
  ip: z.string().optional(),
  userAgent: z.string().optional(),
  name: z.string().optional(),
});

const sessionIdOption = z.custom<string>((id) => readSessionId(id) !== undefined, 'expected the id of a session');

const createSchema = z.strictObject({
  data: z.unknown().optional(),
  device: deviceSchema.optional(),
  level: z.string().optional(),
  replaces: sessionIdOption.optional(),
});

const validateSchema = z.strictObject({ touch: z.boolean().optional(), device: deviceSchema.optional() });

const updateSchema = z.strictObject({ ifVersion: z.int().positive().optional() });
const revokeAllSchema = z.strictObject({ except: sessionIdOption.optional() });
const SECRET = ['secret', 'encryptWith'];
const CALL_OPTIONS = ['data', 'device', 'level', 'touch', 'ifVersion', 'except', 'replaces'];

/** Options of sessions, as they are worked with. */
export type CheckedSessions = Readonly<z.output<typeof sessionsSchema>>;

/** The options of sessions. @throws MillraceError OPTIONS_INVALID */
export function checkSessions(options: SessionsOptions): CheckedSessions {
  return checkOptions(sessionsSchema, options, 'createSessions', SECRET);
}

/** A realm's name. @throws MillraceError OPTIONS_INVALID */
export function checkRealmName(name: string): string {
  return checkOptions(nameSchema, { name }, 'sessions.realm').name;
}

/** The options of a realm; what it leaves out of secrets is as for all. @throws MillraceError OPTIONS_INVALID */
export function checkRealm(name: string, options: unknown, common: CheckedSessions): RealmRule {
  const checked = checkOptions(realmSchema, options, `realm ${name}`, SECRET);
  const { data, idle, absolute, rotateEvery, rotateGrace, maxPerUser, touchEvery, levels, maxDataBytes } = checked;
  const peppers = [checked.secret ?? common.secret].flat();
  const keys = checked.encryptWith ?? common.encryptWith;
  const [first, ...others] = peppers.map((secret) => new Hashing(secret));
  return {
    schema: data,
    idleMs: idle,
    absoluteMs: absolute,
    rotateMs: rotateEvery === false ? 0 : rotateEvery,
    graceMs: rotateGrace,
    maxPerUser,
    touchMs: Math.floor(idle * touchEvery),
    levels: levels as [string, ...string[]],
    maxDataBytes,
    hashings: [first ?? new Hashing(undefined), ...others],
    sealer: keys && new Sealer(keys as [{ id: string; key: Buffer }]),
  };
}

/** Whether two say the same of a realm, in whatever words; but of schemas, only the very same. */
export function isSameRealm(name: string, left: RealmOptions, right: RealmOptions): boolean {
  const formOf = (options: RealmOptions): string => {
    const { data: _data, secret, ...checked } = checkOptions(realmSchema, options, `realm ${name}`, SECRET);
    return JSON.stringify({ ...checked, secret: secret && [secret].flat() });
  };
  return left.data === right.data && formOf(left) === formOf(right);
}

/** Text that is the same to everybody: halves of surrogate pairs would all be hashed as one character. */
export function checkUserId(userId: unknown, owner: string): string {
  const fits =
    typeof userId === 'string' && userId !== '' && userId.length <= LONGEST_USER_ID && !/\p{Surrogate}/u.test(userId);
  if (fits) return userId;
  const message = `${owner}: userId: expected 1 to ${LONGEST_USER_ID} characters without halves of surrogate pairs`;
  throw new MillraceError('OPTIONS_INVALID', `${message}, got ${kindOf(userId)}`, {});
}

/** What came in the place of an option may be a token: what kind of thing it is must do. */
function checkCall<Output>(schema: z.ZodType<Output>, options: unknown, owner: string): Readonly<Output> {
  if (typeof options !== 'object' || options === null)
    throw new MillraceError('OPTIONS_INVALID', `${owner}: expected options, got ${kindOf(options)}`, {});
  return checkOptions(schema, options, owner, CALL_OPTIONS);
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : typeof value;
}

/** @throws MillraceError OPTIONS_INVALID */
export function checkCreate(options: unknown, owner: string): z.output<typeof createSchema> {
  return checkCall(createSchema, options, owner);
}

/** Which version to change, if only one. @throws MillraceError OPTIONS_INVALID */
export function checkUpdate(options: unknown, owner: string): number | undefined {
  return checkCall(updateSchema, options, owner).ifVersion;
}

/** What a call asks for. @throws MillraceError OPTIONS_INVALID */
export function checkValidate(options: ValidateSessionOptions, owner: string): ValidateSessionOptions {
  return checkCall(validateSchema, options, owner);
}

/** The id of the session that stays, if one does. @throws MillraceError OPTIONS_INVALID */
export function checkRevokeAll(options: unknown, owner: string): string | undefined {
  return checkCall(revokeAllSchema, options, owner).except;
}

/** One of the realm's levels. @throws MillraceError OPTIONS_INVALID */
export function checkLevel(level: unknown, { levels }: RealmRule, owner: string): string {
  if (typeof level === 'string' && levels.includes(level)) return level;
  const message = `${owner}: level: expected ${levels.join(' or ')}, got another ${kindOf(level)}`;
  throw new MillraceError('OPTIONS_INVALID', message, {});
}

/** What is kept of a device: its texts come from whoever asks, so what is too long is cut and not refused. */
export function deviceOf(given: SessionDevice | undefined): SessionDevice {
  const device: Record<string, string> = {};
  for (const part of ['ip', 'userAgent', 'name'] as const) {
    const text = given?.[part];
    if (text !== undefined) device[part] = text.slice(0, LONGEST[part]);
  }
  return device;
}
