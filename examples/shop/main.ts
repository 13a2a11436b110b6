/**
 * The shop as a process: its API and its worker, until Ctrl-C.
 *
 *   node --conditions=millrace-source --import tsx examples/shop/main.ts      in a checkout
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { createPlatform, stopSignal } from 'millrace';
import { listen } from 'millrace/http';
import { declareSchedules, readStockEnv } from 'millrace/workers';
import { openShop } from './shop.ts';
import { fillShop, STAFF } from './stock.ts';

const { configuration, settings } = readStockEnv(); // SMTP_URL and MILLRACE_MAIL_FROM, MILLRACE_WEBHOOK_SECRETS
const { SHOP_PORT = '3010', SHOP_STAFF_PASSWORD, WAREHOUSE_URL: url } = process.env;
const password = SHOP_STAFF_PASSWORD ?? randomBytes(9).toString('base64url');
const stopped = stopSignal();

const platform = createPlatform(configuration.platform);
await platform.start();
const shop = openShop(platform, {
  folder: join(configuration.platform.embedded?.folder ?? '.millrace', 'shop'),
  email: settings.email,
  webhooks: settings.webhooks,
  warehouse: url === undefined ? undefined : { url, secret: 'warehouse' },
  // Your payment provider.
  payments: {
    charge: async ({ id }) => `payment-of-${id}`,
    refund: async (payment) => `refund-of-${payment}`,
  },
});
try {
  await declareSchedules(platform, shop.schedules);
  await platform.work({ handlers: shop.handlers, consumers: shop.consumers });
  await fillShop(platform, shop.database, password);
  const listener = await listen(shop.app, { host: configuration.http.host, port: Number(SHOP_PORT) });
  console.log([...shop.summary, '', `The shop is open: ${listener.url}/products`].join('\n'));
  if (SHOP_STAFF_PASSWORD === undefined) console.log(`Staff signs in as ${STAFF} with ${password}`);
  await stopped;
  await listener.close();
} finally {
  await platform.stop();
  shop.close();
}
