/**
 * Keys for the producer API: `mr_<id>_<secret>`, sent as a bearer token.
 *
 * Promise: the secret is 256 random bits, shown once and kept nowhere; Redis holds its SHA-256. Slow hashes are for passwords, which can be
 * guessed; these bits cannot, so that a fast one is as safe, and one a request costs nothing. What is compared is compared in constant time.
 * A key that is revoked or has expired is refused within a second in every process (CACHED_FOR_MS), at once in the one that revoked it.
 * Expiry is by the server's clock. `lastUsedAt` is noted once a minute at most.
 * Keys: `{prefix}:api-keys:{all}` HASH of records by id, `{prefix}:api-keys:{all}:used` HASH of last uses; no end, at most MOST_KEYS;
 * those that have expired make room for new ones when there are so many.
 * Redis down: every call fails within the deadline; who was let in goes on for that second.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { systemClock } from '../../clock.ts';
import type { Duration } from '../../durations.ts';
import { MillraceError } from '../../errors.ts';
import { createKeySpace } from '../../redis/keys.ts';
import { defineScript } from '../../redis/script.ts';
import { checkOptions, durationOption } from '../../schema.ts';
import { Asking, type AskedPlatform } from './asking.ts';
import { scopesOption } from './scopes.ts';

/** What is known of a key. Times are milliseconds since 1970. */
export interface ApiKey {
  /** The second part of the token; no secret. */
  id: string;
  /** What its maker calls it. */
  name: string;
  /** Such as `enqueue:email.*`. */
  scopes: readonly string[];
  createdAt: number;
  /** Absent for no end. */
  expiresAt?: number;
  /** To the minute; absent when it was never used. */
  lastUsedAt?: number;
}

/** A new key. */
export interface CreateApiKeyOptions {
  /** Whose it is, for those who list keys; up to 100 characters. */
  name: string;
  /** `ACT:CONTRACT`: an act is `enqueue`, `read`, `cancel` or `*`; a contract is a name, or the beginning of one and `*`. */
  scopes: readonly string[];
  /** How long it is good for. Default: until it is revoked. */
  expiresIn?: Duration | undefined;
}

/** Options of the keys. */
export interface ApiKeysOptions {
  /** How long a call may wait for Redis. Default `2s`. */
  deadline?: Duration | undefined;
}

/** The API keys of a platform. */
export interface ApiKeys {
  /** Makes a key. The token is told here and nowhere else. @throws MillraceError OPTIONS_INVALID, or what Redis met */
  create(options: CreateApiKeyOptions): Promise<{ token: string; key: ApiKey }>;
  /** All keys, the newest first, also those that have expired. */
  list(): Promise<ApiKey[]>;
  /** Ends the key for good. False when there is none of that id. */
  revoke(id: string): Promise<boolean>;
  /** The key of the token; undefined when it is none, or has expired. @throws MillraceError when Redis cannot be asked */
  check(token: string): Promise<ApiKey | undefined>;
}

const SECRET_BYTES = 32;
const ID_CHARS = 12;
const TOKEN = /^mr_([a-z\d]{12})_([\w-]{43})$/;
const MOST_KEYS = 10_000;
const CACHED_FOR_MS = 1_000;
const MOST_CACHED = 1_000;
const NOTED_EVERY_MS = 60_000;
const DEFAULT_DEADLINE_MS = 2_000;

const makeKey = defineScript({
  file: 'http/make-key.lua',
  keys: ['records', 'used'],
  args: ['id', 'record', 'expiresInMs', 'most'],
  reply: (kept: string | null) => kept ?? undefined,
});

const readKey = defineScript({
  file: 'http/read-key.lua',
  keys: ['records', 'used'],
  args: ['id'],
  reply: ([record, used, nowMs]: [string | null, string | null, number]) => ({ record, used, nowMs }),
});

const noteKeyUse = defineScript({
  file: 'http/note-key-use.lua',
  keys: ['records', 'used'],
  args: ['id'],
  reply: (noted: number) => noted === 1,
});

const optionsSchema = z.strictObject({ deadline: durationOption.default(DEFAULT_DEADLINE_MS) });
const createSchema = z.strictObject({
  name: z.string().trim().min(1).max(100),
  scopes: scopesOption,
  expiresIn: durationOption.refine((ms) => ms >= 1, 'expected more than 0 ms').optional(),
});

const recordSchema = z.object({
  name: z.string(),
  scopes: z.array(z.string()),
  hash: z.string(),
  createdAt: z.number(),
  expiresAt: z.number().optional(),
});
type KeyRecord = z.output<typeof recordSchema>;

/**
 * The API keys of a platform, for whoever makes and revokes them; `millrace keys` does the same.
 *
 * @example
 * const keys = createApiKeys(platform);
 * const { token } = await keys.create({ name: 'shop', scopes: ['enqueue:email.*', 'read:email.*'], expiresIn: '90d' });
 */
export function createApiKeys(platform: AskedPlatform, options: ApiKeysOptions = {}): ApiKeys {
  const { deadline } = checkOptions(optionsSchema, options, 'createApiKeys');
  return new RedisApiKeys(new Asking(platform, deadline));
}

interface Looked {
  readonly record: KeyRecord | undefined;
  lastUsedAt: number | undefined;
  readonly nowMs: number;
}

class RedisApiKeys implements ApiKeys {
  readonly #asking: Asking;
  readonly #keys: { readonly records: string; readonly used: string };
  /** By id; the oldest first. */
  readonly #cached = new Map<string, { readonly looked: Promise<Looked>; readonly untilMs: number }>();

  constructor(asking: Asking) {
    this.#asking = asking;
    const key = createKeySpace(asking.platform.prefix, 'api-keys');
    this.#keys = { records: key('all'), used: key('all', 'used') };
  }

  async create(options: CreateApiKeyOptions): Promise<{ token: string; key: ApiKey }> {
    const { name, scopes, expiresIn = 0 } = checkOptions(createSchema, options, 'create API key');
    const id = randomId();
    const secret = randomBytes(SECRET_BYTES).toString('base64url');
    const record = JSON.stringify({ name, scopes, hash: hashOf(secret).toString('hex') });
    const kept = await this.#asking.ask((client) =>
      makeKey(client, this.#keys, { id, record, expiresInMs: expiresIn, most: MOST_KEYS }),
    );
    if (kept === undefined) {
      const message = `create API key: there are ${MOST_KEYS} already; revoke those that nobody uses`;
      throw new MillraceError('OPTIONS_INVALID', message, { most: MOST_KEYS });
    }
    return { token: `mr_${id}_${secret}`, key: keyOf(id, recordSchema.parse(JSON.parse(kept)), undefined) };
  }

  async list(): Promise<ApiKey[]> {
    const { records, used } = this.#keys;
    const [all, uses] = await this.#asking.ask((client) =>
      Promise.all([client.hgetall(records), client.hgetall(used)]),
    );
    return Object.entries(all)
      .flatMap(([id, text]) => {
        const record = parseRecord(text);
        return record ? [keyOf(id, record, uses[id])] : [];
      })
      .toSorted((one, other) => other.createdAt - one.createdAt);
  }

  async revoke(id: string): Promise<boolean> {
    if (id === '') return false;
    const { records, used } = this.#keys;
    const replies = await this.#asking.ask((client) => client.multi().hdel(records, id).hdel(used, id).exec());
    this.#cached.delete(id);
    return Number(replies?.[0]?.[1] ?? 0) === 1;
  }

  async check(token: string): Promise<ApiKey | undefined> {
    const [, id, secret] = TOKEN.exec(token) ?? [];
    if (id === undefined || secret === undefined) return undefined;
    const looked = await this.#look(id);
    const { record, lastUsedAt, nowMs } = looked;
    if (!record) return undefined;
    const isRight = timingSafeEqual(hashOf(secret), Buffer.from(record.hash.padEnd(64, '0').slice(0, 64), 'hex'));
    if (!isRight || (record.expiresAt !== undefined && record.expiresAt <= nowMs)) return undefined;
    if (lastUsedAt === undefined || nowMs - lastUsedAt >= NOTED_EVERY_MS) {
      looked.lastUsedAt = nowMs;
      this.#note(id);
    }
    return keyOf(id, record, lastUsedAt);
  }

  /** One question a second for all who come with the key meanwhile, also when there is none: nobody knows an id before its key is made. */
  async #look(id: string): Promise<Looked> {
    const nowMs = systemClock.monotonicMs();
    const cached = this.#cached.get(id);
    if (cached && nowMs < cached.untilMs) return cached.looked;
    const looked = this.#ask(id);
    this.#cached.delete(id);
    this.#cached.set(id, { looked, untilMs: nowMs + CACHED_FOR_MS });
    const [oldest] = this.#cached.keys();
    if (this.#cached.size > MOST_CACHED && oldest !== undefined) this.#cached.delete(oldest);
    try {
      return await looked;
    } catch (error) {
      if (this.#cached.get(id)?.looked === looked) this.#cached.delete(id);
      throw error;
    }
  }

  async #ask(id: string): Promise<Looked> {
    const { record, used, nowMs } = await this.#asking.ask((client) => readKey(client, this.#keys, { id }));
    return {
      record: record === null ? undefined : parseRecord(record),
      lastUsedAt: used === null ? undefined : Number(used),
      nowMs,
    };
  }

  /** For people only, so that nobody waits for it, and one that is lost is not missed. */
  #note(id: string): void {
    this.#asking
      .ask((client) => noteKeyUse(client, this.#keys, { id }))
      .catch((error: unknown) =>
        this.#asking.platform.log.debug({ err: error, key: id }, 'use of an API key not noted'),
      );
  }
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** 62 bits: enough for ids that never meet, and short enough to be read aloud. */
function randomId(): string {
  return BigInt(`0x${randomBytes(10).toString('hex')}`)
    .toString(36)
    .padStart(ID_CHARS, '0')
    .slice(-ID_CHARS);
}

function parseRecord(text: string): KeyRecord | undefined {
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // Written by nobody of ours: it lets nobody in.
  }
}

function keyOf(id: string, record: KeyRecord, lastUsedAt: string | number | undefined): ApiKey {
  const { name, scopes, createdAt, expiresAt } = record;
  return {
    id,
    name,
    scopes,
    createdAt,
    ...(expiresAt !== undefined && { expiresAt }),
    ...(lastUsedAt !== undefined && { lastUsedAt: Number(lastUsedAt) }),
  };
}
