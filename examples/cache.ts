/**
 * A catalogue behind the cache: loaded once however many ask, served on while its database is down, changed by tags.
 *
 *   node --conditions=millrace-source --import tsx examples/cache.ts      in a checkout
 */
import { createPlatform, readEnv } from 'millrace';
import { z } from 'zod';

const product = z.object({ id: z.string(), name: z.string(), cents: z.number() });
type Product = z.infer<typeof product>;

const prices = new Map([
  ['lamp', 12_900],
  ['desk', 49_900],
]);
let queries = 0;
let isDown = false;

async function fetchProduct(id: string, signal: AbortSignal): Promise<Product | undefined> {
  queries++;
  signal.throwIfAborted();
  if (isDown) throw new Error('the database is down');
  await new Promise((next) => setTimeout(next, 20));
  const cents = prices.get(id);
  return cents === undefined ? undefined : { id, name: `a ${id}`, cents };
}

const platform = createPlatform({
  ...readEnv().platform,
  log: { level: 'silent' },
  cache: { tiers: { catalogue: { ttl: '5m', grace: '1h', negativeTtl: '10s' } } },
});
await platform.start();
try {
  const catalogue = platform.cache.namespace('catalogue');
  const read = (id: string, ttl: 'catalogue' | '50ms' = 'catalogue') =>
    catalogue.getOrSet<Product | undefined>(id, ({ signal }) => fetchProduct(id, signal), {
      ttl,
      grace: '1h',
      tags: ['products', `product:${id}`],
      schema: product.optional(),
    });

  await Promise.all(Array.from({ length: 1_000 }, () => read('lamp')));
  console.log('1,000 readers, queries:', queries);

  prices.set('lamp', 9_900);
  await catalogue.invalidateTags('product:lamp');
  console.log('after a change:', (await read('lamp'))?.cents);

  console.log('no such thing:', await read('sofa'), await read('sofa'), 'queries:', queries);

  await read('desk', '50ms');
  isDown = true;
  await new Promise((next) => setTimeout(next, 60));
  console.log('past its TTL, database down:', (await read('desk', '50ms'))?.cents);

  await catalogue.clear();
  const { hits, loads, loadFailures } = platform.cache.stats();
  console.log('counted:', { hits, loads, loadFailures });
} finally {
  await platform.stop();
}
