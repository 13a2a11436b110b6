/** What `webhook.deliver` sends, and what it does with receivers that misbehave. */
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Platform } from '../../src/index.ts';
import { webhookDeliver, type WebhookInput, type WebhookOptions } from '../../workers/index.ts';
import { webhookHandler } from '../../workers/webhook-deliver.ts';
import { resolveBySystem, type Resolve } from '../../workers/webhook/addresses.ts';
import { Endpoint, type BreakerRules } from '../../workers/webhook/endpoint.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedByTest } from '../support/owned.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';
import { says, startReceiver, type Receiver } from './receiver.ts';
import { ends, impatient, letterOf, QUICK, startPlatform } from './scene.ts';

const own = ownedByTest();
const bytes = [1, 2].map((fill) => Buffer.alloc(24, fill));
const [current = '', old = ''] = bytes.map((secret) => `whsec_${secret.toString('base64')}`);
let redis: TestServer;
let receiver: Receiver;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());
beforeEach(async () => {
  receiver = own(await startReceiver());
});

async function working(options: Partial<WebhookOptions> = {}, resolve: Resolve = resolveBySystem): Promise<Platform> {
  const platform = await startPlatform(own, redis.url);
  const defaults: WebhookOptions = { secrets: { orders: [current, old] }, allowHttp: true, allowPrivate: true };
  await platform.work({ ...QUICK, handlers: [impatient(webhookHandler({ ...defaults, ...options }, resolve))] });
  return platform;
}

const hook = (url = `${receiver.url}/hooks`): WebhookInput => ({
  url,
  secret: 'orders',
  payload: { type: 'order.paid', data: 'ü' },
});

const resolvePrivate: Resolve = async (host) =>
  host === 'mixed.test'
    ? [
        { address: '93.184.216.34', family: 4 },
        { address: '::ffff:127.0.0.1', family: 6 },
      ]
    : [{ address: '169.254.169.254', family: 4 }];

/** One that nobody else knows. */
async function endpointWith(breaker: BreakerRules): Promise<Endpoint> {
  const { limits, log } = await startPlatform(own, redis.url);
  return new Endpoint(limits, new URL('https://example.com/hooks'), false, breaker, log);
}

/** How a job of two attempts ends that gets nowhere. */
async function deathOf(platform: Platform, input = hook()): Promise<{ reason: string; message: string }> {
  const { id } = await platform.jobs.enqueue(webhookDeliver, input, { attempts: 2 });
  const { reason, error } = await letterOf(platform, id);
  return { reason, message: error.message };
}

describe('a webhook', () => {
  test('is signed with each secret over id, time and body, with the same id in all attempts', async () => {
    receiver.answers = [says(500), says(204)];
    const platform = await working();
    const { id } = await platform.jobs.enqueue(webhookDeliver, { ...hook(), headers: { Authorization: 'Bearer x' } });
    expect(await ends(platform, id, 'completed')).toMatchObject({ result: { status: 204 } });
    expect(receiver.received).toHaveLength(2);
    for (const { headers, body, path } of receiver.received) {
      expect([path, body]).toEqual(['/hooks', '{"type":"order.paid","data":"ü"}']);
      expect(headers).toMatchObject({
        'webhook-id': id,
        'content-type': 'application/json',
        authorization: 'Bearer x',
      });
      const time = headers['webhook-timestamp'] as string;
      expect(Math.abs(Number(time) - Date.now() / 1_000)).toBeLessThan(60);
      const signed = bytes.map((key) =>
        createHmac('sha256', key).update(`${id}.${time}.`).update(body).digest('base64'),
      );
      expect(headers['webhook-signature']).toBe(signed.map((one) => `v1,${one}`).join(' '));
    }
  });

  test('whose secret the worker does not have is a dead letter that names those it has', async () => {
    const { reason, message } = await deathOf(await working(), { ...hook(), secret: 'billing' });
    expect([reason, message]).toEqual(['unrecoverable', 'there is no secret named billing; this worker has: orders']);
  });

  test('keeps payload and headers from those who look at jobs, and takes no address with a password', async () => {
    expect(webhookDeliver.secrets).toEqual(['payload', 'headers']);
    const platform = await working();
    const bad = { ...hook('https://ann:horse@example.com/'), headers: { 'Webhook-Id': '1' } };
    await expect(platform.jobs.enqueue(webhookDeliver, bad)).rejects.toThrow(/url: .*headers/);
    await expect(platform.jobs.enqueue(webhookDeliver, bad)).rejects.not.toThrow(/horse/);
  });
});

describe('an endpoint that asks for time is given it, and no attempt is used up', () => {
  test.each<[string, number, () => Record<string, string>]>([
    ['429 and seconds', 429, () => ({ 'retry-after': '1' })],
    ['503 and a date', 503, () => ({ 'retry-after': new Date(Date.now() + 2_000).toUTCString() })],
    ['429 and more than is allowed', 429, () => ({ 'retry-after': '86400' })],
  ])('%s', async (_what, status, headers) => {
    receiver.answers = [says(status, headers()), says(200)];
    const platform = await working({ maxRetryAfter: '1s' });
    const { id } = await platform.jobs.enqueue(webhookDeliver, hook());
    const before = performance.now();
    expect(await ends(platform, id, 'completed')).toMatchObject({ attemptsMade: 1 });
    expect(performance.now() - before).toBeGreaterThan(900);
    expect(receiver.received).toHaveLength(2);
  });

  test('but for a job that is older than the patience', async () => {
    receiver.answers = [says(429, { 'retry-after': '1' })];
    const { reason, message } = await deathOf(await working({ patience: 0, maxRetryAfter: '1s' }));
    expect(reason).toBe('attempts');
    expect(message).toMatch(/answered 429|is left alone/);
  });
});

describe('an endpoint', () => {
  test('that says 410 wants no more; other refusals are tried again unless the options say that they are final', async () => {
    receiver.answers = [says(410, {}, 'gone\nfor good')];
    expect(await deathOf(await working({ showAnswers: true }))).toEqual({
      reason: 'unrecoverable',
      message: `127.0.0.1:${receiver.port} answered 410: gone for good; it wants no more webhooks`,
    });
    receiver.answers = [says(400, {}, 'no order.paid, please')];
    // It may repeat what is secret of the request.
    expect(await deathOf(await working())).toEqual({
      reason: 'attempts',
      message: `127.0.0.1:${receiver.port} answered 400`,
    });
    expect(await deathOf(await working({ clientErrors: 'dead' }))).toMatchObject({ reason: 'unrecoverable' });
  });

  test('that hangs, hangs up, is not there or sends endless headers has failed', async () => {
    const platform = await working({ timeout: '300ms', breaker: false });
    receiver.answers = [() => undefined];
    expect((await deathOf(platform)).message).toContain('did not answer within 300 ms');
    receiver.answers = [(response) => response.socket?.destroy()];
    expect((await deathOf(platform)).message).toContain('hung up (ECONNRESET)');
    receiver.answers = [says(200, { 'x-long': 'x'.repeat(20_000) })];
    expect((await deathOf(platform)).message).toContain('(HPE_HEADER_OVERFLOW)');
    expect((await deathOf(platform, hook(`http://127.0.0.1:${await freePort()}`))).message).toContain('(ECONNREFUSED)');
  });

  test('that changes the protocol has failed, at once', async () => {
    const server = createServer((socket) => {
      socket
        .on('error', () => undefined)
        .once('data', () => {
          socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n');
        });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    const death = await deathOf(await working({ timeout: '1m', breaker: false }), hook(`http://127.0.0.1:${port}/`));
    server.close();
    expect(death.message).toContain('(BAD_UPGRADE)');
  });

  test('whose answer never ends is read up to the limit and hung up on', async () => {
    let sent = 0;
    let isClosed = false;
    receiver.answers = [
      (response: ServerResponse) => {
        response.once('close', () => (isClosed = true));
        response.writeHead(200);
        const push = (): void => {
          for (; sent < 10_000_000 && !response.destroyed; sent += 65_536)
            if (!response.write(Buffer.alloc(65_536))) return void response.once('drain', push);
          response.end();
        };
        push();
      },
    ];
    const platform = await working({ maxResponseBytes: 1_000 });
    expect(await platform.jobs.enqueueAndWait(webhookDeliver, hook())).toEqual({ status: 200 });
    await eventually(() => expect(isClosed).toBe(true));
    expect(sent).toBeLessThan(10_000_000);
  });

  test('that drips its answer is not waited for: the status counts', async () => {
    let drip: NodeJS.Timeout | undefined;
    receiver.answers = [
      (response) => {
        response.writeHead(200).write('.');
        drip = setInterval(() => response.write('.'), 50);
        response.once('close', () => clearInterval(drip));
      },
    ];
    const platform = await working({ timeout: '1m' });
    expect(await platform.jobs.enqueueAndWait(webhookDeliver, hook())).toEqual({ status: 200 });
  });

  test('that fails again and again is left alone by all workers, and is well again with its first success', async () => {
    receiver.answers = [says(500), says(500), says(500), says(200)];
    const platform = await working({ breaker: { failures: 2, openFor: '1s' } });
    const first = await platform.jobs.enqueue(webhookDeliver, hook());
    await eventually(async () => expect((await platform.jobs.get(first.id))?.history.length).toBeGreaterThanOrEqual(2));
    const second = await platform.jobs.enqueue(webhookDeliver, hook());
    const infos = await Promise.all([first, second].map(({ id }) => ends(platform, id, 'completed')));
    // Three failures and two successes are all that was sent.
    expect(infos.map(({ attemptsMade }) => attemptsMade).reduce((sum, made) => sum + made)).toBe(5);
    expect(receiver.received).toHaveLength(5);
    const times = receiver.received.map(({ at }) => at);
    expect((times[2] ?? 0) - (times[1] ?? 0)).toBeGreaterThan(900);
  });

  test('that is left alone for long is not asked sooner because another answer has failed', async () => {
    const endpoint = await endpointWith({ failures: 1, openForMs: 1_000 });
    await endpoint.pause(3_600_000);
    await endpoint.failed();
    const error = await failureOf(endpoint.enter(), 'RATE_LIMITED');
    expect(error.facts['retryAfterMs']).toBeGreaterThan(3_000_000);
  });

  test.each([1, 2])(
    'is tried with one job after %i failed and it was left alone: a failure is enough to go on so, a success lets all in',
    async (failures) => {
      // So long that what follows a try is still within it on a machine that stands still for a while.
      const endpoint = await endpointWith({ failures, openForMs: 5_000 });
      await Promise.all([endpoint.enter(), endpoint.enter()]);
      for (const round of [1, 2]) {
        await endpoint.failed();
        // At once, so that the count may end in the same millisecond as the block.
        if (round < failures) await endpoint.failed();
        await failureOf(endpoint.enter(), 'RATE_LIMITED');
        await eventually(() => endpoint.enter());
        await failureOf(endpoint.enter(), 'RATE_LIMITED');
      }
      await endpoint.succeeded();
      await Promise.all([endpoint.enter(), endpoint.enter()]);
    },
  );
});

describe('an address that is not of the public internet', () => {
  test('is refused, however it is written or resolved, and nothing is sent', async () => {
    const platform = await working({ allowPrivate: false }, resolvePrivate);
    const urls = [
      'http://127.1/',
      `${receiver.url}/`,
      'http://[::1]/',
      'http://0x7f000001/',
      'http://metadata.test/',
      'http://mixed.test/',
    ];
    const deaths = await Promise.all(urls.map((url) => deathOf(platform, hook(url))));
    for (const { reason, message } of deaths)
      expect([reason, message]).toEqual([
        'unrecoverable',
        expect.stringContaining('not an address of the public internet'),
      ]);
    expect(receiver.received).toEqual([]);
  });

  test('is refused in redirects too, also without https', async () => {
    const entry = own(await startReceiver('127.0.0.2'));
    const platform = await working({ allowPrivate: ['127.0.0.2'] });
    entry.answers = [says(307, { location: `${receiver.url}/secret` })];
    expect(await deathOf(platform, hook(entry.url))).toMatchObject({
      reason: 'unrecoverable',
      message: expect.stringContaining('127.0.0.1') as string,
    });
    expect(receiver.received).toEqual([]);
    const strict = await working({ allowHttp: false });
    expect((await deathOf(strict)).message).toContain('expected https, got http://');
  });

  test('is not reached by a name that changes what it means: what was checked is what is connected to', async () => {
    const open = own(await startReceiver('127.0.0.2'));
    const meanings = ['127.0.0.2', '127.0.0.1'];
    let asked = 0;
    const resolve: Resolve = async () => [{ address: meanings[Math.min(asked++, 1)] ?? '', family: 4 }];
    const platform = await working({ allowPrivate: ['127.0.0.2/32'] }, resolve);
    expect(await platform.jobs.enqueueAndWait(webhookDeliver, hook(`http://rebind.test:${open.port}/`))).toEqual({
      status: 200,
    });
    expect(asked).toBe(1);
    expect(open.received[0]?.headers.host).toBe(`rebind.test:${open.port}`);
    expect((await deathOf(platform, hook(`http://rebind.test:${receiver.port}/`))).reason).toBe('unrecoverable');
    expect(receiver.received).toEqual([]);
  });
});

describe('redirects', () => {
  test('are followed with the same signed body, and headers of the job do not go to another origin', async () => {
    const next = own(await startReceiver());
    receiver.answers = [says(308, { location: `${next.url}/moved` })];
    const platform = await working();
    await platform.jobs.enqueueAndWait(webhookDeliver, { ...hook(), headers: { Authorization: 'Bearer x' } });
    const [from, to] = [receiver.received[0], next.received[0]];
    expect(to).toMatchObject({ path: '/moved', body: from?.body });
    expect(to?.headers['webhook-signature']).toBe(from?.headers['webhook-signature']);
    expect([from?.headers.authorization, to?.headers.authorization]).toEqual(['Bearer x', undefined]);
  });

  test('that lead in a circle are followed so often and no more, or not at all', async () => {
    receiver.answers = [says(302, { location: '/again' })];
    expect((await deathOf(await working({ redirects: 2 }))).message).toContain('redirects once more after 2 redirects');
    expect(receiver.received).toHaveLength(6);
    expect((await deathOf(await working({ redirects: 0 }))).message).toContain('answered 302');
    const rules = { redirects: 0, patience: 0, breaker: { failures: 1, openFor: '1h' } } as const;
    expect((await deathOf(await working(rules))).message).toContain('is left alone');
  });
});
