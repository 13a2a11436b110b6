/** Event stores of several processes, as far as Redis can tell, in one test; each has connections of its own. */
import type { RedisOptions } from '../../../src/redis/address.ts';
import { createConnections, type Connections } from '../../../src/redis/connect.ts';
import type { EventsContract, EventSchemas } from '../../../src/streams/event-store/contract.ts';
import { createEventStore, type EventStore } from '../../../src/streams/event-store/event-store.ts';
import type { EventStoreOptions } from '../../../src/streams/event-store/options.ts';
import { ownedByTest } from '../../support/owned.ts';

/** The store of one pretended process. */
export interface OwnedStore<Schemas extends EventSchemas> {
  store: EventStore<Schemas>;
  connections: Connections;
}

/** A function that makes stores which end with the test. */
export function ownedStores(): <Schemas extends EventSchemas>(
  redis: RedisOptions,
  contract: EventsContract<Schemas>,
  options?: EventStoreOptions,
) => OwnedStore<Schemas> {
  const own = ownedByTest();
  return (redis, contract, options) => {
    const connections = own(createConnections(redis));
    const store = own(createEventStore(connections, contract, options));
    return { store, connections };
  };
}

/** All that an iterable gives. */
export async function all<T>(things: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const thing of things) list.push(thing);
  return list;
}
