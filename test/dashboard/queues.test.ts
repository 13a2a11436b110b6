/** Bull Board as the dashboard has it: what it shows, and what it does to jobs and dead letters. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob, flow, handle, unrecoverable, type Platform } from '../../src/index.ts';
import { indexPageOf } from '../../dashboard/queues/index-page.ts';
import { eventually } from '../support/eventually.ts';
import { ownedByTest } from '../support/owned.ts';
import { ownedDashboards, ownedPlatform, type Browser } from './support.ts';

const platformOf = ownedPlatform({ jobs: { maxPayloadBytes: 8_000_000 } });
const open = ownedDashboards(platformOf);
const own = ownedByTest();

interface ShownJob {
  id: string;
  name: string;
  data: unknown;
  returnValue: unknown;
  progress: unknown;
  failedReason?: string;
  stacktrace: string[];
  finishedOn?: number;
  attempts: number;
  externalUrl: { href: string };
}

interface ShownQueue {
  name: string;
  displayName: string;
  description?: string;
  counts: Record<string, number>;
  jobs: ShownJob[];
  readOnlyMode: boolean;
  hasWorkers: boolean | null;
}

let names = 0;
const freshName = (): string => `q${names++}`;

/** A request as Bull Board's own scripts send it. */
async function api(
  browser: Browser,
  method: string,
  path: string,
  body?: object,
  headers: Record<string, string> = {},
) {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const answer = await browser.ask(method, `/queues/api${path}`, {
    headers: {
      accept: 'application/json, text/plain, */*',
      'x-xsrf-token': browser.token,
      ...(text !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(text !== undefined && { body: text }),
  });
  const isJson = String(answer.headers['content-type']).includes('application/json');
  return { status: answer.status, text: answer.body, body: (isJson ? JSON.parse(answer.body) : undefined) as never };
}

async function queueOf(browser: Browser, name: string, query = ''): Promise<ShownQueue> {
  const { body } = await api(
    browser,
    'GET',
    `/queues?activeQueue=${encodeURIComponent(encodeURIComponent(name))}${query}`,
  );
  const { queues } = body as { queues: ShownQueue[] };
  const found = queues.find((queue) => queue.name === name);
  expect(found, `${name} among ${queues.map((queue) => queue.name).join(', ')}`).toBeDefined();
  return found as ShownQueue;
}

/** A queue of which jobs fail while `isBroken`, and a worker on it. */
async function brokenQueue(platform: Platform, count: number) {
  const queue = freshName();
  const contract = defineJob({
    name: `${queue}.work`,
    input: z.object({ n: z.number(), key: z.string() }),
    secrets: ['key'],
    attempts: 1,
  });
  const state = { isBroken: true, ran: [] as number[] };
  const worker = own(
    await platform.work({
      handlers: [
        handle(contract, ({ n, key }, { log }) => {
          log.info(`using ${key}`);
          if (state.isBroken) throw unrecoverable(`refused ${key}`);
          state.ran.push(n);
        }),
      ],
    }),
  );
  const ids: string[] = [];
  for (let n = 0; n < count; n++) ids.push((await platform.jobs.enqueue(contract, { n, key: `very-secret-${n}` })).id);
  await eventually(async () => expect((await platform.jobs.counts(queue)).dead).toBe(count));
  return { queue, contract, state, ids, worker };
}

// Connections that the platform opens on first use, and keeps: to the test that comes first they would look as if it had left them.
beforeAll(async () => {
  const contract = defineJob({ name: 'first.work', input: z.object({}), attempts: 1 });
  const worker = await platformOf().work({
    handlers: [handle(contract, () => Promise.reject(unrecoverable('it must')))],
  });
  await platformOf().jobs.enqueue(contract, {});
  await eventually(async () => {
    const { discarded } = await platformOf().deadLetters.discard({ queue: 'first' });
    if (discarded === 0) throw new Error('there is no dead letter yet');
  });
  await worker.stop();
});

describe('what is shown', () => {
  test('queues are found by themselves, each with its dead letters, and with what works on them', async () => {
    const { browserAs, platform } = await open();
    const viewer = await browserAs('viewer');
    const { queue, contract } = await brokenQueue(platform, 1);
    const jobs = await queueOf(viewer, `${queue}.(jobs)`);
    expect(jobs).toMatchObject({ displayName: queue, description: contract.name, hasWorkers: true });
    const dead = await queueOf(viewer, `${queue}.dead`);
    expect(dead).toMatchObject({ displayName: `${queue} · dead letters`, hasWorkers: null, counts: { failed: 1 } });
    // A queue that comes later needs no restart.
    const later = freshName();
    await platform.jobs.enqueue(defineJob({ name: `${later}.work`, input: z.object({}) }), {});
    await eventually(async () => expect((await queueOf(viewer, `${later}.(jobs)`)).counts['waiting']).toBe(1));
  });

  test('a dead letter reads as the job that failed, with its own times, error and input', async () => {
    const { browserAs, platform } = await open();
    const viewer = await browserAs('viewer');
    const { queue, ids } = await brokenQueue(platform, 3);
    const letter = await platform.deadLetters.get(`${ids[2]}~0`);
    const { jobs } = await queueOf(viewer, `${queue}.dead`, '&status=failed');
    expect(jobs.map(({ id }) => id)).toEqual(ids.toReversed().map((id) => `${id}~0`));
    expect(jobs[0]).toMatchObject({
      name: `${queue}.work`,
      data: { n: 2, key: '[secret]' },
      failedReason: 'refused [secret] (unrecoverable)',
      finishedOn: letter?.diedAt,
      attempts: 1,
    });
    const one = await api(viewer, 'GET', `/queues/${queue}.dead/${ids[2]}~0`);
    expect(one.body).toMatchObject({ status: 'failed', job: { data: { n: 2, key: '[secret]' } } });
    const logs = await api(viewer, 'GET', `/queues/${queue}.dead/${ids[2]}~0/logs`);
    expect(logs.text).toContain('using [secret]');
    expect([one.text, logs.text].join(' ')).not.toContain('very-secret');
  });

  test('secrets are masked wherever they stand, and what is large is cut on the server', async () => {
    const { browserAs, platform } = await open();
    const viewer = await browserAs('viewer');
    const queue = freshName();
    const contract = defineJob({
      name: `${queue}.work`,
      input: z.object({ card: z.object({ number: z.string(), owner: z.string() }), text: z.string() }),
      secrets: ['card.number'],
    });
    own(
      await platform.work({
        handlers: [
          handle(contract, async ({ card }, { progress, log }) => {
            progress({ card, paidWith: card.number });
            log.info({ card }, 'paying');
            return Promise.resolve({ card, receipt: `paid with ${card.number}` });
          }),
        ],
      }),
    );
    const input = { card: { number: '4111-1111-1111', owner: 'Ann' }, text: 'x'.repeat(5_000_000) };
    const { id } = await platform.jobs.enqueue(contract, input);
    await eventually(async () => expect((await platform.jobs.get(id))?.state).toBe('completed'));
    const one = await api(viewer, 'GET', `/queues/${queue}/${id}`);
    expect(one.text.length).toBeLessThan(80_000);
    const { job } = one.body as { job: ShownJob };
    expect(job.returnValue).toEqual({ card: { number: '[secret]', owner: 'Ann' }, receipt: 'paid with [secret]' });
    expect(job.progress).toEqual({ card: { number: '[secret]', owner: 'Ann' }, paidWith: '[secret]' });
    expect((job.data as { text: string }).text).toContain('… [cut: 5,000,000 characters in all]');
    const list = await api(viewer, 'GET', `/queues?activeQueue=${queue}&status=completed&jobsPerPage=300`);
    expect(list.text.length).toBeLessThan(80_000);
    expect(list.text).toContain(id);
    const logs = await api(viewer, 'GET', `/queues/${queue}/${id}/logs`);
    expect(logs.text).toContain('paying');
    for (const { text } of [one, list, logs]) expect(text).not.toContain('4111');
    const tree = await api(viewer, 'GET', `/queues/${queue}/${id}/flow`);
    expect([tree.status, tree.text.includes('4111')]).toEqual([200, false]);
  });

  test('names with markup are text', async () => {
    const { browserAs } = await open({ environment: '<i>staging</i>' });
    const admin = await browserAs('admin');
    const evil = '</script><img src=x onerror=alert(1)>';
    const page = await admin.get('/queues/');
    expect(page.body).not.toContain('<i>');
    expect(page.body).toContain('&lt;i>staging');
    const found = await admin.get(`/queues/find?text=${encodeURIComponent(evil)}`);
    expect(found.body).not.toContain('<img');
    const none = await api(admin, 'PUT', `/queues/${encodeURIComponent(evil)}/pause`);
    expect(none.status).toBe(404);
    expect((await admin.get('/audit?action=queue.pause')).body).not.toContain('<img');
  });

  test('charts are drawn from the history of the platform', async () => {
    const { browserAs, platform } = await open();
    const viewer = await browserAs('viewer');
    const { queue, contract, state, worker } = await brokenQueue(platform, 2);
    state.isBroken = false;
    await platform.jobs.enqueue(contract, { n: 7, key: 'very-secret-7' });
    await eventually(() => expect(state.ran).toEqual([7]));
    await worker.stop(); // What it has counted is in the history then.
    const now = await platform.redis.commands().time();
    const nowMs = Number(now[0]) * 1_000;
    const range = `from=${nowMs - 86_400_000}&to=${nowMs + 60_000}`;
    const failedOf = async (name: string): Promise<number> => {
      const { body } = await api(
        viewer,
        'GET',
        `/metrics/history?${range}&granularity=day&queue=${name}&metric=failed`,
      );
      const { failed } = body as { failed: Array<{ ts: number; value: number }> };
      return failed.reduce((sum, { value }) => sum + value, 0);
    };
    expect(await Promise.all([failedOf(`${queue}.(jobs)`), failedOf(`${queue}.dead`)])).toEqual([2, 2]);
    const { body } = await api(
      viewer,
      'GET',
      `/metrics/latency?${range}&metric=runtime&granularity=range&queue=${queue}`,
    );
    const times = { 50: expect.any(Number), 95: expect.any(Number), 99: expect.any(Number) };
    expect(body).toMatchObject([{ count: 3, values: times }]);
    // One after the other: what is kept of the first must not answer for the second.
    for (const [of, count] of Object.entries({ '(jobs)': 1, dead: 0 })) {
      const told = { completed: { meta: { count } }, failed: { meta: { count: 2 } } };
      expect((await api(viewer, 'GET', `/queues/${queue}.${of}/metrics`)).body).toMatchObject(told);
    }
    expect((await api(viewer, 'GET', `/metrics/history?from=0&to=${nowMs}`)).status).toBe(200);
  });
});

describe('dead letters', () => {
  test('a retry gives one back to its queue, where it runs, and the audit has it', async () => {
    const { browserAs, platform } = await open();
    const operator = await browserAs('operator');
    const { queue, state, ids } = await brokenQueue(platform, 2);
    state.isBroken = false;
    expect((await api(operator, 'PUT', `/queues/${queue}.dead/${ids[0]}~0/retry`)).status).toBe(204);
    await eventually(() => expect(state.ran).toEqual([0]));
    expect((await platform.jobs.counts(queue)).dead).toBe(1);
    // Once more: somebody else was quicker.
    const again = await api(operator, 'PUT', `/queues/${queue}.dead/${ids[0]}~0/retry`);
    expect([again.status, state.ran]).toEqual([409, [0]]);
    const audit = (await (await browserAs('admin')).get('/audit?action=job.retry')).body;
    expect(audit).toContain(`${queue} dead letters ${ids[0]}~0`);
  });

  test('retry all gives all back once, however many ask for it', async () => {
    const { browserAs, platform } = await open();
    const operator = await browserAs('operator');
    const { queue, state } = await brokenQueue(platform, 120);
    state.isBroken = false;
    const both = await Promise.all([1, 2].map(() => api(operator, 'PUT', `/queues/${queue}.dead/retry/failed`)));
    expect(both.map(({ status }) => status)).toEqual([200, 200]);
    const retried = both.map(({ body }) => (body as { retried: number }).retried);
    expect(retried.reduce((sum, one) => sum + one)).toBe(120);
    await eventually(() =>
      expect(state.ran.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 120 }, (_, n) => n)),
    );
    expect((await platform.jobs.counts(queue)).dead).toBe(0);
    const audit = (await (await browserAs('admin')).get('/audit?action=queue.retry-all')).body;
    expect(audit).toContain(String(Math.max(...retried)));
  });

  test('clean discards, one or all', async () => {
    const { browserAs, platform } = await open();
    const admin = await browserAs('admin');
    const { queue, ids } = await brokenQueue(platform, 3);
    expect((await api(admin, 'PUT', `/queues/${queue}.dead/${ids[1]}~0/clean`)).status).toBe(204);
    expect((await platform.deadLetters.list({ queue })).letters.map(({ jobId }) => jobId)).toEqual([ids[2], ids[0]]);
    expect((await api(admin, 'PUT', `/queues/${queue}.dead/clean/failed`)).status).toBe(200);
    expect((await platform.jobs.counts(queue)).dead).toBe(0);
  });

  test('what would go past the dead letters is refused, with where it is done', async () => {
    const { browserAs, platform } = await open();
    const admin = await browserAs('admin');
    const { queue, ids } = await brokenQueue(platform, 1);
    const letter = `/queues/${queue}.dead/${ids[0]}~0`;
    const dead = `/queues/${queue}.dead`;
    const asked: Array<[string, string, object?]> = [
      ['PUT', `${dead}/obliterate`, { force: true }],
      ['PUT', `${dead}/empty`],
      ['POST', `${dead}/add`, { name: 'x', data: {} }],
      ['PUT', `${dead}/pause`],
      ['PUT', `${dead}/promote`],
      ['PUT', `${dead}/concurrency`, { concurrency: 1 }],
      ['PUT', `${dead}/rate-limit`, { max: 1, duration: 1 }],
      ['PATCH', `${letter}/update-data`, { jobData: {} }],
      ['PUT', `${letter}/promote`],
      ['PATCH', `${letter}/priority`, { priority: 1 }],
    ];
    for (const [method, path, body] of asked) {
      const answer = await api(admin, method, path, body);
      expect([path, answer.status]).toEqual([path, 403]);
      expect((answer.body as { message: string }).message).toMatch(/Retry|page/);
    }
    const wrong = await api(admin, 'PUT', `${dead}/clean/wait`);
    expect(wrong.status).toBe(400);
    expect((await platform.deadLetters.get(`${ids[0]}~0`))?.input).toEqual({ n: 0, key: 'very-secret-0' });
  });
});

describe('jobs', () => {
  test('a retry has all attempts again', async () => {
    const { browserAs, platform } = await open();
    const operator = await browserAs('operator');
    const queue = freshName();
    const contract = defineJob({
      name: `${queue}.work`,
      input: z.object({}),
      attempts: 2,
      backoff: { type: 'fixed', delay: 1 },
    });
    const attempts: number[] = [];
    own(
      await platform.work({
        handlers: [
          handle(contract, (_input, { job }) => {
            attempts.push(job.attempt);
            if (attempts.length === 1 || attempts.length === 3) throw new Error('not yet');
          }),
        ],
      }),
    );
    const { id } = await platform.jobs.enqueue(contract, {});
    await eventually(async () => expect((await platform.jobs.get(id))?.state).toBe('completed'));
    expect((await api(operator, 'PUT', `/queues/${queue}/${id}/retry`)).status).toBe(204);
    await eventually(() => expect(attempts).toHaveLength(4));
    await eventually(async () => expect((await platform.jobs.get(id))?.state).toBe('completed'));
    expect((await platform.jobs.counts(queue)).dead).toBe(0);
  });

  test('an input is not edited here, where no contract checks it', async () => {
    const { browserAs, platform } = await open();
    const admin = await browserAs('admin');
    const queue = freshName();
    const { id } = await platform.jobs.enqueue(defineJob({ name: `${queue}.work`, input: z.object({}) }), {});
    const edited = await api(admin, 'PATCH', `/queues/${queue}/${id}/update-data`, { jobData: { n: 'made up' } });
    expect([edited.status, edited.text]).toEqual([403, expect.stringContaining('Edit and enqueue')]);
    expect((await platform.jobs.get(id))?.input).toEqual({});
  });

  test('whoever removes one job leaves its children', async () => {
    const { browserAs, platform } = await open();
    const operator = await browserAs('operator');
    const queue = freshName();
    const parts = defineJob({ name: `${queue}.parts`, queue: `${queue}-parts`, input: z.object({}) });
    const whole = defineJob({ name: `${queue}.whole`, queue, input: z.object({}) });
    const family = flow(whole, {}, { children: [flow(parts, {}), flow(parts, {})] });
    const { id, children } = await platform.jobs.enqueueFlow(family);
    expect((await api(operator, 'PUT', `/queues/${queue}/${id}/clean`)).status).toBe(204);
    expect(await platform.jobs.get(id)).toBeUndefined();
    for (const child of children) expect((await platform.jobs.get(child.id))?.state).toBe('waiting');
  });

  test('clean all tells how many, frees unique keys, and leaves jobs that run', async () => {
    const { browserAs, platform } = await open();
    const admin = await browserAs('admin');
    const queue = freshName();
    const contract = defineJob({ name: `${queue}.work`, input: z.object({}) });
    await platform.jobs.enqueue(contract, {}, { idempotencyKey: 'one', delay: '1h' });
    expect((await api(admin, 'PUT', `/queues/${queue}/clean/active`)).status).toBe(409);
    // Bull Board leaves alone what is younger than 5 s, so the removal of one is what frees the key here.
    const [job] = (await queueOf(admin, `${queue}.(jobs)`, '&status=delayed')).jobs;
    expect((await api(admin, 'PUT', `/queues/${queue}/${job?.id}/clean`)).status).toBe(204);
    expect((await platform.jobs.enqueue(contract, {}, { idempotencyKey: 'one' })).status).toBe('added');
    expect((await api(admin, 'PUT', `/queues/${queue}/empty`)).status).toBe(200);
    expect((await platform.jobs.enqueue(contract, {}, { idempotencyKey: 'one' })).status).toBe('added');
    expect((await api(admin, 'PUT', `/queues/${queue}/clean/completed`)).status).toBe(200);
  });

  test('pause all and resume all are for queues, not for dead letters', async () => {
    const { browserAs, platform } = await open();
    const operator = await browserAs('operator');
    const { queue } = await brokenQueue(platform, 1);
    expect((await api(operator, 'PUT', '/queues/pause')).status).toBe(200);
    expect(await platform.jobs.isPaused(queue)).toBe(true);
    expect((await api(operator, 'PUT', '/queues/resume')).status).toBe(200);
    expect(await platform.jobs.isPaused(queue)).toBe(false);
  });
});

describe('the page', () => {
  test('a release with another form is refused', () => {
    expect(() => indexPageOf('<html><%= surprise %></html>')).toThrow('@bull-board/ui has another form');
  });
});
