/** examples/shop: an order on its way through all of the jobs, and the demo as `npm run demo` runs it. */
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PER_ADDRESS } from '../../examples/shop/accounts.ts';
import { Visitor } from '../../examples/shop/demo/visitor.ts';
import { model } from '../../examples/shop/orders.ts';
import { viewed } from '../../examples/shop/rankings.ts';
import { openShop } from '../../examples/shop/shop.ts';
import { fillShop, STAFF } from '../../examples/shop/stock.ts';
import { listen } from '../../src/http/index.ts';
import { declareSchedules } from '../../workers/index.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { commandEnv } from '../support/millrace.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { startMailServer } from '../workers/mail-server.ts';
import { startReceiver } from '../workers/receiver.ts';
import { startPlatform } from '../workers/scene.ts';

const own = ownedByTest();
const folder = temporaryFolder();
const key = Buffer.from('C2FVsBQIhrscChlQIMV+b5sSYspob7oD', 'base64');
const password = 'correct horse';
/** The payment provider thinks about an order of so much. */
const SLOW_CENTS = 8_900;
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

test('an order goes through all of the jobs', async () => {
  const platform = await startPlatform(own, server.url);
  const mail = own(await startMailServer());
  const warehouse = own(await startReceiver());
  const [asked, provider] = [gate(), gate()];
  const refunds: string[] = [];
  let isFirst = true;
  const shop = openShop(platform, {
    folder: join(folder, '.millrace/shop'), // As main.ts has it.
    email: { smtp: mail.url, from: 'shop@shop.example' },
    webhooks: {
      secrets: { warehouse: `whsec_${key.toString('base64')}` },
      allowHttp: true,
      allowPrivate: ['127.0.0.1'],
    },
    warehouse: { url: warehouse.url, secret: 'warehouse' },
    payments: {
      async charge({ id, totalCents }) {
        if (totalCents === SLOW_CENTS && isFirst) {
          isFirst = false;
          asked.open();
          await provider.opened;
          throw new Error('the answer was lost');
        }
        return `payment-of-${id}`;
      },
      async refund(payment) {
        refunds.push(payment);
        if (refunds.length === 1) throw new Error('the answer was lost');
        return `refund-of-${payment}`;
      },
    },
  });
  own({ close: async () => shop.close() });
  await declareSchedules(platform, shop.schedules);
  await platform.work({ handlers: shop.handlers, consumers: shop.consumers });
  await fillShop(platform, shop.database, password);
  const listener = own(await listen(shop.app, { host: '127.0.0.1', port: 0 }));

  const tally = { requests: 0, refused: 0, limited: 0, failed: 0, orders: 0 };
  const faults: string[] = []; // A busy machine may answer 503; what nobody foresaw is 500.
  const visitor = (id: string, address: string): Visitor => {
    const one = Object.assign(new Visitor(id, address, listener.url, tally), { password });
    const ask = one.ask.bind(one);
    one.ask = async (method, path, ...rest) => {
      const answer = await ask(method, path, ...rest);
      if (answer.status === 500) faults.push(`${method} ${path}`);
      return answer;
    };
    return one;
  };
  const [ada, phone, staff] = [
    visitor('ada', '198.51.100.1'),
    visitor('ada', '198.51.100.2'),
    visitor(STAFF, '203.0.113.1'),
  ];
  await ada.ask('POST', '/sign-up', { id: 'ada', name: 'Ada <Lovelace>', mail: 'ada@example.com', password });
  expect((await ada.ask('POST', '/sign-in', { id: 'ada', password: 'a guess' })).status).toBe(401);
  for (const one of [ada, phone, staff]) expect((await one.signIn()).status).toBe(200);

  // A tab is open.
  const closed = new AbortController();
  let shown = '';
  const watching = ada.watch(closed.signal, (piece) => (shown += piece));
  await eventually(() => expect(shown).toContain(': here'));

  // The order, sent twice.
  const items = [{ product: 'teapot', quantity: 2 }];
  const send = () => ada.ask('POST', '/orders', { items }, { 'idempotency-key': 'a basket' });
  const { status, body: placed } = await send();
  const id = String(placed['id']);
  expect([status, placed['totalCents']]).toEqual([202, 9_800]);
  expect((await send()).body).toEqual(placed);
  expect((await ada.ask('GET', `/orders/${id}?seen=${String(placed['position'])}`)).body).toMatchObject({
    items: [{ cents: 4_900 }],
  });
  expect((await staff.ask('GET', `/orders/${id}`)).status).toBe(404);
  await eventually(async () => expect((await ada.ask('GET', `/orders/${id}`)).body).toMatchObject({ status: 'paid' }));

  // What follows from it.
  await eventually(() =>
    expect(mail.mails).toMatchObject([{ to: ['ada@example.com'], headers: { subject: 'Thank you for your order' } }]),
  );
  expect(mail.mails[0]?.parts['text/html']).toContain('Ada &lt;Lovelace&gt;');
  await eventually(() => expect(warehouse.received).toHaveLength(1));
  const { headers = {}, body = '' } = warehouse.received[0] ?? {};
  const { 'webhook-id': hook, 'webhook-timestamp': time, 'webhook-signature': signature } = headers;
  expect(signature).toBe(`v1,${createHmac('sha256', key).update([hook, time, body].join('.')).digest('base64')}`);
  expect(JSON.parse(body)).toMatchObject({ type: 'order.paid', data: { order: id } });
  await eventually(() => expect(shown).toContain('event: order.paid'));
  await eventually(async () =>
    expect((await ada.ask('GET', '/top')).body).toMatchObject({
      customers: [{ member: 'ada', score: 9_800 }],
      products: [{ member: 'teapot', score: 2 }],
    }),
  );

  // Shipped: ada is here and sees it, so no mail is sent. Too late to cancel.
  expect((await ada.ask('POST', `/orders/${id}/ship`, { carrier: 'Swift' })).status).toBe(403);
  await staff.ask('POST', `/orders/${id}/ship`, { carrier: 'Swift' });
  expect((await ada.ask('POST', `/orders/${id}/cancel`, {})).status).toBe(409);
  await eventually(() => expect(shown).toContain('event: order.shipped'));

  await platform.streams.publish(viewed, { product: 'lava-lamp' });
  const ghosts = platform.streams.deadLetters(viewed, 'ranking');
  await ada.ask('GET', '/products/teapot');
  await eventually(async () =>
    expect((await ada.ask('GET', '/top')).body).toMatchObject({
      viewedInTheLastHour: [{ member: 'teapot', score: 1 }],
    }),
  );

  // A report of it.
  const { body: report } = await ada.ask('POST', '/reports', {});
  const path = `/reports/${String(report['id'])}`;
  await eventually(async () =>
    expect((await ada.ask('GET', path)).body).toMatchObject({ state: 'completed', result: { rows: 1 } }),
  );
  expect((await ada.ask('GET', `${path}/file`)).text).toContain(`${id},`);
  expect((await staff.ask('GET', path)).status).toBe(404);

  // A new price is seen on the page of all, and by the search.
  await eventually(async () => expect((await ada.ask('GET', '/search?q=teapot')).text).toContain('"cents":4900'));
  expect((await ada.ask('GET', '/products')).text).toContain('"cents":4900');
  await staff.ask('PUT', '/products/teapot/price', { cents: 5_100 });
  await eventually(async () => expect((await ada.ask('GET', '/products')).text).toContain('"cents":5100'));
  await eventually(async () => {
    expect((await ada.ask('GET', '/search?q=teapot&most=5000')).text).not.toContain('teapot');
    expect((await ada.ask('GET', '/search?q=teapot&most=5200')).text).toContain('teapot');
  });

  // An order that is sent again keeps its price.
  expect((await send()).body).toEqual(placed);

  // The page of all is no product, and what is not there is told in one form.
  for (const nowhere of ['/products/page%3Aall', '/products/lava-lamp', `/orders/${'x'.repeat(600)}`, '/nowhere'])
    expect(await ada.ask('GET', nowhere)).toMatchObject({ status: 404, body: { status: 404 } });
  expect((await ada.ask('POST', '/orders', { items: [{ product: 'page:all', quantity: 1 }] })).status).toBe(422);

  // A look at what there is not is a dead letter of the stream, and holds up no other look.
  const { letters } = await eventually(async () => {
    const found = await ghosts.list();
    expect(found.letters).toHaveLength(1);
    return found;
  });
  expect(letters[0]?.reason).toBe('unrecoverable');

  // A new password: the phone is signed out, the laptop is not.
  await ada.ask('POST', '/password', { current: password, next: 'battery staple' });
  await eventually(async () => expect((await phone.ask('GET', `/orders/${id}`)).status).toBe(401));
  expect((await ada.ask('GET', `/orders/${id}`)).body).toMatchObject({ status: 'shipped', carrier: 'Swift' });

  closed.abort();
  await watching;
  expect(mail.mails).toHaveLength(1);
  expect(await platform.deadLetters.count()).toBe(0);
  expect(faults).toEqual([]);
  // Another worker of the stock jobs under this prefix takes none of the shop's.
  expect((await platform.jobs.queues()).filter((queue) => !queue.startsWith('shop.'))).toEqual([]);
  expect((await platform.schedules.list()).map((one) => one.id).toSorted()).toEqual([
    'shop.cache.warm',
    'shop.forget-orders',
    'shop.leaderboard.close-season.shop.customers',
    'shop.session.sweep',
  ]);

  // Cancelled when it is paid: the money goes back, and a mail says so.
  const cancelled = async (product: string, isTime: (id: string) => Promise<unknown>): Promise<string> => {
    const { body: order } = await ada.ask('POST', '/orders', { items: [{ product, quantity: 1 }] });
    const one = String(order['id']);
    await isTime(one);
    expect((await ada.ask('POST', `/orders/${one}/cancel`, {})).status).toBe(200);
    return one;
  };
  const comesTo = (order: string, state: string) =>
    eventually(async () => expect((await ada.ask('GET', `/orders/${order}`)).body).toMatchObject({ status: state }));
  const paid = await cancelled('umbrella', (order) => comesTo(order, 'paid'));
  await comesTo(paid, 'refunded');
  // Cancelled while it is charged, and nobody has heard that it was.
  const slow = await cancelled('chef-knife', () => asked.opened);
  provider.open();
  await comesTo(slow, 'refunded');
  expect(refunds).toEqual([paid, paid, slow].map((order) => `payment-of-${order}`));
  const { events } = await model.reader(platform.streams).store.readPage(paid);
  expect(events.map(({ type }) => type)).toEqual(['placed', 'paid', 'cancelled', 'refunded']);
  await eventually(() =>
    expect(mail.mails.filter(({ headers: { subject } }) => subject === 'Your money is on its way back')).toHaveLength(
      2,
    ),
  );
  expect(await platform.deadLetters.count()).toBe(0);
});

test('whoever tries passwords from one address is held up there, and nobody else is', async () => {
  const platform = await startPlatform(own, server.url);
  const payments = { charge: async () => 'none', refund: async () => 'none' };
  const shop = openShop(platform, { folder: join(folder, '.millrace/shop'), payments });
  own({ close: async () => shop.close() });
  await fillShop(platform, shop.database, password);
  const listener = own(await listen(shop.app, { host: '127.0.0.1', port: 0 }));
  const perAddress = platform.limits.limiter('shop.sign-in-address', { policies: [PER_ADDRESS] });
  await perAddress.setPolicy(PER_ADDRESS.name, { limit: 2, per: '1d' });
  const tally = { requests: 0, refused: 0, limited: 0, failed: 0, orders: 0 };
  const signIn = async (address: string, id: string, given: string): Promise<number> => {
    const { status } = await Object.assign(new Visitor(id, address, listener.url, tally), { password: given }).signIn();
    return status;
  };
  const office = '198.51.100.7';
  const statuses = [
    await signIn(office, STAFF, 'a guess'),
    await signIn(office, STAFF, password), // One that is right does not count.
    await signIn(office, 'ada', 'a guess'),
    await signIn(office, 'bob', 'a guess'),
    await signIn(office, STAFF, password),
    await signIn('198.51.100.8', STAFF, password),
  ];
  expect(statuses).toEqual([401, 200, 401, 429, 429, 200]);
});

test('the demo runs for as long as it is told to, says what happened, and leaves nothing', async () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const program = ['--conditions=millrace-source', '--import', 'tsx', join(root, 'examples/shop/demo.ts')];
  const env = commandEnv({
    REDIS_URL: server.url,
    MILLRACE_DATA: folder,
    MILLRACE_PREFIX: 'demo',
    PORT: '1',
    SHOP_PORT: '0',
  });
  const child = spawn(process.execPath, [...program, '--for', '3s', '--rate', '20'], {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  expect([code, err]).toEqual([0, '']);
  expect(out).toMatch(/^The shop is open\.$/m);
  expect(out).toContain('Dashboard  none was found: run `npm start`');
  const [, orders, done] = /(\d+) orders; jobs: (\d+) done, \d+ failed, \d+ dead, \d+ wait$/m.exec(out) ?? [];
  expect(
    [Number(orders), Number(done)].every((count) => count > 0),
    out,
  ).toBe(true);
  expect(out.endsWith('stopped\n')).toBe(true);
});
