/**
 * What happens to orders, for three groups that each see all of it: billing in the order of each order, a search index in batches, and mail, whose
 * server is down at first.
 *
 *   node --conditions=millrace-source --import tsx examples/order-events.ts      in a checkout
 */
import { consume, consumeBatch, createPlatform, defineStream, readEnv } from 'millrace';
import { z } from 'zod';

const orderEvents = defineStream({
  name: 'examples.order-events',
  schema: z.object({ order: z.string(), what: z.enum(['placed', 'paid', 'shipped']), total: z.number().default(0) }),
  // Nothing is removed before all of them have finished it, though one were started next week.
  groups: ['billing', 'search', 'mail'],
  keep: { count: 10_000, age: '1d' },
});

const billed = new Map<string, string[]>();
const indexed = new Set<string>();
const mailed: string[] = [];
let isMailDown = true;

const billing = consume(orderEvents, { group: 'billing', orderBy: ({ order }) => order }, ({ order, what }) => {
  billed.set(order, [...(billed.get(order) ?? []), what]);
});

const search = consumeBatch(orderEvents, { group: 'search', batch: { size: 100, within: '20ms' } }, (entries) => {
  for (const { data } of entries) indexed.add(data.order);
});

const mail = consume(orderEvents, { group: 'mail', attempts: 2, backoff: '20ms' }, ({ order, what }, { entry }) => {
  if (isMailDown) throw new Error('the mail server is down');
  if (what === 'shipped') mailed.push(`${order}, redriven ${entry.redriven} time(s)`);
});

const platform = createPlatform({ ...readEnv().platform, log: { level: 'silent' } });
await platform.start();
try {
  const { streams } = platform;
  const run = Date.now().toString(36); // What earlier runs have left in the folder's Redis is of other orders.
  await platform.work({ consumers: [billing, search, mail] });

  const orders = ['a', 'b', 'c'].map((name) => `${run}-${name}`);
  await streams.publishMany(
    orderEvents,
    (['placed', 'paid', 'shipped'] as const).flatMap((what) => orders.map((order) => ({ order, what }))),
  );
  // A request that is repeated publishes once.
  const first = await streams.publish(orderEvents, { order: `${run}-d`, what: 'placed' }, { key: `${run}-d` });
  const again = await streams.publish(orderEvents, { order: `${run}-d`, what: 'placed' }, { key: `${run}-d` });
  console.log(first.status, again.status, first.id === again.id);

  const settled = async (group: string): Promise<void> => {
    for (;;) {
      const { entries, pending } = await streams.lag(orderEvents, group);
      if (entries + pending === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  await Promise.all(['billing', 'search', 'mail'].map(settled));
  console.log(
    'billed',
    orders.map((order) => billed.get(order)?.join(' > ')),
  );
  console.log(
    'indexed',
    orders.every((order) => indexed.has(order)),
  );

  // Mail has failed for all of them; nobody else was held up by it.
  const letters = streams.deadLetters(orderEvents, 'mail');
  console.log('dead letters', await letters.count(), (await letters.list({ limit: 1 })).letters[0]?.error.message);
  isMailDown = false;
  console.log(await letters.redrive({ reason: 'attempts' }));
  await settled('mail');
  console.log('mailed', mailed.length, 'first:', mailed[0]?.replace(run, 'run'));

  // All groups have finished, so all that is beyond the bounds of the contract may go.
  console.log(await streams.trim(orderEvents));
} finally {
  await platform.stop();
}
