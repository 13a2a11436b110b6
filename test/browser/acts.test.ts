/** What somebody does with the dashboard, from signing in to redriving without a mouse. */
import { describe, expect, test } from 'vitest';
import { PASSWORD } from '../dashboard/support.ts';
import { eventually } from '../support/eventually.ts';
import { ownedScene, PHONE, screenshot, type Visit } from './chromium.ts';
import { brightness, findingsOf, focused, tabTo } from './look.ts';
import { reindex } from './shop.ts';

const { shop, visit } = ownedScene();

async function signIn({ page }: Visit, name: string, password: string): Promise<void> {
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

describe('signing in', () => {
  test('leads to the page that was asked for, and out again', async () => {
    const visitor = await visit();
    const { page, go, faults } = visitor;
    await go('/fleet/locks');
    expect(new URL(page.url()).pathname).toBe('/sign-in');
    expect(await findingsOf(page)).toEqual([]);
    await screenshot(page, 'sign-in');
    await signIn(visitor, 'viewer', PASSWORD);
    await page.waitForURL('**/fleet/locks');
    expect(await page.getByRole('row', { name: 'report:monthly' }).count()).toBe(1);
    await page.locator('details.account summary').click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL('**/sign-in');
    await go('/jobs');
    expect(new URL(page.url()).pathname).toBe('/sign-in');
    expect(faults()).toEqual([]);
  });

  test('after ten wrong passwords waits, also for the right one', async () => {
    const visitor = await visit({ extraHTTPHeaders: { 'x-forwarded-for': '203.0.113.9' } });
    const { page, go } = visitor;
    await go('/sign-in');
    for (let attempt = 0; attempt < 10; attempt++) {
      await signIn(visitor, 'operator', `guess number ${attempt}`);
      expect(await page.getByRole('alert').innerText()).toBe('The name or the password is wrong.');
    }
    await signIn(visitor, 'operator', PASSWORD);
    expect(await page.getByRole('alert').innerText()).toMatch(/^Too many attempts\. Try again in \d+ s\.$/);
    await screenshot(page, 'sign-in-throttled');
  });
});

describe('the bar above Bull Board', () => {
  test('shows on a phone where one is, and leads out', async () => {
    const { page, go, faults } = await visit({ viewport: PHONE, colorScheme: 'dark' });
    await go('/queues/');
    await signIn({ page } as Visit, 'viewer', PASSWORD);
    await page.waitForURL('**/queues/');
    await go('/queues/');
    const current = page.locator('.bar [aria-current]');
    expect(await current.innerText()).toBe('Queues');
    const { x, width } = (await current.boundingBox()) ?? { x: -1, width: 0 };
    expect(x).toBeGreaterThanOrEqual(0);
    expect(x + width).toBeLessThanOrEqual(PHONE.width);
    await page.locator('details.account summary').click();
    expect(await findingsOf(page, { rules: ['color-contrast'] })).toEqual([]);
    await screenshot(page, 'queues-menu-phone');
    await page.getByRole('button', { name: 'Light' }).click();
    await page.waitForURL('**/queues/');
    await eventually(async () => expect(await brightness(page)).toBeGreaterThan(200));
    await page.locator('details.account summary').click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL('**/sign-in');
    expect(faults()).toEqual([]);
  });

  test('leads past a sidebar of Bull Board that was put away, to buttons that are told by their names', async () => {
    const { page, go } = await visit({ as: 'operator' });
    await go('/queues/queue/billing.dead?status=failed');
    await page.getByText('no account takes GBP').first().waitFor();
    await page.getByRole('button', { name: 'Collapse sidebar' }).click();
    await page.getByRole('button', { name: 'Expand sidebar' }).waitFor();
    expect(await findingsOf(page, { rules: ['aria-hidden-focus', 'button-name'] })).toEqual([]);
    for (const name of ['Redis details', 'Settings', 'Full screen', 'Retry', 'Clean'])
      await page.getByRole('button', { name, exact: true }).first().waitFor();
  });
});

describe('a viewer', () => {
  test('finds nothing to press on our pages', async () => {
    const { page, go, faults } = await visit({ as: 'viewer' });
    const [letter = ''] = shop().charges;
    const paths = [
      '/',
      '/dead-letters',
      `/dead-letters/letter/${encodeURIComponent(letter)}`,
      `/jobs/${shop().report}`,
    ];
    for (const path of [
      ...paths,
      '/streams/orders.placed',
      '/fleet/queues',
      '/fleet/schedules',
      '/fleet/locks',
      '/alerts',
    ]) {
      await go(path);
      expect(await page.locator('main form[method=post]').count(), path).toBe(0);
    }
    expect(await page.getByRole('link', { name: 'Audit' }).count()).toBe(0);
    expect(faults()).toEqual([]);
  });

  test('cannot retry in Bull Board, by its page or its endpoints', async () => {
    const { page, go } = await visit({ as: 'viewer' });
    await go('/queues/queue/billing.dead?status=failed');
    await page.getByText('no account takes GBP').first().waitFor();
    expect(await page.getByRole('button', { name: /retry|promote|clean/i }).count()).toBe(0);
    await screenshot(page, 'viewer-dead-queue');
    const letter = encodeURIComponent(shop().charges[0] ?? '');
    const statuses = await page.evaluate(`(async () => {
      const token = decodeURIComponent(/XSRF-TOKEN=([^;]*)/.exec(document.cookie)[1]);
      const put = async (path) => (await fetch('/queues/api/queues/billing.dead' + path, { method: 'PUT', headers: { 'x-xsrf-token': token } })).status;
      return [await put('/${letter}/retry/failed'), await put('/${letter}/retry'), await put('/retry/failed')];
    })()`);
    expect(new Set(statuses as number[])).toEqual(new Set([403]));
    expect(await shop().platform.deadLetters.count({ queue: 'billing' })).toBe(4);
  });
});

describe('an operator', () => {
  test('redrives a cluster by keys alone, and its jobs run', async () => {
    const { page, go, faults } = await visit({ as: 'operator' });
    shop().mendGateway();
    await go('/dead-letters');
    await page.keyboard.press('Tab');
    expect(await focused(page)).toMatchObject({ text: 'Skip to the content', isSeen: true });
    await page.keyboard.press('Enter');
    await tabTo(page, /^TypeError: connect ETIMEDOUT/);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/dead-letters?fingerprint=*');
    await tabTo(page, 'Redrive all that match');
    await page.keyboard.press('Enter');
    await page.getByText('This sends 12 dead letters back').waitFor();
    expect(await findingsOf(page)).toEqual([]);
    await screenshot(page, 'redrive-preview');
    await tabTo(page, 'Start the redrive');
    await page.keyboard.press('Enter');
    await page.getByText('done', { exact: true }).waitFor();
    expect(await page.locator('.stat', { hasText: 'Redriven' }).innerText()).toContain('12');
    expect(await findingsOf(page)).toEqual([]);
    await screenshot(page, 'redrive-done');
    const { platform } = shop();
    await eventually(async () => expect((await platform.jobs.counts('email')).completed).toBe(42));
    expect(await platform.deadLetters.count({ queue: 'email' })).toBe(8);
    expect(faults()).toEqual([]);
  });

  test('edits a dead letter: what breaks the schema is told at the field, the rest runs with the secret kept', async () => {
    const { page, go } = await visit({ as: 'operator' });
    const [letter = ''] = shop().charges;
    await go(`/dead-letters/letter/${encodeURIComponent(letter)}`);
    await page.getByRole('link', { name: 'Edit and redrive' }).click();
    const input = page.getByLabel('Input as JSON');
    const text = await input.inputValue();
    expect(text).toContain('[secret]');
    await input.fill(text.replace('4990', '-5'));
    await page.getByRole('button', { name: 'Redrive with this input' }).click();
    expect(await page.locator('.field .error').innerText()).toContain('amount');
    expect(await input.inputValue()).toContain('-5');
    expect(await findingsOf(page)).toEqual([]);
    await screenshot(page, 'edit-fault');
    await input.fill(text.replace('GBP', 'EUR'));
    await page.getByRole('button', { name: 'Redrive with this input' }).click();
    await page.waitForURL('**/jobs/*');
    const id = new URL(page.url()).pathname.split('/').at(-1) ?? '';
    const job = await eventually(async () => {
      const found = await shop().platform.jobs.get(id);
      expect(found?.state).toBe('completed');
      return found;
    });
    expect(job?.input).toMatchObject({ currency: 'EUR', card: { number: '4111 1111 1111 1111' } });
  });

  test('cancels a job that runs', async () => {
    const { page, go, faults } = await visit({ as: 'operator' });
    const { platform, report } = shop();
    await go(`/jobs/${report}`);
    await page.locator('summary', { hasText: 'Cancel' }).click();
    await page.getByText('Cancel the job?').waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.locator('.notice.good').waitFor();
    await eventually(async () => expect((await platform.jobs.get(report))?.state).not.toBe('active'));
    await go(`/jobs/${report}`);
    expect(await page.locator('main .badge').first().innerText()).toBe('cancelled');
    expect(faults()).toEqual([]);
  });
});

describe('a page that is open', () => {
  test('follows what happens, without being loaded again', async () => {
    const { page, go, faults } = await visit({ as: 'viewer' });
    await go('/');
    await page.evaluate('window.isSamePage = true');
    const waiting = page.locator('[data-live="queue:search:waiting"]');
    expect(await waiting.innerText()).toBe('9');
    await page.getByText('Live', { exact: true }).first().waitFor();
    for (let from = 0; from < 3; from++) await shop().platform.jobs.enqueue(reindex, { from, to: from });
    await eventually(async () => expect(await waiting.innerText()).toBe('12'));
    expect(await page.evaluate('window.isSamePage')).toBe(true);
    expect(faults()).toEqual([]);
  });

  test('is dark as the system is, or as was chosen, and so is Bull Board', async () => {
    const { page, go, faults } = await visit({ as: 'viewer', colorScheme: 'dark' });
    const dark = (): Promise<void> => eventually(async () => expect(await brightness(page)).toBeLessThan(60));
    const light = (): Promise<void> => eventually(async () => expect(await brightness(page)).toBeGreaterThan(200));
    await go('/');
    await dark();
    await go('/queues/');
    await dark();
    await go('/jobs');
    await page.locator('details.account summary').click();
    await page.getByRole('button', { name: 'Light' }).click();
    await light();
    expect(new URL(page.url()).pathname).toBe('/jobs');
    await go('/queues/');
    await light();
    await page.emulateMedia({ colorScheme: 'light' });
    await go('/fleet');
    await page.locator('details.account summary').click();
    await screenshot(page, 'account-menu');
    await page.getByRole('button', { name: 'Dark' }).click();
    await dark();
    await go('/queues/');
    await dark();
    expect(faults()).toEqual([]);
  });
});
