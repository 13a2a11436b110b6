/** What a cache counts: plain whole numbers, because a hit costs less than looking up a metric would. Metrics read them at a scrape. */

/** The counts of one cache in this process, from its start on. */
export class Counts {
  /** Reads that were answered from memory, within the value's TTL. */
  hits = 0;
  /** Reads that were answered by Redis, within the value's TTL. */
  secondLevelHits = 0;
  /** Reads that were given a value past its TTL. */
  staleHits = 0;
  /** Reads for which there was no value. */
  misses = 0;
  /** Reads that found another caller on the way, and went along. */
  joined = 0;
  /** Loaders that were called. */
  loads = 0;
  /** Loads that failed, those that ran out of time included. */
  loadFailures = 0;
  loadTimeouts = 0;
  /** Loads whose value is in Redis now. */
  loadsKept = 0;
  /** Loads without a lease, because Redis could not be asked. */
  loadsAlone = 0;
  /** Loads in the background: because a read drew that it is time, or because the value was past its TTL. */
  earlyRefreshes = 0;
  staleRefreshes = 0;
  /** Waits for a load of another process. */
  waits = 0;
  /** Loads whose value was not kept, because an invalidation came meanwhile. */
  superseded = 0;
  /** Loads and sets whose value was not kept, because it was too large. */
  tooLarge = 0;
  /** Loads that gave nothing. */
  nothing = 0;
  /** Values in Redis that did not fit the schema. */
  misfits = 0;
  /** Values in Redis that could not be decoded. */
  unreadable = 0;
  /** Calls to Redis that failed or were spared because it does not answer. */
  secondLevelFailures = 0;
  /** Invalidations by this process, and those heard of from others. */
  invalidations = 0;
  heard = 0;
  /** How often all that was in memory was dropped, because messages may have been missed. */
  flushes = 0;
}

/** What cache.stats() gives. */
export interface CacheStats extends Readonly<Counts> {
  /** What is in memory. */
  readonly firstLevel: { readonly entries: number; readonly bytes: number; readonly evictions: number };
  /** Whether Redis is not asked at the moment, because it did not answer. */
  readonly isOutage: boolean;
  /** Whether invalidations by other processes are heard at the moment. */
  readonly isLive: boolean;
}
