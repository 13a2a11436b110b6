/**
 * Embeddings in Redis, shared by all processes.
 *
 * Promise: what was written is found until it expires, unless Redis has lost it. Nothing depends on that: an embedding that is missing is made again.
 * Keys: `PREFIX:vector:{embeddings/NN}:HASH` STRING, the vector as FP32; lives for `ttl`; written by setMany(). The hash has the embedder's
 * id in it, so that models never mix. 64 tags spread them over the nodes of a Cluster; a server by itself is asked for a batch by one MGET.
 * Redis down: calls reject within `deadline`, and at once while it stays down; cachedEmbedder() goes on without.
 */
import { z } from 'zod';
import type { Duration } from '../durations.ts';
import type { Connections } from '../redis/connect.ts';
import { Guard } from '../redis/guard.ts';
import { createKeySpace, DEFAULT_PREFIX, hashTagOf } from '../redis/keys.ts';
import { checkOptions, durationOption } from '../schema.ts';
import type { EmbeddingStore } from './embedders/cached-embedder.ts';

/** Options of createEmbeddingCache(). */
export interface EmbeddingCacheOptions {
  /** The first part of every key. Default `millrace`. */
  prefix?: string | undefined;
  /** How long an embedding is kept after it was written. Default 30 d; 1 s to 365 d. */
  ttl?: Duration | undefined;
  /** How long Redis may take for an answer. Default 2 s. */
  deadline?: Duration | undefined;
}

/** A store of embeddings in Redis. */
export interface EmbeddingCache extends EmbeddingStore {
  /** Ends what is under way. Twice is fine. */
  stop(): void;
}

const DAY_MS = 86_400_000;
const DEFAULT_TTL_MS = 30 * DAY_MS;
const DEFAULT_DEADLINE_MS = 2_000;
/** A power of two. Another number is another place for every key. */
const BUCKETS = 64;
/** Keys of one MGET: at 1,536 dimensions about 3 MB. */
const MOST_AT_ONCE = 500;

const cacheOptions = z.strictObject({
  prefix: z.string().optional(),
  ttl: durationOption.refine((ms) => ms >= 1_000 && ms <= 365 * DAY_MS, { error: 'expected 1 s to 365 d' }).optional(),
  deadline: durationOption.refine((ms) => ms >= 1, { error: 'expected at least 1 ms' }).optional(),
});

/**
 * Embeddings in Redis.
 *
 * @example
 * const cache = createEmbeddingCache(connections, { ttl: '7d' });
 * const embedder = cachedEmbedder(localEmbedder(), cache);
 * @throws MillraceError OPTIONS_INVALID
 */
export function createEmbeddingCache(
  connections: Pick<Connections, 'commands' | 'topology' | 'label'>,
  options: EmbeddingCacheOptions = {},
): EmbeddingCache {
  const checked = checkOptions(cacheOptions, options, 'createEmbeddingCache');
  const { prefix = DEFAULT_PREFIX, ttl = DEFAULT_TTL_MS, deadline = DEFAULT_DEADLINE_MS } = checked;
  const keys = createKeySpace(prefix, 'vector');
  const guard = new Guard({ deadlineMs: deadline, label: connections.label });
  const keyOf = (hash: string): string => keys(`embeddings/${bucketOf(hash)}`, hash);
  const isCluster = connections.topology === 'cluster';

  return Object.freeze({
    async getMany(hashes: readonly string[]) {
      const found = new Map<string, Buffer>();
      const all = [...new Set(hashes.map(keyOf))];
      await Promise.all(
        groupsOf(all, isCluster).map(async (group) => {
          const blobs = await guard.run(() => connections.commands().mgetBuffer(...group));
          blobs.forEach((blob, index) => {
            if (blob) found.set(group[index] ?? '', blob);
          });
        }),
      );
      return hashes.map((hash) => found.get(keyOf(hash)));
    },
    async setMany(entries: ReadonlyArray<readonly [string, Buffer]>) {
      for (let at = 0; at < entries.length; at += MOST_AT_ONCE) {
        const batch = entries.slice(at, at + MOST_AT_ONCE);
        // Sent together: the client writes out what is asked in one turn of the event loop.
        await guard.run(() =>
          Promise.all(batch.map(([hash, blob]) => connections.commands().set(keyOf(hash), blob, 'PX', ttl))),
        );
      }
    },
    stop: () => guard.close(),
  });
}

/** Which keys one MGET takes: on a Cluster only those of one slot. */
function groupsOf(keys: readonly string[], isCluster: boolean): string[][] {
  const byTag = new Map<string, string[]>();
  for (const key of keys) {
    const tag = isCluster ? hashTagOf(key) : '';
    const group = byTag.get(tag);
    if (group) group.push(key);
    else byTag.set(tag, [key]);
  }
  return [...byTag.values()].flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / MOST_AT_ONCE) }, (_, index) =>
      group.slice(index * MOST_AT_ONCE, (index + 1) * MOST_AT_ONCE),
    ),
  );
}

/** Hashes are spread evenly already; any of their characters tells as well as any other. */
function bucketOf(hash: string): string {
  let sum = 0;
  for (let index = 0; index < hash.length; index++) sum = (sum * 31 + hash.charCodeAt(index)) % BUCKETS;
  return String(sum);
}
