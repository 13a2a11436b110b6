/**
 * The second level of the cache: values in Redis that all processes share.
 *
 * Promise: a value is read together with the versions of its tags in one round trip, and never served once one of them was invalidated,
 * deleted or evicted. Of all processes that miss a key, one is granted the lease to load it, and what it loads is stored only if nothing
 * that it depends on was deleted, invalidated or cleared meanwhile. Redis' clock decides what is fresh.
 * Keys: keys.ts lists them; all expire. Messages: messages.ts; each change tells the other processes, after it has happened.
 * Redis down: every call fails with a MillraceError within the guard's deadline, and at once while the guard is open. What was under way may
 * still happen; each script may be repeated.
 */
import { systemClock, type Clock } from '../clock.ts';
import { MillraceError } from '../errors.ts';
import type { RedisClient } from '../redis/clients.ts';
import { createBatch, type Batch } from '../redis/batch.ts';
import type { Connections } from '../redis/connect.ts';
import type { Guard } from '../redis/guard.ts';
import type { KeySpace } from '../redis/keys.ts';
import { jsonCodec, structuredCodec, type Codec } from './codec.ts';
import { FoundReader, type Found, type OnUnreadable } from './found.ts';
import { CacheKeys, type Bucket } from './keys.ts';
import { lifetimeOf, RedisLease, type Lease, type LeasePlace, type StoreOptions } from './lease.ts';
import { formatMessage } from './messages.ts';
import { pack, Packed } from './packed.ts';
import type { Read } from './read.ts';
import { ReadJoiner } from './read-joiner.ts';
import { deleteValues, failLoad, setValue, takeLease } from './second-level-scripts.ts';
import { newId, VERSION_KEEP_MS } from './ids.ts';
import { idOf, layOut } from './stored-value.ts';

export type { Found, StoredValue } from './found.ts';
export type { Lease, StoreOptions } from './lease.ts';

/** What became of asking for a lease. */
export type LeaseOutcome =
  /** `found` is the value that is there meanwhile: a stale one, or the one that was `seen`. */
  | { readonly status: 'granted'; readonly lease: Lease; readonly found: Found | undefined }
  | { readonly status: 'found'; readonly found: Found }
  /** Somebody loads, and a message will tell of the end; or a load has failed and it is too early for another (`isBackingOff`). */
  | {
      readonly status: 'busy';
      readonly waitMs: number;
      readonly isBackingOff: boolean;
      readonly found: Found | undefined;
    };

/** How a lease is asked for. */
export interface LeaseOptions {
  /** The id of a value that is to be replaced although it is fresh: by an early refresh, or because it does not fit its schema. */
  readonly seen?: string | undefined;
  /** To repeat a call whose answer was lost. */
  readonly token?: string | undefined;
}

/** What the second level is made of. */
export interface SecondLevelParts {
  readonly connections: Pick<Connections, 'commands'>;
  /** createKeySpace(prefix, 'cache'). */
  readonly keys: KeySpace;
  readonly guard: Pick<Guard, 'run' | 'watch'>;
  readonly codec: Codec;
  /** The plain name of the channel that messages go to. */
  readonly channel: string;
  readonly originId: string;
  /** Infinity: never. */
  readonly compressOverBytes: number;
  readonly clock?: Clock | undefined;
  readonly onUnreadable?: OnUnreadable | undefined;
}

/** One value of setMany(). */
export interface SetEntry {
  readonly key: string;
  /** Or a Packed. */
  readonly value: unknown;
}

/** How many values or keys one batch carries. */
const CHUNK = 500;
const OWN_CODECS_FROM = 16;

/** Values in Redis. */
export class SecondLevel {
  readonly #parts: Omit<SecondLevelParts, 'keys'> & { readonly keys: CacheKeys; readonly client: () => RedisClient };
  readonly #reader: FoundReader;
  readonly #joiner: ReadJoiner;

  /** @throws MillraceError OPTIONS_INVALID for a codec whose id is taken. */
  constructor(parts: SecondLevelParts) {
    checkCodec(parts.codec);
    const client = (): RedisClient => parts.connections.commands();
    this.#parts = { ...parts, keys: new CacheKeys(parts.keys), client };
    this.#reader = new FoundReader(parts.codec, parts.onUnreadable);
    this.#joiner = new ReadJoiner({
      client,
      guard: parts.guard,
      keys: this.#parts.keys,
      reader: this.#reader,
      clock: parts.clock ?? systemClock,
    });
  }

  /**
   * Joined with the other reads of this tick; those of one key share one answer.
   *
   * @throws MillraceError KEY_INVALID, at once.
   */
  read(namespace: string, key: string): Promise<Found> {
    return this.#joiner.read(namespace, key);
  }

  /** The same for one that is told. @throws MillraceError KEY_INVALID, at once. */
  join(read: Read): void {
    this.#joiner.join(read);
  }

  /** Asks for the right to load a key. `tags` are those that are known before the load. */
  async lease(
    namespace: string,
    key: string,
    tags: readonly string[],
    leaseMs: number,
    { seen = '', token = newId() }: LeaseOptions = {},
  ): Promise<LeaseOutcome> {
    const { keys } = this.#parts;
    const place = { namespace, key, bucket: keys.bucketOf(namespace, key), token, leaseMs: Math.ceil(leaseMs) };
    const names = keys.encodeTags(tags);
    const { state, nowUs, value, waitMs } = await this.#take(place, names, seen);
    const read = value ? await this.#reader.read(value, nowUs, namespace, key) : undefined;
    const found = read?.status === 'missing' ? undefined : read;
    switch (state) {
      case 'granted':
        return { status: 'granted', lease: new RedisLease(this.#parts, place, names), found };
      case 'found':
        // Nobody can use what cannot be read, so it is replaced.
        if (!found) return this.lease(namespace, key, tags, leaseMs, { seen: idOf(value as Buffer), token });
        return { status: 'found', found };
      case 'busy':
      case 'backing-off':
        return { status: 'busy', waitMs: Math.max(0, waitMs), isBackingOff: state === 'backing-off', found };
    }
  }

  /** @throws MillraceError CACHE_VALUE_INVALID */
  async set(namespace: string, key: string, value: unknown, how: StoreOptions): Promise<'stored' | 'too-large'> {
    const [outcome] = await this.setMany(namespace, [{ key, value }], how);
    return outcome as 'stored' | 'too-large';
  }

  /** Each value on its own: when one fails, the others may have been stored. @throws MillraceError CACHE_VALUE_INVALID */
  async setMany(
    namespace: string,
    entries: readonly SetEntry[],
    how: StoreOptions,
  ): Promise<('stored' | 'too-large')[]> {
    const { codec, keys, compressOverBytes } = this.#parts;
    const tags = keys.encodeTags(how.tags);
    const packed = entries.map(({ key, value }) => ({
      key,
      packed: value instanceof Packed ? value : pack(value, codec),
    }));
    const fitting = packed.filter((entry) => entry.packed.sizeBytes <= how.maxBytes);
    for (let from = 0; from < fitting.length; from += CHUNK) {
      const laidOut = await Promise.all(
        fitting.slice(from, from + CHUNK).map(async (entry) => ({
          key: entry.key,
          ...(await layOut(entry.packed, how.isNegative, compressOverBytes)),
        })),
      );
      await this.#inBatch((batch) => laidOut.map((entry) => this.#putSet(batch, namespace, entry, tags, how)));
    }
    return packed.map((entry) => (entry.packed.sizeBytes <= how.maxBytes ? 'stored' : 'too-large'));
  }

  /** Deletes values, and with each the right of a load under way to store one. @returns how many of the keys Redis held, valid or not */
  async delete(namespace: string, keys: readonly string[]): Promise<number> {
    const { channel } = this.#parts;
    let deleted = 0;
    for (let from = 0; from < keys.length; from += CHUNK) {
      const groups = this.#byBucket(namespace, keys.slice(from, from + CHUNK));
      const counts = await this.#inBatch((batch) =>
        groups.map(([bucket, group]) =>
          batch.run(
            deleteValues,
            { keys: group.flatMap(({ name }) => [bucket.values + name, bucket.leases + name]) },
            { channel, messages: group.map(({ key }) => this.#message('key', namespace, key)) },
          ),
        ),
      );
      for (const count of counts) deleted += count;
    }
    return deleted;
  }

  /** Every value with one of the tags is invalid, and loads under way that named one store nothing. */
  async invalidateTags(namespace: string, tags: readonly string[]): Promise<void> {
    const names = this.#parts.keys.encodeTags(tags);
    if (names.length === 0) return;
    await this.#forget(
      this.#parts.keys
        .bucketsOf(namespace)
        .map((bucket) => [bucket.generation, ...names.map((name) => bucket.tags + name)]),
      [...new Set(tags)].map((tag) => this.#message('tag', namespace, tag)),
    );
  }

  /** Every value of the namespace is invalid. As quick for a million values as for one: they go away by their time to live. */
  async clear(namespace: string): Promise<void> {
    const { keys } = this.#parts;
    await this.#forget(
      keys.bucketsOf(namespace).map((bucket) => [bucket.epoch]),
      [this.#message('clear', namespace, '')],
    );
  }

  /** Deletes versions, one list of keys a slot, then tells of it: whoever reads again after a message must find them gone. */
  async #forget(slots: readonly string[][], messages: readonly string[]): Promise<void> {
    const { channel, client } = this.#parts;
    const publish = (batch: Batch): Promise<unknown>[] =>
      messages.map((message) => batch.command('PUBLISH', channel, message));
    const isCluster = client().isCluster; // There, commands to several nodes are in no order.
    try {
      await this.#inBatch((batch) => [
        ...slots.map((versions) => batch.command('UNLINK', ...versions)),
        ...(isCluster ? [] : publish(batch)),
      ]);
    } finally {
      if (isCluster) await this.#inBatch(publish);
    }
  }

  /** Sends the calls that are put on a batch. @throws the first failure, once all are answered */
  #inBatch<T>(fill: (batch: Batch) => Promise<T>[]): Promise<T[]> {
    const { client, guard } = this.#parts;
    return guard.run(async () => {
      const batch = createBatch(client());
      const answers = fill(batch);
      await batch.send();
      return Promise.all(answers);
    });
  }

  async #take(place: LeasePlace, tags: readonly string[], seen: string): ReturnType<typeof takeLease> {
    const { guard, client, keys } = this.#parts;
    const { bucket, token, leaseMs } = place;
    const name = keys.encode(place.key);
    const value = bucket.values + name;
    const lease = bucket.leases + name;
    let isSent = false;
    try {
      return await guard.run(() => {
        isSent = true;
        return takeLease(
          client(),
          { epoch: bucket.epoch, value, lease },
          { token, seen, leaseMs, keepMs: VERSION_KEEP_MS, tags },
        );
      });
    } catch (error) {
      if (isSent) this.#giveBack(place, { value, lease });
      throw error;
    }
  }

  /** A lease whose answer was lost may have been granted. Best effort, past the guard: otherwise it runs out by itself. */
  #giveBack({ namespace, key, token }: LeasePlace, places: { value: string; lease: string }): void {
    const { client, channel, originId } = this.#parts;
    const message = formatMessage('failed', originId, namespace, key);
    failLoad(client(), places, { token, backoffMs: 0, channel, message }).catch(() => undefined);
  }

  #putSet(
    batch: Batch,
    namespace: string,
    { key, form, payload }: { key: string; form: Buffer; payload: Buffer },
    tags: readonly string[],
    how: StoreOptions,
  ): Promise<undefined> {
    const { keys, channel } = this.#parts;
    const bucket = keys.bucketOf(namespace, key);
    const name = keys.encode(key);
    const lifetime = lifetimeOf(how);
    return batch.run(
      setValue,
      {
        epoch: bucket.epoch,
        value: bucket.values + name,
        lease: bucket.leases + name,
        generation: bucket.generation,
      },
      {
        id: newId(),
        form,
        payload,
        ...lifetime,
        keepMs: Math.max(VERSION_KEEP_MS, lifetime.staleMs),
        channel,
        message: this.#message('key', namespace, key),
        tags,
      },
    );
  }

  #byBucket(namespace: string, keys: readonly string[]): [Bucket, { key: string; name: string }[]][] {
    const groups = new Map<Bucket, { key: string; name: string }[]>();
    for (const key of new Set(keys)) {
      const bucket = this.#parts.keys.bucketOf(namespace, key);
      const group = groups.get(bucket) ?? [];
      group.push({ key, name: this.#parts.keys.encode(key) });
      groups.set(bucket, group);
    }
    return [...groups];
  }

  #message(kind: 'key' | 'tag' | 'clear', namespace: string, name: string): string {
    return formatMessage(kind, this.#parts.originId, namespace, name);
  }
}

function checkCodec(codec: Codec): void {
  const isOwn = codec === jsonCodec || codec === structuredCodec;
  if (isOwn || (Number.isInteger(codec.id) && codec.id >= OWN_CODECS_FROM && codec.id <= 255)) return;
  const message = `codec: expected an id of ${OWN_CODECS_FROM} to 255, got ${codec.id}`;
  throw new MillraceError('OPTIONS_INVALID', message, { codec: codec.id });
}
