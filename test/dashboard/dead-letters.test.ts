/** Dead letters as the dashboard shows them, and what it does to them. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { consume, defineStream, unrecoverable } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { bury, charge, MARKUP, warmUp, workOn } from './letters.ts';
import { ownedDashboards, ownedPlatform, type Answer, type Browser } from './support.ts';

const platformOf = ownedPlatform();
const open = ownedDashboards(platformOf);
let worker: { stop(): Promise<void> };

/** Nothing that was put in as markup comes out as such. */
function expectNoMarkup(answer: Answer): void {
  expect(answer.status).toBe(200);
  expect(answer.body).not.toContain('<script>alert');
  expect(answer.body).not.toContain('<img src=x');
}

const lettersOf = (ids: readonly string[]): string[] => ids.map((id) => `${id}~0`);

/** Follows an operation to its end. */
async function ended(browser: Browser, answer: Answer): Promise<string> {
  expect(answer.status).toBe(303);
  const to = answer.headers.location ?? '';
  expect(to).toMatch(/^\/dead-letters\/operations\/[\da-f-]{36}$/);
  return eventually(async () => {
    const page = await browser.get(to);
    expect(page.status).toBe(200);
    expect(page.body).not.toContain('data-running');
    return page.body;
  });
}

describe('dead letters', () => {
  beforeAll(async () => {
    worker = await workOn(platformOf());
    await warmUp(platformOf());
  });

  test('clusters and letters are shown with their facts, and the filter finds by what stands in them', async () => {
    const [id = ''] = await bury(platformOf(), ['ada', 'grace']);
    const { browserAs } = await open();
    const viewer = await browserAs('viewer');
    const page = await eventually(async () => {
      const found = await viewer.get('/dead-letters');
      expect(found.body).toContain('class="sparkline"');
      return found;
    });
    expect(page.status).toBe(200);
    expect(page.body).toContain(`/dead-letters/letter/${encodeURIComponent(`${id}~0`)}`);
    expect(page.body).toContain('billing.charge');
    expect(page.body).not.toContain('Redrive selected');
    const found = await viewer.get('/dead-letters?queue=billing&reason=unrecoverable&text=ADA');
    expect(found.body).toContain(`${id}~0`);
    expect(found.body).toContain('1 shown');
    expect((await viewer.get('/dead-letters?text=4111')).body).toContain('0 shown');
    expect((await viewer.get('/dead-letters?queue=nobody')).body).toContain('There is no such queue');
    expect((await viewer.get('/dead-letters?from=soon')).body).toContain('Expected a date and a time');
    expect((await viewer.get('/dead-letters?cursor=no')).body).toContain('is not known');
  });

  test('a letter tells all of itself but its secrets', async () => {
    const [id = ''] = await bury(platformOf(), [MARKUP]);
    const { browserAs } = await open();
    const viewer = await browserAs('viewer');
    const page = await viewer.get(`/dead-letters/letter/${encodeURIComponent(`${id}~0`)}`);
    expectNoMarkup(page);
    expect(page.body).toContain('&lt;script>alert');
    expect(page.body).not.toContain('4111');
    expect(page.body).toContain('[secret]');
    expect(page.body).toContain('charging');
    expect(page.body).toContain('class="frame-own"');
    expect(page.body).toContain('goes back to billing with a new attempt');
    expectNoMarkup(await viewer.get('/dead-letters'));
    expectNoMarkup(await viewer.get(`/dead-letters?text=${encodeURIComponent(MARKUP)}`));
    expect((await viewer.get('/dead-letters/letter/no~0')).status).toBe(404);
    expect((await viewer.get(`/dead-letters/letter/${id}~0?queue=nobody`)).status).toBe(404);
  });

  test('a viewer and a wrong token change nothing', async () => {
    const ids = lettersOf(await bury(platformOf(), ['joan']));
    const { browserAs } = await open();
    const [viewer, operator] = [await browserAs('viewer'), await browserAs('operator')];
    const [id = ''] = ids;
    const to = `/dead-letters/letter/${encodeURIComponent(id)}`;
    for (const [path, form] of [
      ['/dead-letters/act', { act: 'start-discard', id }],
      ['/dead-letters/act', { act: 'start-redrive', all: 'yes' }],
      [`${to}/redrive`, {}],
      [`${to}/discard`, {}],
      [`${to}/edit`, { input: '{}' }],
    ] as const) {
      expect((await viewer.post(path, form)).status).toBe(403);
      expect((await operator.post(path, { ...form, _csrf: 'wrong' })).status).toBe(403);
    }
    expect((await viewer.get(`${to}/edit`)).status).toBe(403);
    expect(await platformOf().deadLetters.get(id)).toBeDefined();
  });

  test('selected letters are redriven after a preview, by an operation that tells how it ended', async () => {
    const ids = lettersOf(await bury(platformOf(), ['tim', 'tom']));
    const { browserAs } = await open();
    const operator = await browserAs('operator');
    const preview = await operator.post('/dead-letters/act', { act: 'redrive', id: ids });
    expect(preview.status).toBe(200);
    expect(preview.body).toContain('This sends 2 dead letters back');
    expect(await platformOf().deadLetters.get(ids[0] ?? '')).toBeDefined();
    // Whoever leaves it, or has selected nothing, is where he was.
    const filtered = { queue: 'billing', text: 'tim' };
    const left = await operator.post('/dead-letters/act', { act: 'redrive', id: ids, ...filtered });
    expect(left.body).toContain('href="/dead-letters?queue=billing&amp;text=tim">Leave it');
    const none = await operator.post('/dead-letters/act', { act: 'redrive', ...filtered });
    expect(none.headers.location).toBe('/dead-letters?queue=billing&text=tim');
    expect((await operator.get('/dead-letters')).body).toContain('Select letters in the list first');
    const wrong = await operator.post('/dead-letters/act', { act: 'start-redrive', id: ids, limit: '0', rate: 'x' });
    expect(wrong.status).toBe(422);
    expect(wrong.body).toContain('Expected a whole number from 1');
    const page = await ended(operator, await operator.post('/dead-letters/act', { act: 'start-redrive', id: ids }));
    expect(page).toContain('done');
    expect(await platformOf().deadLetters.get(ids[0] ?? '')).toBeUndefined();
    const admin = await browserAs('admin');
    await eventually(async () => {
      const audit = (await admin.get('/audit?action=dead-letters.redrive')).body;
      expect(audit).toContain('2 selected dead letters');
      expect(audit).toContain('ended: done');
    });
    expect((await operator.get('/dead-letters/operations')).body).toContain('2 selected dead letters');
  });

  test('all that match are discarded once that is confirmed; a filter that cannot be read means none', async () => {
    const [gone = '', kept = ''] = lettersOf(await bury(platformOf(), ['xenia', 'yara']));
    const { browserAs } = await open();
    const [operator, admin] = [await browserAs('operator'), await browserAs('admin')];
    const form = { all: 'yes', text: 'xenia' };
    for (const act of ['discard', 'start-discard'])
      expect((await operator.post('/dead-letters/act', { act, ...form })).status).toBe(403);
    const confirm = await admin.post('/dead-letters/act', { act: 'discard', ...form });
    expect(confirm.body).toContain('Discard 1 dead letter for good');
    for (const bad of [{}, { all: 'yes', reason: 'no' }, { all: 'yes', from: 'soon' }])
      expect((await admin.post('/dead-letters/act', { act: 'start-discard', ...bad })).status).toBe(400);
    await ended(admin, await admin.post('/dead-letters/act', { act: 'start-discard', ...form }));
    expect(await platformOf().deadLetters.get(gone)).toBeUndefined();
    expect(await platformOf().deadLetters.get(kept)).toBeDefined();
  });

  test('an operation is aborted, and started again by whoever finds it', async () => {
    const ids = lettersOf(await bury(platformOf(), ['a1', 'a2', 'a3', 'a4']));
    const { browserAs } = await open();
    const operator = await browserAs('operator');
    const form = { act: 'start-redrive', id: ids, rate: '0.1' };
    const started = await operator.post('/dead-letters/act', form);
    const to = started.headers.location ?? '';
    const running = await operator.get(to);
    expect(running.body).toContain('<noscript><meta http-equiv="refresh"');
    expect((await (await browserAs('viewer')).post(`${to}/abort`)).status).toBe(403);
    expect((await operator.post(`${to}/abort`)).status).toBe(303);
    expect(await ended(operator, started)).toContain('operator has ended it.');
    const left = await platformOf().deadLetters.redrive(ids, { dryRun: true });
    expect(left.matched).toBeGreaterThan(0);
    const other = await open();
    const second = await other.browserAs('operator');
    await second.post('/dead-letters/act', form); // Of another dashboard: its own operation, which is cut off with it.
    await other.dashboard.stop();
    const [cutOff] = (await operator.get('/dead-letters/operations')).body.match(/operations\/[\da-f-]{36}/g) ?? [];
    const page = await operator.get(`/dead-letters/${cutOff}`);
    expect(page.body).toContain('The dashboard that worked on it was stopped.');
    expect(page.body).toContain('Start again');
    expect((await operator.post(`/dead-letters/${cutOff}/again`)).status).toBe(303);
    await operator.post(`/dead-letters/${cutOff}/abort`);
    await ended(operator, { ...started, headers: { location: `/dead-letters/${cutOff}` } });
  });

  test('a trial that fails stops the rest', async () => {
    const ids = lettersOf(await bury(platformOf(), ['t1', 't2', 't3']));
    const { browserAs } = await open();
    const operator = await browserAs('operator');
    const form = { act: 'start-redrive', id: ids, first: '1', wait: '60', share: '0' };
    const page = await ended(operator, await operator.post('/dead-letters/act', form));
    expect(page).toContain('1 of the first 1 have failed again. The rest was left.');
    expect((await platformOf().deadLetters.redrive(ids, { dryRun: true })).matched).toBe(2);
  });

  test('an edited input is checked, keeps its secrets, and runs', async () => {
    const [job = ''] = await bury(platformOf(), ['edith']);
    const { browserAs } = await open({ contracts: [charge] });
    const operator = await browserAs('operator');
    const to = `/dead-letters/letter/${encodeURIComponent(`${job}~0`)}/edit`;
    const form = await operator.get(to);
    expect(form.body).toContain('[secret]');
    expect(form.body).not.toContain('4111');
    const input = { customer: 'edith', amount: 8, card: { number: '[secret]', owner: 'E' } };
    const broken = await operator.post(to, { input: '{\n"customer": }' });
    expect(broken.status).toBe(422);
    expect(broken.body).toContain('This is no JSON');
    const wrong = await operator.post(to, { input: JSON.stringify({ ...input, amount: 'many' }) });
    expect(wrong.status).toBe(422);
    expect(wrong.body).toMatch(/id="error-input">amount: /);
    const sent = await operator.post(to, { input: JSON.stringify(input) });
    expect([sent.status, sent.headers.location]).toEqual([303, `/jobs/${job}`]);
    await eventually(async () => expect((await platformOf().jobs.get(job))?.state).toBe('completed'));
    expect((await platformOf().jobs.get(job))?.input).toEqual({
      ...input,
      card: { number: '4111-secret', owner: 'E' },
    });
    const page = await operator.get(`/jobs/${job}`);
    expect(page.body).toContain('charged');
    expect(page.body).not.toContain('4111');
  });

  test('one letter is redriven, and one discarded', async () => {
    const [back = '', gone = ''] = lettersOf(await bury(platformOf(), ['one', 'two']));
    const { browserAs } = await open();
    const operator = await browserAs('operator');
    const redriven = await operator.post(`/dead-letters/letter/${encodeURIComponent(back)}/redrive`, {
      queue: 'billing',
    });
    expect(redriven.status).toBe(303);
    expect(await platformOf().deadLetters.get(back)).toBeUndefined();
    await operator.post(`/dead-letters/letter/${encodeURIComponent(gone)}/discard`);
    expect(await platformOf().deadLetters.get(gone)).toBeUndefined();
    await worker.stop();
  });
});

describe('dead letters of streams', () => {
  test('they are listed by group, shown, redriven and discarded', async () => {
    const orders = defineStream({ name: 'orders.placed', schema: z.object({ note: z.string() }), groups: ['billing'] });
    const { streams } = platformOf();
    const consumer = await streams.run([
      consume(orders, { group: 'billing' }, async ({ note }) => {
        throw unrecoverable(new Error(note));
      }),
    ]);
    for (const note of [MARKUP, 'second']) await streams.publish(orders, { note });
    const letters = streams.deadLetters(orders, 'billing');
    await eventually(async () => expect(await letters.count()).toBe(2));
    await consumer.stop();
    const { browserAs } = await open();
    const [viewer, operator] = [await browserAs('viewer'), await browserAs('operator')];
    const to = '/dead-letters/streams/orders.placed/billing';
    expect((await viewer.get('/dead-letters/streams')).body).toContain(to);
    expectNoMarkup(await viewer.get(to));
    const [newest, oldest] = (await letters.list()).letters.map(({ id }) => id);
    expectNoMarkup(await viewer.get(`${to}/${oldest}`));
    expect((await viewer.get(`${to}/1-0`)).status).toBe(404);
    expect((await viewer.get('/dead-letters/streams/orders.placed/nobody')).status).toBe(404);
    expect((await viewer.post(`${to}/discard`, { all: 'yes' })).status).toBe(403);
    expect((await operator.post(`${to}/discard`, { all: 'yes', reason: 'no' })).status).toBe(400);
    await operator.post(`${to}/redrive`, { id: newest ?? '' });
    expect((await letters.list()).letters.map(({ id }) => id)).toEqual([oldest]);
    expect((await operator.post(`${to}/discard`, { all: 'yes', reason: 'unrecoverable' })).status).toBe(403);
    const admin = await browserAs('admin');
    const page = await ended(admin, await admin.post(`${to}/discard`, { all: 'yes', reason: 'unrecoverable' }));
    expect(page).toContain('dead letters of orders.placed, billing with reason unrecoverable');
    expect(await letters.count()).toBe(0);
  });
});
