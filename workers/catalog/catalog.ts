/**
 * A catalogue: items that are read often and change now and then, with how they are loaded and how long they are kept.
 *
 * Promise: that of the cache (docs/cache.md). Apps read through it, the stock jobs rebuild it and keep it warm; all of them share one namespace,
 * `catalog/NAME`, whose keys are the ids.
 */
import {
  checkOptions,
  durationOption,
  type BatchCache,
  type Cache,
  type Duration,
  type LoadMany,
  type Schema,
} from 'millrace';
import { z } from 'zod';
import type { Source } from '../pages.ts';

/** Gives ids, bit by bit where there are many. */
export type ListIds = (context: { signal: AbortSignal }) => Source<string>;

/** Options of defineCatalog(). */
export interface CatalogOptions<Item> {
  /** Letters, digits, `_` and `-`. */
  name: string;
  /** The items of these ids: a Map, or a list in their order. Called with as many at once as are missing. */
  load: LoadMany<Item>;
  /** All ids there are. Without it the catalogue cannot be rebuilt as a whole, only emptied. */
  list?: ListIds | undefined;
  /** The ids that are to be in the cache whenever somebody asks. Default: those of `list`. */
  hot?: ListIds | undefined;
  /** How long an item is fresh. Default `5m`. */
  ttl?: Duration | undefined;
  /** How long after that it may still be served while it is loaded again; longer than the time between two warmings. Default `1h`. */
  grace?: Duration | undefined;
  /** How long it is known that there is no such item. Default `30s`. */
  negativeTtl?: Duration | undefined;
  /** How long a load may take. Default `10s`. */
  loadWithin?: Duration | undefined;
  /** What every item must fit. */
  schema?: Schema<unknown, Item> | undefined;
}

/** Reads items: get(id), getMany(ids). One that there is not reads as null. */
export interface CatalogReader<Item> extends BatchCache<Item> {
  /** The namespace, for what is made of several items: give it `tags: ids.map(catalog.tag)`. */
  readonly cache: Cache;
}

/** A catalogue, to be shared by those who read it and the worker that rebuilds it. */
export interface Catalog<Item = unknown> {
  readonly name: string;
  /** What is made of the item carries this tag, and becomes invalid with it. */
  tag(this: void, id: string): string;
  /** Reads through the cache, such as `platform.cache` or that of a handler's context. Make it once, and keep it. */
  reader(cache: Cache): CatalogReader<Item>;
  readonly checked: CheckedCatalog;
}

/** Options after their check. */
export type CheckedCatalog = Readonly<z.output<typeof optionsSchema>>;

const isFunction = (value: unknown): boolean => typeof value === 'function';
const optionsSchema = z.strictObject({
  name: z.string().regex(/^[a-z][\w-]{0,59}$/i, "expected letters, digits, '_' and '-', beginning with a letter"),
  load: z.custom<LoadMany<unknown>>(isFunction, 'expected a function'),
  list: z.custom<ListIds>(isFunction, 'expected a function').optional(),
  hot: z.custom<ListIds>(isFunction, 'expected a function').optional(),
  ttl: durationOption.prefault('5m'),
  grace: durationOption.prefault('1h'),
  negativeTtl: durationOption.prefault('30s'),
  loadWithin: durationOption.prefault('10s'),
  schema: z
    .custom<Schema>((value) => typeof value === 'object' && value !== null && '~standard' in value, 'expected a schema')
    .optional(),
});

/**
 * A catalogue.
 *
 * @example
 * export const products = defineCatalog({
 *   name: 'products',
 *   load: async (ids) => new Map((await database.products(ids)).map((row) => [row.id, row])),
 *   list: () => database.productIds(),
 * });
 * const lamp = await products.reader(platform.cache).get('lamp');
 * @throws MillraceError OPTIONS_INVALID
 */
export function defineCatalog<Item>(options: CatalogOptions<Item>): Catalog<Item> {
  const checked = checkOptions(optionsSchema, options, 'defineCatalog');
  const catalog: Catalog = Object.freeze({
    name: checked.name,
    tag: tagOf,
    reader: (cache: Cache) => readerOf(checked, cache),
    checked,
  });
  return catalog as Catalog<Item>;
}

/** Of what is made of the item. */
export function tagOf(id: string): string {
  return `item:${id}`;
}

/** How a reader differs from that of an app. */
export interface ReaderRules {
  load?: LoadMany<unknown>;
  /** How many ids go to one load. */
  maxKeys?: number;
  firstLevel?: boolean;
  beta?: number;
  swr?: boolean;
  onError?: 'throw';
}

/** As reader(), with options of the cache that differ, and another loader. */
export function readerOf(
  { name, ttl, grace, negativeTtl, loadWithin, schema, load }: CheckedCatalog,
  cache: Cache,
  { load: otherLoad = load, ...others }: ReaderRules = {},
): CatalogReader<unknown> {
  const own = cache.namespace('catalog').namespace(name);
  const options = { ttl, grace, negativeTtl, hard: loadWithin, ...(schema && { schema }), ...others };
  return { cache: own, ...own.batch(otherLoad, options) };
}
