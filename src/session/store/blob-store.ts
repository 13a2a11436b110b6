/**
 * Sessions as text under an id that somebody else made: what a store of express-session needs of Redis.
 *
 * Promise: a session that was ended never comes back, however late a write of it arrives within `tombstone`; nor does one that has run out,
 * once it was read. Of an id under which there was nothing that is known for `strangerMs`, as long as a write can be under way. Nobody who reads Redis finds an id. `endAll` asks for the sessions of one user only, and never scans.
 * Keys: `PREFIX:session:{SESSION}:store:NAME` HASH, which lives as long as the session, or for `tombstone` after its end;
 * `PREFIX:session:{USER}:store-notes:NAME` ZSET, as long as the user's last session. SESSION and USER are hashes. They are on different nodes of
 * a Cluster: a session is noted for its user before it is written, so that `endAll` misses none.
 * Redis down: every call rejects within the deadline.
 */
import { createHash } from 'node:crypto';
import { createBatch } from '../../redis/batch.ts';
import type { Connections } from '../../redis/connect.ts';
import type { Guard } from '../../redis/guard.ts';
import { createKeySpace, type KeySpace } from '../../redis/keys.ts';
import { endSession, noteSession, saveSession, touchSession, type SaveOutcome } from './scripts.ts';

/** What the store needs. */
export interface BlobStoreParts {
  connections: Pick<Connections, 'commands'>;
  prefix: string;
  /** Tells stores apart. */
  name: string;
  guard: Pick<Guard, 'run'>;
  /** How long a session lives at most; 0 for as long as it is used. */
  absoluteMs: number;
  /** How long it is known of a session that it was ended. */
  tombstoneMs: number;
  /** How long it is known of an id that had no session. */
  strangerMs: number;
}

/** A session as it is kept. */
export interface StoredBlob {
  readonly data: string;
  /** How long it lives without another sign of life. */
  readonly leftMs: number;
}

/** What is written of a session. */
export interface BlobWrite {
  readonly data: string;
  readonly userId: string | undefined;
  /** It was read or written before: then it is not made anew. */
  readonly isKnown: boolean;
  readonly ttlMs: number;
}

/** A note outlives its session, which is written after it. */
const SPARE_MS = 60_000;
/** Sessions that one call ends. */
const ENDED_AT_ONCE = 500;

type Client = ReturnType<Connections['commands']>;

/** The acts on sessions. */
export class BlobStore {
  readonly #parts: BlobStoreParts;
  readonly #keys: KeySpace;

  constructor(parts: BlobStoreParts) {
    this.#parts = parts;
    this.#keys = createKeySpace(parts.prefix, 'session');
  }

  async read(id: string): Promise<StoredBlob | undefined> {
    const key = this.#sessionKey(hashOf(id));
    const [data, leftMs] = await this.#run(async (client) => {
      const batch = createBatch(client);
      const answers = Promise.all([batch.command('HGET', key, 'data'), batch.command('PTTL', key)]);
      const [both] = await Promise.all([answers, batch.send()]);
      return both as [string | null, number];
    });
    return data === null || leftMs <= 0 ? undefined : { data, leftMs };
  }

  async write(id: string, { data, userId, isKnown, ttlMs }: BlobWrite): Promise<SaveOutcome> {
    const hash = hashOf(id);
    const user = userOf(userId);
    const args = { data, user, isKnown: isKnown ? '1' : '0', ttlMs, absoluteMs: this.#parts.absoluteMs };
    return this.#run(async (client) => {
      // First, so that a session that is there is noted in any case.
      if (user !== '') await this.#note(client, user, hash, ttlMs);
      return saveSession(client, { session: this.#sessionKey(hash) }, args);
    });
  }

  /** @returns whether it is there */
  async touch(id: string, userId: string | undefined, ttlMs: number): Promise<boolean> {
    const hash = hashOf(id);
    const user = userOf(userId);
    const { absoluteMs } = this.#parts;
    return this.#run(async (client) => {
      if (user !== '') await this.#note(client, user, hash, ttlMs);
      return touchSession(client, { session: this.#sessionKey(hash) }, { ttlMs, absoluteMs });
    });
  }

  /** @returns whether it was there */
  async end(id: string): Promise<boolean> {
    const hash = hashOf(id);
    const { tombstoneMs: keepMs, strangerMs } = this.#parts;
    return this.#run(async (client) => {
      const args = { user: '', keepMs, strangerMs };
      const { ended, user } = await endSession(client, { session: this.#sessionKey(hash) }, args);
      if (user !== '') await client.zrem(this.#notesKey(user), hash);
      return ended;
    });
  }

  /** @returns how many were ended */
  async endAll(userId: string, exceptId: string | undefined): Promise<number> {
    const user = userOf(userId);
    const except = exceptId === undefined ? undefined : hashOf(exceptId);
    const notesKey = this.#notesKey(user);
    const noted = await this.#run((client) => client.zrange(notesKey, '0', '-1'));
    const hashes = noted.filter((hash) => hash !== except);
    let count = 0;
    for (let from = 0; from < hashes.length; from += ENDED_AT_ONCE) {
      const some = hashes.slice(from, from + ENDED_AT_ONCE);
      count += await this.#run((client) => this.#endSome(client, user, some));
    }
    return count;
  }

  async #endSome(client: Client, user: string, hashes: readonly string[]): Promise<number> {
    const batch = createBatch(client);
    const keepMs = this.#parts.tombstoneMs;
    // One that is noted and not there yet is about to be: that may come as late as any write.
    const args = { user, keepMs, strangerMs: keepMs };
    const answers = Promise.all(hashes.map((hash) => batch.run(endSession, { session: this.#sessionKey(hash) }, args)));
    const [outcomes] = await Promise.all([answers, batch.send()]);
    // Afterwards: what fails half-way is found again by the next call.
    await client.zrem(this.#notesKey(user), ...hashes);
    return outcomes.filter(({ ended }) => ended).length;
  }

  #note(client: Client, user: string, session: string, ttlMs: number): Promise<number> {
    return noteSession(client, { notes: this.#notesKey(user) }, { session, ttlMs: ttlMs + SPARE_MS });
  }

  #run<T>(call: (client: Client) => Promise<T>): Promise<T> {
    return this.#parts.guard.run(() => call(this.#parts.connections.commands()));
  }

  #sessionKey(hash: string): string {
    return this.#keys(hash, 'store', this.#parts.name);
  }

  #notesKey(user: string): string {
    return this.#keys(user, 'store-notes', this.#parts.name);
  }
}

/** An id is long and random, so that its hash cannot be turned back. */
function hashOf(id: string): string {
  return createHash('sha256').update(id).digest('base64url');
}

/** Empty for nobody. */
function userOf(userId: string | undefined): string {
  return userId === undefined ? '' : `user-${hashOf(userId)}`;
}
