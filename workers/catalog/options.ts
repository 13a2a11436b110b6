/** Options of the jobs that rebuild catalogues and keep them warm, and what both do with a page of ids. */
import { checkOptions, durationOption, unrecoverable, type Duration } from 'millrace';
import { z } from 'zod';
import type { Catalog, CheckedCatalog } from './catalog.ts';

/** Options of createCatalogHandler() and createWarmHandler(). */
export interface CatalogsOptions {
  /** What defineCatalog() gives. */
  catalogs: readonly Catalog[];
  /** How many items are loaded with one call at most. Default 100. */
  pageSize?: number | undefined;
  /** How many such calls run at once, in one job. Default 2. */
  concurrency?: number | undefined;
  /** How often the stock worker has them warmed; shorter than the `grace` of each. Default `5m`; false for never. */
  warmEvery?: Duration | false | undefined;
}

/** The options after their check. */
export interface CheckedCatalogs {
  /** By name. */
  readonly catalogs: ReadonlyMap<string, CheckedCatalog>;
  readonly pageSize: number;
  readonly concurrency: number;
  /** Undefined for never. */
  readonly warmEveryMs: number | undefined;
}

const optionsSchema = z.strictObject({
  catalogs: z
    .array(
      z.custom<Catalog>(
        (value) => typeof value === 'object' && value !== null && 'checked' in value && 'tag' in value,
        'expected a catalogue of defineCatalog()',
      ),
    )
    .min(1)
    .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'expected each name once'),
  pageSize: z.int().min(1).max(1_000).default(100),
  concurrency: z.int().min(1).max(100).default(2),
  warmEvery: z
    .union([z.literal(false), durationOption.refine((ms) => ms >= 1_000, 'expected 1 s or more')])
    .prefault('5m'),
});

/** @throws MillraceError OPTIONS_INVALID */
export function checkCatalogs(options: CatalogsOptions, owner: string): CheckedCatalogs {
  const { catalogs, pageSize, concurrency, warmEvery } = checkOptions(optionsSchema, options, owner);
  return {
    catalogs: new Map(catalogs.map(({ name, checked }) => [name, checked])),
    pageSize,
    concurrency,
    warmEveryMs: warmEvery === false ? undefined : warmEvery,
  };
}

/** @throws MillraceError JOB_UNRECOVERABLE */
export function catalogNamed({ catalogs }: CheckedCatalogs, name: string): CheckedCatalog {
  const catalog = catalogs.get(name);
  if (catalog) return catalog;
  throw unrecoverable(`there is no catalogue named ${name}; this worker has: ${[...catalogs.keys()].join(', ')}`);
}

/** Readers in a worker ask Redis each time and keep nothing in memory: nobody else reads there. Failures are told, not covered up. */
export const IN_A_WORKER = { firstLevel: false, beta: 0, swr: false, onError: 'throw' } as const;
