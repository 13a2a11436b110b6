/**
 * Orders as events: who changes one says what he has seen, a list of orders follows, is made anew with other code, and a customer is forgotten.
 *
 *   node --conditions=millrace-source --import tsx examples/order-projection.ts      in a checkout
 */
import { createPlatform, defineEvents, project, readEnv } from 'millrace';
import { z } from 'zod';

const orderEvents = defineEvents({
  name: 'examples.orders',
  events: {
    placed: z.object({ customer: z.string(), totalCents: z.number().int() }),
    shipped: z.object({ carrier: z.string() }),
    forgotten: z.object({}),
  },
});

const order = z.object({ customer: z.string(), status: z.string(), totalCents: z.number() });

const orderList = project(orderEvents, {
  name: 'list',
  document: order,
  on: {
    placed: (view, { streamId, data }) => view.set(streamId, { ...data, status: 'placed' }),
    shipped: async (view, { streamId, data }) => {
      const known = await view.get(streamId);
      if (known) await view.set(streamId, { ...known, status: `shipped by ${data.carrier}` });
    },
    forgotten: (view, { streamId }) => view.delete(streamId),
  },
});

const platform = createPlatform({ ...readEnv().platform, log: { level: 'error' } });
await platform.start();
try {
  const store = platform.streams.events(orderEvents);
  const orders = store.aggregate({
    name: 'order',
    initial: () => ({ status: 'none' }),
    apply: (state, { type }) => ({ ...state, status: type }),
    snapshotEvery: 100,
  });
  const run = Date.now().toString(36);
  const [first, second] = [`order-${run}-1`, `order-${run}-2`];

  // Each order begins once, however often the request comes.
  const placed = { type: 'placed', data: { customer: 'ada', totalCents: 1_200 }, id: `request-${run}` } as const;
  console.log('placed', (await store.append(first, [placed], { expected: 'none' })).status);
  console.log('sent again', (await store.append(first, [placed], { expected: 'none' })).status);
  await store.append(second, [{ type: 'placed', data: { customer: 'bob', totalCents: 80 } }]);

  // Two decide at once on what they have seen; the second one is overtaken, and decides anew.
  const ship = (carrier: string): Promise<{ status: string }> =>
    orders.update(first, ({ status }) => (status === 'placed' ? [{ type: 'shipped', data: { carrier } }] : []));
  const outcomes = await Promise.all([ship('post'), ship('bike')]);
  console.log('shipped', outcomes.map(({ status }) => status).toSorted());

  // The list follows in this process; in production a worker runs it: platform.work({ consumers: [orderList] }).
  const following = await store.run(orderList);
  const list = store.projection(orderList);
  await list.waitFor(await store.position());
  console.log('totals', (await list.get(first))?.totalCents, (await list.get(second))?.totalCents);

  // All documents anew, beside those that are read.
  await list.rebuild();
  console.log('customer', (await list.get(first))?.customer);

  // To forget: the events go, and an event behind them has the list forget too.
  console.log('erased', await store.erase(first));
  await store.append(first, [{ type: 'forgotten', data: {} }]);
  await list.waitFor(await store.position());
  console.log('forgotten', (await list.get(first)) === undefined);
  for await (const { version, type } of store.read(first)) console.log('left', version, type);
  await following.stop(1_000);
} finally {
  await platform.stop();
}
