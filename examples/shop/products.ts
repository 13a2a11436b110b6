/**
 * Products: a catalogue in the cache, a search by meaning, and a change of a price that both are told of.
 *
 * Shows the cache with `catalog.refresh` and `cache.warm`, and vectors with `search.index-document` and `search.rebuild`.
 */
import { Router } from 'express';
import { localEmbedder, parseInput, type Platform } from 'millrace';
import { requireSession } from 'millrace/http';
import { defineCatalog, type Catalog, type SearchIndex } from 'millrace/workers';
import { z } from 'zod';
import type { Database, Product } from './database.ts';
import { bodyOf, Refused } from './http.ts';
import { catalogRefresh, searchIndexDocument } from './jobs.ts';
import { viewed } from './rankings.ts';

export const CATALOG = 'shop-products';
export const INDEX = 'shop.products';

/** The products as the cache has them; shared with the worker that refreshes it. */
export function productCatalog({ products }: Database): Catalog<Product> {
  return defineCatalog<Product>({
    name: CATALOG,
    load: (ids) => products.getMany(ids),
    list: () => each(products),
    ttl: '5m',
  });
}

/** Ids, bit by bit, as those who have a million of them give them. */
async function* each(products: Database['products']): AsyncGenerator<string, void> {
  yield* await products.ids();
}

/** It finds words, not meanings, and asks nobody. In a real shop: httpEmbedder(). */
const embedder = localEmbedder();
const schema = { cents: 'number' } as const;

/** The index as the worker writes it. */
export function productIndex({ products }: Database): SearchIndex {
  return {
    embedder,
    schema,
    ids: () => each(products),
    load: async (ids) =>
      [...(await products.getMany(ids)).values()].map(({ id, name, about, cents }) => ({
        id,
        text: `${name}. ${about}`,
        metadata: { cents },
      })),
  };
}

/** Ids are keys of the cache, where the page of all of them is too: what callers send must not name that, or anything else. */
export const productId = z.string().regex(/^[a-z][a-z0-9-]{0,59}$/, 'expected small letters, digits and -');

const price = z.strictObject({ cents: z.int().min(1) });
const search = z.object({ q: z.string().min(1).max(200), most: z.coerce.number().int().min(1).optional() });

/* eslint-disable oxc/no-async-endpoint-handlers -- Express 5 waits for them, and hands on what they throw. */
export function productRoutes(platform: Platform, database: Database, catalog: Catalog<Product>): Router {
  const { jobs, streams } = platform;
  const items = catalog.reader(platform.cache);
  const index = platform.vectors.index({ name: INDEX, embedder, schema });

  /** All of them on one page, which is invalid as soon as one of them is. */
  const wholePage = (): Promise<Product[]> =>
    items.cache.getOrSet(
      'page:all',
      async ({ tags }) => {
        const ids = (await database.products.ids()).toSorted();
        await tags(...ids.map(catalog.tag));
        return (await items.getMany(ids)).filter((item) => item !== null && item !== undefined);
      },
      { ttl: '5m' },
    );

  return Router()
    .get('/products', async (_request, response) => {
      response.json(await wholePage());
    })
    .get('/products/:id', async (request, response) => {
      const { data: id } = productId.safeParse(request.params.id);
      const item = id === undefined ? undefined : await items.get(id);
      if (!item) throw new Refused(404, 'there is no such product');
      await streams.publish(viewed, { product: item.id });
      response.json(item);
    })
    .put('/products/:id/price', requireSession({ level: 'staff' }), async (request, response) => {
      const { cents } = await bodyOf(request, price);
      const product = await database.products.get(request.params.id);
      if (!product) throw new Refused(404, 'there is no such product');
      await database.products.put({ ...product, cents });
      const [refresh] = await Promise.all([
        jobs.enqueue(catalogRefresh, { catalog: CATALOG, ids: [product.id] }),
        jobs.enqueue(searchIndexDocument, { index: INDEX, id: product.id }),
      ]);
      response.status(202).json({ job: refresh.id });
    })
    .get('/search', async (request, response) => {
      const { q, most } = await parseInput(search, request.query, 'the query');
      const filter = most === undefined ? undefined : ({ op: 'lte', field: 'cents', value: most } as const);
      const hits = await index.search({ text: q, k: 5, groupByDocument: true, filter });
      const found = await items.getMany(hits.map(({ id }) => id));
      response.json(found.filter((item) => item !== null));
    });
}
