/** What happens in a shop: mostly the usual, now and then a mistake. */
import { randomBytes, randomUUID } from 'node:crypto';
import { emailSend, webhookDeliver } from '../jobs.ts';
import { model } from '../orders.ts';
import { viewed } from '../rankings.ts';
import { PRODUCTS } from '../stock.ts';
import { oneOf, type Town } from './town.ts';

/** Of events that were erased their places stay, 170 bytes each: so many are 70 MB. Beyond that nobody orders any more. */
const MOST_EVENTS = 400_000;
const WORDS = ['lamp', 'tea for four', 'something warm', 'a light for reading', 'sharp', 'coffee', 'wood', 'gift'];
const CARRIERS = ['Swift', 'Turtle', 'Blue Bike'];

/** Something that happens so often, compared with the others. */
export interface Act {
  readonly weight: number;
  run(town: Town): Promise<unknown>;
}

export const ACTS: Readonly<Record<string, Act>> = {
  look: {
    weight: 26,
    async run({ customers }) {
      const visitor = oneOf(customers);
      await visitor.ask('GET', '/products');
      await visitor.ask('GET', `/products/${oneOf(PRODUCTS).id}`);
    },
  },
  search: {
    weight: 8,
    run: ({ customers }) => oneOf(customers).ask('GET', `/search?q=${encodeURIComponent(oneOf(WORDS))}`),
  },
  top: { weight: 3, run: ({ customers }) => oneOf(customers).ask('GET', '/top') },
  order: { weight: 14, run: order },
  ship: {
    weight: 10,
    async run({ staff, orders }) {
      const known = orders.shift();
      if (!known) return;
      if (!staff.isSignedIn) await staff.signIn();
      await staff.ask('POST', `/orders/${known.id}/ship`, {
        carrier: oneOf(CARRIERS),
        tracking: randomBytes(5).toString('hex'),
      });
    },
  },
  cancel: {
    weight: 2,
    async run({ orders }) {
      const known = orders.pop();
      await known?.customer.ask('POST', `/orders/${known.id}/cancel`, { reason: 'found it cheaper' });
    },
  },
  price: {
    weight: 3,
    async run({ staff }) {
      const { id, cents } = oneOf(PRODUCTS);
      if (!staff.isSignedIn) await staff.signIn();
      await staff.ask('PUT', `/products/${id}/price`, { cents: Math.round(cents * (0.8 + 0.4 * Math.random())) });
    },
  },
  report: {
    weight: 2,
    async run(town) {
      const customer = await town.customer();
      const { body } = await customer.ask('POST', '/reports', { format: oneOf(['csv', 'jsonl']) });
      await customer.ask('GET', `/reports/${String(body['id'])}`);
    },
  },
  reportCancelled: {
    weight: 1,
    async run(town) {
      // The second waits for the first, which leaves time to think better of it.
      const customer = await town.customer();
      await customer.ask('POST', '/reports', {});
      const { body } = await customer.ask('POST', '/reports', {});
      await customer.ask('DELETE', `/reports/${String(body['id'])}`);
    },
  },
  signIn: { weight: 3, run: ({ customers }) => oneOf(customers).signIn() },
  wrongPassword: {
    weight: 2,
    run: ({ customers }) => oneOf(customers).ask('POST', '/sign-in', { id: 'mallory', password: 'guess' }),
  },
  newPassword: {
    weight: 1,
    async run(town) {
      const customer = await town.customer();
      const [current, next] = [customer.password, randomBytes(9).toString('base64url')];
      const { status } = await customer.ask('POST', '/password', { current, next });
      if (status === 202) customer.password = next;
    },
  },
  tab: {
    weight: 1,
    async run(town) {
      const customer = await town.customer();
      void customer.watch(AbortSignal.any([town.closing, AbortSignal.timeout(20_000)]));
    },
  },
  scraper: {
    weight: 0.3,
    run: ({ stranger }) => Promise.all(Array.from({ length: 40 }, () => stranger.ask('GET', '/products'))),
  },
  // Mistakes of programs.
  campaign: {
    weight: 0.4,
    run: ({ platform }) =>
      platform.jobs.enqueue(emailSend, { to: 'ada@example.com', template: 'voucher', data: { name: 'Ada' } }),
  },
  closedBranch: {
    weight: 0.4,
    run: ({ platform, warehouse }) =>
      platform.jobs.enqueue(webhookDeliver, {
        url: `${warehouse}/closed`,
        secret: 'warehouse',
        payload: { type: 'stock.count' },
      }),
  },
  ghost: { weight: 0.3, run: ({ platform }) => platform.streams.publish(viewed, { product: 'lava-lamp' }) },
};

async function order(town: Town): Promise<void> {
  if ((await model.reader(town.platform.streams).store.position()) > MOST_EVENTS) return;
  const customer = await town.customer();
  const items = Array.from({ length: oneOf([1, 1, 1, 2, 3]) }, () => ({
    product: oneOf(PRODUCTS).id,
    quantity: oneOf([1, 1, 1, 2, 4]),
  }));
  const headers = { 'idempotency-key': randomUUID() };
  const { status, body } = await customer.ask('POST', '/orders', { items }, headers);
  if (status !== 202) return;
  town.tally.orders++;
  const id = String(body['id']);
  town.remember({ id, customer });
  await customer.ask('GET', `/orders/${id}?seen=${String(body['position'])}`);
  if (Math.random() < 0.05) await customer.ask('POST', '/orders', { items }, headers); // A double click: the same order.
}

const all = Object.values(ACTS);
const whole = all.reduce((sum, { weight }) => sum + weight, 0);

/** One of them, as often as their weights say. */
export function anyAct(): Act {
  let left = Math.random() * whole;
  return all.find(({ weight }) => (left -= weight) < 0) ?? oneOf(all);
}
