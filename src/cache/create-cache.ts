/** Makes a cache of its options. */
import { z } from 'zod';
import { systemClock, type Clock } from '../clock.ts';
import type { Duration } from '../durations.ts';
import { silentLogger, type Logger } from '../log.ts';
import { DEFAULT_PREFIX } from '../redis/keys.ts';
import { checkOptions, durationOption } from '../schema.ts';
import { Cache, ROOT } from './cache.ts';
import { CacheCore, type CacheConnections } from './cache-core.ts';
import type { CacheMetricsRegistry } from './cache-metrics.ts';
import { jsonCodec, type Codec } from './codec.ts';
import type { Isolation } from './first-level.ts';
import { Loads } from './loads.ts';
import type { StoreMetricsRegistry } from './stores/store-metrics.ts';
import { defaultsSchema, tierSchema, type LoadDefaults, type Tier, type Tiers } from './options.ts';

/** The memory of this process as first level. */
export interface FirstLevelOptions {
  /** How much may be kept, in bytes of encoded values. Default 32 MB. Values as objects take several times as much. */
  maxBytes?: number | undefined;
  /**
   * `frozen` (the default): callers share a value, and cannot change it. `cloned`: each caller is given a copy, which costs its size at each
   * hit. `shared`: callers share it, and whoever changes it changes it for all.
   */
  isolation?: Isolation | undefined;
}

/** What happens while Redis does not answer. */
export interface CacheOutageOptions {
  /** How long an answer of Redis is waited for. Default 250 ms. Shorter than its usual answers, and the cache is off. */
  deadline?: Duration | undefined;
  /** After how many failures in a row Redis is not asked for a while. Default 5. */
  failures?: number | undefined;
  /** How long that is; then one call tries. Default 1 s. */
  pause?: Duration | undefined;
  /** How long a value stays in memory while Redis did not take it, or while invalidations by others may be missed. Default 1 s. */
  firstLevelTtl?: Duration | undefined;
}

/** Options of the cache that an app gives. */
export interface CacheOptions {
  /** TTLs with a name, to be used as `ttl: 'short'`. Default none. */
  tiers?: Readonly<Record<string, Tier>> | undefined;
  /** Defaults of all calls; those of a namespace, a tier and the call itself come after them. */
  defaults?: LoadDefaults | undefined;
  /** False: nothing is kept in memory. */
  firstLevel?: FirstLevelOptions | false | undefined;
  /** How values become bytes. Default jsonCodec. */
  codec?: Codec | undefined;
  /** Values of more encoded bytes than that are compressed where it saves at least 12 %. Default 1,024. False: never. */
  compressOver?: number | false | undefined;
  outage?: CacheOutageOptions | undefined;
}

/** Options of createCache(). */
export interface CreateCacheOptions extends CacheOptions {
  /** The first part of every key. Default `millrace`. */
  prefix?: string | undefined;
  log?: Logger | undefined;
  clock?: Clock | undefined;
  /** Where to count; createMetrics() gives one. Default: nothing is exported; stats() counts all the same. */
  metrics?: (CacheMetricsRegistry & StoreMetricsRegistry) | undefined;
}

const DEFAULT_FIRST_LEVEL_BYTES = 32 * 1024 * 1024;
const DEFAULT_COMPRESS_OVER_BYTES = 1_024;
const DEFAULT_DEADLINE_MS = 250;
const DEFAULT_FAILURES = 5;
const DEFAULT_PAUSE_MS = 1_000;
const DEFAULT_OUTAGE_TTL_MS = 1_000;

const positiveDuration = durationOption.refine((ms) => ms > 0, 'expected more than 0');

/** The options that an app gives, as the platform checks them. */
export const cacheOptionsSchema = z.strictObject({
  tiers: z.record(z.string().min(1), tierSchema).optional(),
  defaults: defaultsSchema.optional(),
  firstLevel: z
    .union([
      z.strictObject({
        maxBytes: z.int().positive().optional(),
        isolation: z.enum(['frozen', 'cloned', 'shared']).optional(),
      }),
      z.literal(false),
    ])
    .optional(),
  codec: z
    .custom<Codec>((value) => typeof (value as Codec | null)?.encode === 'function', 'expected a codec')
    .optional(),
  compressOver: z.union([z.literal(false), z.int().min(0)]).optional(),
  outage: z
    .strictObject({
      deadline: positiveDuration.optional(),
      failures: z.int().positive().optional(),
      pause: positiveDuration.optional(),
      firstLevelTtl: durationOption.optional(),
    })
    .optional(),
});

/**
 * A cache in two levels: the memory of this process, and Redis. It opens no connection of its own and closes none.
 *
 * @example
 * const cache = createCache(connections, { tiers: { catalogue: { ttl: '5m', grace: '1h' } } });
 * const product = await cache.getOrSet(`product:${id}`, ({ signal }) => fetchProduct(id, signal), { ttl: 'catalogue', tags: ['products'] });
 * await cache.invalidateTags('products');
 * await cache.stop();
 * @throws MillraceError OPTIONS_INVALID
 */
export function createCache(connections: CacheConnections, options: CreateCacheOptions = {}): Cache {
  const { prefix = DEFAULT_PREFIX, log = silentLogger, clock = systemClock, metrics, ...own } = options;
  const { firstLevel = {}, compressOver, outage = {} } = checkOptions(cacheOptionsSchema, own, 'createCache');
  const tiers: Tiers = own.tiers ?? {};
  const core = new CacheCore(connections, {
    prefix,
    log: log.child({ module: 'cache' }),
    clock,
    metrics,
    codec: own.codec ?? jsonCodec,
    isolation: firstLevel === false ? 'frozen' : (firstLevel.isolation ?? 'frozen'),
    firstLevelBytes: firstLevel === false ? 0 : (firstLevel.maxBytes ?? DEFAULT_FIRST_LEVEL_BYTES),
    compressOverBytes:
      compressOver === false ? Number.POSITIVE_INFINITY : (compressOver ?? DEFAULT_COMPRESS_OVER_BYTES),
    deadlineMs: outage.deadline ?? DEFAULT_DEADLINE_MS,
    failures: outage.failures ?? DEFAULT_FAILURES,
    pauseMs: outage.pause ?? DEFAULT_PAUSE_MS,
    outageTtlMs: outage.firstLevelTtl ?? DEFAULT_OUTAGE_TTL_MS,
  });
  return new Cache(ROOT, { core, loads: new Loads(core), tiers, defaults: own.defaults ?? {} });
}
