/** Every page, as each of its readers has it: in light and dark, on a phone, without script, by a screen reader. */
import { describe, expect, test } from 'vitest';
import { DESK, ownedScene, PHONE, screenshot, type Visit } from './chromium.ts';
import { findingsOf, overhang } from './look.ts';
import type { Shop } from './shop.ts';

const { shop, visit } = ownedScene();

interface Subject {
  path: string | ((shop: Shop) => string | Promise<string>);
  /** What is there without script. */
  tells: string;
  /** Of what Bull Board draws: a part that comes with what it asks for. */
  shows?: string;
}

const letterPath = ({ charges: [id = ''] }: Shop): string => `/dead-letters/letter/${encodeURIComponent(id)}`;

/** Each page with what must be read on it. */
const PAGES: Readonly<Record<string, Subject>> = {
  overview: { path: '/', tells: 'group search of orders.placed' },
  charts: { path: '/charts', tells: 'All queues' },
  'charts of a queue': { path: '/charts/email?range=1h', tells: 'email' },
  queues: { path: '/queues/', tells: 'This page needs script', shows: 'main a[title^="email"]' },
  queue: {
    path: '/queues/queue/email?status=completed',
    tells: 'This page needs script',
    shows: 'main :text("@mail.example")',
  },
  'dead queue': {
    path: '/queues/queue/billing.dead?status=failed',
    tells: 'This page needs script',
    shows: 'main :text("no account takes GBP")',
  },
  'job in its queue': {
    path: ({ report }) => `/queues/queue/reports/${report}`,
    tells: 'This page needs script',
    shows: 'main :text("monthly")',
  },
  'history of the queues': {
    path: '/queues/metrics-history',
    tells: 'This page needs script',
    shows: 'main .recharts-surface',
  },
  'find a queue': { path: '/queues/find', tells: 'images' },
  'dead letters': { path: '/dead-letters', tells: '550 the mailbox' },
  'dead letter': { path: letterPath, tells: 'no account takes GBP' },
  'edit a dead letter': { path: (life) => `${letterPath(life)}/edit`, tells: 'Input as JSON' },
  operations: { path: '/dead-letters/operations', tells: 'Nothing was redriven' },
  'stream dead letters': { path: '/dead-letters/streams', tells: 'orders.placed' },
  'dead letters of a group': { path: '/dead-letters/streams/orders.placed/billing', tells: 'an order cannot cost -1' },
  jobs: { path: '/jobs', tells: 'images.resize' },
  job: { path: ({ report }) => `/jobs/${report}`, tells: 'reading the orders of 2026-10' },
  'enqueue a job': { path: '/jobs/enqueue', tells: 'billing.charge' },
  'enqueue a charge': { path: '/jobs/enqueue?contract=billing.charge&version=1', tells: 'card.owner' },
  streams: { path: '/streams', tells: 'orders.placed' },
  stream: { path: '/streams/orders.placed', tells: 'search' },
  fleet: { path: '/fleet', tells: '2026.11.2' },
  worker: {
    path: async ({ platform }) => `/fleet/workers/${(await platform.fleet.workers())[0]?.id}`,
    tells: 'reports.build',
  },
  'queues of the fleet': { path: '/fleet/queues', tells: 'paused' },
  schedules: { path: '/fleet/schedules', tells: 'daily-report' },
  locks: { path: '/fleet/locks', tells: 'report:monthly' },
  'take a lock away': { path: '/fleet/locks/release?name=report%3Amonthly', tells: 'may still be at work' },
  limits: { path: '/fleet/limits', tells: 'customer-17' },
  doctor: { path: '/fleet/doctor', tells: 'Redis' },
  alerts: { path: '/alerts', tells: 'group search of orders.placed' },
  audit: { path: '/audit', tells: 'session.sign-in' },
  'no page': { path: '/nothing', tells: 'There is no such page' },
};

const all = Object.entries(PAGES);
const pathOf = async ({ path }: Subject): Promise<string> => (typeof path === 'string' ? path : path(shop()));
/** The browser itself tells of an answer of 404. */
const isOwnFault = (fault: string): boolean => !/404 .*\/nothing/.test(fault);

/** What is wrong with a page, in words. It is loaded once, and then shown in each way. */
async function wrongWith({ page, go, faults }: Visit, name: string, subject: Subject): Promise<string[]> {
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(DESK);
  await go(await pathOf(subject));
  if (subject.shows !== undefined) await page.locator(subject.shows).first().waitFor();
  const file = name.replaceAll(' ', '-');
  const light = await findingsOf(page);
  await screenshot(page, `${file}-light`);
  await page.emulateMedia({ colorScheme: 'dark' });
  const dark = await findingsOf(page, { rules: ['color-contrast'] });
  await screenshot(page, `${file}-dark`);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(PHONE);
  const widerBy = await overhang(page);
  const phone = subject.shows === undefined ? [] : await findingsOf(page, { rules: ['scrollable-region-focusable'] });
  await screenshot(page, `${file}-phone`);
  return [
    ...light,
    ...phone.map((finding) => `on a phone: ${finding}`),
    ...dark.map((finding) => `dark: ${finding}`),
    ...(widerBy > 0 ? [`wider than a phone by ${widerBy} pixels`] : []),
    ...faults().filter(isOwnFault),
  ];
}

describe('every page', { timeout: 180_000 }, () => {
  const parts: Array<[part: string, belongs: (path: string) => boolean]> = [
    ['Bull Board', (path) => /^\/queues\/(?!find)/.test(path)],
    ['of dead letters', (path) => path.startsWith('/dead-letters')],
    ['of jobs', (path) => path.startsWith('/jobs')],
    ['of the fleet', (path) => path.startsWith('/fleet')],
  ];
  const partOf = (path: string): string => parts.find(([, belongs]) => belongs(path))?.[0] ?? 'else';

  test.each([...parts.map(([part]) => part), 'else'])(
    '%s: no serious finding in light or dark, nothing wider than a phone, no complaint of the browser',
    async (part) => {
      const visitor = await visit({ as: 'admin' });
      const wrong: Record<string, string[]> = {};
      for (const [name, subject] of all) {
        if (partOf(await pathOf(subject)) !== part) continue;
        const found = await wrongWith(visitor, name, subject);
        if (found.length > 0) wrong[name] = found;
      }
      expect(wrong).toEqual({});
    },
  );

  test('reads without script', async () => {
    const { page, faults } = await visit({ as: 'admin', javaScriptEnabled: false });
    for (const [name, subject] of all) {
      await page.goto(`${shop().url}${await pathOf(subject)}`);
      expect(await page.locator('body').innerText(), name).toContain(subject.tells);
      expect(await page.locator('nav[aria-label="Pages"] a').count(), name).toBeGreaterThan(5);
    }
    expect(faults().filter(isOwnFault)).toEqual([]);
  });
});
