/** What the pages of the fleet tell, and what they let whom do. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createDashboard } from '../../dashboard/index.ts';
import { listen } from '../../src/http/index.ts';
import { consume, createPlatform, defineJob, defineStream, handle, schedule, type Platform } from '../../src/index.ts';
import { createJobKeys } from '../../src/jobs/queue-names.ts';
import { eventually } from '../support/eventually.ts';
import { gate } from '../support/gate.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { freshPrefix, openBrowser, ownedDashboards, ownedPlatform, PASSWORD, signIn, userLine } from './support.ts';
import type { Opened } from './support.ts';

const platform = ownedPlatform();
const open = ownedDashboards(platform);
const own = ownedByTest();
const anything = z.record(z.string(), z.unknown());
const jobOf = (name: string, queue?: string) => defineJob({ name, input: anything, ...(queue && { queue }) });

/** A process that works beside that of the dashboard. */
async function anotherPlatform(): Promise<Platform> {
  const { prefix, redis } = platform();
  const another = createPlatform({
    redis: { url: redis.label },
    log: { level: 'silent' },
    prefix,
    appVersion: '<i>v7</i>',
  });
  await another.start();
  return another;
}

async function audited({ browserAs }: Opened, action: string): Promise<string> {
  return textOf((await (await browserAs('admin')).get(`/audit?action=${action}`)).body);
}

/** The text of a page as it is read, without its marks. */
const textOf = (html: string): string =>
  html
    .replace(/^.*<main/s, '<main')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ');

describe('workers', () => {
  test('nobody works, and the page says how to begin', async () => {
    const user = await (await open()).browserAs('viewer');
    expect((await user.get('/fleet')).body).toContain('No worker has been heard of. Start one');
    expect((await user.get('/fleet/workers/none')).status).toBe(404);
  });

  test('each tells of its place, version, work and jobs, as text', async () => {
    const slow = jobOf('report.build');
    const clicks = defineStream({ name: 'clicks', schema: anything });
    const { opened, open: finish } = gate();
    const working = own(await anotherPlatform());
    own(await working.work({ handlers: [handle(slow, () => opened)] }));
    own({ stop: async () => finish() });
    const { id } = await platform().jobs.enqueue(slow, {});
    await eventually(async () => expect((await platform().jobs.get(id))?.state).toBe('active'));
    // Who joins is told of at once, with all that runs.
    own(await working.work({ consumers: [consume(clicks, { group: 'stats', concurrency: 3 }, () => undefined)] }));
    const user = await (await open()).browserAs('viewer');
    const { body } = await eventually(async () => {
      const page = await user.get('/fleet');
      expect(page.body).toContain(`href="/jobs/${id}"`);
      expect(page.body).toContain('as stats');
      return page;
    });
    expect(body).not.toContain('<i>v7');
    expect(textOf(body)).toMatch(
      new RegExp(`\\S+ ${process.pid} running &lt;i>v7&lt;/i> report clicks as stats 1 of \\d+`),
    );
    const [, worker = ''] = /href="(\/fleet\/workers\/[^"]+)"/.exec(body) ?? [];
    const detail = textOf((await user.get(worker)).body);
    expect(detail).toMatch(/clicks stats 0 of 3/);
    expect(detail).toContain(`${id} report.build report 1`);
    expect((await user.get('/fleet?text=%3Cb%3E')).body).toContain('No process has this in its host');
    expect((await user.get('/fleet?text=CLICKS')).body).toContain('as stats');
  });
});

describe('queues', () => {
  test('an operator pauses and resumes one, and comes back to where he was; viewers cannot', async () => {
    const job = jobOf('mail.send', 'mail');
    await platform().jobs.enqueue(job, {});
    const opened = await open();
    const viewer = await opened.browserAs('viewer');
    const shown = await viewer.get('/fleet/queues?name=MAIL');
    expect(textOf(shown.body)).toContain('mail running nobody works on it 0 0 1');
    expect(shown.body).not.toContain('Pause');
    expect((await viewer.post('/fleet/queues/pause', { queue: 'mail' })).status).toBe(403);
    const operator = await opened.browserAs('operator');
    expect((await operator.get('/fleet/queues?name=mail')).body).toContain('No worker takes a job of mail until');
    const paused = await operator.post('/fleet/queues/pause', { queue: 'mail', name: 'mail', page: '1' });
    expect(paused.headers.location).toBe('/fleet/queues?name=mail&page=1');
    expect(await platform().jobs.isPaused('mail')).toBe(true);
    expect(textOf((await operator.get('/fleet/queues?name=mail')).body)).toContain('mail paused');
    await operator.post('/fleet/queues/resume', { queue: 'mail' });
    expect(await platform().jobs.isPaused('mail')).toBe(false);
    expect((await operator.post('/fleet/queues/pause', { queue: 'never' })).status).toBe(404);
    expect(await platform().jobs.queues()).not.toContain('never');
    expect(await audited(opened, 'queue')).toMatch(/queue\.resume mail .*queue\.pause mail/);
  });

  test('a pause that fails is in the audit as well', async () => {
    await platform().jobs.enqueue(jobOf('odd.send', 'odd'), {});
    const opened = await open();
    const operator = await opened.browserAs('operator');
    const { queue } = platform().jobs.bullmq('odd');
    // Something else has taken the key that says whether it is paused.
    await platform().redis.commands().set(queue.toKey('meta'), 'taken');
    expect((await operator.post('/fleet/queues/pause', { queue: 'odd' })).status).toBeGreaterThanOrEqual(500);
    expect(await audited(opened, 'queue.pause')).toMatch(/queue\.pause odd .{0,9}failed/);
    await platform().redis.commands().del(queue.toKey('meta'));
  });
});

describe('schedules', () => {
  test('tell of their runs, and an operator runs one now', async () => {
    const opened = await open();
    const viewer = await opened.browserAs('viewer');
    const job = jobOf('sales.report');
    await platform().schedules.reconcile([
      schedule(job, {}, { id: 'nightly', cron: '30 2 * * *', timeZone: 'Europe/Berlin' }),
      schedule(job, {}, { id: 'hourly', every: '1h' }),
    ]);
    const operator = await opened.browserAs('operator');
    const page = textOf((await operator.get('/fleet/schedules')).body);
    expect(page).toMatch(/hourly sales\.report, queue sales every 1 h never .{2,20} 0 0 Run now/);
    expect(page).toContain('30 2 * * * (Europe/Berlin) never');
    expect((await viewer.post('/fleet/schedules/run', { id: 'nightly' })).status).toBe(403);
    expect((await operator.post('/fleet/schedules/run', { id: 'none' })).status).toBe(404);
    expect((await operator.post('/fleet/schedules/run', { id: 'nightly' })).status).toBe(303);
    expect(textOf((await operator.get('/fleet/schedules')).body)).toMatch(/nightly runs now, as the job \w+\./);
    expect((await platform().jobs.counts('sales')).waiting).toBe(1);
    expect(await audited(opened, 'schedule.run')).toMatch(/schedule\.run nightly .* as job \w+/);
  });
});

describe('locks', () => {
  const NAME = '<b>order</b> {42}';

  test('tell who holds and who waits, and an admin takes one away from whom he was shown', async () => {
    const held = await platform().locks.acquire(NAME, { ttl: '1m' });
    own({ stop: () => held.release() });
    const waiting = platform().locks.acquire(NAME, { wait: '1m', ttl: '1m' });
    const permit = await platform().locks.semaphore('exports', { permits: 3 }).acquire({ weight: 2 });
    const opened = await open();
    const operator = await opened.browserAs('operator');
    const shown = await eventually(async () => {
      const { body } = await operator.get('/fleet/locks');
      expect(textOf(body)).toMatch(/&lt;b>order&lt;\/b> \{42\} mutex \S+ for [\d.]+ m?s , lease ends in \d+ s 1/);
      return body;
    });
    expect(shown).not.toContain('<b>order');
    expect(textOf(shown)).toMatch(/exports semaphore \S+ \(2 permits\)/);
    expect(shown).not.toContain('Take it away');
    const path = `/fleet/locks/release?${new URLSearchParams({ name: NAME })}`;
    expect((await operator.get(path)).status).toBe(403);
    const { holder } = await platform().locks.inspect(NAME);
    expect((await operator.post('/fleet/locks/release', { name: NAME, token: String(holder?.token) })).status).toBe(
      403,
    );

    const admin = await opened.browserAs('admin');
    expect((await admin.get('/fleet/locks')).body).toContain(path.replaceAll('&', '&amp;'));
    const asked = textOf((await admin.get(path)).body);
    expect(asked).toContain(`away from ${holder?.owner}?`);
    expect(asked).toContain('may still be at work');
    expect((await admin.post('/fleet/locks/release', { name: NAME, token: '1' })).status).toBe(409);
    expect(held.held).toBe(true);
    expect((await admin.post('/fleet/locks/release', { name: NAME, token: String(holder?.token) })).status).toBe(303);
    const next = await waiting;
    await eventually(() => expect(held.held).toBe(false));
    expect(await audited(opened, 'lock.release')).toContain(`held by ${holder?.owner}`);
    await Promise.all([next.release(), permit.release()]);
    await admin.post('/fleet/locks/release', { name: NAME, token: '1' });
    expect((await admin.get('/fleet/locks?cursor=%00')).body).toContain('Nobody held');
    await held.release();
  });
});

describe('rate limits', () => {
  test('keys near their edge are shown, and who they are to operators only', async () => {
    const opened = await open();
    const api = platform().limits.limiter('api', { policies: [{ limit: 2, per: '1h' }] });
    for (let count = 0; count < 5; count++) await api.consume('<u>ann</u>');
    const shown = (await (await opened.browserAs('operator')).get('/fleet/limits?limiter=api')).body;
    expect(textOf(shown)).toMatch(/&lt;u>ann&lt;\/u> api \S+ 100 % 3/);
    expect(shown).not.toContain('<u>ann');
    const hidden = (await (await opened.browserAs('viewer')).get('/fleet/limits?limiter=api')).body;
    expect(hidden).not.toContain('ann&lt;');
    expect(textOf(hidden)).toMatch(/not shown api \S+ 100 % 3/);
    expect((await (await opened.browserAs('viewer')).get('/fleet/limits?limiter=none')).body).toContain(
      'No such limiter',
    );
  });
});

describe('a key of a rate limit', () => {
  const FIELDS = { limiter: 'sign-in', key: 'eve <i>@home</i>' };

  /** An app that has the limiter, and has refused the key; the dashboard's process has it not. */
  async function refusing(): Promise<{ app: Platform; allowed: () => Promise<boolean> }> {
    const app = own(await anotherPlatform());
    const limiter = app.limits.limiter(FIELDS.limiter, { policies: [{ limit: 2, per: '1h' }] });
    await limiter.reset(FIELDS.key);
    for (let count = 0; count < 4; count++) await limiter.consume(FIELDS.key);
    await app.limits.nearEdge(); // Tells of it.
    return { app, allowed: async () => (await limiter.peek(FIELDS.key)).allowed };
  }

  test('is let in again by an operator who confirms it, which the audit tells', async () => {
    const opened = await open();
    const { allowed } = await refusing();
    const operator = await opened.browserAs('operator');
    const shown = (await operator.get('/fleet/limits?limiter=sign')).body;
    expect(shown).toContain('All that eve &lt;i>@home&lt;/i> has used of sign-in is forgotten');
    expect(shown).not.toContain('Unblock');
    expect(await allowed()).toBe(false);
    const answer = await operator.post('/fleet/limits/reset', { ...FIELDS, filter: 'sign', page: '1' });
    expect(answer.headers.location).toBe('/fleet/limits?limiter=sign&page=1');
    expect(await allowed()).toBe(true);
    const after = textOf((await operator.get('/fleet/limits?limiter=sign')).body);
    expect(after).toContain('What the key had used is forgotten');
    expect(after).not.toContain('@home');
    expect(await audited(opened, 'limit')).toMatch(/limit\.reset sign-in eve &lt;i>@home&lt;\/i> 1/);
    await operator.post('/fleet/limits/reset', FIELDS);
    expect((await operator.get('/fleet/limits')).body).toContain('Nothing has been heard of this key');
    expect(await audited(opened, 'limit')).not.toMatch(/limit\.reset.*limit\.reset/);
  });

  test('that is blocked is unblocked, and what it took counts on', async () => {
    const opened = await open();
    const { app, allowed } = await refusing();
    const limiter = app.limits.limiter(FIELDS.limiter, { policies: [{ limit: 2, per: '1h' }] });
    await limiter.block(FIELDS.key, '1h');
    await limiter.consume(FIELDS.key);
    await app.limits.nearEdge();
    const operator = await opened.browserAs('operator');
    expect((await operator.get('/fleet/limits')).body).toContain(
      'is let in again as far as the policies of sign-in go',
    );
    expect((await operator.post('/fleet/limits/unblock', FIELDS)).status).toBe(303);
    expect((await limiter.peek(FIELDS.key)).policy).not.toBe('block');
    expect(await allowed()).toBe(false);
    expect(await audited(opened, 'limit.unblock')).toMatch(/limit\.unblock sign-in/);
  });

  test('is neither reset nor unblocked by a viewer, nor without the token of the page', async () => {
    const opened = await open();
    const { allowed } = await refusing();
    const viewer = await opened.browserAs('viewer');
    const shown = (await viewer.get('/fleet/limits')).body;
    expect(shown).not.toContain('/fleet/limits/reset');
    expect(shown).not.toContain('@home');
    const operator = await opened.browserAs('operator');
    for (const act of ['reset', 'unblock']) {
      expect((await viewer.post(`/fleet/limits/${act}`, FIELDS)).status).toBe(403);
      for (const token of ['', viewer.token, Array.from(operator.token).toReversed().join('')])
        expect((await operator.post(`/fleet/limits/${act}`, { ...FIELDS, _csrf: token })).status).toBe(403);
      expect((await operator.get(`/fleet/limits/${act}?${new URLSearchParams(FIELDS)}`)).status).toBe(405);
      expect((await opened.browser().post(`/fleet/limits/${act}`, FIELDS)).headers.location).toMatch(/^\/sign-in/);
    }
    expect(await allowed()).toBe(false);
  });
});

/** When the doctor has looked, by the page. */
const lookedAt = (body: string): string => /looked at <time datetime="([^"]+)"/.exec(body)?.[1] ?? '';

describe('the doctor', () => {
  test('tells what is wrong and how to mend it, and looks again when he is asked to', async () => {
    const { browserAs } = await open();
    const operator = await browserAs('operator');
    const first = await operator.get('/fleet/doctor');
    expect(textOf(first.body)).toContain('CONFIG SET appendonly yes');
    expect(textOf(first.body)).toMatch(/One server at redis:\S+, looked at/);
    expect(lookedAt((await operator.get('/fleet/doctor')).body)).toBe(lookedAt(first.body));
    expect((await operator.post('/fleet/doctor')).status).toBe(303);
    const again = lookedAt((await operator.get('/fleet/doctor')).body);
    expect(Date.parse(again)).toBeGreaterThan(Date.parse(lookedAt(first.body)));
    const viewer = await browserAs('viewer');
    expect((await viewer.get('/fleet/doctor')).body).not.toContain('Look again');
    expect((await viewer.post('/fleet/doctor')).status).toBe(403);
  });
});

describe('10,000 queues', () => {
  const crowded = ownedPlatform();
  const openCrowded = ownedDashboards(crowded);

  test('are a page at a time', async () => {
    const user = await (await openCrowded({ alerts: false })).browserAs('operator');
    expect((await user.get('/fleet/queues')).body).toContain('No queue was used yet.');
    expect((await user.get('/fleet/schedules')).body).toContain('No schedule is declared.');
    expect((await user.get('/fleet/limits')).body).toContain('No key is near the edge');
    const names = Array.from({ length: 10_000 }, (_one, n) => `q-${String(n).padStart(5, '0')}`);
    await crowded()
      .redis.commands()
      .sadd(createJobKeys(crowded().prefix).queues, ...names);
    const page = await user.get('/fleet/queues?page=2');
    expect(page.body).toContain('Page 2 of 200, 10,000 queues');
    expect(textOf(page.body)).toMatch(/q-00050 .*q-00099 /);
    expect(page.body.match(/<tr>/g)).toHaveLength(51);
  });
});

describe('while Redis is down', () => {
  test('every part says so with 503', async () => {
    const server = own(await startRedis());
    const cut = own(
      createPlatform({
        redis: { url: server.url, commandTimeout: 500 },
        log: { level: 'silent' },
        prefix: freshPrefix(),
      }),
    );
    await cut.start();
    const dashboard = own(createDashboard(cut, { users: [userLine('ada', 'admin')], alerts: false }));
    await dashboard.start();
    const listener = own(await listen(dashboard.router, { host: '127.0.0.1', port: 0 }));
    const user = openBrowser(listener.port);
    await signIn(user, 'ada', PASSWORD);
    await server.stop();
    const paths = ['', '/queues', '/schedules', '/locks', '/limits', '/doctor'].map((part) => `/fleet${part}`);
    const answers = await Promise.all([...paths, '/streams', '/streams/orders'].map((path) => user.get(path)));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 503));
    expect(answers[0]?.body).toContain('Redis does not answer');
  });
});
