import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, afterAll, describe, expect, test } from 'vitest';
import type { Report } from '../../src/index.ts';
import { ownedCommands, startDev } from '../support/commands.ts';
import { temporaryFolder } from '../support/folders.ts';
import { launcher } from '../support/millrace.ts';
import { ownedByTest } from '../support/owned.ts';
import { processesNaming } from '../support/process-table.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';

const root = temporaryFolder();
const own = ownedByTest();
const command = ownedCommands();
let folders = 0;

function newFolder(): string {
  const folder = join(root, String((folders += 1)));
  mkdirSync(folder);
  return folder;
}

function doctor(args: string[], env: Record<string, string> = {}, cwd = newFolder()) {
  return command(['doctor', ...args], { cwd, env });
}

/** What the doctor finds wrong, but for slow round trips, which are the truth on a machine that is busy with other tests. */
function wrong(report: Report): string[] {
  return report.findings
    .filter(({ id, severity }) => severity !== 'note' && id !== 'slow-round-trips')
    .map(({ id }) => id);
}

/** The exit code of a healthy server; a busy machine's slow round trips are a finding, and a note only where a few of them are slow. */
function healthy(out: string): number {
  return /"slow-round-trips",\s*"severity": ?"warning"|warning: a round trip/.test(out) ? 1 : 0;
}

describe('on the embedded server', () => {
  test('starts one if none runs, finds it healthy, and leaves nothing running', async () => {
    const cwd = newFolder();
    const { code, out } = await doctor([], {}, cwd);
    expect(out).toMatch(/^Redis {6}\w+ [\d.]+, embedded, started by this process/);
    expect(out).toMatch(/append-only file on/);
    expect(code).toBe(healthy(out));
    expect(processesNaming(cwd)).toEqual([]);
    expect(readdirSync(cwd)).toEqual(['.millrace']);
  });

  test('looks at the one that `millrace dev` runs in the folder, and leaves it running', async () => {
    const cwd = newFolder();
    const dev = await startDev(own, { cwd });
    const { code, out } = await doctor(['--json'], {}, cwd);
    expect(code).toBe(healthy(out));
    expect((JSON.parse(out) as Report).nodes[0]?.connections.used).toBeGreaterThan(1);
    expect((await fetch(`${dev.url}/readyz`, { headers: { connection: 'close' } })).status).toBe(200);
  });
});

describe('--json prints JSON and nothing else', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startRedis({ config: { requirepass: 'correct-horse' } });
  });
  afterAll(() => server.stop());

  test('for a healthy server: exit code 0', async () => {
    const { code, out, err } = await doctor(['--json']);
    const report = JSON.parse(out) as Report;
    expect(report).toMatchObject({ ok: healthy(out) === 0, topology: 'standalone', nodes: [{ role: 'master' }] });
    expect(wrong(report)).toEqual([]);
    expect(err, 'progress goes to standard error').toMatch(/^ {2}starting \w+ /);
    expect(code).toBe(healthy(out));
  });

  test('for one with findings: exit code 1', async () => {
    const REDIS_URL = `redis://:correct-horse@127.0.0.1:${server.port}`;
    const [json, plain] = await Promise.all([doctor(['--json'], { REDIS_URL }), doctor([], { REDIS_URL })]);
    const report = JSON.parse(json.out) as Report;
    expect(report.ok).toBe(false);
    expect(report.findings.map(({ id }) => id)).toContain('append-only-off');
    expect(json.out).not.toContain('correct-horse');
    expect(json.code).toBe(1);
    expect(plain.out).toContain('warning: nothing is written to disk');
    expect(plain.code).toBe(1);
  });

  test('for one that is not there: exit code 2', async () => {
    const REDIS_URL = `redis://127.0.0.1:${await freePort()}`;
    const [json, plain] = await Promise.all([doctor(['--json'], { REDIS_URL }), doctor([], { REDIS_URL })]);
    expect(JSON.parse(json.out)).toMatchObject({ ok: false, error: { code: 'REDIS_UNREACHABLE' } });
    expect(json).toMatchObject({ code: 2, err: '' });
    expect(plain.err).toMatch(/^millrace doctor: Redis at redis:\/\/127\.0\.0\.1:\S+ nothing listens there.*\n$/);
    expect(plain).toMatchObject({ code: 2, out: '' });
  });

  test('for a refused password: exit code 2, and the password is not shown', async () => {
    const REDIS_URL = `redis://:wrong-horse@127.0.0.1:${server.port}`;
    const { code, out, err } = await doctor(['--json'], { REDIS_URL });
    expect(JSON.parse(out)).toMatchObject({ ok: false, error: { code: 'REDIS_AUTH_FAILED' } });
    expect(out + err).not.toContain('wrong-horse');
    expect(code).toBe(2);
  });

  test('for bad configuration: exit code 1, with every fault', async () => {
    const { code, out } = await doctor(['--json'], { PORT: 'http', REDIS_URL: 'http://localhost' });
    const { error } = JSON.parse(out) as { error: { code: string; message: string } };
    expect(error.code).toBe('ENV_INVALID');
    expect(error.message).toContain('PORT');
    expect(error.message).toContain('REDIS_URL');
    expect(code).toBe(1);
  });

  test('for a folder that cannot be used: exit code 2', async () => {
    const cwd = newFolder();
    writeFileSync(join(cwd, '.millrace'), '');
    const { code, out } = await doctor(['--json'], {}, cwd);
    expect(JSON.parse(out)).toMatchObject({ ok: false, error: { code: 'FOLDER_UNUSABLE' } });
    expect(code).toBe(2);
  });
});

test('a reader that leaves early is no error', async () => {
  const shell = spawn('/bin/sh', ['-c', '"$0" "$1" help | true', process.execPath, launcher()]);
  let [out, err] = ['', ''];
  shell.stdout.on('data', (text: Buffer) => (out += text.toString()));
  shell.stderr.on('data', (text: Buffer) => (err += text.toString()));
  await new Promise((resolve) => shell.once('close', resolve));
  expect(out + err).toBe('');
});
