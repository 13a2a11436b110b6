/**
 * The shared modules of one platform: made together, over its connections, and stopped together.
 *
 * Apps find them as `platform.cache`, `.locks`, `.limits`, handlers by the same names in their context. Making them asks nothing of
 * Redis; each opens what it needs when it is first used.
 */
import type { Cache } from './cache/cache.ts';
import { cacheOptionsSchema, createCache, type CacheOptions } from './cache/create-cache.ts';
import { createLocks, type Locks } from './lock/locks.ts';
import { locksOptionsSchema, type LocksOptions } from './lock/options.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics/registry.ts';
import { createLimits, limitsOptionsSchema, type Limits, type LimitsOptions } from './rate-limit/limits.ts';
import type { Connections } from './redis/connect.ts';

/** What the platform itself gives to each module. */
type Given = 'prefix' | 'log' | 'clock' | 'metrics';

/** Options of the modules. */
export interface ModuleOptions {
  /** Tiers and defaults of the cache, its first level, what it does while Redis is down. */
  cache?: CacheOptions | undefined;
  /** Lease and wait of locks that name none. */
  locks?: Omit<LocksOptions, Given> | undefined;
  /** What rate limits do while Redis is down. */
  limits?: Omit<LimitsOptions, Given> | undefined;
}

/** The checks of ModuleOptions, for the schema that they are a part of. */
export const moduleOptionsShape = {
  cache: cacheOptionsSchema.optional(),
  locks: locksOptionsSchema.optional(),
  limits: limitsOptionsSchema.optional(),
};

/** The shared modules, by the names that handlers know them by. */
export interface Modules {
  readonly cache: Cache;
  readonly locks: Locks;
  readonly limits: Limits;
}

declare module './jobs/handler.ts' {
  // eslint-disable-next-line typescript/no-empty-interface -- it takes all of Modules.
  interface JobModules extends Modules {}
}

/** The modules, and what stops them. */
export interface RunningModules {
  readonly modules: Modules;
  stop(): Promise<void>;
}

/** @throws MillraceError OPTIONS_INVALID */
export function startModules(
  connections: Connections,
  { prefix, log, metrics }: { prefix: string; log: Logger; metrics: Metrics },
  options: ModuleOptions,
): RunningModules {
  const given = { prefix, log, metrics };
  const cache = createCache(connections, { ...options.cache, ...given });
  const locks = createLocks(connections, { ...options.locks, ...given });
  const limits = createLimits(connections, { ...options.limits, ...given });
  return {
    modules: { cache, locks, limits },
    async stop() {
      await Promise.all([cache.stop(), locks.stop(), limits.stop()]);
    },
  };
}
