/** The audit: what is written down, and how it is found again. */
import { afterEach, describe, expect, test } from 'vitest';
import { AuditLog } from '../../dashboard/audit/audit.ts';
import { checkDashboard } from '../../dashboard/options.ts';
import { PAGES } from '../../dashboard/pages.ts';
import { createPlatform, MillraceError } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis } from '../support/servers.ts';
import { forwardedFor, freshPrefix, ownedDashboards, ownedPlatform, PASSWORD, signIn } from './support.ts';

const platform = ownedPlatform();
const open = ownedDashboards(platform);
const own = ownedByTest();

const pages = PAGES as Array<(typeof PAGES)[number]>;
const acting: (typeof PAGES)[number] = {
  path: '/act',
  title: 'Act',
  needs: 'viewer',
  routes(router, desk) {
    router.post('/break', async (_request, response) => {
      await desk.act(response, { action: 'queue.break', target: 'email' }, (told) => {
        told.count = 7;
        told.detail = 'half of it';
        throw new MillraceError('JOB_TIMEOUT', 'the secret inside', {});
      });
    });
    router.post('/', async (_request, response) => {
      await desk.audit(response, { action: 'queue.pause', target: '<script>alert(1)</script>', count: 1_234 });
      desk.redirect(response, '/');
    });
  },
};
afterEach(() => void (pages.includes(acting) && pages.splice(pages.indexOf(acting), 1)));

describe('the audit', () => {
  test('has who did what, to what, how often and from where, and shows it to admins', async () => {
    pages.push(acting);
    const { browser, browserAs } = await open({ trustProxy: 'loopback' });
    const operator = browser();
    const from = forwardedFor('203.0.113.77');
    await operator.post('/sign-in', { name: 'operator', password: PASSWORD }, from);
    await operator.get('/');
    expect((await operator.post('/act', {}, from)).status).toBe(303);
    const admin = await browserAs('admin');
    const { body } = await admin.get('/audit?action=queue&user=Operator');
    for (const shown of ['queue.pause', 'operator (operator)', '1,234', '203.0.113.77', '&lt;script>alert(1)', 'done'])
      expect(body).toContain(shown);
    expect(body).not.toContain('session.sign-in');
    expect((await admin.get('/audit?action=session')).body).toContain('session.sign-in');
    expect((await admin.get('/audit?user=nobody')).body).toContain('No action is written down that matches.');
    const [, at = ''] = /<time datetime="([^"]+)"/.exec(body) ?? [];
    const later = new Date(Date.parse(at) + 120_000).toISOString().slice(0, 16);
    expect((await admin.get(`/audit?action=queue&from=${later}`)).body).toContain('No action is written down');
    expect((await admin.get(`/audit?action=queue&to=${later}`)).body).toContain('queue.pause');
  });

  test('what was begun and then failed is there too, with what is known and without a message', async () => {
    pages.push(acting);
    const { browserAs } = await open();
    expect((await (await browserAs('operator')).post('/act/break')).status).toBe(500);
    const { body } = await (await browserAs('admin')).get('/audit?action=queue.break');
    for (const shown of ['email', '7', 'failed', 'half of it; JOB_TIMEOUT']) expect(body).toContain(shown);
    expect(body).not.toContain('secret');
  });

  test('signing in and out is written down', async () => {
    const { browser, browserAs } = await open();
    const viewer = browser();
    await signIn(viewer, 'viewer', PASSWORD);
    await viewer.post('/sign-out');
    const { body } = await (await browserAs('admin')).get('/audit?user=viewer');
    for (const action of ['session.sign-in', 'session.sign-out']) expect(body).toContain(action);
  });

  test('is read page by page, from the newest on', async () => {
    const { audit } = await fresh();
    for (let count = 0; count < 120; count++) await write(audit, `job.cancel-${count % 2}`, count);
    const first = await audit.page({});
    expect([first.records.length, first.records[0]?.count]).toEqual([50, 119]);
    const second = await audit.page({}, first.next);
    expect([second.records.length, second.records[0]?.count]).toEqual([50, 69]);
    const third = await audit.page({}, second.next);
    expect([third.records.length, third.next, third.records.at(-1)?.count]).toEqual([20, undefined, 0]);
    const even = await audit.page({ action: 'job.cancel-0' });
    expect([even.records.length, even.records.every(({ count = 1 }) => count % 2 === 0)]).toEqual([50, true]);
    expect((await audit.page({}, 'made up')).records[0]?.count).toBe(119);
  });

  test('keeps no more than it may', async () => {
    const { platform: own1, audit } = await fresh({ auditEntries: 100 });
    for (let count = 0; count < 400; count++) await write(audit, 'job.cancel', count);
    const key = `${own1.prefix}:streams:{dashboard.audit}:entries`;
    await eventually(async () => expect(await own1.redis.commands().xlen(key)).toBeLessThan(300), 30_000);
    expect((await audit.page({})).records[0]?.count).toBe(399);
  });

  test('what Redis does not take is in the log, and the action stands', async () => {
    const { audit, server, lines } = await fresh();
    await server.stop();
    await write(audit, 'queue.pause', 1);
    expect(lines.warnings()).toContainEqual(
      expect.objectContaining({ msg: 'an action could not be written into the audit', action: 'queue.pause' }),
    );
  });
});

async function fresh(options: object = {}) {
  const lines = collectLog();
  const server = own(await startRedis());
  const fast = { redis: { url: server.url, commandTimeout: '500ms' }, log: lines.log, prefix: freshPrefix() } as const;
  const platformOfTest = own(createPlatform(fast));
  await platformOfTest.start();
  return {
    lines,
    server,
    platform: platformOfTest,
    audit: new AuditLog(platformOfTest, lines.log, checkDashboard(options)),
  };
}

function write(audit: AuditLog, action: string, count: number): Promise<void> {
  return audit.write({ user: { name: 'ada', role: 'admin' }, address: '203.0.113.1' }, { action, count });
}
