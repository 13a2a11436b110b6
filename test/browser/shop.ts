/** A shop that has been open for a while: several queues, failures of a few kinds, a job that runs, streams with lag, schedules, locks, limits. */
import { expect } from 'vitest';
import { z } from 'zod';
import { createDashboard, type Role } from '../../dashboard/index.ts';
import { listen } from '../../src/http/index.ts';
import {
  consume,
  createPlatform,
  defineJob,
  defineStream,
  handle,
  schedule,
  unrecoverable,
  type JobContract,
  type Platform,
} from '../../src/index.ts';
import { freshPrefix, openBrowser, PASSWORD, signIn, userLine, type Browser } from '../dashboard/support.ts';
import { eventually } from '../support/eventually.ts';
import { untilAborted } from '../support/gate.ts';
import { startRedis } from '../support/servers.ts';
import { writePast } from './past.ts';

const backoff = { type: 'fixed', delay: 1 } as const;
const email = z.object({ to: z.email(), template: z.enum(['welcome', 'receipt', 'newsletter']) });
export const sendEmail = defineJob({ name: 'email.send', input: email, attempts: 2, backoff });
export const chargeCard = defineJob({
  name: 'billing.charge',
  input: z.object({
    customer: z.string().min(1),
    amount: z.number().int().positive(),
    currency: z.enum(['EUR', 'USD', 'GBP']).default('EUR'),
    card: z.object({ number: z.string(), owner: z.string() }),
    note: z.string().optional(),
  }),
  attempts: 1,
  secrets: ['card.number'],
});
export const buildReport = defineJob({
  name: 'reports.build',
  input: z.object({ kind: z.string(), month: z.string() }),
});
export const resizeImage = defineJob({
  name: 'images.resize',
  input: z.object({ file: z.string(), width: z.number() }),
});
/** Its queue is paused. */
export const reindex = defineJob({ name: 'search.reindex', input: z.object({ from: z.number(), to: z.number() }) });
const sweepCarts = defineJob({ name: 'carts.sweep', input: z.object({ olderThan: z.string() }) });
const orders = defineStream({ name: 'orders.placed', schema: z.object({ orderId: z.string(), total: z.number() }) });

const RULES = [
  { kind: 'dead-letters', over: 10, for: 0, severity: 'critical' },
  { kind: 'stream-lag', over: 20, for: 0 },
  { kind: 'missed-schedule' },
  { kind: 'silent-worker' },
] as const;

/** The shop, and what of it tests ask for. */
export interface Shop {
  platform: Platform;
  url: string;
  /** The cookies of somebody who has signed in with that role. */
  cookiesOf: (role: Role) => Promise<Map<string, string>>;
  /** The gateway takes mails again. */
  mendGateway: () => void;
  /** A report that is built until somebody cancels it. */
  report: string;
  /** The dead letters of charges whose currency has no account. */
  charges: string[];
  stop: () => Promise<void>;
}

type Closing = () => void | Promise<void>;

/** Opens the shop; resolves once all of what it is to show is there. */
export async function openShop(): Promise<Shop> {
  const closings: Closing[] = [];
  const stop = async (): Promise<void> => {
    for (const close of closings.splice(0).toReversed()) await close();
  };
  try {
    return { ...(await open((close) => closings.push(close))), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** `last` is told how to close what was opened. */
async function open(last: (close: Closing) => void): Promise<Omit<Shop, 'stop'>> {
  const server = await startRedis();
  last(() => server.stop());
  const redis = { url: server.url };
  const platform = createPlatform({ redis, log: { level: 'silent' }, prefix: freshPrefix(), appVersion: '2026.11.2' });
  last(() => platform.stop());
  await platform.start();
  const dashboard = createDashboard(platform, {
    users: ['viewer', 'operator', 'admin'].map((role) => userLine(role, role)),
    contracts: [sendEmail, chargeCard, buildReport, resizeImage, reindex] as JobContract[],
    environment: 'staging',
    trustProxy: 1,
    collectEvery: 200,
    alerts: { rules: RULES },
  });
  const listener = await listen(dashboard.router, { host: '127.0.0.1', port: 0 });
  last(() => listener.close());
  const closing = new AbortController();
  last(() => closing.abort());
  const life = await liveIn(platform, closing.signal);
  await dashboard.start();
  last(() => dashboard.stop());
  const browsers = new Map<Role, Browser>();
  const browserOf = async (role: Role): Promise<Browser> => {
    const browser = browsers.get(role) ?? openBrowser(listener.port);
    if (!browsers.has(role)) await signIn(browser, role, PASSWORD);
    browsers.set(role, browser);
    return browser;
  };
  const admin = await browserOf('admin');
  await eventually(async () => {
    const [firing] = (await admin.get('/alerts')).body.split('Rules</h2>');
    expect((await admin.get('/dead-letters')).body).toContain('Dead letters of one cause, counted');
    expect(firing).toContain('group search of orders.placed');
    expect(firing).toContain('queue email');
  }, 30_000);
  return { platform, url: listener.url, cookiesOf: async (role) => (await browserOf(role)).cookies, ...life };
}

type Life = Pick<Shop, 'mendGateway' | 'report' | 'charges'>;

async function liveIn(platform: Platform, closing: AbortSignal): Promise<Life> {
  const { jobs, streams, locks, limits } = platform;
  const state = { isGatewayDown: true };
  await writePast(platform, [
    { queue: 'email', perMinute: 120, failedShare: 0.02, waitMs: 180, runMs: 90 },
    { queue: 'images', perMinute: 45, failedShare: 0.004, waitMs: 320, runMs: 640 },
    { queue: 'billing', perMinute: 22, failedShare: 0.01, waitMs: 25, runMs: 210 },
  ]);
  await jobs.pause('search');
  await streams.publishMany(
    orders,
    Array.from({ length: 60 }, (_, index) => ({
      orderId: `A-${1_000 + index}`,
      total: index === 17 ? -1 : 20 + index,
    })),
  );
  await streams.createGroup(orders, 'search');
  await platform.work({
    handlers: handlersOf(state),
    schedules: [
      schedule(buildReport, { kind: 'daily', month: '2026-11' }, { id: 'daily-report', cron: '30 2 * * *' }),
      schedule(sweepCarts, { olderThan: '2h' }, { every: '5m' }),
    ],
    consumers: [
      consume(orders, { group: 'billing', attempts: 1 }, ({ total }) => {
        if (total < 0) throw new Error(`an order cannot cost ${total}`);
      }),
    ],
    drainFor: '1s',
    grace: '100ms',
  });
  const report = await fillQueues(platform);
  await locks.acquire('report:monthly', { ttl: '5m' });
  // Nobody gets it: the shop closes first.
  void locks.acquire('report:monthly', { wait: '1h', signal: closing }).catch(() => undefined);
  const checkout = limits.limiter('checkout', { policies: [{ name: 'customer', limit: 10, per: '5m' }] });
  for (const [key, calls] of Object.entries({ 'customer-17': 14, 'customer-4': 9 }))
    for (let call = 0; call < calls; call++) await checkout.consume(key);
  const charges = await eventually(async () => {
    expect(await platform.deadLetters.count()).toBe(24);
    expect((await jobs.get(report))?.state).toBe('active');
    expect(await streams.lag(orders, 'billing')).toMatchObject({ entries: 0, deadLetters: 1 });
    const { letters } = await platform.deadLetters.list({ queue: 'billing' });
    return letters.map(({ id }) => id);
  });
  return { report, charges, mendGateway: () => (state.isGatewayDown = false) };
}

function handlersOf(state: { isGatewayDown: boolean }) {
  return [
    handle(sendEmail, ({ to, template }, { log }) => {
      log.info(`sending ${template} to ${to}`);
      if (to.endsWith('@old.example')) throw unrecoverable(new Error(`550 the mailbox ${to} is gone`));
      if (template === 'newsletter' && state.isGatewayDown) throw new TypeError('connect ETIMEDOUT 10.0.0.7:587');
      return { accepted: true };
    }),
    handle(chargeCard, ({ customer, currency }, { log }) => {
      log.info(`charging ${customer}`);
      if (currency === 'GBP') throw unrecoverable(new RangeError('no account takes GBP'));
      return { charged: true };
    }),
    handle(buildReport, ({ month }, { signal, log, progress }) => {
      log.info(`reading the orders of ${month}`);
      progress({ read: 41_000, of: 260_000 });
      return untilAborted(signal);
    }),
    handle(resizeImage, ({ width }) => ({ width })),
    handle(reindex, () => undefined),
    handle(sweepCarts, () => ({ removed: 12 })),
  ];
}

const times = <T>(length: number, make: (index: number) => T): T[] => Array.from({ length }, (_, index) => make(index));
const mail = (to: string, template: 'welcome' | 'receipt' | 'newsletter') => ({ to, template });
const charge = (customer: string, currency: 'EUR' | 'GBP') => ({
  customer,
  amount: 4_990,
  currency,
  card: { number: '4111 1111 1111 1111', owner: 'Ada Lovelace' },
});

/** Gives the id of the report that is built. */
async function fillQueues({ jobs }: Platform): Promise<string> {
  const [{ id: report }] = await Promise.all([
    jobs.enqueue(buildReport, { kind: 'monthly', month: '2026-10' }),
    jobs.enqueueMany(sendEmail, [
      ...times(30, (index) => mail(`reader-${index}@mail.example`, 'receipt')),
      ...times(12, (index) => mail(`reader-${index}@mail.example`, 'newsletter')),
      ...times(8, (index) => mail(`reader-${index}@old.example`, 'welcome')),
    ]),
    jobs.enqueueMany(chargeCard, [
      ...times(16, (index) => charge(`customer-${index}`, 'EUR')),
      ...times(4, (index) => charge(`customer-${20 + index}`, 'GBP')),
    ]),
    jobs.enqueueMany(
      resizeImage,
      times(24, (index) => ({ file: `shelf/${index}.jpg`, width: 640 })),
    ),
    jobs.enqueueMany(
      reindex,
      times(9, (index) => ({ from: index * 1_000, to: index * 1_000 + 999 })),
    ),
    ...times(5, (index) => jobs.enqueue(sendEmail, mail(`late-${index}@mail.example`, 'welcome'), { delay: '2h' })),
  ]);
  return report;
}
