/** Jobs as the dashboard finds and shows them, and what it does with them. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob, handle, type JobContract } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { bury, charge, input, MARKUP, warmUp, workOn } from './letters.ts';
import { ownedDashboards, ownedPlatform } from './support.ts';

const platformOf = ownedPlatform({ jobs: { maxPayloadBytes: 8_000_000 } });
const open = ownedDashboards(platformOf);

const report = defineJob({ name: 'report.make', queue: 'reports', input: z.object({ title: z.string() }) });
const fields = (customer: string, amount = '8') => ({
  contract: 'billing.charge',
  version: '1',
  'input/customer': customer,
  'input/amount': amount,
  'input/card/number': '42',
  'input/card/owner': 'Ann',
  'input/currency': '"USD"',
  'input/note': '',
});

describe('jobs', () => {
  beforeAll(async () => {
    await workOn(platformOf());
    await warmUp(platformOf());
    await platformOf().jobs.register([charge, report] as JobContract[]);
  });

  test('a job is found by its id, by what stands in it, and a dead one leads to its letter', async () => {
    const { id } = await platformOf().jobs.enqueue(report, { title: `Q3 ${MARKUP}` });
    const [dead = ''] = await bury(platformOf(), ['ada']);
    const { browserAs } = await open();
    const viewer = await browserAs('viewer');
    expect((await viewer.get(`/jobs?id=${id}`)).headers.location).toBe(`/jobs/${id}`);
    const letter = `/dead-letters/letter/${encodeURIComponent(`${dead}~0`)}`;
    for (const path of [`/jobs?id=${dead}`, `/jobs?id=${dead}~0`, `/jobs/${dead}`])
      expect((await viewer.get(path)).headers.location).toBe(letter);
    expect((await viewer.get('/jobs?id=nobody')).body).toContain('There is no job nobody');
    const found = await viewer.get('/jobs?contract=report.make&queue=reports&state=waiting&text=q3');
    expect(found.body).toContain(`/jobs/${id}`);
    expect(found.body).toContain('that were looked at, all there are');
    expect(found.body).not.toContain('<script>alert');
    expect((await viewer.get('/jobs?state=no')).body).toContain('There is no such state');
    expect((await viewer.get('/jobs?queue=no')).body).toContain('There is no such queue');
    const page = await viewer.get(`/jobs/${id}`);
    expect(page.body).toContain('&lt;script>alert');
    expect(page.body).not.toContain('<script>alert');
    expect(page.body).not.toContain('Cancel the job');
  });

  test('a list masks what only the embedding app calls secret', async () => {
    const sign = defineJob({ name: 'sign.in', input: z.object({ pin: z.string() }), secrets: ['pin'] });
    const { id } = await platformOf().jobs.enqueue(sign, { pin: 'pin-1234' });
    const { browserAs } = await open({ contracts: [sign] });
    const viewer = await browserAs('viewer');
    const found = await viewer.get('/jobs?queue=sign');
    expect(found.body).toContain(`/jobs/${id}`);
    expect(found.body).not.toContain('pin-1234');
    expect((await viewer.get(`/jobs/${id}`)).body).not.toContain('pin-1234');
    expect((await viewer.get('/jobs?text=pin-1234')).body).not.toContain(`/jobs/${id}`);
  });

  test('a large input is cut, and not edited', async () => {
    const { id } = await platformOf().jobs.enqueue(report, { title: 'x'.repeat(5_000_000) });
    const { browserAs } = await open();
    const operator = await browserAs('operator');
    const page = await operator.get(`/jobs/${id}`);
    expect(page.status).toBe(200);
    expect(page.body.length).toBeLessThan(128 * 1_024);
    expect(page.body).toContain('class="cut"');
    expect((await operator.get(`/jobs/enqueue?contract=report.make&copy=${id}`)).status).toBe(413);
    expect((await operator.get('/jobs')).body.length).toBeLessThan(128 * 1_024);
  });

  test('waiting and delayed jobs are cancelled or run now, and the page says what came of it', async () => {
    const { jobs } = platformOf();
    const waiting = await jobs.enqueue(report, { title: 'a' });
    const delayed = await jobs.enqueue(report, { title: 'b' }, { delay: '1h' });
    const { browserAs } = await open();
    const [viewer, operator] = [await browserAs('viewer'), await browserAs('operator')];
    expect((await viewer.post(`/jobs/${waiting.id}/cancel`)).status).toBe(403);
    expect((await operator.post(`/jobs/${waiting.id}/cancel`, { _csrf: 'wrong' })).status).toBe(403);
    const cancelled = await operator.post(`/jobs/${waiting.id}/cancel`);
    expect(cancelled.headers.location).toBe(`/jobs/${waiting.id}`);
    const page = await operator.get(`/jobs/${waiting.id}`);
    expect(page.body).toContain('It is cancelled');
    expect(page.body).toContain('cancelled by operator');
    await operator.post(`/jobs/${delayed.id}/retry`);
    expect((await jobs.get(delayed.id))?.state).toBe('waiting');
    expect((await operator.post('/jobs/nobody/cancel')).status).toBe(404);
  });

  test('a running job is cancelled', async () => {
    const slow = defineJob({ name: 'slow.walk', input: z.object({}) });
    const worker = await platformOf().work({
      handlers: [
        handle(slow, (_input, { signal }) => {
          return new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason as Error));
          });
        }),
      ],
    });
    const { id } = await platformOf().jobs.enqueue(slow, {});
    await eventually(async () => expect((await platformOf().jobs.get(id))?.state).toBe('active'));
    const { browserAs } = await open();
    const operator = await browserAs('operator');
    await operator.post(`/jobs/${id}/cancel`);
    expect((await operator.get(`/jobs/${id}`)).body).toContain('It is cancelled');
    expect((await platformOf().jobs.get(id))?.state).toBe('cancelled');
    await worker.stop();
  });

  test('a form is made of the schema; faults stand at their fields, and sent twice it adds one job', async () => {
    const { browserAs } = await open();
    const [viewer, operator] = [await browserAs('viewer'), await browserAs('operator')];
    expect((await viewer.get('/jobs/enqueue')).status).toBe(403);
    expect((await operator.get('/jobs/enqueue')).body).toContain('contract=billing.charge');
    const form = (await operator.get('/jobs/enqueue?contract=billing.charge')).body;
    for (const name of Object.keys(fields('')).filter((one) => one.startsWith('input/')))
      expect(form).toContain(`name="${name}"`);
    expect(form).toMatch(/<option value="&quot;EUR&quot;" selected/);
    const [, submission = ''] = /name="submission" value="([^"]+)"/.exec(form) ?? [];
    const wrong = await operator.post('/jobs/enqueue', { ...fields(MARKUP, '-1'), submission, delay: 'soon' });
    expect(wrong.status).toBe(422);
    expect(wrong.body).toContain('id="error-delay"');
    expect(wrong.body).not.toContain('<script>alert');
    const refused = await operator.post('/jobs/enqueue', { ...fields('', '-1'), submission });
    expect(refused.body).toContain('id="error-input/customer"');
    expect(refused.body).toContain('id="error-input/amount"');
    const good = { ...fields('grace'), submission, delay: '1h', priority: '3', attempts: '2' };
    const [first, second] = [await operator.post('/jobs/enqueue', good), await operator.post('/jobs/enqueue', good)];
    expect([first.status, second.headers.location]).toEqual([303, first.headers.location]);
    const job = await platformOf().jobs.get(first.headers.location?.replace('/jobs/', '') ?? '');
    expect(job).toMatchObject({ state: 'delayed', attempts: 2 });
    expect(job?.input).toEqual({
      customer: 'grace',
      amount: 8,
      card: { number: '42', owner: 'Ann' },
      currency: 'USD',
    });
  });

  test('of contracts of one name in two queues, the one that was chosen gives the queue, and a copy stays in its own', async () => {
    const { jobs } = platformOf();
    const [here, there] = ['north', 'south'].map((queue) => defineJob({ name: 'ship.it', queue, input: z.object({}) }));
    await jobs.register([here, there] as JobContract[]);
    const queueOf = async (location = ''): Promise<string | undefined> =>
      (await jobs.get(location.replace('/jobs/', '')))?.queue;
    for (const contracts of [[], [here], [there]]) {
      const { browserAs } = await open({ contracts: contracts as JobContract[] });
      const operator = await browserAs('operator');
      const list = (await operator.get('/jobs/enqueue')).body.replaceAll('&amp;', '&');
      for (const queue of ['north', 'south']) {
        const link = `/jobs/enqueue?contract=ship.it&version=1&queue=${queue}`;
        expect(list).toContain(`"${link}"`);
        expect((await operator.get(link)).body).toContain(`ship.it, version 1, queue ${queue}`);
        const added = await operator.post('/jobs/enqueue', { contract: 'ship.it', version: '1', queue, input: '{}' });
        expect(await queueOf(added.headers.location)).toBe(queue);
        const copied = await operator.post(`${added.headers.location}/copy`);
        expect(await queueOf(copied.headers.location)).toBe(queue);
      }
    }
  });

  test('a copy keeps secrets that nobody has seen', async () => {
    const { jobs } = platformOf();
    const { id } = await jobs.enqueue(charge, { ...input('copied'), amount: 9 }, { delay: '1h' });
    const { browserAs } = await open({ contracts: [charge] });
    const operator = await browserAs('operator');
    expect((await operator.get(`/jobs/enqueue?contract=report.make&copy=${id}`)).status).toBe(404);
    const page = (await operator.get(`/jobs/enqueue?contract=billing.charge&copy=${id}&as=json`)).body;
    expect(page).toContain('[secret]');
    expect(page).not.toContain('4111');
    const form = { ...fields('other'), 'input/card/number': '[secret]', copy: id, delay: '1h' };
    const added = await operator.post('/jobs/enqueue', form);
    const copy = await jobs.get(added.headers.location?.replace('/jobs/', '') ?? '');
    expect(copy?.input).toMatchObject({ customer: 'other', card: { number: '4111-secret' } });
    const whole = await operator.post(`/jobs/${id}/copy`);
    const same = await jobs.get(whole.headers.location?.replace('/jobs/', '') ?? '');
    expect(same?.input).toEqual({ ...input('copied'), amount: 9 });
  });
});
