/** The commands that look and act, beside a platform that has a bit of everything: queues, jobs, dead letters, schedules, streams. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { handle, unrecoverable } from '../../src/jobs/handler.ts';
import { defineJob } from '../../src/jobs/contract.ts';
import { flow } from '../../src/jobs/flows.ts';
import { schedule } from '../../src/jobs/schedules/schedule.ts';
import { silentLogger } from '../../src/log.ts';
import { createPlatform, type Platform } from '../../src/platform.ts';
import { consume } from '../../src/streams/consumer/consume.ts';
import { defineStream } from '../../src/streams/contract.ts';
import { ownedCommands } from '../support/commands.ts';
import { eventually } from '../support/eventually.ts';
import { temporaryFolder } from '../support/folders.ts';
import type { Ran } from '../support/host.ts';
import { freePort, startRedis, type TestServer } from '../support/servers.ts';

const mail = defineJob({
  name: 'mail.send',
  input: z.object({ to: z.string(), password: z.string().optional() }),
  secrets: ['password'],
  attempts: 1,
});
const check = defineJob({ name: 'mail.check', input: z.object({ password: z.string() }), secrets: ['password'] });
const digest = defineJob({ name: 'mail.digest', input: z.object({}), attempts: 1 });
const idle = defineJob({ name: 'idle.wait', input: z.object({ at: z.number() }) });
const orders = defineStream({ name: 'orders', schema: z.object({ id: z.number() }) });

const prefix = `t-${randomUUID()}`;
const cwd = temporaryFolder();
const command = ownedCommands();
let server: TestServer;
let platform: Platform;

const run = (...args: string[]): Promise<Ran> =>
  command(args, { cwd, env: { REDIS_URL: server.url, MILLRACE_PREFIX: prefix } });
const lines = async (...args: string[]): Promise<Array<Record<string, unknown>>> =>
  (await run(...args)).out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

beforeAll(async () => {
  server = await startRedis();
  platform = createPlatform({ redis: { url: server.url }, prefix, log: silentLogger });
  await platform.start();
  await platform.work({
    handlers: [
      handle(mail, ({ to, password }) => {
        if (to.startsWith('nobody')) throw unrecoverable(`no mailbox for ${to}${password ?? ''}`);
      }),
      handle(check, ({ password }) => ({ checked: password })),
      handle(digest, () => Promise.reject(new Error('no paper'))),
    ],
    consumers: [consume(orders, { group: 'billing', startAt: '$' }, () => undefined)],
    schedules: [
      schedule(mail, { to: 'weekly@example.org', password: 'weekly-secret' }, { id: 'weekly', cron: '0 3 * * 1' }),
    ],
  });
  // Each connection is opened when it is first needed; a test that needed one would seem to leave it open.
  await platform.jobs.enqueue(idle, { at: 0 }, { delay: '1h' });
  await platform.deadLetters.discard((await deaths(1))[0] ?? '');
  await platform.streams.publish(orders, { id: 0 });
});
afterAll(async () => {
  await platform.stop();
  await server.stop();
});

/** Jobs that die, and their letters. */
async function deaths(count: number, password?: string): Promise<string[]> {
  const added = await platform.jobs.enqueueMany(
    mail,
    Array.from({ length: count }, () => ({
      to: `nobody-${randomUUID()}`,
      ...(password !== undefined && { password }),
    })),
  );
  const letters = added.map(({ id }) => `${id}~0`);
  for (const id of letters) await eventually(async () => expect((await platform.deadLetters.get(id))?.id).toBe(id));
  return letters;
}

describe('millrace queues', () => {
  test('lists every queue with its jobs by state, pauses one and resumes it', async () => {
    await platform.jobs.enqueueMany(idle, [{ at: 1 }, { at: 2 }]);
    await platform.jobs.enqueue(idle, { at: 3 }, { delay: '1h' });
    const paused = await run('queues', 'pause', 'idle');
    expect(paused).toMatchObject({ code: 0, out: 'idle is paused\n', err: '' });
    const shown = await run('queues');
    expect(shown.out).toMatch(/^QUEUE +WAITING +ACTIVE +DELAYED +PRIORITIZED +FAILED +DEAD +OLDEST +PAUSED$/m);
    expect(shown.out).toMatch(/^idle +2 +0 +2 +0 .*paused$/m);
    expect((await run('queues', 'resume', 'idle', '--json')).out).toBe(
      '{\n  "queue": "idle",\n  "isPaused": false\n}\n',
    );
    const rows = await lines('queues', '--json');
    expect(rows).toContainEqual(
      expect.objectContaining({
        queue: 'idle',
        isPaused: false,
        counts: expect.objectContaining({ waiting: 2, delayed: 2 }),
      }),
    );
  });

  test('top prints one frame with queues and workers, and JSON of the same', async () => {
    await eventually(async () => expect((await platform.fleet.workers()).length).toBeGreaterThan(0));
    const { out, code } = await run('top', '--once');
    expect(code).toBe(0);
    expect(out).toMatch(/^QUEUE +WAITING +ACTIVE +DELAYED +DEAD +OLDEST +DONE\/MIN +FAILED\/MIN$/m);
    expect(out).toMatch(new RegExp(`^\\S+:${process.pid} +running +mail, orders/billing `, 'm'));
    const seen = JSON.parse((await run('top', '--json')).out) as { queues: unknown[]; workers: unknown[] };
    expect(seen.queues.length).toBeGreaterThan(0);
    expect(seen.workers).toContainEqual(expect.objectContaining({ pid: process.pid, state: 'running' }));
  });
});

describe('millrace jobs', () => {
  test('list finds by queue, state and text, says when there is more, and retry promotes', async () => {
    const added = await platform.jobs.enqueueMany(
      idle,
      Array.from({ length: 5 }, (_, at) => ({ at: 7_000_000 + at })),
      { delay: '1d' },
    );
    const found = await lines('jobs', 'list', '--queue', 'idle', '--state', 'delayed', '--text', '700000', '--json');
    expect(new Set(found.map(({ id }) => id))).toEqual(new Set(added.map(({ id }) => id)));
    expect(await lines('jobs', 'list', '--contract', 'mail.send', '--text', '700000', '--json')).toEqual([]);
    const some = await run('jobs', 'list', '--queue', 'idle', '--since', '10m', '--limit', '2');
    expect(some.out.split('\n')).toHaveLength(4);
    expect(some.err).toContain('There are more: --limit N shows them.');

    const id = added[0]?.id ?? '';
    expect((await run('jobs', 'retry', id)).out).toBe('promoted: it may run now\n');
    const again = await run('jobs', 'retry', id, '--json');
    expect(JSON.parse(again.out)).toEqual({ id, status: 'not-possible' });
    expect(again.code).toBe(1);
  });
});

describe('millrace dead', () => {
  test('lists and groups letters without their secrets, also where an error tells them', async () => {
    const [id = ''] = await deaths(1, 'hunter2-hunter2');
    const [list, show, clusters] = [
      await run('dead', 'list', '--contract', 'mail.send'),
      await run('dead', 'show', id),
      await run('dead', 'clusters', '--queue', 'mail'),
    ];
    for (const { out } of [list, show, clusters]) expect(out).not.toContain('hunter2');
    expect(show.out).toContain('"password":"[secret]"');
    expect((await run('dead', 'show', id, '--secrets')).out).toContain('hunter2-hunter2');
    expect(await lines('dead', 'list', '--since', '1h', '--json')).toContainEqual(expect.objectContaining({ id }));
    expect(await lines('dead', 'list', '--until', '1h', '--json')).toEqual([]);
  });

  test('of the children of a dead parent only the ids are shown, where some contract has secrets', async () => {
    const family = flow(digest, {}, { children: [flow(check, { password: 'hunter3-hunter3' })] });
    const { id, children } = await platform.jobs.enqueueFlow(family);
    await eventually(async () => expect(await platform.deadLetters.get(id)).toBeDefined());
    const child = children[0]?.id ?? '';
    const show = await run('dead', 'show', `${id}~0`, '--json');
    expect(JSON.parse(show.out)).toMatchObject({ children: { results: { [child]: '[secret]' }, failures: {} } });
    const list = await run('dead', 'list', '--contract', 'mail.digest', '--json');
    for (const { out } of [show, list]) expect(out).not.toContain('hunter3');
    const asked = await run('dead', 'show', `${id}~0`, '--json', '--secrets');
    expect(JSON.parse(asked.out)).toMatchObject({ children: { results: { [child]: { checked: 'hunter3-hunter3' } } } });
    await platform.deadLetters.discard(`${id}~0`);
  });

  test('redrive takes several ids, or a filter with a limit; discard removes no more than it told of', async () => {
    const before = await platform.deadLetters.count();
    const [one = '', two = ''] = await deaths(3);
    const dry = await run('dead', 'redrive', one, two, '--dry-run', '--json');
    expect(JSON.parse(dry.out)).toMatchObject({ matched: 2, redriven: 0, dryRun: true, queues: { mail: 2 } });
    await platform.jobs.pause('mail');
    const sent = await run('dead', 'redrive', one, two, '--by', 'ops');
    expect(sent).toMatchObject({ code: 0, out: '2 found, 2 sent back, 0 skipped\n' });
    expect((await run('dead', 'redrive', '--queue', 'mail', '--limit', '1', '--rate', '50')).out).toMatch(
      /^1 found, 1 sent back/,
    );
    await platform.jobs.resume('mail');
    await eventually(async () =>
      expect((await platform.deadLetters.get(one.replace('~0', '~1')))?.history[0]?.by).toBe('ops'),
    );
    await eventually(async () => expect(await platform.deadLetters.count()).toBe(before + 3));

    expect((await run('dead', 'discard', '--queue', 'mail')).code).toBe(2);
    expect(JSON.parse((await run('dead', 'discard', 'all', '--dry-run', '--json')).out)).toMatchObject({
      discarded: 0,
    });
    const limited = await run('dead', 'discard', 'all', '--limit', '1', '--yes', '--json');
    expect(JSON.parse(limited.out)).toMatchObject({ matched: 1, discarded: 1, aborted: false });
    expect((await run('dead', 'discard', '--queue', 'mail', '--yes')).code).toBe(0);
    expect(await platform.deadLetters.count()).toBe(0);
  });
});

describe('millrace schedules and streams', () => {
  test('lists the schedules without secrets, and runs one now', async () => {
    const shown = await run('schedules');
    expect(shown.out).toMatch(/^weekly +mail\.send +mail +0 3 \* \* 1 +never +in /m);
    const added = JSON.parse((await run('schedules', 'run', 'weekly', '--json')).out) as { id: string; status: string };
    expect(added.status).toBe('added');
    const rows = await lines('schedules', '--json');
    expect(rows).toEqual([
      expect.objectContaining({ id: 'weekly', input: { to: 'weekly@example.org', password: '[secret]' } }),
    ]);
  });

  test('lists the streams with what each group has still to do', async () => {
    await platform.streams.createGroup(orders, 'search', { startAt: '$' });
    await platform.streams.publishMany(orders, [{ id: 1 }, { id: 2 }, { id: 3 }]);
    await eventually(async () => expect((await platform.streams.lag(orders, 'billing')).entries).toBe(0));
    const shown = await run('streams');
    expect(shown.out).toMatch(/^STREAM +ENTRIES +OLDEST +GROUP +LAG +PENDING +FOR +RETRYING +DEAD +CONSUMERS$/m);
    expect(shown.out).toMatch(/^orders +4 .* billing +0 /m);
    expect(shown.out).toMatch(/ search +3 +0 /m);
    const [stream] = await lines('streams', '--json');
    expect(stream).toMatchObject({
      name: 'orders',
      length: 4,
      groups: [{ name: 'billing' }, { name: 'search', lag: 3 }],
    });
  });
});

test('bench tells three rates, and leaves no key behind', async () => {
  const keys = (): Promise<number> => server.ask((redis) => redis.dbsize());
  const known = await platform.jobs.queues();
  const { code, out, err } = await run('bench', '--jobs', '50', '--json');
  expect([code, err.replaceAll(/^ {2}.*\n/gm, '')]).toEqual([0, '']);
  const figures = JSON.parse(out) as Record<string, number>;
  for (const rate of ['enqueuePerSecond', 'enqueueManyPerSecond', 'workPerSecond'])
    expect(figures[rate], rate).toBeGreaterThan(0);
  expect(await platform.jobs.queues()).toEqual(known);
  const left = await server.ask((redis) => redis.call('SCAN', '0', 'MATCH', '*:bench:*', 'COUNT', '100000'));
  expect((left as [string, string[]])[1]).toEqual([]);
  expect(await keys()).toBeGreaterThan(0);
});

test('bench without a server tells of the server alone: it had written nothing', async () => {
  const env = { REDIS_URL: `redis://127.0.0.1:${await freePort()}` };
  const { code, out, err } = await command(['bench', '--jobs', '1'], { cwd, env });
  expect({ code, out }).toEqual({ code: 1, out: '' });
  expect(err).toMatch(/^millrace: Redis at .* nothing listens there.* \[REDIS_UNREACHABLE\]\n$/);
});
