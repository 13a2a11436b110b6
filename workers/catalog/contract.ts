/** What apps enqueue to have a catalogue rebuilt, or kept warm. */
import { defineJob, type JobContract } from 'millrace';
import { z } from 'zod';

/** Input of `catalog.refresh`: what has changed. */
export interface CatalogRefreshInput {
  /** The name of a catalogue of the handler's. */
  catalog: string;
  /** The items that changed, at most 1,000. Default: all of them, such as after an import. */
  ids?: readonly string[] | undefined;
}

/** What `catalog.refresh` gives to those who wait. */
export interface CatalogRefreshResult {
  /** Items that were loaded anew. */
  loaded: number;
  /** Ids that there is nothing for any more. */
  missing: number;
}

const nameField = z.string().min(1).max(100);

const refreshSchema = z.strictObject({
  catalog: nameField,
  ids: z.array(z.string().min(1).max(500)).min(1).max(1_000).readonly().optional(),
});

/** What the handler of `catalog.refresh` gets. */
export type ParsedCatalogRefresh = z.output<typeof refreshSchema>;

/** Enqueues of the same within this time are one job, which loads only after it. */
export const GATHERED_FOR_MS = 500;

/**
 * Makes a change of a catalogue seen: what is cached of it is invalid as soon as the job begins, and is loaded anew a moment later.
 *
 * Enqueue it after the transaction has been committed. Requests for the same within half a second are one job, and the last change is never lost.
 *
 * @example
 * await platform.jobs.enqueue(catalogRefresh, { catalog: 'products', ids: ['lamp'] });
 */
export const catalogRefresh: JobContract<CatalogRefreshInput, ParsedCatalogRefresh, CatalogRefreshResult> = defineJob({
  name: 'catalog.refresh',
  input: refreshSchema,
  output: z.object({ loaded: z.number(), missing: z.number() }),
  attempts: 8,
  unique: { key: ({ catalog, ids }) => JSON.stringify([catalog, ids?.toSorted()]), for: GATHERED_FOR_MS },
});

/** Input of `cache.warm`. */
export interface CacheWarmInput {
  /** Default: all that have a list of what to keep warm. */
  catalog?: string | undefined;
}

/** What `cache.warm` gives to those who wait. */
export interface CacheWarmResult {
  /** Ids that were looked at. */
  checked: number;
  /** How many of them were loaded, because they were missing or past their time. */
  warmed: number;
  /** How many could not be loaded. */
  failed: number;
}

const warmSchema = z.strictObject({ catalog: nameField.optional() });

/** What the handler of `cache.warm` gets. */
export type ParsedCacheWarm = z.output<typeof warmSchema>;

/**
 * Loads what a catalogue should have in the cache and has not, or has past its time. The stock worker runs it by a schedule.
 *
 * @example
 * await platform.jobs.enqueue(cacheWarm, { catalog: 'products' }); // such as after a deploy
 */
export const cacheWarm: JobContract<CacheWarmInput, ParsedCacheWarm, CacheWarmResult> = defineJob({
  name: 'cache.warm',
  input: warmSchema,
  output: z.object({ checked: z.number(), warmed: z.number(), failed: z.number() }),
  attempts: 3,
  unique: { key: ({ catalog }) => catalog ?? '*' },
});
