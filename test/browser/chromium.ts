/** A real browser for the tests of a file, and visits to a shop's dashboard that tell of everything that the browser found fault with. */
import { accessSync, constants, mkdirSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import type { Role } from '../../dashboard/index.ts';
import { eventually } from '../support/eventually.ts';
import { skipBecause } from '../support/skips.ts';
import { openShop, type Shop } from './shop.ts';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];
const OUTPUT = fileURLToPath(new URL('screenshots', import.meta.url));
const DOCS = fileURLToPath(new URL('../../docs/pictures', import.meta.url));
/** What docs/dashboard.md shows. */
const PICTURES: readonly string[] = [
  'overview-light',
  'overview-phone',
  'dead-letters-dark',
  'dead-letter-light',
  'queue-light',
  'fleet-dark',
];

/** One renderer for all pages, and none kept ready: a sixth of the time that the browser takes of the processor. */
const THRIFTY = [
  '--disable-features=SpareRendererForSitePerProcess,IsolateOrigins,site-per-process',
  '--disable-site-isolation-trials',
  '--renderer-process-limit=1',
];

export const DESK = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

/** The browser of this machine: MILLRACE_CHROMIUM, or the first one on the PATH. */
function findChromium(): string | undefined {
  const named = process.env['MILLRACE_CHROMIUM'];
  if (named !== undefined && named !== '') return named;
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(isProgram);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false; // Not there, or not for us.
  }
}

/** How somebody comes to the dashboard. */
export interface Visitor extends BrowserContextOptions {
  /** Signed in so; nobody is without it. */
  as?: Role;
}

/** A page of a context of its own. */
export interface Visit {
  page: Page;
  context: BrowserContext;
  /** What the browser complained of since it was asked last: errors, refusals of the policy, requests to other hosts. */
  faults: () => string[];
  /** Goes to a path of the dashboard, and waits until it is drawn. */
  go: (path: string) => Promise<void>;
}

/** A shop with a browser. */
export interface Scene {
  shop: () => Shop;
  /** Closed when the test ends. */
  visit: (visitor?: Visitor) => Promise<Visit>;
}

/** One shop and one browser for the tests of a file; without a browser on this machine each of them is skipped. */
export function ownedScene(): Scene {
  const program = findChromium();
  let browser: Browser | undefined;
  let shop: Shop | undefined;
  const contexts: BrowserContext[] = [];
  beforeAll(async () => {
    if (program === undefined) return;
    const chromiumSandbox = process.getuid?.() !== 0; // It refuses to run so as root.
    browser = await chromium.launch({ executablePath: program, chromiumSandbox, args: THRIFTY });
    shop = await openShop();
  });
  beforeEach((context) => {
    if (program === undefined)
      skipBecause(context, `no browser: ${NAMES.join(', ')} are not on the PATH, MILLRACE_CHROMIUM names none`);
  });
  afterEach(async () => {
    for (const context of contexts.splice(0)) await context.close();
  });
  afterAll(async () => {
    await browser?.close();
    await shop?.stop();
  });
  const there = (): Shop => shop as Shop;
  return {
    shop: there,
    async visit({ as, ...options } = {}) {
      const context = await (browser as Browser).newContext({ viewport: DESK, reducedMotion: 'reduce', ...options });
      contexts.push(context);
      const { url } = there();
      if (as !== undefined) {
        const cookies = await there().cookiesOf(as);
        await context.addCookies([...cookies].map(([name, value]) => ({ name, value, url })));
      }
      const page = await context.newPage();
      const faults = watchFaults(page, url);
      return { page, context, faults, go: (path) => go(page, `${url}${path}`) };
    },
  };
}

function watchFaults(page: Page, url: string): () => string[] {
  const found: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') found.push(`${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => found.push(String(error.stack ?? error)));
  page.on('request', (request) => {
    const to = request.url();
    if (!to.startsWith(`${url}/`) && !to.startsWith('data:')) found.push(`asks another host: ${to}`);
  });
  return () => found.splice(0);
}

/** Our charts have been drawn, and Bull Board has taken its place. */
const DRAWN = `document.querySelector('.millrace-waiting') === null &&
  document.querySelector('.chart .plot:not(:has(canvas))') === null`;

async function go(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await eventually(async () => expect(await page.evaluate(DRAWN)).toBe(true));
}

/** With MILLRACE_PICTURES=1, keeps how it looks as output of the tests, and makes anew what docs/dashboard.md shows. Each takes a second of a processor. */
export async function screenshot(page: Page, name: string): Promise<void> {
  if (process.env['MILLRACE_PICTURES'] !== '1') return;
  for (const folder of [OUTPUT, ...(PICTURES.includes(name) ? [DOCS] : [])]) {
    mkdirSync(folder, { recursive: true });
    await page.screenshot({ path: join(folder, `${name}.png`), animations: 'disabled' });
  }
}
