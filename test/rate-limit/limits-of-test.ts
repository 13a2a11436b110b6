/** Rate limits for the tests of a file, closed after each test. */
import { createLimits, type Limits, type LimitsOptions } from '../../src/rate-limit/limits.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { ownedByTest } from '../support/owned.ts';

/** A function that gives limits with connections of their own: as another process would have them. */
export function ownedLimits(): (
  redis: RedisOptions,
  options?: LimitsOptions,
) => { limits: Limits; connections: Connections } {
  const own = ownedByTest();
  return (redis, options) => {
    const connections = own(createConnections(redis));
    // A busy machine is no outage.
    return { connections, limits: own(createLimits(connections, { deadline: '5s', ...options })) };
  };
}
