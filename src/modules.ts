/**
 * The shared modules of one platform: made together, over its connections, and stopped together.
 *
 * Apps find them as `platform.cache`, `.locks`, `.limits`, `.streams`, `.pubsub`, `.presence`, `.leaderboards`, `.sessions`,
 * `.vectors`; handlers of jobs and of entries by the same
 * names in their context. Making them asks nothing of Redis; each opens what it needs when it is first used.
 */
import type { Cache } from './cache/cache.ts';
import { cacheOptionsSchema, createCache, type CacheOptions } from './cache/create-cache.ts';
import { leaderboardsOptionsSchema, type LeaderboardsOptions } from './leaderboard/options.ts';
import { createLeaderboards, type Leaderboards } from './leaderboard/leaderboards.ts';
import { createLocks, type Locks } from './lock/locks.ts';
import { locksOptionsSchema, type LocksOptions } from './lock/options.ts';
import type { Jobs } from './jobs/jobs.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics/registry.ts';
import { presenceOptionsSchema, type PresenceOptions } from './pubsub/presence/options.ts';
import { createPresence, type Presence } from './pubsub/presence/presence.ts';
import { pubSubOptionsSchema, type PubSubOptions } from './pubsub/options.ts';
import { createPubSub, type PubSub } from './pubsub/pubsub.ts';
import { createLimits, limitsOptionsSchema, type Limits, type LimitsOptions } from './rate-limit/limits.ts';
import type { Connections } from './redis/connect.ts';
import { sessionsOptionsSchema, type SessionsOptions } from './session/options.ts';
import { createSessions, type Sessions } from './session/sessions.ts';
import type { StreamModules } from './streams/context.ts';
import { createStreams, type Streams } from './streams/streams.ts';
import { createVectors, type Vectors } from './vector/create-vectors.ts';
import { vectorsOptionsSchema, type VectorsOptions } from './vector/options.ts';

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
  /** The topics that patterns find, and how long Redis may take. */
  pubsub?: Omit<PubSubOptions, Given> | undefined;
  /** Leases and debounce of rooms that name none. */
  presence?: Omit<PresenceOptions, Given> | undefined;
  /** How long Redis may take for leaderboards. */
  leaderboards?: Omit<LeaderboardsOptions, Given> | undefined;
  /** Secret and keys of realms that name none. */
  sessions?: Omit<SessionsOptions, Given> | undefined;
  /** How soon another version of an index is followed, and how long Redis may take. */
  vectors?: Omit<VectorsOptions, Given> | undefined;
}

/** The checks of ModuleOptions, for the schema that they are a part of. */
export const moduleOptionsShape = {
  cache: cacheOptionsSchema.optional(),
  locks: locksOptionsSchema.optional(),
  limits: limitsOptionsSchema.optional(),
  pubsub: pubSubOptionsSchema.optional(),
  presence: presenceOptionsSchema.optional(),
  leaderboards: leaderboardsOptionsSchema.optional(),
  sessions: sessionsOptionsSchema.optional(),
  vectors: vectorsOptionsSchema.optional(),
};

/** The shared modules, by the names that handlers know them by. */
export interface Modules {
  readonly cache: Cache;
  readonly locks: Locks;
  readonly limits: Limits;
  readonly streams: Streams;
  readonly pubsub: PubSub;
  readonly presence: Presence;
  readonly leaderboards: Leaderboards;
  readonly sessions: Sessions;
  readonly vectors: Vectors;
}

declare module './jobs/handler.ts' {
  // eslint-disable-next-line typescript/no-empty-interface -- it takes all of Modules.
  interface JobModules extends Modules {}
}

declare module './streams/context.ts' {
  interface StreamModules extends Modules {
    /** Adds a job; see Jobs.enqueue(). */
    readonly enqueue: Jobs['enqueue'];
  }
}

/** The modules, and what stops them. */
export interface RunningModules {
  readonly modules: Modules;
  stop(): Promise<void>;
}

/** What the modules are given beside their connections. */
export interface ModuleParts {
  readonly prefix: string;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** For the handlers of entries. */
  readonly enqueue: Jobs['enqueue'];
}

/** @throws MillraceError OPTIONS_INVALID */
export function startModules(
  connections: Connections,
  { enqueue, ...given }: ModuleParts,
  options: ModuleOptions,
): RunningModules {
  const others = {
    cache: createCache(connections, { ...options.cache, ...given }),
    locks: createLocks(connections, { ...options.locks, ...given }),
    limits: createLimits(connections, { ...options.limits, ...given }),
    pubsub: createPubSub(connections, { ...options.pubsub, ...given }),
    presence: createPresence(connections, { ...options.presence, ...given }),
    leaderboards: createLeaderboards(connections, { ...options.leaderboards, ...given }),
    sessions: createSessions(connections, { ...options.sessions, ...given }),
    vectors: createVectors(connections, { ...options.vectors, ...given }),
  };
  const lent: Partial<StreamModules> = { ...others, enqueue };
  const streams = createStreams(connections, { ...given, modules: lent });
  Object.assign(lent, { streams });
  return {
    modules: { ...others, streams },
    async stop() {
      await streams.stop();
      await Promise.all(Object.values(others).map((module) => module.stop()));
    },
  };
}
