/** Caches for tests: each call makes one with a prefix of its own, or with that of another one, as another process has it. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Cache } from '../../src/cache/cache.ts';
import { createCache, type CreateCacheOptions } from '../../src/cache/create-cache.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections } from '../../src/redis/connect.ts';
import { ownedByTest } from './owned.ts';

export interface TestCacheOptions extends CreateCacheOptions {
  redis: RedisOptions;
  /** Where it listens, if not there: on another server it takes itself for live, and hears nothing; where there is none, it never is. */
  subscriber?: RedisOptions;
  /** Whether to wait until it hears of invalidations. Default true. */
  live?: boolean;
}

export interface TestCache {
  cache: Cache;
  prefix: string;
}

/**
 * Makes caches for the tests of the file that called it, each with connections of its own, and stops them after each test.
 *
 * @example
 * const cacheOf = ownedCaches();
 * test('...', async () => {
 *   const { cache, prefix } = await cacheOf({ redis: { url: server.url } });
 *   const { cache: other } = await cacheOf({ redis: { url: server.url }, prefix });
 * });
 */
export function ownedCaches(): (options: TestCacheOptions) => Promise<TestCache> {
  const own = ownedByTest();
  return async ({ redis, subscriber, live = true, prefix = `t-${randomUUID()}`, ...options }) => {
    const connections = own(createConnections(redis, options.log));
    const ears = subscriber ? own(createConnections(subscriber)) : connections;
    const cache = own(
      createCache(
        {
          label: connections.label,
          commands: () => connections.commands(),
          subscriber: () => ears.subscriber(),
          blocking: (purpose) => connections.blocking(purpose),
        },
        // On a busy machine an answer can take long; tests of outages say how long they wait.
        { prefix, outage: { deadline: '10s' }, ...options },
      ),
    );
    if (live) await cache.ready();
    return { cache, prefix };
  };
}

/** Lets real time pass that the test is about: the end of a TTL, of a grace. */
export function pass(ms: number): Promise<void> {
  return delay(ms);
}
