/** Locks of several processes, as far as Redis can tell, in one test; each has connections of its own. */
import { createLocks, type Locks } from '../../src/lock/locks.ts';
import type { LocksOptions } from '../../src/lock/options.ts';
import type { RedisOptions } from '../../src/redis/address.ts';
import { createConnections, type Connections } from '../../src/redis/connect.ts';
import { ownedByTest } from '../support/owned.ts';

/** The locks of one pretended process. */
export interface OwnedLocks {
  locks: Locks;
  connections: Connections;
}

/** A function that makes locks which end with the test. */
export function ownedLocks(): (redis: RedisOptions, options?: LocksOptions) => OwnedLocks {
  const own = ownedByTest();
  return (redis, options) => {
    const connections = own(createConnections(redis));
    const locks = own(createLocks(connections, options));
    return { locks, connections };
  };
}
