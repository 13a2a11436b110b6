/**
 * The right of one process to load one key, for a while.
 *
 * It remembers the versions of all that the load depends on, as they were before it began. So a delete, an invalidation of one of its tags
 * or a clear that comes while it runs makes store() say `superseded`, and lets the next caller load at once.
 * Redis down: the calls fail; the lease runs out by itself, and others wait for it no longer than that.
 */
import type { RedisClient } from '../redis/clients.ts';
import type { Bucket, CacheKeys } from './keys.ts';
import { formatMessage } from './messages.ts';
import { pack, Packed } from './packed.ts';
import type { Codec } from './codec.ts';
import { VERSION_KEEP_MS } from './ids.ts';
import { captureTags, failLoad, renewLease, storeLoaded } from './second-level-scripts.ts';
import { layOut } from './stored-value.ts';

/** How a value is stored. */
export interface StoreOptions {
  readonly freshMs: number;
  readonly graceMs: number;
  readonly deltaMs: number;
  /** Those named when the lease was taken stay in any case; others are captured now. */
  readonly tags: readonly string[];
  readonly isNegative: boolean;
  /** Of the encoded value, before compression. */
  readonly maxBytes: number;
}

/** The right to load one key, for a while. */
export interface Lease {
  readonly key: string;
  readonly token: string;
  /** Extends it by its length from now. False when it is no longer held: what is loaded will not be stored. */
  renew(): Promise<boolean>;
  /** Adds tags that were not known when the lease was taken: an invalidation that comes after this wins over the load. */
  capture(tags: readonly string[]): Promise<void>;
  /**
   * Stores the value, or a Packed, and gives the lease back; gives it back too when nothing is stored.
   *
   * @throws MillraceError CACHE_VALUE_INVALID
   */
  store(value: unknown, how: StoreOptions): Promise<'stored' | 'superseded' | 'too-large'>;
  /** Gives it back without a value. Where there is a value, nobody loads again before `backoffMs` have passed. */
  fail(backoffMs: number): Promise<void>;
}

/** What leases need of the second level. */
export interface LeaseParts {
  readonly client: () => RedisClient;
  readonly guard: { run<T>(call: () => Promise<T>): Promise<T> };
  readonly keys: CacheKeys;
  readonly codec: Codec;
  readonly channel: string;
  readonly originId: string;
  readonly compressOverBytes: number;
}

/** Where a lease is. */
export interface LeasePlace {
  readonly namespace: string;
  readonly key: string;
  readonly bucket: Bucket;
  readonly token: string;
  readonly leaseMs: number;
}

/** A lease that Redis has granted. */
export class RedisLease implements Lease {
  readonly key: string;
  readonly token: string;
  readonly #parts: LeaseParts;
  readonly #place: LeasePlace;
  readonly #captured: Set<string>;
  readonly #valueKey: string;
  readonly #leaseKey: string;

  /** @param tags Those captured with the lease, encoded. */
  constructor(parts: LeaseParts, place: LeasePlace, tags: readonly string[]) {
    this.#parts = parts;
    this.#place = place;
    this.#captured = new Set(tags);
    this.key = place.key;
    this.token = place.token;
    const name = parts.keys.encode(place.key);
    this.#valueKey = place.bucket.values + name;
    this.#leaseKey = place.bucket.leases + name;
  }

  renew(): Promise<boolean> {
    const { client, guard } = this.#parts;
    const { token, leaseMs } = this.#place;
    return guard.run(() => renewLease(client(), { lease: this.#leaseKey }, { token, leaseMs }));
  }

  async capture(tags: readonly string[]): Promise<void> {
    const { client, guard, keys } = this.#parts;
    const { bucket, token } = this.#place;
    const added = keys.encodeTags(tags).filter((tag) => !this.#captured.has(tag));
    if (added.length === 0) return;
    const places = { epoch: bucket.epoch, lease: this.#leaseKey };
    const isHeld = await guard.run(() =>
      captureTags(client(), places, { token, keepMs: VERSION_KEEP_MS, tags: added }),
    );
    if (isHeld) for (const tag of added) this.#captured.add(tag);
  }

  async store(value: unknown, how: StoreOptions): Promise<'stored' | 'superseded' | 'too-large'> {
    const { client, guard, channel, compressOverBytes } = this.#parts;
    const packed = await this.#pack(value);
    if (packed.sizeBytes > how.maxBytes) {
      await this.fail(0);
      return 'too-large';
    }
    await this.capture(how.tags);
    const laidOut = await layOut(packed, how.isNegative, compressOverBytes);
    const { epoch, generation } = this.#place.bucket;
    const places = { epoch, value: this.#valueKey, lease: this.#leaseKey, generation };
    const isStored = await guard.run(() =>
      storeLoaded(client(), places, {
        ...laidOut,
        ...lifetimeOf(how),
        token: this.token,
        channel,
        stored: this.#message('key'),
        failed: this.#message('failed'),
        keepMs: VERSION_KEEP_MS,
      }),
    );
    return isStored ? 'stored' : 'superseded';
  }

  async fail(backoffMs: number): Promise<void> {
    const { client, guard, channel } = this.#parts;
    const places = { value: this.#valueKey, lease: this.#leaseKey };
    const message = this.#message('failed');
    const args = { token: this.token, backoffMs: Math.ceil(backoffMs), channel, message };
    await guard.run(() => failLoad(client(), places, args));
  }

  async #pack(value: unknown): Promise<Packed> {
    try {
      return value instanceof Packed ? value : pack(value, this.#parts.codec);
    } catch (error) {
      await this.fail(0);
      throw error;
    }
  }

  #message(kind: 'key' | 'failed'): string {
    return formatMessage(kind, this.#parts.originId, this.#place.namespace, this.key);
  }
}

/** A value's times, as the scripts take them: whole milliseconds, and at least one. */
export function lifetimeOf({ freshMs, graceMs, deltaMs }: StoreOptions): {
  freshMs: number;
  staleMs: number;
  deltaMs: number;
} {
  const wholeMs = Math.max(1, Math.ceil(freshMs));
  return { freshMs: wholeMs, staleMs: wholeMs + Math.max(0, Math.ceil(graceMs)), deltaMs };
}
