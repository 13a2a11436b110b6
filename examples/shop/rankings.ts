/**
 * What is sold and looked at most, and who buys most. Looks are entries of a stream, which a consumer gathers into jobs of many scores.
 *
 * Shows streams and leaderboards with `leaderboard.record` and, by a schedule, `leaderboard.close-season`.
 */
import { Router } from 'express';
import { consumeBatch, defineStream, unrecoverable, type Member, type Platform } from 'millrace';
import type { BoardsOption } from 'millrace/workers';
import { z } from 'zod';
import type { Database } from './database.ts';
import { leaderboardRecord } from './jobs.ts';

export const CUSTOMERS = 'shop.customers';
export const PRODUCTS = 'shop.products';
const VIEWS = 'shop.views';

/** The boards, in the form that they have in all processes. */
export const boards = {
  /** Cents spent, by season; a season is a month. */
  [CUSTOMERS]: { policy: 'sum', maxSize: 10_000 },
  /** Pieces sold. */
  [PRODUCTS]: { policy: 'sum', windows: { today: { every: 'day' } } },
  [VIEWS]: { policy: 'sum', windows: { lastHour: { rolling: '1h', bucket: '5m' } }, operationsFor: '1h' },
} as const satisfies BoardsOption;

/** Somebody has looked at a product. */
export const viewed = defineStream({
  name: 'shop.viewed',
  schema: z.object({ product: z.string() }),
  groups: ['ranking'],
  keep: { count: 10_000, age: '1h' },
});

/** A job of up to a hundred looks. An entry that comes again counts once: its id is the operation. */
export function viewRanking({ products }: Database): Member {
  const options = { group: 'ranking', attempts: 3, batch: { size: 100, within: '200ms' } } as const;
  return consumeBatch(viewed, options, async (entries, { enqueue }) => {
    const known = await products.getMany(entries.map(({ data }) => data.product));
    for (const one of entries) {
      const { product } = one.data;
      if (!known.has(product)) one.fail(unrecoverable(`a look at the product ${product}, which there is not`));
    }
    const scores = entries
      .filter(({ data }) => known.has(data.product))
      .map(({ data, entry }) => ({ board: VIEWS, member: data.product, score: 1, operation: entry.id }));
    if (scores.length > 0) await enqueue(leaderboardRecord, { scores });
  });
}

/* eslint-disable oxc/no-async-endpoint-handlers -- Express 5 waits for them, and hands on what they throw. */
export function rankingRoutes({ leaderboards }: Platform): Router {
  const customers = leaderboards.board(CUSTOMERS, boards[CUSTOMERS]);
  const products = leaderboards.board(PRODUCTS, boards[PRODUCTS]);
  const views = leaderboards.board(VIEWS, boards[VIEWS]);
  return Router().get('/top', async (_request, response) => {
    const [spent, sold, today, looks] = await Promise.all([
      customers.top(5),
      products.top(5),
      products.top(5, { window: 'today' }),
      views.top(5, { window: 'lastHour' }),
    ]);
    response.json({ customers: spent, products: sold, productsToday: today, viewedInTheLastHour: looks });
  });
}
