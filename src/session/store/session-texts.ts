/**
 * Sessions of express-session as text in Redis: how they are written and read, how long they live, whose they are.
 *
 * Promise: a session that was read or written is never made anew, and its time is renewed only when a part of it has passed.
 * Keys and Redis down: see blob-store.ts.
 */
import { z } from 'zod';
import { systemClock, type Clock } from '../../clock.ts';
import { toMs, type Duration } from '../../durations.ts';
import { describeValue, MillraceError } from '../../errors.ts';
import { silentLogger, type Logger } from '../../log.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from '../../payload.ts';
import type { Connections } from '../../redis/connect.ts';
import { Guard } from '../../redis/guard.ts';
import { DEFAULT_PREFIX } from '../../redis/keys.ts';
import { checkOptions, durationOption, functionOption } from '../../schema.ts';
import { BlobStore } from './blob-store.ts';

/** What is looked at of a session; those of express-session are such. */
export interface StoredSession {
  cookie: { originalMaxAge?: number | null | undefined; expires?: Date | string | null | undefined };
}

/** What tells users apart. `7` and `'7'` are the same user. */
export type UserId = string | number | bigint;

/** Options of a store. `Data` is what sessions hold. */
export interface SessionTextsOptions<Data extends StoredSession = StoredSession> {
  /** The first part of every key. Default `millrace`; give the platform's. Apps that share a Redis need one each. */
  prefix?: string | undefined;
  /** The last part of every key. Default `express`. Stores of one app need one each. */
  name?: string | undefined;
  /** How long a session lives whose cookie says nothing, which is one until the browser closes. Default 1 d. A function decides for all. */
  ttl?: Duration | ((session: Data) => Duration) | undefined;
  /** How long a session lives at most from its first save on, however much it is used. Default: as long as it is used. */
  absolute?: Duration | undefined;
  /** Which part of its time must have passed before a request that changes nothing renews a session. Default 0.1; 0 renews with each. */
  touchEvery?: number | undefined;
  /** Whose session it is, or undefined or null for nobody's; `endAll` needs it. */
  user?: ((session: Data) => UserId | undefined | null) | undefined;
  /**
   * How long it is known of a session that it was destroyed. Default 5 min. A copy of a session that is saved later is a new session. Of an id
   * that had no session it is known only as long as a save of it can be under way.
   */
  tombstone?: Duration | undefined;
  /** How sessions become text. Default JSON. */
  serializer?: { stringify(session: Data): string; parse(text: string): Data } | undefined;
  /** The largest session, in bytes of text. Default 262,144. */
  maxBytes?: number | undefined;
  /** How long Redis may take for an answer. Default 2 s. */
  deadline?: Duration | undefined;
  /** Hears of sessions that cannot be read or saved. Default nobody does. */
  log?: Logger | undefined;
  clock?: Clock | undefined;
}

/** How long a save can be under way: Redis may get it after its deadline. */
const DEADLINES_OF_A_SAVE = 5;

const lifeOption = durationOption.refine((ms) => ms > 0, 'expected a duration of more than 0');
const NAME_FORM = /^[\w.-]{1,64}$/;
const optionsSchema = z.strictObject({
  prefix: z.string().default(DEFAULT_PREFIX),
  name: z.string().regex(NAME_FORM, 'expected letters, digits and _ . - only').default('express'),
  ttl: z.union([lifeOption, functionOption]).default(86_400_000),
  absolute: lifeOption.optional(),
  touchEvery: z.number().min(0).max(0.9).default(0.1),
  user: functionOption.optional(),
  tombstone: durationOption.refine((ms) => ms >= 1_000, 'expected a duration of 1 s or more').default(300_000),
  serializer: z
    .custom<never>((value) => ['stringify', 'parse'].every((name) => isFunction(value, name)), {
      error: 'expected an object with stringify and parse, as JSON is one',
    })
    .optional(),
  maxBytes: z.int().min(1).default(DEFAULT_MAX_PAYLOAD_BYTES),
  deadline: durationOption.default(2_000),
  log: z.custom<Logger>().default(silentLogger),
  clock: z.custom<Clock>().default(systemClock),
});

function isFunction(value: unknown, name: string): boolean {
  return typeof (value as Record<string, unknown> | null | undefined)?.[name] === 'function';
}

/** What is known of a session that was read or written. */
interface Known {
  readonly id: string;
  readonly leftMs: number;
  readonly sinceMs: number;
}

/** The acts of a store. */
export class SessionTexts<Data extends StoredSession> {
  readonly #blobs: BlobStore;
  readonly #options: Readonly<z.output<typeof optionsSchema>>;
  readonly #serializer: { stringify(session: Data): string; parse(text: string): Data };
  readonly #userOf: SessionTextsOptions<Data>['user'];
  /** Sessions that were read or written: one that is not there any more is not made anew. */
  readonly #known = new WeakMap<object, Known>();

  constructor(connections: Pick<Connections, 'commands' | 'label'>, options: SessionTextsOptions<Data>) {
    const checked = checkOptions(optionsSchema, options, 'expressSessionStore');
    const { prefix, name, absolute: absoluteMs = 0, tombstone: tombstoneMs, deadline: deadlineMs, clock } = checked;
    const guard = new Guard({ deadlineMs, clock, label: connections.label });
    this.#options = checked;
    this.#serializer = checked.serializer ?? JSON;
    this.#userOf = checked.user;
    const strangerMs = Math.min(tombstoneMs, DEADLINES_OF_A_SAVE * deadlineMs);
    this.#blobs = new BlobStore({ connections, prefix, name, guard, absoluteMs, tombstoneMs, strangerMs });
  }

  async get(id: string): Promise<Data | null> {
    const stored = await this.#blobs.read(id);
    if (!stored) return null;
    const data = this.#parse(stored.data);
    if (!data) return null;
    // What was stored is of the last save. Sessions are renewed without one, and the clocks of processes differ.
    if (data.cookie.expires) data.cookie.expires = new Date(this.#options.clock.wallMs() + stored.leftMs);
    this.#know(id, data, stored.leftMs);
    return data;
  }

  async set(id: string, data: Data): Promise<void> {
    const ttlMs = this.#ttlOf(data);
    if (ttlMs <= 0) return this.destroy(id);
    const text = this.#stringify(data);
    const outcome = await this.#blobs.write(id, {
      data: text,
      userId: this.#userIdOf(data),
      isKnown: this.#known.get(data)?.id === id,
      ttlMs,
    });
    if (outcome === 'saved') this.#know(id, data, ttlMs);
    else this.#options.log.debug({ outcome }, 'a session was not saved: it is over');
  }

  async touch(id: string, data: Data): Promise<void> {
    const ttlMs = this.#ttlOf(data);
    if (ttlMs <= 0) return this.destroy(id);
    const known = this.#known.get(data);
    if (known?.id === id) {
      const leftMs = known.leftMs - (this.#options.clock.monotonicMs() - known.sinceMs);
      // Longer than asked for: the cookie was given a shorter life.
      if (leftMs <= ttlMs && leftMs > ttlMs * (1 - this.#options.touchEvery)) return;
    }
    if (await this.#blobs.touch(id, this.#userIdOf(data), ttlMs)) this.#know(id, data, ttlMs);
  }

  async destroy(id: string): Promise<void> {
    await this.#blobs.end(id);
  }

  async endAll(userId: UserId, except: string | undefined): Promise<number> {
    if (!this.#userOf)
      throw new MillraceError('OPTIONS_INVALID', 'endAll: the store has no option user, so nobody has sessions', {});
    return this.#blobs.endAll(idOf(userId, 'endAll'), except);
  }

  passOn(from: object, to: object): void {
    const known = this.#known.get(from);
    if (known) this.#known.set(to, known);
  }

  #know(id: string, data: object, leftMs: number): void {
    this.#known.set(data, { id, leftMs, sinceMs: this.#options.clock.monotonicMs() });
  }

  #userIdOf(data: Data): string | undefined {
    const id = this.#userOf?.(data);
    return id === undefined || id === null ? undefined : idOf(id, 'the option user');
  }

  /** As a length of time, which clocks of processes agree on. */
  #ttlOf(data: Data): number {
    const { ttl, clock } = this.#options;
    if (typeof ttl === 'function') return toMs((ttl as (session: Data) => Duration)(data));
    const { originalMaxAge, expires } = data.cookie;
    if (typeof originalMaxAge === 'number') return Math.ceil(originalMaxAge);
    return expires ? Math.ceil(Number(new Date(expires)) - clock.wallMs()) : ttl;
  }

  #stringify(data: Data): string {
    const { maxBytes } = this.#options;
    const text = this.#serializer.stringify(data);
    const sizeBytes = Buffer.byteLength(text);
    if (sizeBytes <= maxBytes) return text;
    const message = `a session has ${sizeBytes} bytes, ${maxBytes} are allowed; store it elsewhere and keep where it is`;
    throw new MillraceError('PAYLOAD_TOO_LARGE', message, { sizeBytes, maxBytes });
  }

  /** Undefined for what another serializer or another program has written: nobody could be signed in with it again, nor sign in. */
  #parse(text: string): Data | undefined {
    let failure: unknown;
    try {
      const data = this.#serializer.parse(text) as Data | null | undefined;
      if (data?.cookie) return data;
    } catch (error) {
      failure = error;
    }
    this.#options.log.warn(
      { err: failure },
      'a stored session cannot be read and counts as none: has the serializer changed?',
    );
    return undefined;
  }
}

/** Users whose ids are spelled alike are one: what has no spelling of its own would make all users one. */
function idOf(userId: unknown, what: string): string {
  const isId = typeof userId === 'string' ? userId !== '' : typeof userId === 'bigint' || Number.isFinite(userId);
  if (isId) return String(userId);
  const message = `${what}: expected a user's id, a text that is not empty or a number, got ${describeValue(userId)}`;
  throw new MillraceError('OPTIONS_INVALID', message, {});
}
