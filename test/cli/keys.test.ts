/** `millrace keys ...` and `millrace api`: as an operator types them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { get, ownedCommands, startCommand } from '../support/commands.ts';
import { temporaryFolder } from '../support/folders.ts';
import type { Ran } from '../support/host.ts';
import { ownedByTest } from '../support/owned.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const cwd = temporaryFolder();
const command = ownedCommands();
const own = ownedByTest();
const say = (...args: string[]): Promise<Ran> => command(args, { cwd, env: { REDIS_URL: server.url } });

describe('keys', () => {
  test('are made, listed and revoked', async () => {
    const made = await say('keys', 'create', 'shop', '--scopes', 'enqueue:email.*, read:email.*', '--expires', '90d');
    expect(made.code, made.err).toBe(0);
    const [, id] = /^mr_([a-z\d]{12})_[\w-]{43}\n$/.exec(made.out) ?? [];
    expect(made.err).toContain(`Key ${id}. It is not shown again`);
    const [line] = (await say('keys', 'list', '--json')).out.split('\n');
    expect(JSON.parse(line ?? '')).toMatchObject({ id, name: 'shop', scopes: ['enqueue:email.*', 'read:email.*'] });
    expect((await say('keys', 'list')).out).toMatch(new RegExp(`^ID +NAME .*\n${id} +shop +enqueue:email`));
    expect(await say('keys', 'revoke', id ?? '')).toMatchObject({ code: 2, out: '' });
    expect(await say('keys', 'revoke', id ?? '', '--yes')).toMatchObject({ code: 0, out: 'revoked\n' });
    const again = await say('keys', 'revoke', id ?? '', '--yes');
    expect([again.code, again.err]).toEqual([
      1,
      `millrace keys revoke: there is no key ${id}; npx millrace keys list\n`,
    ]);
    expect((await say('keys', 'list')).out).toBe('no API keys\n');
  });

  test('need scopes that are some', async () => {
    expect(await say('keys', 'create', 'shop')).toMatchObject({
      code: 2,
      err: expect.stringContaining('expected --scopes'),
    });
    const bad = await say('keys', 'create', 'shop', '--scopes', 'everything');
    expect([bad.code, bad.err]).toEqual([2, expect.stringContaining('--scopes: expected an act and a contract')]);
  });
});

describe('api', () => {
  test('serves the contracts that a module exports, with health and metrics, until it is told to stop', async () => {
    const millrace = pathToFileURL(join(inject('compiled'), 'src', 'index.js')).href;
    writeFileSync(
      join(cwd, 'contracts.mjs'),
      `import { defineJob } from '${millrace}';
       const input = { '~standard': { version: 1, vendor: 'own', validate: (value) => ({ value }) } };
       export const build = defineJob({ name: 'report.build', input });
       export const all = [build, defineJob({ name: 'report.send', input })];
       export const notOne = { name: 'x' };`,
    );
    const env = { REDIS_URL: server.url, PORT: '0' };
    const running = own(startCommand(['api', '--contracts', './contracts.mjs'], { cwd, env }));
    await running.says('Stop: Ctrl-C');
    expect(running.out()).toContain('Contracts  report.build, report.send\n');
    const [, url = ''] = /^Document +(\S+)\/openapi\.json/m.exec(running.out()) ?? [];
    const key = (await say('keys', 'create', 'me', '--scopes', '*:report.*')).out.trim();
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json', connection: 'close' };
    const made = await fetch(`${url}/v1/contracts/report.build/jobs`, {
      method: 'POST',
      headers,
      body: '{"input":{"month":7}}',
    });
    expect([made.status, await made.json()]).toEqual([201, { id: expect.any(String), status: 'added' }]);
    expect(await get(`${url}/readyz`)).toMatchObject({ status: 200 });
    expect((await fetch(`${url}/metrics`, { headers: { connection: 'close' } })).status).toBe(200);
    expect((await get(`${url}/openapi.json`)).body).toMatchObject({ servers: [{ url: '/' }] });
    running.child.kill('SIGTERM');
    expect(await running.ended).toBe(0);
    expect(running.out()).toMatch(/stopping\nstopped\n$/);
  });

  test('says which file has no contract, or cannot be loaded', async () => {
    writeFileSync(join(cwd, 'none.mjs'), 'export const nothing = 1;');
    const none = await say('api', '--contracts', 'none.mjs');
    expect([none.code, none.err]).toEqual([
      1,
      'millrace api: none.mjs exports no contract; export what defineJob() gives\n',
    ]);
    expect(await say('api', '--contracts', 'gone.mjs')).toMatchObject({
      code: 1,
      err: expect.stringContaining('there is no file gone.mjs'),
    });
  });
});
