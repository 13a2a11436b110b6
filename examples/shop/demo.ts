/**
 * A lively day at the shop: `npm run demo` beside `npm start`, until Ctrl-C. The shop's process, a mail server and a warehouse run in this one;
 * visitors come at a steady rate, and what goes wrong in a shop goes wrong.
 *
 *   npm run demo
 *   npm run demo -- --rate 10 --for 1m
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  createPlatform,
  formatMs,
  isMillraceError,
  readEnv,
  stopSignal,
  systemClock,
  toMs,
  type Duration,
  type Platform,
} from 'millrace';
import { listen, type Listener } from 'millrace/http';
import { declareSchedules } from 'millrace/workers';
import { anyAct } from './demo/acts.ts';
import { counted } from './demo/counted.ts';
import { startMailServer } from './demo/mail-server.ts';
import { operate } from './demo/operator.ts';
import { createProvider } from './demo/payments.ts';
import { showProgress } from './demo/screen.ts';
import { Town } from './demo/town.ts';
import { startWarehouse } from './demo/warehouse.ts';
import { openShop, type Shop } from './shop.ts';
import { fillShop } from './stock.ts';

const HELP = `npm run demo -- [--rate N] [--for TIME]

  --rate N     acts of visitors in a second, 0.1 to 50; default 3
  --for TIME   such as 30s or 10m; default: until Ctrl-C`;

const { help, rate, forMs } = readFlags();
if (help || !(rate >= 0.1 && rate <= 50)) {
  console.log(HELP);
  process.exit(help ? 0 : 1);
}

const { platform: options, http } = readEnv();
const stopped = stopSignal();
const over = new AbortController();
// What fails here is shown by the dashboard; LOG_LEVEL brings the log back.
const log = process.env['LOG_LEVEL'] === undefined ? ({ level: 'silent' } as const) : options.log;
const platform = createPlatform({ ...options, log, onProgress: (step) => console.log(`  ${step}`) });
await platform.start();
const [mail, warehouse] = await Promise.all([startMailServer(), startWarehouse()]);
const staffPassword = randomBytes(9).toString('base64url');
const shop = openShop(platform, {
  folder: join(options.embedded?.folder ?? '.millrace', 'shop'),
  email: { smtp: mail.url, from: 'The shop <shop@shop.example>', perDomain: false },
  webhooks: {
    secrets: { warehouse: warehouse.secret },
    timeout: '1s',
    allowHttp: true, // The warehouse is on this machine, which is refused otherwise.
    allowPrivate: ['127.0.0.1'],
  },
  warehouse: { url: warehouse.url, secret: 'warehouse' },
  payments: createProvider(),
  orders: { keepFor: '30m', lookEvery: '1m' },
  keepReportsFor: '1h',
});
const listener = await listenWherever(shop);
const town = new Town({ platform, shop: listener.url, warehouse: warehouse.url, staffPassword, closing: over.signal });
const jobs = { done: 0, failed: 0 };
const queues = [...new Set(shop.handlers.map(({ contract }) => contract.queue))];
const beganAt = systemClock.monotonicMs();
try {
  await declareSchedules(platform, shop.schedules);
  await platform.work({ handlers: counted(shop.handlers, jobs), consumers: shop.consumers, drainFor: '3s' });
  await fillShop(platform, shop.database, staffPassword);
  await town.settle(shop.database);
  console.log((await hints(platform, listener)).join('\n'));
  const end = forMs === undefined ? stopped : Promise.race([stopped, systemClock.sleep(forMs)]);
  const ended = end.then(() => over.abort());
  await Promise.all([ended, visit(), operate(platform, queues, over.signal), showProgress(lineOrWhy, over.signal)]);
  console.log('stopping');
} finally {
  over.abort();
  await listener.close();
  console.log(await lineOrWhy());
  console.log(`${mail.taken} mails were taken, the warehouse has received ${warehouse.received} webhooks`);
  // A worker that stays, such as that of npm start, would enqueue for nobody.
  await Promise.all(shop.schedules.map(({ id }) => platform.schedules.remove(id))).catch(() => undefined);
  await platform.stop();
  shop.close();
  await Promise.all([mail.stop(), warehouse.stop()]);
}
console.log('stopped');
process.exit(0); // What a provider that never answers still holds must not hold this process.

/** Begins an act so often as the rate says, whether those before have ended or not; those that hang are bounded by their requests' time. */
async function visit(): Promise<void> {
  const running = new Set<Promise<unknown>>();
  while (!over.signal.aborted) {
    const act: Promise<unknown> = anyAct()
      .run(town)
      .catch(() => undefined) // Redis is away, or the demo ends; the line shows that nothing moves.
      .finally(() => running.delete(act));
    running.add(act);
    if (running.size > 100) await Promise.race(running);
    await systemClock.sleep((1_000 / rate) * (0.5 + Math.random()), { signal: over.signal }).catch(() => undefined); // The same.
  }
  await Promise.all(running);
}

async function lineOrWhy(): Promise<string> {
  return line().catch((error: unknown) => `Redis is away: ${(error as Error).message}`);
}

async function line(): Promise<string> {
  const counts = await Promise.all(queues.map((queue) => platform.jobs.counts(queue)));
  const dead = counts.reduce((sum, one) => sum + one.dead, 0);
  const waiting = counts.reduce((sum, one) => sum + one.waiting + one.delayed + one.prioritized, 0);
  const { requests, refused, orders } = town.tally;
  const time = formatMs(Math.round((systemClock.monotonicMs() - beganAt) / 1_000) * 1_000);
  return `${time}: ${requests} requests (${refused} refused), ${orders} orders; jobs: ${jobs.done} done, ${jobs.failed} failed, ${dead} dead, ${waiting} wait`;
}

/** SHOP_PORT, or 3010 if nobody has it. */
async function listenWherever({ app }: Shop): Promise<Listener> {
  const { SHOP_PORT } = process.env;
  try {
    return await listen(app, { host: http.host, port: Number(SHOP_PORT ?? 3_010) });
  } catch (error) {
    if (SHOP_PORT !== undefined || !isMillraceError(error, 'PORT_TAKEN')) throw error;
    return listen(app, { host: http.host, port: 0 });
  }
}

/** Where to look. The dashboard is where `npm start` has it with this environment, if something answers there. */
async function hints(started: Platform, { url }: Listener): Promise<string[]> {
  const summary = started.summary();
  const isOwner = summary.some((text) => text.includes('started by this process'));
  const address = `http://${http.host}:${http.port}`;
  const answer = await fetch(`${address}/livez`, { signal: AbortSignal.timeout(1_000) }).catch(() => undefined);
  return [
    'The shop is open.',
    '',
    ...summary,
    `Shop       ${url}/products`,
    answer?.ok
      ? `Dashboard  ${address}, of npm start: its screen has the link to sign in with`
      : 'Dashboard  none was found: run `npm start` in another terminal, and open what it names',
    ...(isOwner ? ['           Redis ends with this demo: begin with `npm start` to keep what you see'] : []),
    'Stop: Ctrl-C',
    '',
  ];
}

/** What was said behind the command; what cannot be read asks for no rate at all, and so is told how it is called. */
function readFlags(): { help: boolean; rate: number; forMs: number | undefined } {
  try {
    const { values } = parseArgs({
      options: {
        rate: { type: 'string', default: '3' },
        for: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    const { help: isAsked, rate: acts, for: time } = values;
    return { help: isAsked, rate: Number(acts), forMs: time === undefined ? undefined : toMs(time as Duration) };
  } catch (error) {
    console.error((error as Error).message);
    return { help: false, rate: 0, forMs: undefined };
  }
}
