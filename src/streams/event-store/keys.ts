/**
 * The keys of an event store. All share its name as tag, so that one script can take those of a stream and of the list of all events; a
 * Cluster keeps the whole store on one node.
 *
 * Events are history, so nothing of them expires. Leases do; so do the documents of a build that was replaced.
 */
import { createKeySpace } from '../../redis/keys.ts';

/** The keys of one stream. */
export interface EventStreamKeys {
  /** STREAM  the events, ids VERSION-0; written by appends, removed by erase. */
  readonly stream: string;
  /** HASH  aggregate -> `version hash state`; written by loads that found many events behind the last snapshot. */
  readonly snapshots: string;
  /** HASH  event id -> version, of events that were named by their writer. */
  readonly ids: string;
}

/** The keys of one projection. */
export interface ProjectionKeys {
  /** HASH  which build is read, which one is being made, and how far each has come. */
  readonly builds: string;
  /** STRING  the process that keeps it up to date, for as long as its lease. */
  readonly leader: string;
  /** HASH  key -> document as JSON, of one build. */
  readonly documents: (build: string) => string;
}

/** The keys of one named subscription. */
export interface SubscriptionKeys {
  /** STRING  the position of the last event that was handled. */
  readonly checkpoint: string;
  /** STRING  the process that runs it, for as long as its lease. */
  readonly leader: string;
}

/** The keys of one store. */
export interface EventKeys {
  /** HASH  stream id -> its last version, and under no name the last position; stays when a stream is erased. */
  readonly versions: string;
  /** STREAM  a reference to every event, ids POSITION-0. */
  readonly all: string;
  of(streamId: string): EventStreamKeys;
  projection(name: string): ProjectionKeys;
  subscription(name: string): SubscriptionKeys;
}

/** The keys of a store under a prefix. */
export function createEventKeys(prefix: string, store: string): EventKeys {
  const key = createKeySpace(prefix, 'events');
  return {
    versions: key(store, 'versions'),
    all: key(store, 'all'),
    of: (streamId) => ({
      stream: key(store, 'stream', streamId),
      snapshots: key(store, 'snapshots', streamId),
      ids: key(store, 'ids', streamId),
    }),
    projection: (name) => ({
      builds: key(store, 'projection', name, 'builds'),
      leader: key(store, 'projection', name, 'leader'),
      documents: (build) => key(store, 'projection', name, 'documents', build),
    }),
    subscription: (name) => ({
      checkpoint: key(store, 'subscription', name, 'checkpoint'),
      leader: key(store, 'subscription', name, 'leader'),
    }),
  };
}
