/** What the shop begins with: some products, and somebody who may change them. */
import type { Platform } from 'millrace';
import type { Database, Product } from './database.ts';
import { cacheWarm, searchRebuild } from './jobs.ts';
import { hashPassword } from './passwords.ts';
import { CATALOG, INDEX } from './products.ts';

export const PRODUCTS: readonly Product[] = [
  {
    id: 'desk-lamp',
    name: 'Desk lamp',
    about: 'A warm light for late reading, with a heavy brass foot.',
    cents: 12_900,
  },
  { id: 'floor-lamp', name: 'Floor lamp', about: 'Lights a whole corner. Dims by a touch.', cents: 24_900 },
  { id: 'oak-desk', name: 'Oak desk', about: 'Solid wood, oiled, for two screens and a cat.', cents: 74_900 },
  { id: 'office-chair', name: 'Office chair', about: 'Sits well for eight hours. Wool or leather.', cents: 39_900 },
  { id: 'wool-rug', name: 'Wool rug', about: 'Soft under bare feet, woven by hand.', cents: 18_500 },
  { id: 'bookshelf', name: 'Bookshelf', about: 'Five shelves of pine that carry all of your books.', cents: 15_900 },
  { id: 'teapot', name: 'Teapot', about: 'Stoneware for four cups, keeps tea hot.', cents: 4_900 },
  {
    id: 'coffee-mill',
    name: 'Coffee mill',
    about: 'Grinds by hand, fine or coarse, for espresso and filter.',
    cents: 6_900,
  },
  { id: 'chef-knife', name: "Chef's knife", about: 'Carbon steel, sharp for years.', cents: 8_900 },
  { id: 'linen-sheet', name: 'Linen sheet', about: 'Cool in summer, warm in winter.', cents: 11_900 },
  { id: 'wall-clock', name: 'Wall clock', about: 'Silent, exact, easy to read from the sofa.', cents: 5_900 },
  { id: 'umbrella', name: 'Umbrella', about: 'Stands the wind of the coast.', cents: 3_900 },
];

export const STAFF = 'staff';

/** Puts on the shelf what is missing there, and makes it found. Prices that were changed stay. */
export async function fillShop({ jobs }: Platform, { products, accounts }: Database, password: string): Promise<void> {
  await Promise.all(PRODUCTS.map((product) => products.add(product)));
  const staff = { id: STAFF, name: 'The staff', mail: 'staff@shop.example', role: 'staff' } as const;
  await accounts.put({ ...staff, password: await hashPassword(password) });
  await Promise.all([jobs.enqueue(cacheWarm, { catalog: CATALOG }), jobs.enqueue(searchRebuild, { index: INDEX })]);
}
