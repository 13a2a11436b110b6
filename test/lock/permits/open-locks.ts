/** The locks of processes that a test pretends to be: each has connections, waiters and leases of its own. */
import { createLocks, type Locks } from '../../../src/lock/locks.ts';
import type { LocksOptions } from '../../../src/lock/options.ts';
import type { RedisOptions } from '../../../src/redis/address.ts';
import { createConnections, type Connections } from '../../../src/redis/connect.ts';
import { ownedByTest } from '../../support/owned.ts';

/** One pretended process. */
export interface OpenLocks {
  locks: Locks;
  connections: Connections;
}

/** A function that opens them; they are stopped and closed after the test. */
export function ownedLocks(): (redis: RedisOptions, options?: LocksOptions) => Promise<OpenLocks> {
  const own = ownedByTest();
  return async (redis, options = {}) => {
    const connections = own(createConnections({ commandTimeout: 2_000, ...redis }));
    await connections.commands().ping();
    return { connections, locks: own(createLocks(connections, options)) };
  };
}
