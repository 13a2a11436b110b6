/** `millrace schedules remove`, beside a worker whose code has some schedules, and what an application that is gone has left. */
import { hostname } from 'node:os';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { schedule, type Schedule } from '../../src/jobs/schedules/schedule.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform, type Platform } from '../../src/platform.ts';
import { ownedCommands } from '../support/commands.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import type { Ran } from '../support/host.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const sweep = defineJob({ name: 'carts.sweep', input: z.null() });
const scheduled = (id: string): Schedule => schedule(sweep, null, { id, cron: '0 3 * * 1' }) as Schedule;
const nightly = [scheduled('nightly')];
const left = [scheduled('left.weekly'), scheduled('left.monthly')];

const prefix = `t-${randomUUID()}`;
const cwd = temporaryFolder();
const command = ownedCommands();
let server: TestServer;
let worker: Platform;

const run = (...args: string[]): Promise<Ran> =>
  command(['schedules', ...args], { cwd, env: { REDIS_URL: server.url, MILLRACE_PREFIX: prefix } });
const ids = async (): Promise<string[]> => (await worker.schedules.list()).map(({ id }) => id);

/** Its heartbeat tells of what it has declared. */
const isHeardOf = (): Promise<void> =>
  eventually(async () => expect((await worker.fleet.workers())[0]?.schedules).toEqual(['nightly']));

beforeAll(async () => {
  server = await startRedis();
  worker = createPlatform({ redis: { url: server.url }, prefix, log: silentLogger });
  await worker.start();
  await worker.work({ handlers: [handle(sweep, () => undefined)], schedules: nightly });
  await isHeardOf();
});
beforeEach(async () => {
  await worker.schedules.reconcile(nightly);
  const gone = createPlatform({ redis: { url: server.url }, prefix, log: silentLogger });
  await gone.start();
  await gone.schedules.reconcile(left, { owner: 'gone-app' });
  await gone.stop();
});
afterAll(async () => {
  await worker.stop();
  await server.stop();
});

describe('millrace schedules', () => {
  test('tells the owner of each, and how many workers have it in their code', async () => {
    const { out } = await run();
    expect(out).toMatch(/^SCHEDULE .* OWNER +WORKERS$/m);
    expect(out).toMatch(/^nightly .* default +1$/m);
    expect(out).toMatch(/^left\.weekly .* gone-app +0$/m);
    const rows = (await run('--json')).out.trim().split('\n');
    expect(rows.map((row) => (JSON.parse(row) as { declarers: string[] }).declarers)).toEqual([
      [],
      [],
      [`${hostname()}:${process.pid}`],
    ]);
  });
});

describe('millrace schedules remove', () => {
  test('asks first: without a terminal nothing is done', async () => {
    const { code, out, err } = await run('remove', 'left.weekly');
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain('Remove the schedule left.weekly?');
    expect(err).toContain('say --yes');
    expect(await ids()).toContain('left.weekly');
  });

  test('removes those that are named, and says nothing of coming back where nobody declares them', async () => {
    const removed = await run('remove', 'left.weekly', 'left.monthly', 'left.weekly', '--yes');
    expect(removed).toEqual({ code: 0, out: 'removed left.weekly\nremoved left.monthly\n', err: '' });
    expect(await ids()).toEqual(['nightly']);
  });

  test('removes all of an owner', async () => {
    const { code, out } = await run('remove', '--owner', 'gone-app', '--yes', '--json');
    expect([code, JSON.parse(out)]).toEqual([
      0,
      { removed: ['left.monthly', 'left.weekly'], gone: [], comeBack: [], aborted: false },
    ]);
    expect(await ids()).toEqual(['nightly']);
  });

  test('says of one that a running worker declares that it comes back, which it does', async () => {
    const { code, out, err } = await run('remove', 'nightly', '--yes', '--json');
    expect([code, JSON.parse(out)]).toEqual([
      0,
      { removed: ['nightly'], gone: [], comeBack: ['nightly'], aborted: false },
    ]);
    expect(err).toBe(
      `nightly: declared by ${hostname()}:${process.pid}. It comes back with the next start of a worker that declares it.\n`,
    );
    expect(await ids()).not.toContain('nightly');
    await worker.schedules.reconcile(nightly);
    expect(await ids()).toContain('nightly');
  });

  test('removes nothing where one of the names is none, and tells which was meant', async () => {
    const { code, out, err } = await run('remove', 'nightly', 'left.weekley', '--yes');
    expect([code, out]).toEqual([1, '']);
    expect(err).toBe(
      'millrace schedules remove: there is no schedule left.weekley; did you mean left.weekly? npx millrace schedules lists them\n',
    );
    expect(await ids()).toEqual(['left.monthly', 'left.weekly', 'nightly']);
    expect((await run('run', 'nightli')).err).toContain('did you mean nightly?');
    expect(await run('remove', '--owner', 'gone', '--yes')).toMatchObject({ code: 1, out: '' });
    expect((await run('remove', '--owner', 'gone-ap', '--yes')).err).toContain('did you mean gone-app?');
  });

  test('needs a name or an owner, and not both', async () => {
    const [none, both] = await Promise.all([run('remove', '--yes'), run('remove', 'nightly', '--owner', 'default')]);
    expect(none).toMatchObject({ code: 2, out: '' });
    expect(none.err).toContain('expected NAME, or --owner');
    expect(both).toMatchObject({ code: 2, out: '' });
    expect(await ids()).toHaveLength(3);
  });
});
