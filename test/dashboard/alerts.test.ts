/** Alerts from end to end: judged by one of several dashboards, told once by a job, acknowledged and silenced on the page. */
import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { AlertNotice, AlertOptions, AlertRule } from '../../dashboard/index.ts';
import { createPlatform, defineJob, type Platform, type PlatformOptions } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { freshPrefix, ownedDashboards, type Opened } from './support.ts';

const sendMail = defineJob({ name: 'email.send', input: z.object({}) });
const TOO_OLD: AlertRule = { kind: 'oldest-age', over: 1, for: 0, clear: 0, queues: ['email'], severity: 'critical' };
const SECRET = 'a secret of the webhook';

interface Posted {
  headers: IncomingHttpHeaders;
  body: string;
  notice: AlertNotice;
}

/** Somebody who is told, and answers as the test says. */
async function openReceiver() {
  const posted: Posted[] = [];
  const receiver = { posted, answer: 204, url: '', stop: async () => undefined as unknown };
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      posted.push({ headers: request.headers, body, notice: JSON.parse(body) as AlertNotice });
      response.writeHead(receiver.answer, { connection: 'close' }).end('thanks');
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  receiver.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook/T0P5ECRET`;
  receiver.stop = () => new Promise((resolve) => server.close(resolve));
  return receiver;
}

describe('alerts', () => {
  const own = ownedByTest();
  let server: TestServer;
  let platform: Platform;
  let lines: string[] = [];
  const open = ownedDashboards(() => platform);
  beforeAll(async () => {
    server = await startRedis();
    return () => server.stop();
  });
  let receiver: Awaited<ReturnType<typeof openReceiver>>;
  beforeEach(async () => {
    receiver = own(await openReceiver());
    await newPlatform({ prefix: freshPrefix() });
  });
  afterEach(() => {
    lines = [];
  });

  async function newPlatform(options: PlatformOptions): Promise<void> {
    const destination = { write: (line: string) => lines.push(line) };
    platform = own(
      createPlatform({ redis: { url: server.url }, log: { level: 'debug', destination } as never, ...options }),
    );
    await platform.start();
  }

  const dashboard = (alerts: AlertOptions = {}): Promise<Opened> =>
    open({
      collectEvery: 100,
      environment: 'test',
      url: 'https://ops.example.com',
      alerts: { rules: [TOO_OLD], webhook: { url: receiver.url, secret: SECRET }, ...alerts },
    });
  const told = (): string[] => receiver.posted.map(({ notice }) => `${notice.status} ${notice.subject}`);
  /** Empties the queue, so that its oldest job is none. */
  const drain = async (): Promise<void> => {
    await platform.jobs.bullmq('email').queue.drain();
  };

  test('are told once when they fire and once when they are resolved, signed, whoever collects', async () => {
    const one = await dashboard();
    await platform.jobs.enqueue(sendMail, {});
    await eventually(() => expect(told()).toEqual(['firing queue email']));
    const [{ headers, body, notice }] = receiver.posted as [Posted];
    expect(notice).toMatchObject({
      rule: 'oldest-age',
      severity: 'critical',
      labels: { queue: 'email' },
      environment: 'test',
      link: 'https://ops.example.com/alerts',
    });
    const [, time = '', mac] = /^t=(\d+),v1=(\w+)$/.exec(String(headers['x-millrace-signature'])) ?? [];
    expect(mac).toBe(createHmac('sha256', SECRET).update(`${time}.${body}`).digest('hex'));

    const other = await dashboard();
    await one.dashboard.stop();
    const page = await other.browserAs('viewer');
    await eventually(async () => expect((await page.get('/alerts')).body).toContain('fires (1)'));
    expect((await page.get('/alerts')).body).toContain('<a href="/charts/email">queue email</a>');
    const before = (await platform.locks.inspect('dashboard.collector')).holder?.token;
    await drain();
    await eventually(() => expect(told()).toEqual(['firing queue email', 'resolved queue email']));
    expect(before).toBeGreaterThan(1);
    const shown = (await page.get('/alerts')).body;
    expect(shown).toContain('Nothing fires.');
    expect(shown.match(/>(fired|resolved)</g)).toEqual(['>resolved<', '>fired<']);
  });

  test('a notice that was owed when the collector died is told by the next one, and one that was enqueued is not told again', async () => {
    const key = (name: string): string => `${platform.prefix}:dashboard:{alerts}:${name}`;
    const one = await dashboard();
    await platform.jobs.enqueue(sendMail, {});
    await eventually(() => expect(told()).toHaveLength(1));
    await one.dashboard.stop();
    // As it stands when a process dies between writing down what is owed and crossing it out.
    const { notice } = receiver.posted[0]!;
    const lost = { ...notice, id: 'oldest-age:queue lost@1', subject: 'queue lost' };
    const owed = [notice, lost].flatMap((each) => [each.id, JSON.stringify(each)]);
    await platform.redis.commands().hset(key('owed'), ...owed);
    await dashboard();
    await eventually(async () => expect(await platform.redis.commands().hlen(key('owed'))).toBe(0));
    await eventually(() => expect(told()).toEqual(['firing queue email', 'firing queue lost']));
    await drain();
    await eventually(() => expect(told().at(-1)).toBe('resolved queue email'));
    expect(told()).toHaveLength(3);
  });

  test('are acknowledged and silenced by operators; what was silenced is told when it still fires afterwards', async () => {
    const { browserAs } = await dashboard();
    const operator = await browserAs('operator');
    const silenced = await operator.post('/alerts/silence', { rule: 'oldest-age', for: '1h' });
    expect([silenced.status, silenced.headers.location]).toEqual([303, '/alerts']);
    await platform.jobs.enqueue(sendMail, {});
    await eventually(async () => expect((await operator.get('/alerts')).body).toContain('silenced by operator'));
    await eventually(async () => expect((await operator.get('/alerts')).body).toContain('fires (1)'));
    const id = 'oldest-age:queue email';
    const viewer = await browserAs('viewer');
    expect((await viewer.post('/alerts/acknowledge', { id })).status).toBe(403);
    expect((await viewer.get('/alerts')).body).not.toContain('Acknowledge</button>');
    expect((await operator.post('/alerts/acknowledge', { id })).status).toBe(303);
    expect((await operator.post('/alerts/acknowledge', { id: 'no-such' })).status).toBe(404);
    expect((await operator.post('/alerts/silence', { rule: 'oldest-age', for: '100y' })).status).toBe(400);
    expect((await operator.get('/alerts')).body).toContain('by operator</td>');
    expect(told()).toEqual([]);
    await operator.post('/alerts/unsilence', { rule: 'oldest-age' });
    await eventually(() => expect(told()).toEqual(['firing queue email']));
    const audit = (await (await browserAs('admin')).get('/audit')).body;
    for (const action of ['alert.silence', 'alert.unsilence', 'alert.acknowledge']) expect(audit).toContain(action);
  });

  test('a receiver that fails is tried again, one that refuses makes a dead letter; no secret is in either, in a page or in a log', async () => {
    const { browserAs } = await dashboard({ rules: [] });
    const operator = await browserAs('operator');
    receiver.answer = 500;
    expect((await operator.post('/alerts/test')).status).toBe(303);
    await eventually(async () => {
      const { jobs } = await platform.jobs.search({ queues: ['millrace'], states: ['delayed'] });
      expect(jobs[0]?.attemptsMade).toBe(1);
    });
    receiver.answer = 410;
    await operator.post('/alerts/test');
    const letters = await eventually(async () => {
      const page = await platform.deadLetters.list({ queue: 'millrace' });
      expect(page.letters).toHaveLength(1);
      return page.letters;
    });
    expect(letters[0]?.error.message).toBe('the webhook answered 410');
    const pages = await Promise.all(['/alerts', '/'].map((path) => operator.get(path)));
    const seen = [JSON.stringify(letters), ...pages.map(({ body }) => body), ...lines].join('\n');
    for (const secret of ['T0P5ECRET', SECRET]) expect(seen).not.toContain(secret);
    expect(receiver.posted.every(({ notice }) => notice.status === 'test')).toBe(true);
  });

  test('the Prometheus file is theirs; without a webhook nobody can be told, without alerts the page says so', async () => {
    const viewer = await (await dashboard()).browserAs('viewer');
    const file = await viewer.get('/alerts/prometheus.yml');
    expect(file.headers['content-type']).toContain('yaml');
    expect(file.body).toContain('MillraceOldestAge');
    const quiet = await open({ alerts: { rules: [TOO_OLD] } });
    expect((await (await quiet.browserAs('operator')).post('/alerts/test')).status).toBe(409);
    const off = await open({ alerts: false });
    expect((await (await off.browserAs('viewer')).get('/alerts')).body).toContain('Alerts are off');
  });
});
