/** The parts of the stock jobs that need no server: addresses, secrets, waits, what contracts and options refuse. */
import { describe, expect, test } from 'vitest';
import { createConnections, createLimits, MillraceError } from '../../src/index.ts';
import {
  createEmailHandler,
  createWebhookHandler,
  emailSend,
  html,
  rawHtml,
  webhookDeliver,
} from '../../workers/index.ts';
import { limitSchema, policyOf, spreadOut, type LimitOption } from '../../workers/limit-option.ts';
import { parseAddress } from '../../workers/mail/address.ts';
import { inTurns, isPublic } from '../../workers/webhook/addresses.ts';
import { retryAfterMs } from '../../workers/webhook/retry-after.ts';
import { readSecret, signedHeaders } from '../../workers/webhook/signature.ts';
import { faultsOf } from './scene.ts';

describe('addresses of the network', () => {
  test.each([
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '100.100.100.200',
    '127.0.0.1',
    '127.9.9.9',
    '168.63.129.16',
    '169.254.169.254',
    '172.31.0.1',
    '192.0.0.192',
    '192.0.2.1',
    '192.168.1.1',
    '198.18.0.1',
    '203.0.113.9',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    '::ffff:10.0.0.1',
    '::ffff:7f00:1',
    '64:ff9b::127.0.0.1',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b:1::1',
    '100::1',
    '2001::1',
    '2001:db8::1',
    '2002:7f00:1::',
    '3fff::1',
    'fc00::1',
    'fd00:ec2::254',
    'fe80::1',
    'fe80::1%eth0',
    'ff02::1',
    'fec0::1',
    '5f00::1',
    'localhost',
    '',
    '1.2.3',
  ])('%s is not public', (address) => expect(isPublic(address)).toBe(false));

  test.each([
    '1.1.1.1',
    '93.184.216.34',
    '172.32.0.1',
    '100.128.0.1',
    '2606:4700::1111',
    '64:ff9b::808:808',
    '64:ff9b::1.1.1.1',
  ])('%s is public', (address) => expect(isPublic(address)).toBe(true));
});

test('addresses of mail are one address and one line', () => {
  expect(parseAddress('Ada L. <ada@example.com>')).toEqual({ name: 'Ada L.', address: 'ada@example.com' });
  expect(parseAddress('"Lovelace, Ada" <ada@example.com>')).toEqual({
    name: 'Lovelace, Ada',
    address: 'ada@example.com',
  });
  // As servers without SMTPUTF8 need it, and as they repeat it.
  expect(parseAddress({ address: 'zoë@Bücher.example' })).toEqual({ name: '', address: 'zoë@xn--bcher-kva.example' });
  const bad = [
    'ada',
    'a@',
    '@b',
    'a@b@c',
    'a@b, c@d',
    'a@b\r\nBcc: c@d',
    'a <a@b>, c <c@d>',
    'a b@c',
    '<a@b>c@d',
    'a@b>',
    'a@-b',
    'a..b@c',
    'a@b..c',
    'ada@exam\r\nple.com',
    'ada@exam\tple.com',
    'ada@example.com\r\n',
    'ada@example.com ',
    'ada@example.com/\r\nRCPT TO:<eve>',
    'ada@example.com/>\r\nDATA',
    'ada@example.com/,x',
    'ada@example.com/ SIZE=1',
    'ada@example.com:25',
    'ada@example.com?x',
    'ada@example.com#x',
    String.raw`ada@example.com\x`,
    'ada@ex%61mple.com',
    'ada@0x7f.1',
    'ada@127.0.0.1',
  ];
  for (const text of bad) {
    expect(parseAddress(text), text).toBeUndefined();
    expect(parseAddress({ address: text }), text).toBeUndefined();
  }
  expect(parseAddress({ name: 'Ada\nBcc: eve@example.com', address: 'ada@example.com' })).toBeUndefined();
  expect(parseAddress({ address: 'ada@example.com\r\nRCPT TO:<eve@example.com>' })).toBeUndefined();
});

test('what could become a header, a recipient or a path is refused when the job is enqueued', async () => {
  const mail = { to: 'ada@example.com', subject: 's', text: 't' };
  const bad: Array<[object, string]> = [
    [{ to: 'ada@example.com, eve@example.com' }, 'to'],
    [{ subject: 'Hi\r\nBcc: eve@example.com' }, 'subject'],
    [{ subject: 'Hi\u2028x' }, 'subject'],
    [{ replyTo: 'a@b.example\nX: y' }, 'replyTo'],
    [{ headers: { 'X-A': 'b\r\nBcc: eve@example.com' } }, 'headers.X-A'],
    [{ headers: { Bcc: 'eve@example.com' } }, 'headers.Bcc'],
    [{ headers: { 'Apparently-To': 'eve@example.com' } }, 'headers.Apparently-To'],
    [{ headers: { 'X-A\r\nBcc': 'eve@example.com' } }, 'headers.X-A\r\nBcc'],
    [{ attachments: [{ filename: '../a\r\nX: y', content: '' }] }, 'attachments.0.filename'],
    [{ attachments: [{ filename: 'a', content: '', path: '/etc/passwd' }] }, 'attachments.0'],
    [{ template: '../../etc/passwd', text: undefined }, 'template'],
    [{ template: 'welcome' }, 'template'],
    [{ text: undefined }, 'template'],
    [{ subject: undefined }, 'subject'],
  ];
  expect(await faultsOf(emailSend, mail)).toEqual([]);
  for (const [change, path] of bad)
    expect(await faultsOf(emailSend, { ...mail, ...change }), JSON.stringify(change)).toContain(path);

  const hook = { url: 'https://example.com/', secret: 'orders', payload: null };
  expect(await faultsOf(webhookDeliver, hook)).toEqual([]);
  const badHooks: Array<[object, string]> = [
    [{ url: 'ftp://example.com/' }, 'url'],
    [{ url: 'https://a:b@example.com/' }, 'url'],
    [{ headers: { Host: 'x' } }, 'headers.Host'],
    [{ headers: { 'X-A': 'b\r\nY: z' } }, 'headers.X-A'],
    [{ payload: undefined }, 'payload'],
  ];
  for (const [change, path] of badHooks)
    expect(await faultsOf(webhookDeliver, { ...hook, ...change }), JSON.stringify(change)).toContain(path);
});

const webhook = (options: object) => () => createWebhookHandler({ secrets: { a: 'whsec_short' }, ...options });

test('an option that is wrong or unknown names itself, and no secret is told', () => {
  const smtp = 'smtp://ann:horse@mail.example.com';
  const email = (options: object) => () => createEmailHandler({ smtp, from: 'a@example.com', ...options });
  expect(email({ form: 1 })).toThrow(/createEmailHandler: unknown option form$/);
  expect(email({ templates: '/nowhere' })).toThrow(/templates: expected a folder that is there/);
  expect(email({ smtp: 'http://ann:horse@mail.example.com' })).toThrow(/smtp: expected an address such as smtp:/);
  expect(email({ smtp: 'http://ann:horse@mail.example.com' })).not.toThrow(/ann:horse/);
  expect(email({ smtp: `${smtp}?tls.rejectUnauthorized=false` })).toThrow(/smtp: expected/);
  expect(webhook({})).toThrow(/secrets\.a: expected whsec_ and 24 to 64 bytes/);
  expect(webhook({})).not.toThrow(/short/);
  for (const network of ['10.0.0.0/99', '10.0.0.0/', '10.0.0.0/0', '10.0.0.0/8/24', '10.0.0.0/0x8', '::/0', 'x', ''])
    expect(webhook({ secrets: {}, allowPrivate: [network] }), network).toThrow(/allowPrivate: expected networks/);
  expect(email({ smtp: 'smtp://ann:50%off@mail.example.com' })).toThrow(/smtp: .*%25/);
  expect(email({ smtp: 'smtp://ann:50%off@mail.example.com' })).not.toThrow(/50/);
});

test('a limit that no limiter takes is refused with the options, and one that is taken is taken by a limiter', async () => {
  const connections = createConnections({ url: 'redis://127.0.0.1:1' });
  const limits = createLimits(connections);
  const limited = (limit: LimitOption) => () => limits.limiter('email.send', policyOf(limit));
  const good: LimitOption[] = [
    { limit: 10_000, per: 1 },
    { limit: 1, per: '100d' },
    { limit: 365, per: '365d', burst: 100 },
    { limit: 10_000_000, per: '1s', burst: 1e12 / 2 },
  ];
  for (const limit of good) {
    expect(limitSchema.safeParse(limit).success, JSON.stringify(limit)).toBe(true);
    expect(limits.limiter(`good-${limit.limit}-${limit.per}`, policyOf(limit))).toBeDefined();
  }
  const bad: LimitOption[] = [
    { limit: 9_999_999, per: '1ms' },
    { limit: 1, per: '9999d' },
    { limit: 1_000, per: '401d', burst: 1 },
    { limit: 1, per: '365d', burst: 9_999_999 },
    { limit: 2e12, per: '300d', burst: 1 },
  ];
  for (const limit of bad) {
    expect(limitSchema.safeParse(limit).success, JSON.stringify(limit)).toBe(false);
    expect(limited(limit), JSON.stringify(limit)).toThrow(expect.objectContaining({ code: 'OPTIONS_INVALID' }));
  }
  await limits.stop();
  await connections.close();
});

const refusal = (ms: number): MillraceError => new MillraceError('RATE_LIMITED', 'x', { retryAfterMs: ms });

test('jobs that a limit refuses together do not come back together, the less so the longer they are there', () => {
  const waits = (ageMs: number): number[] =>
    Array.from({ length: 100 }, () => {
      const error = spreadOut(refusal(500), { enqueuedAt: Date.now() - ageMs }) as MillraceError;
      expect(error.code).toBe('JOB_POSTPONED');
      return error.facts['delayMs'] as number;
    });
  expect(Math.max(...waits(0))).toBeLessThan(2_000);
  const [old, ancient] = [waits(10_000), waits(86_400_000)];
  expect(Math.min(...old, ...ancient)).toBeGreaterThanOrEqual(500);
  expect(Math.max(...ancient)).toBeLessThanOrEqual(60_500);
  expect(new Set(old).size).toBeGreaterThan(50);
  expect(Math.max(...ancient)).toBeGreaterThan(Math.max(...old));
  // What never passes is no matter of waiting.
  const never = refusal(Infinity);
  expect(spreadOut(never, { enqueuedAt: 0 })).toBe(never);
});

test('names are resolved two at a time, so that slow ones leave the process a thread', async () => {
  let [running, most] = [0, 0];
  const ends: Array<() => void> = [];
  const resolve = inTurns(2, async (host) => {
    most = Math.max(most, ++running);
    await new Promise<void>((end) => ends.push(end));
    running--;
    if (host === 'bad') throw new Error('ENOTFOUND');
    return [];
  });
  const answers = Promise.allSettled(['a', 'bad', 'c', 'd', 'e'].map(resolve));
  while (ends.length > 0) {
    ends.shift()?.();
    await new Promise((next) => setImmediate(next));
  }
  expect((await answers).map(({ status }) => status)).toEqual([
    'fulfilled',
    'rejected',
    'fulfilled',
    'fulfilled',
    'fulfilled',
  ]);
  expect(most).toBe(2);
});

test('Retry-After is seconds or a date, within bounds', () => {
  const now = Date.UTC(2026, 0, 1);
  const told = (header: string | undefined): number | undefined => retryAfterMs(header, now, 60_000);
  expect([told('7'), told('0'), told('9999999')]).toEqual([7_000, 1_000, 60_000]);
  expect(told('Thu, 01 Jan 2026 00:00:09 GMT')).toBe(9_000);
  expect(told('Thu, 01 Jan 2020 00:00:00 GMT')).toBe(1_000);
  expect([told(undefined), told('soon'), told('-5'), told('1.5'), told('Thu, 99 Foo')]).toEqual(
    Array(5).fill(undefined),
  );
});

test('a message is signed as in the example of the scheme', () => {
  const secret = readSecret('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
  const message = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestamp: 1_614_265_330, body: '{"test": 2432232314}' };
  expect(signedHeaders(message, [secret as Buffer])['webhook-signature']).toBe(
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  );
});

test('HTML escapes what is filled in, but for pieces that are HTML', () => {
  const list = ['<a>', `"b"'`].map((item) => html`<i>${item}</i>`);
  expect(html`${list}${rawHtml('<hr>')}${null}${0}`.text).toBe('<i>&lt;a&gt;</i><i>&quot;b&quot;&#39;</i><hr>0');
});
