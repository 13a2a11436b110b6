/** What `millrace dev` shows and serves, alone and beside another one; its signals are in dev-signals.test.ts. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { get, healthUrl, ownedCommands, startCommand, startDev } from '../support/commands.ts';
import { serverPid } from '../support/embedded.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import { ownedByTest } from '../support/owned.ts';
import { processesNaming } from '../support/process-table.ts';
import { freePort, startRedis } from '../support/servers.ts';
import { skipBecause } from '../support/skips.ts';
import { startWebServer } from '../support/strangers.ts';
import { mountTmpfs } from '../support/tmpfs.ts';

const root = temporaryFolder();
const own = ownedByTest();
const run = ownedCommands();
let folders = 0;

function newFolder(name = String((folders += 1))): string {
  const folder = join(root, name);
  mkdirSync(folder);
  return folder;
}

describe('millrace dev', () => {
  const cwd = newFolder(`my "odd" pröject's [#1]`);
  let dev: Awaited<ReturnType<typeof startDev>>;
  beforeAll(async () => {
    dev = await startDev((command) => command, { cwd });
  });
  afterAll(() => dev.stop());

  test('shows Redis and its address, the health endpoints, the doctor and what to do next', () => {
    const out = dev.out();
    expect(out).toMatch(/^Redis {6}\w+ [\d.]+, embedded, started by this process$/m);
    expect(out).toMatch(/^ +127\.0\.0\.1:\d+, data in /m);
    expect(out).toContain(`data in ${join(cwd, '.millrace', 'redis')}`);
    expect(out).toContain(`Dashboard  ${dev.url}\nSign in    once, within 15 minutes: ${dev.url}/sign-in?link=`);
    expect(out).toMatch(/not configured \(docs\/stock-jobs\.md\): .*email\.send/);
    expect(out).toContain(`API        ${dev.url}/api/docs`);
    expect(out).toContain(`Health     ${dev.url}/livez and ${dev.url}/readyz`);
    expect(out).toContain('Doctor:');
    expect(out).toContain('persistence    append-only file on');
    expect(out).toContain('Next, in a second terminal:\n  npx millrace enqueue sample.hello');
    expect(out).toContain('Stop: Ctrl-C');
  });

  test('answers its health endpoints in JSON: alive, and ready', async () => {
    const alive = await get(`${dev.url}/livez`);
    expect(alive).toMatchObject({ status: 200, body: { status: 'ok', checks: { redisServer: { ok: true } } } });
    const ready = await get(`${dev.url}/readyz`);
    expect(ready).toMatchObject({ status: 200, body: { status: 'ok', checks: { redis: { ok: true } } } });
    expect(ready.type).toContain('application/json');
  });

  test('has the dashboard, which asks who is there, the producer API, which asks for a key, and metrics', async () => {
    const asBrowser = { headers: { accept: 'text/html' }, redirect: 'manual' } as const;
    const home = await fetch(`${dev.url}/`, asBrowser);
    expect(home.headers.get('location')).toContain('/sign-in');
    const [link = ''] = /http:\S+\/sign-in\?link=\S+/.exec(dev.out()) ?? [];
    const page = await fetch(link, asBrowser);
    expect([page.status, await page.text()]).toEqual([200, expect.stringContaining('<form')]);
    const document = await get(`${dev.url}/api/openapi.json`);
    expect(JSON.stringify(document.body)).toContain('/v1/contracts/sample.hello/jobs');
    expect(await get(`${dev.url}/api/v1/contracts`)).toMatchObject({ status: 401 });
    expect(await (await fetch(`${dev.url}/metrics`)).text()).toContain('millrace_');
  });

  test('is not ready while its server is gone, and ready again when it was started again', async () => {
    const pid = serverPid(join(cwd, '.millrace'));
    process.kill(pid, 'SIGSTOP');
    const frozen = await get(`${dev.url}/readyz`);
    expect(frozen).toMatchObject({ status: 503, body: { status: 'unavailable', checks: { redis: { ok: false } } } });
    expect((await get(`${dev.url}/livez`)).status).toBe(200);
    process.kill(pid, 'SIGKILL');
    await eventually(async () => expect((await get(`${dev.url}/readyz`)).status).toBe(200));
    expect(dev.out()).toContain('starting it again');
  });
});

describe('millrace dev elsewhere', () => {
  test('is not ready while its disk is full, says so, and is ready again when there is space', async (context) => {
    const disk = mountTmpfs(24);
    if (typeof disk === 'string') return skipBecause(context, disk);
    own(disk);
    const dev = await startDev(own, { cwd: newFolder(), env: { MILLRACE_DATA: disk.folder } });
    disk.fill();
    await eventually(async () => {
      const { status, body } = await get(`${dev.url}/readyz`);
      expect(status).toBe(503);
      expect(JSON.stringify(body)).toContain('could not write to its disk');
    });
    disk.free();
    await eventually(async () => expect((await get(`${dev.url}/readyz`)).status).toBe(200));
    await dev.stop();
  });

  test('uses the server of REDIS_URL and starts none', async () => {
    const server = own(await startRedis({ config: { requirepass: 'correct-horse' } }));
    const cwd = newFolder();
    const dev = await startDev(own, { cwd, env: { REDIS_URL: `redis://:correct-horse@127.0.0.1:${server.port}` } });
    expect(dev.out()).toMatch(new RegExp(`^Redis {6}\\w+ [\\d.]+ at redis://127\\.0\\.0\\.1:${server.port}`, 'm'));
    expect(dev.out()).toContain('warning: nothing is written to disk');
    expect(dev.out() + dev.err()).not.toContain('correct-horse');
    expect((await get(`${dev.url}/readyz`)).status).toBe(200);
    expect(existsSync(join(cwd, '.millrace'))).toBe(false);
  });
});

describe('a second millrace dev in the folder', () => {
  test('at the same moment with a port of its own: both run on one server', async () => {
    const cwd = newFolder();
    const both = await Promise.all([startDev(own, { cwd }), startDev(own, { cwd })]);
    for (const { url } of both) expect((await get(`${url}/readyz`)).status).toBe(200);
    expect(both.filter((one) => one.out().includes('started by this process'))).toHaveLength(1);
    expect(processesNaming(join(cwd, '.millrace', 'redis', 'redis.conf')).length).toBe(3);
  });

  test('at the same moment with the same port: one runs, the other says what to do', async () => {
    const cwd = newFolder();
    const env = { PORT: String(await freePort()) };
    const both = [1, 2].map(() => own(startCommand(['dev'], { cwd, env })));
    const loser = await Promise.race(both.map((one) => one.ended.then(() => one)));
    expect(await loser.ended).toBe(1);
    expect(loser.err()).toContain(`port ${env.PORT} on 127.0.0.1 is taken`);
    const winner = both.find((one) => one !== loser) ?? loser;
    await winner.says('Stop: Ctrl-C');
    expect((await get(`${healthUrl(winner)}/readyz`)).status).toBe(200);
  });
});

interface Failure {
  err: string;
  cwd: string;
}

/** What `millrace dev` says that must not start; no process of it may be left. */
async function failureOf(env: Record<string, string>, cwd = newFolder()): Promise<Failure> {
  const { code, err } = await run(['dev'], { cwd, env: { PORT: '0', ...env } });
  expect(code).toBe(1);
  expect(err, 'no stack').not.toMatch(/^\s+at /m);
  expect(processesNaming(cwd)).toEqual([]);
  return { err, cwd };
}

describe('a start that fails says why in one message, ends with 1 and leaves nothing running:', () => {
  test('PORT is taken', async () => {
    const { port } = own(await startWebServer());
    const { err, cwd } = await failureOf({ PORT: String(port) });
    expect(err).toMatch(new RegExp(`^millrace: port ${port} on 127.0.0.1 is taken.* PORT=\\d+ \\[PORT_TAKEN\\]\n$`));
    expect(existsSync(join(cwd, '.millrace')), 'nothing was begun').toBe(false);
  });

  test('REDIS_URL leads nowhere, or has a typing error', async () => {
    const [nowhere, typing] = await Promise.all([
      failureOf({ REDIS_URL: `redis://127.0.0.1:${await freePort()}` }),
      failureOf({ REDIS_URL: 'redsi://127.0.0.1:6379' }),
    ]);
    expect(nowhere.err).toMatch(/^millrace: Redis at .*: nothing listens there.* \[REDIS_UNREACHABLE\]\n$/);
    expect(typing.err).toContain('did you mean redis://?');
    expect(typing.err).toContain('[ENV_INVALID]');
  });

  test('the password is refused, and is not shown', async () => {
    const server = own(await startRedis({ config: { requirepass: 'correct-horse' } }));
    const { err } = await failureOf({ REDIS_URL: `redis://:wrong-horse@127.0.0.1:${server.port}` });
    expect(err).toMatch(/^millrace: .*REDIS_PASSWORD.* \[REDIS_AUTH_FAILED\]\n$/);
    expect(err).not.toContain('wrong-horse');
  });

  test('several variables are wrong, and all are told at once; or the data folder is a file', async () => {
    const [several, file] = await Promise.all([
      failureOf({ PORT: '99999', LOG_LEVEL: 'loud', MILLRACE_DATTA: '/x', REDIS_CONNECT_TIMEOUT: 'soon' }),
      failureOf({ MILLRACE_DATA: '/dev/null' }),
    ]);
    for (const name of ['PORT', 'LOG_LEVEL', 'MILLRACE_DATTA', 'REDIS_CONNECT_TIMEOUT'])
      expect(several.err).toContain(name);
    expect(several.err).toContain('did you mean MILLRACE_DATA?');
    expect(file.err).toMatch(/^millrace: the data folder \/dev\/null\/redis cannot be used.* MILLRACE_DATA.*\n$/);
  });

  test('there is no server and none may be fetched', async () => {
    const cwd = newFolder();
    const env = {
      MILLRACE_DOWNLOAD: 'false',
      MILLRACE_CACHE: join(cwd, 'cache'),
      MILLRACE_REDIS_SERVER: '',
      PATH: cwd,
    };
    const { err } = await failureOf(env, cwd);
    expect(err).toContain('no Redis server can be had');
    expect(err).toContain('docker run');
    expect(err).toContain('[SERVER_UNAVAILABLE]');
  });
});
