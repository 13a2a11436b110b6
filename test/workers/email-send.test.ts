/** What `email.send` delivers, and what it does with a mail server that misbehaves. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Logger, Platform } from '../../src/index.ts';
import { createEmailHandler, emailSend, type EmailInput, type EmailOptions } from '../../workers/index.ts';
import { Smtp, type SmtpSettings } from '../../workers/mail/smtp.ts';
import { startChild } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import { collectLog } from '../support/log-lines.ts';
import { ownedByTest } from '../support/owned.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';
import { startMailServer, type MailServer } from './mail-server.ts';
import { ends, impatient, letterOf, QUICK, startPlatform } from './scene.ts';

const own = ownedByTest();
const folder = temporaryFolder();
let redis: TestServer;
let server: MailServer;
beforeAll(async () => {
  redis = await startRedis();
  mkdirSync(join(folder, 'de'));
  writeFileSync(join(folder, 'welcome.subject'), 'Welcome, {{ name }}\n');
  writeFileSync(join(folder, 'welcome.txt'), 'Hello {{name}}, your code is {{ code.value }}.');
  writeFileSync(join(folder, 'welcome.html'), '<p title="{{name}}">Hello {{name}}</p>{{{ footer }}}');
  writeFileSync(join(folder, 'de/welcome.txt'), 'Grüß Gott, {{ name }}!');
});
afterAll(() => redis.stop());
beforeEach(async () => {
  server = own(await startMailServer());
});

const SMTP: SmtpSettings = {
  host: '127.0.0.1',
  port: 0,
  isSecure: false,
  user: undefined,
  password: undefined,
  requireTls: false,
  connections: 1,
  timeoutMs: 5_000,
};
const INLINE: EmailInput = { to: 'ada@example.com', subject: 'Hi', text: 'Hello' };

async function working(
  options: Partial<EmailOptions> = {},
  scene: { log?: Logger; prefix?: string } = {},
): Promise<Platform & { prefix: string }> {
  const platform = await startPlatform(own, redis.url, scene);
  const email = createEmailHandler({
    smtp: server.url,
    from: 'Shop <shop@example.com>',
    templates: folder,
    ...options,
  });
  own({ stop: async () => email.close() });
  await platform.work({ ...QUICK, handlers: [impatient(email)] });
  return platform;
}

async function deadLetterOf(input: EmailInput, options?: Partial<EmailOptions>): Promise<string> {
  const platform = await working(options);
  const { id } = await platform.jobs.enqueue(emailSend, input);
  const letter = await letterOf(platform, id);
  expect([letter.reason, letter.attempts.length]).toEqual(['unrecoverable', 1]);
  return letter.error.message;
}

describe('a mail', () => {
  test('is made of a template: subject, text, and HTML in which values are escaped', async () => {
    const platform = await working();
    const name = `Ada <script>"&'`;
    const { id } = await platform.jobs.enqueue(emailSend, {
      to: 'Ada <ada@example.com>',
      template: 'welcome',
      data: { name, code: { value: 7 }, footer: '<hr>' },
      replyTo: 'help@example.com',
      headers: { 'List-Unsubscribe': '<https://example.com/u>' },
      attachments: [{ filename: 'a.csv', content: Buffer.from('a;b').toString('base64'), contentType: 'text/csv' }],
    });
    const { result } = await ends(platform, id, 'completed');
    const [mail] = server.mails;
    expect(result).toEqual({ messageId: `<millrace.${id}@example.com>`, response: '250 queued as 4F21' });
    expect(mail).toMatchObject({ from: 'shop@example.com', to: ['ada@example.com'] });
    expect(mail?.headers).toMatchObject({
      from: 'Shop <shop@example.com>',
      to: 'Ada <ada@example.com>',
      subject: `Welcome, ${name}`,
      'message-id': `<millrace.${id}@example.com>`,
      'reply-to': 'help@example.com',
      'list-unsubscribe': '<https://example.com/u>',
    });
    expect(mail?.parts['text/plain']).toBe(`Hello ${name}, your code is 7.`);
    const escaped = 'Ada &lt;script&gt;&quot;&amp;&#39;';
    expect(mail?.parts['text/html']).toBe(`<p title="${escaped}">Hello ${escaped}</p><hr>`);
    expect(mail?.parts['text/csv']).toBe('a;b');
  });

  test('speaks any language: in addresses, subjects and text', async () => {
    const platform = await working();
    const to = { name: 'Zoë 李', address: 'zoë@bücher.example' };
    const input = { to, template: 'de/welcome', subject: 'Grüße – 你好 🎉', data: { name: 'Zoë' } };
    await platform.jobs.enqueueAndWait(emailSend, input);
    await platform.jobs.enqueueAndWait(emailSend, { ...INLINE, to: 'ada@Bücher.example' });
    const [mail, plain] = server.mails;
    // Only the local part needs a server that takes more than ASCII.
    expect(mail?.source).toContain('<zoë@bücher.example>');
    expect(plain?.source).toContain('To: ada@xn--bcher-kva.example\r\n');
    expect(mail?.headers).toMatchObject({ subject: 'Grüße – 你好 🎉' });
    expect(mail?.headers['to']).toContain('Zoë 李');
    expect(mail?.parts['text/plain']).toBe('Grüß Gott, Zoë!');
  });

  test('comes over a pool of connections that is made once', async () => {
    const platform = await working({ connections: 1 });
    await Promise.all([1, 2, 3].map(() => platform.jobs.enqueueAndWait(emailSend, INLINE)));
    expect([server.mails.length, server.connections]).toEqual([3, 1]);
  });

  test('is not begun once the handler is closed', async () => {
    const smtp = new Smtp({ ...SMTP, port: Number(new URL(server.url).port) });
    smtp.close();
    const to = { name: '', address: 'ada@example.com' };
    const sent = smtp.send({ from: 'shop@example.com', to, text: 'Hi' }, new AbortController().signal);
    await expect(sent).rejects.toThrow('the mail handler is closed');
    expect(server.connections).toBe(0);
  });

  test('leaves no address in the log but its domain, and what it says is a secret of the contract', async () => {
    const { log, all } = collectLog();
    server.answer.recipient = (address) =>
      server.mails.length === 0 && address.startsWith('bob') ? { code: 550, words: `<${address}> unknown` } : undefined;
    const platform = await working({}, { log });
    const { id } = await platform.jobs.enqueue(emailSend, { ...INLINE, to: 'bob@bücher.example' });
    await letterOf(platform, id);
    await platform.jobs.enqueueAndWait(emailSend, INLINE);
    const told = JSON.stringify(all());
    expect(told).toContain('"domain":"example.com"');
    // However the server spells it.
    expect(told).toContain('...@xn--bcher-kva.example> unknown');
    expect(told).not.toMatch(/ada@|bob@/);
    expect(emailSend.secrets).toEqual(['data', 'text', 'html', 'attachments.*.content']);
  });
});

describe('a template that cannot be filled is a dead letter that says why', () => {
  test.each<[string, EmailInput, RegExp]>([
    ['missing', { to: 'a@example.com', template: 'nope' }, /there is no template nope in /],
    [
      'a variable',
      { to: 'a@example.com', template: 'welcome', data: { name: 'A', footer: '' } },
      /welcome\.txt: {{code\.value}} is missing/,
    ],
    [
      'no own field',
      { to: 'a@example.com', template: 'de/welcome', subject: 's', data: { constructor: 'x' } },
      /{{name}} is missing/,
    ],
    [
      'an object',
      { to: 'a@example.com', template: 'de/welcome', subject: 's', data: { name: {} } },
      /{{name}} is an object/,
    ],
    ['no subject', { to: 'a@example.com', template: 'de/welcome', data: { name: 'A' } }, /has no subject/],
    [
      'a second line',
      {
        to: 'a@example.com',
        template: 'welcome',
        data: { name: 'A\r\nBcc: eve@example.com', code: { value: 1 }, footer: '' },
      },
      /subject is more than one line/,
    ],
  ])('%s', async (_what, input, message) => {
    expect(await deadLetterOf(input)).toMatch(message);
    expect(server.connections).toBe(0);
  });
});

describe('a mail server', () => {
  test('that answers 450 is asked again', async () => {
    let refusals = 2;
    server.answer.recipient = () => (refusals-- > 0 ? { code: 450, words: 'greylisted' } : undefined);
    const platform = await working();
    const { id } = await platform.jobs.enqueue(emailSend, INLINE);
    const { history } = await ends(platform, id, 'completed');
    expect(history.map(({ error }) => error?.message)).toEqual(
      Array(2).fill('the mail server answered 450 greylisted'),
    );
    expect(server.mails).toHaveLength(1);
  });

  test('that answers 550, or refuses the message, makes a dead letter with its words at once', async () => {
    server.answer.recipient = () => ({ code: 550, words: 'no such user' });
    expect(await deadLetterOf(INLINE)).toBe('the mail server answered 550 no such user');
    server.answer = Object.assign(server.answer, {
      recipient: undefined,
      message: async () => ({ code: 554, words: 'spam' }),
    });
    expect(await deadLetterOf(INLINE)).toBe('the mail server answered 554 spam');
  });

  test('that is not there, hangs, refuses the password or has no TLS is tried again', async () => {
    const nowhere = await working({ smtp: `smtp://127.0.0.1:${await freePort()}` });
    const locked = own(await startMailServer({ user: 'ann' }));
    const refusing = await working({ smtp: locked.url.replace('//', '//bob:horse@') });
    server.answer.message = () => new Promise(() => undefined);
    const hanging = await working({ timeout: '1s' });
    const plain = await working({ requireTls: true });
    const failures = await Promise.all(
      [nowhere, refusing, hanging, plain].map(async (platform) => {
        const { id } = await platform.jobs.enqueue(emailSend, INLINE, { attempts: 2 });
        const { reason, error } = await letterOf(platform, id);
        expect(reason).toBe('attempts');
        return error.message;
      }),
    );
    expect(failures[3]).toContain('answered 500'); // To STARTTLS; what comes after it is not said.
    expect(server.mails).toEqual([]);
    expect(failures[0]).toMatch(/^no mail server: .*ECONNREFUSED/);
    expect(failures[1]).toMatch(/^the mail server answered 535 /);
    expect(failures[2]).toMatch(/^no mail server: .*[Tt]imeout/);
  });

  test('that hangs holds up no cancel', async () => {
    server.answer.message = () => new Promise(() => undefined);
    const platform = await working();
    const { id } = await platform.jobs.enqueue(emailSend, INLINE);
    await eventually(() => expect(server.connections).toBe(1));
    expect(await platform.jobs.cancel(id)).toEqual({ status: 'cancelled' });
  });
});

test('a domain has a limit of its own: what meets it waits and uses up no attempt', async () => {
  const platform = await working({ perDomain: { limit: 1, per: '2s' } });
  const to = ['a@example.com', 'b@EXAMPLE.com', 'c@example.org'];
  const added = await platform.jobs.enqueueMany(
    emailSend,
    to.map((one) => ({ ...INLINE, to: one })),
  );
  await eventually(() => expect(server.mails).toHaveLength(2));
  const reached = new Set(server.mails.map((mail) => mail.to[0]?.toLowerCase().split('@')[1]));
  expect(reached).toEqual(new Set(['example.com', 'example.org']));
  const infos = await Promise.all(added.map(({ id }) => ends(platform, id, 'completed')));
  expect(infos.map(({ attemptsMade }) => attemptsMade)).toEqual([1, 1, 1]);
  expect(server.mails).toHaveLength(3);
});

describe('a worker that is killed', () => {
  test('after the mail has gone, and before the job is done, leaves one mail', async () => {
    const { prefix, jobs } = await startPlatform(own, redis.url);
    const first = own(startChild('../workers/mail-process', [redis.url, prefix, server.url, 'die']));
    const { id } = await jobs.enqueue(emailSend, INLINE);
    expect(await first.ended).toBe('SIGKILL');
    await working({}, { prefix });
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('completed'));
    expect(server.mails).toHaveLength(1);
  });

  test('before it knows how the server answered sends again, with the same Message-ID', async () => {
    const { prefix, jobs } = await startPlatform(own, redis.url);
    const first = own(startChild('../workers/mail-process', [redis.url, prefix, server.url]));
    server.answer.message = async () => {
      if (server.mails.length === 0) first.signal('SIGKILL');
      return undefined;
    };
    const { id } = await jobs.enqueue(emailSend, INLINE);
    await first.ended;
    await working({}, { prefix });
    await eventually(async () => expect((await jobs.get(id))?.state).toBe('completed'));
    expect(server.mails.map(({ headers }) => headers['message-id'])).toEqual(
      Array(2).fill(`<millrace.${id}@example.com>`),
    );
  });
});
