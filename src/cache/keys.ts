/**
 * The keys of the second level.
 *
 * The tag in braces is NAMESPACE/BUCKET: the keys of a namespace are spread over 32 buckets by a hash of the key, so over the nodes of a
 * Cluster, while a value, its lease and the versions of its tags share a slot, so that one script takes them.
 *
 * - `PREFIX:cache:{ns/7}:v:KEY` STRING: a value, see stored-value.ts. Lives for its freshness and grace. Written by store.lua and set.lua.
 * - `PREFIX:cache:{ns/7}:l:KEY` STRING: the lease of a load, or a back-off. Lives for seconds. Written by lease.lua and fail.lua.
 * - `PREFIX:cache:{ns/7}:t:TAG` STRING: the version of a tag in this bucket. Lives at least as long as every value that carries it, and an
 *   hour; made by whoever is about to load or set. To invalidate a tag is to delete its 32 versions.
 * - `PREFIX:cache:{ns/7}:g` STRING: the generation, a version of all tags of the bucket together. Lives likewise. Deleted with every tag.
 *   A value that is stamped with it has valid tags, so nobody need ask for their versions.
 * - `PREFIX:cache:{ns/7}:e` STRING: the epoch, a tag that every value of the bucket carries. To clear a namespace is to delete its 32 epochs.
 */
import { MillraceError } from '../errors.ts';
import type { KeySpace } from '../redis/keys.ts';

/** A power of two. Another number is another place for every key. */
const BUCKETS = 32;
/** Namespaces whose buckets are remembered; there may be one a tenant. */
const MAX_REMEMBERED = 1_000;
/** A name's length stands in two bytes, and in three bytes a character it must fit. */
const LONGEST_TAG = 10_000;
const MOST_TAGS = 1_000;

/** The heads of the keys of one bucket. */
export interface Bucket {
  readonly epoch: string;
  readonly generation: string;
  readonly values: string;
  readonly leases: string;
  readonly tags: string;
  /** Whether a value with tags was met where none was looked for: from then on reads ask for the generation too. */
  hasTags: boolean;
}

/** What the key space encodes beside the colon, and a little more: pairs of surrogates, which it leaves. */
const SPECIAL = /[%{}\ud800-\udfff]/;
const ENCODED = /%(D[89A-F][0-9A-F]{2}|[0-9A-F]{2})/g;

/** The keys of all namespaces. */
export class CacheKeys {
  readonly #keys: KeySpace;
  readonly #head: string;
  readonly #namespaces = new Map<string, readonly Bucket[]>();

  constructor(keys: KeySpace) {
    this.#keys = keys;
    this.#head = keys('x', 'y').slice(0, -1);
  }

  /** The bucket of a key: the same one in every process. */
  bucketOf(namespace: string, key: string): Bucket {
    return this.bucketAt(namespace, hashOf(key));
  }

  /** The bucket of keys with this hash. */
  bucketAt(namespace: string, hash: number): Bucket {
    return this.bucketsOf(namespace)[hash & (BUCKETS - 1)] as Bucket;
  }

  /** All buckets of a namespace. */
  bucketsOf(namespace: string): readonly Bucket[] {
    let buckets = this.#namespaces.get(namespace);
    if (!buckets) {
      buckets = Array.from({ length: BUCKETS }, (_, index) => this.#bucket(`${namespace}/${index}`));
      if (this.#namespaces.size >= MAX_REMEMBERED) this.#namespaces.clear();
      this.#namespaces.set(namespace, buckets);
    }
    return buckets;
  }

  /** What stands for a key or tag at the end of a Redis key. @throws MillraceError KEY_INVALID for an empty one. */
  encode(name: string): string {
    // The way of most keys, in a third of the time.
    if (typeof name === 'string' && name !== '' && !SPECIAL.test(name)) return withoutColons(name);
    return this.#keys('x', name).slice(this.#head.length);
  }

  /** The tags as they stand in values and keys, each once. @throws MillraceError KEY_INVALID */
  encodeTags(tags: readonly string[]): string[] {
    if (tags.length === 0) return [];
    if (tags.length > MOST_TAGS) {
      throw new MillraceError('KEY_INVALID', `expected at most ${MOST_TAGS} tags, got ${tags.length}`, {});
    }
    for (const tag of tags) {
      if (typeof tag !== 'string' || tag.length <= LONGEST_TAG) continue;
      const message = `expected a tag of at most ${LONGEST_TAG} characters, got ${tag.length}`;
      throw new MillraceError('KEY_INVALID', message, { length: tag.length });
    }
    return [...new Set(tags.map((tag) => this.encode(tag)))];
  }

  #bucket(tag: string): Bucket {
    const headOf = (kind: string): string => this.#keys(tag, kind, 'x').slice(0, -1);
    return {
      epoch: this.#keys(tag, 'e'),
      generation: this.#keys(tag, 'g'),
      values: headOf('v'),
      leases: headOf('l'),
      tags: headOf('t'),
      hasTags: false,
    };
  }
}

/** As replaceAll() does it, in half of the time where there are few. */
function withoutColons(name: string): string {
  let at = name.indexOf(':');
  if (at === -1) return name;
  let encoded = '';
  let from = 0;
  for (; at !== -1; at = name.indexOf(':', from)) {
    encoded += `${name.slice(from, at)}%3A`;
    from = at + 1;
  }
  return encoded + name.slice(from);
}

/** The name that encode() was given. */
export function decodeName(encoded: string): string {
  if (!encoded.includes('%')) return encoded;
  return encoded.replace(ENCODED, (_all, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}

/** FNV-1a, its halves folded: cheap, and even for keys that differ in their last digits only. */
export function hashOf(text: string): number {
  let sum = 0x81_1c_9d_c5;
  for (let index = 0; index < text.length; index++) sum = Math.imul(sum ^ text.charCodeAt(index), 0x01_00_01_93);
  return sum ^ (sum >>> 15);
}
