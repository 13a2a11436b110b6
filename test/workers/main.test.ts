/** The stock worker as a process: what it reads, says and serves, and how it ends. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { readEnv } from '../../src/index.ts';
import { FAMILIES } from '../../workers/families.ts';
import { emailSend, orderModel, readStockEnv, stockHandlers } from '../../workers/index.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import { commandEnv } from '../support/millrace.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { startMailServer } from './mail-server.ts';
import { startPlatform } from './scene.ts';

const own = ownedByTest();
const folder = temporaryFolder();
const secret = `whsec_${Buffer.alloc(24, 7).toString('base64')}`;
let redis: TestServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.stop());

interface Process {
  out(): string;
  err(): string;
  signal(signal: NodeJS.Signals): void;
  ended: Promise<number | NodeJS.Signals>;
  stop(): Promise<unknown>;
}

function startMain(env: Record<string, string>): Process {
  const child = spawn(process.execPath, [join(inject('compiled'), 'workers', 'main.js')], {
    env: commandEnv({ REDIS_URL: redis.url, PORT: '0', ...env }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('close', (code, signal) => resolve(code ?? signal ?? -1));
  });
  return own({
    out: () => out,
    err: () => err,
    signal: (signal) => void child.kill(signal),
    ended,
    stop: () => {
      child.kill('SIGKILL');
      return ended;
    },
  });
}

describe('the process', () => {
  test('works what is configured, says what it leaves out, serves health and metrics, and drains at SIGTERM', async () => {
    const mails = own(await startMailServer());
    const { jobs, prefix, streams } = await startPlatform(own, redis.url);
    const env = {
      MILLRACE_PREFIX: prefix,
      SMTP_URL: mails.url,
      MILLRACE_MAIL_FROM: 'Shop <shop@example.com>',
      MILLRACE_ORDERS_STORE: 'shop.orders',
      LOG_FORMAT: 'json',
    };
    const main = startMain(env);
    const url = await eventually(() => {
      const found = /"url":"(http:[^"]+)"/.exec(main.out())?.[1];
      if (found === undefined) throw new Error(`no address in ${main.out()} ${main.err()}`);
      return found;
    });
    let release: (() => void) | undefined;
    mails.answer.message = () => new Promise((resolve) => (release = () => resolve(undefined)));
    const { id } = await jobs.enqueue(emailSend, { to: 'ada@example.com', subject: 'Hi', text: 'Hello' });
    await eventually(() => expect(release).toBeDefined());
    expect((await fetch(`${url}/readyz`, { headers: { connection: 'close' } })).status).toBe(200);
    expect(await (await fetch(`${url}/metrics`, { headers: { connection: 'close' } })).text()).toContain(
      'millrace_jobs_',
    );
    const orders = orderModel({ store: 'shop.orders' }).reader(streams);
    await orders.store.append('o1', [{ type: 'placed', data: { customer: 'ada', totalCents: 7 } }]);
    expect(await orders.documents.waitFor(1, { within: '20s' })).toBe(true);
    main.signal('SIGTERM');
    await eventually(() => expect(main.out()).toContain('stopping'));
    release?.();
    expect(await main.ended).toBe(0);
    expect((await jobs.get(id))?.state).toBe('completed');
    expect(main.out()).toContain('email.send: runs');
    expect(main.out()).toContain('orders.project: runs');
    expect(main.out()).toContain('webhook.deliver: left out, set MILLRACE_WEBHOOK_SECRETS');
  });

  test('that is told nonsense says what to set and ends with 1', async () => {
    const wrong = startMain({ SMTP_URL: 'http://ann:horse@x', PORT: '99999' });
    expect(await wrong.ended).toBe(1);
    expect(wrong.err()).toMatch(
      /^millrace: the environment has faults: PORT: .*; SMTP_URL: .*; MILLRACE_MAIL_FROM: .* \[ENV_INVALID\]\n$/,
    );
    expect(wrong.err()).not.toContain('horse');
  });
});

test('the environment is read into the options of the jobs that it configures', () => {
  const file = join(folder, 'secrets');
  writeFileSync(file, `orders=${secret},${secret}\nbilling=${secret}\n`);
  const { settings, configuration } = readStockEnv({
    REDIS_URL: 'redis://example.com',
    SMTP_URL: 'smtp://ann:hor%20se@mail.example.com',
    MILLRACE_MAIL_FROM: 'Shop <shop@example.com>',
    MILLRACE_MAIL_TEMPLATES: folder,
    MILLRACE_MAIL_PER_DOMAIN: '60/1m:5',
    MILLRACE_MAIL_TIMEOUT: '5s',
    MILLRACE_WEBHOOK_SECRETS_FILE: file,
    MILLRACE_WEBHOOK_PER_ENDPOINT: 'off',
    MILLRACE_WEBHOOK_REDIRECTS: '0',
    MILLRACE_WEBHOOK_ALLOW_PRIVATE: '10.0.0.0/8, fd00::/8',
    MILLRACE_WEBHOOK_ALLOW_HTTP: 'true',
  });
  expect(configuration.platform.redis).toMatchObject({ url: 'redis://example.com' });
  expect(configuration.platform.log).toMatchObject({ secrets: expect.arrayContaining(['hor se', secret]) as string[] });
  expect(settings).toEqual({
    email: {
      smtp: 'smtp://ann:hor%20se@mail.example.com',
      from: 'Shop <shop@example.com>',
      templates: folder,
      perDomain: { limit: 60, per: '1m', burst: 5 },
      timeout: 5_000,
    },
    webhooks: {
      secrets: { orders: [secret, secret], billing: [secret] },
      perEndpoint: false,
      redirects: 0,
      allowPrivate: ['10.0.0.0/8', 'fd00::/8'],
      allowHttp: true,
    },
  });
  const stock = stockHandlers(settings);
  expect(stock.handlers.slice(0, 2).map(({ contract }) => contract.name)).toEqual(['email.send', 'webhook.deliver']);
  expect(stock.summary.slice(0, 4)).toEqual([
    'email.send: runs',
    'webhook.deliver: runs',
    'catalog.refresh: left out, in code: { catalog: { catalogs } }',
    'cache.warm: left out, in code: { catalog: { catalogs } }',
  ]);
});

test('every bad value is told at once, and nothing of a secret', () => {
  const bad = {
    MILLRACE_MAIL_FORM: 'x',
    MILLRACE_MAIL_PER_DOMAIN: 'lots',
    MILLRACE_WEBHOOK_SHOW_ANSWERS: 'maybe',
    MILLRACE_WEBHOOK_SECRETS: 'orders:whsec_c2VjcmV0',
    MILLRACE_WEBHOOK_REDIRECTS: 'many',
    LOG_LEVEL: 'loud',
  };
  const read = (): unknown => readStockEnv(bad);
  for (const name of Object.keys(bad)) expect(read).toThrow(name);
  expect(read).toThrow(expect.objectContaining({ code: 'ENV_INVALID' }));
  expect(read).not.toThrow(/c2VjcmV0/);
  expect(() => readStockEnv({ MILLRACE_WEBHOOK_SECRETS: 'orders=whsec_c2VjcmV0' })).toThrow(
    /MILLRACE_WEBHOOK_SECRETS: expected whsec_ and/,
  );
  expect(() => readStockEnv({ MILLRACE_WEBHOOK_SECRETS: `orders=${secret} orders=${secret}` })).toThrow(
    /MILLRACE_WEBHOOK_SECRETS: expected each name once, got orders twice/,
  );
});

test('what only a job would meet stops the start too', () => {
  const mail = { SMTP_URL: 'smtp://mail.example.com', MILLRACE_MAIL_FROM: 'shop@example.com' };
  for (const limit of ['9999999/1ms', '1/9999d', '1/365d:9999999'])
    expect(() => readStockEnv({ ...mail, MILLRACE_MAIL_PER_DOMAIN: limit }), limit).toThrow(
      /faults: MILLRACE_MAIL_PER_DOMAIN: expected /,
    );
  const escaped = { ...mail, SMTP_URL: 'smtp://ann:50%off@mail.example.com' };
  expect(() => readStockEnv(escaped)).toThrow(/SMTP_URL: .*%25/);
  expect(() => readStockEnv(escaped)).not.toThrow(/50/);
});

test('variables of the stock jobs are left to the stock worker by everybody else, and mistyped ones are found by it', () => {
  for (const { prefix } of FAMILIES) {
    const env = { [`MILLRACE_${prefix}_NONSENSE`]: 'x' };
    expect(() => readEnv(env), prefix).not.toThrow();
    expect(() => readStockEnv(env), prefix).toThrow(/NONSENSE: there is no such variable/);
  }
});
