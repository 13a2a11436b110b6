/** Jobs found by queue, contract, state, time and text. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { flow } from '../../src/jobs/flows.ts';
import { handle } from '../../src/jobs/handler.ts';
import { SEARCHABLE_STATES, type JobFilter, type JobPage, type JobSummary } from '../../src/jobs/search/filter.ts';
import { contractOf } from '../support/contracts.ts';
import { eventually } from '../support/eventually.ts';
import { gate, untilAborted } from '../support/gate.ts';
import { ends, ownedJobs, type TestJobs } from '../support/jobs.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const jobsOf = ownedJobs();
let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

const small = contractOf('find.small');
const other = contractOf('find.other');
const far = contractOf('far.job');
const idsOf = ({ jobs }: JobPage): string[] => jobs.map(({ id }) => id);

/** All pages of a search. */
async function everyPage({ jobs }: TestJobs, filter: JobFilter, limit = 50): Promise<JobPage[]> {
  const pages: JobPage[] = [];
  for (let cursor: string | undefined; ;) {
    const page = await jobs.search(filter, { limit, ...(cursor !== undefined && { cursor }) });
    pages.push(page);
    cursor = page.cursor;
    if (cursor === undefined) return pages;
  }
}

async function everyJob(all: TestJobs, filter: JobFilter, limit?: number): Promise<JobSummary[]> {
  return (await everyPage(all, filter, limit)).flatMap(({ jobs }) => jobs);
}

describe('a search', () => {
  test('finds jobs in each state that can be listed', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const { opened, open } = gate();
    const kept = contractOf('life.kept', { attempts: 1 });
    const children = contractOf('life.child');
    const { id: completed } = await all.jobs.enqueue(kept, { is: 'completed' });
    const { id: failed } = await all.jobs.enqueue(kept, { is: 'failed' });
    const worker = all.work({
      concurrency: 1,
      handlers: [
        handle(kept, async (input) => {
          if (input['is'] === 'failed') throw new Error('as asked');
          if (input['is'] === 'active') await opened;
        }),
      ],
    });
    await ends(all, completed, 'completed');
    await ends(all, failed, 'failed');
    const { id: active } = await all.jobs.enqueue(kept, { is: 'active' });
    await ends(all, active, 'active');
    const { id: waiting } = await all.jobs.enqueue(kept, { is: 'waiting' });
    const { id: delayed } = await all.jobs.enqueue(kept, { is: 'delayed' }, { delay: '1h' });
    const { id: prioritized } = await all.jobs.enqueue(kept, { is: 'prioritized' }, { priority: 3 });
    const parent = await all.jobs.enqueueFlow(
      flow(kept, { is: 'waiting-children' }, { children: [flow(children, {}, { delay: '1h' })] }),
    );
    const { id: cancelled } = await all.jobs.enqueue(kept, { is: 'cancelled' }, { delay: '1h' });
    await all.jobs.cancel(cancelled, { reason: 'sold out' });
    const ids = { completed, failed, active, waiting, delayed, prioritized, 'waiting-children': parent.id, cancelled };
    for (const state of SEARCHABLE_STATES) {
      const page = await all.jobs.search({ states: [state], names: ['life.kept'] });
      expect(idsOf(page), state).toEqual([ids[state]]);
      expect(page).toMatchObject({ isWhole: true, jobs: [{ state, name: 'life.kept', queue: 'life' }] });
      expect(page.jobs[0]?.inputText).toBe(`{"is":"${state}"}`);
    }
    const [dead] = (await all.jobs.search({ states: ['failed'] })).jobs;
    expect(dead).toMatchObject({ reason: 'as asked', attemptsMade: 1, attempts: 1, version: 1, inputBytes: 15 });
    expect(dead?.finishedAt).toBeGreaterThanOrEqual(dead?.startedAt ?? Infinity);
    const [ended] = (await all.jobs.search({ states: ['cancelled'] })).jobs;
    expect(ended).toMatchObject({ reason: 'sold out', attemptsMade: 0, attempts: 1, version: 1, inputBytes: 18 });
    expect((await everyJob(all, {})).map(({ id }) => id).toSorted()).toEqual(
      [...Object.values(ids), ...idsOf(await all.jobs.search({ names: ['life.child'] }))].toSorted(),
    );
    open();
    await worker.stop();
  });

  test('finds cancelled jobs, those that ran too, the latest that was cancelled first', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const worker = all.work({
      concurrency: 1,
      handlers: [handle(small, (_input, { signal }) => untilAborted(signal))],
    });
    const { id: running } = await all.jobs.enqueue(small, { to: 'ann' });
    await ends(all, running, 'active');
    const [first, second] = await all.jobs.enqueueMany(small, [{ to: 'bob' }, { to: 'ann' }]);
    for (const id of [second?.id, running, first?.id]) await all.jobs.cancel(id ?? '');
    const found = async (filter: JobFilter): Promise<string[]> => idsOf(await all.jobs.search(filter));
    const inOrder = [first?.id, running, second?.id];
    expect((await everyJob(all, { states: ['cancelled'] }, 1)).map(({ id }) => id)).toEqual(inOrder);
    expect(await found({ states: ['cancelled'], text: 'ann' })).toEqual([running, second?.id]);
    expect(await found({ states: ['cancelled'], queues: ['find'], names: ['find.other'] })).toEqual([]);
    expect(await all.jobs.get(running)).toMatchObject({
      state: 'cancelled',
      input: { to: 'ann' },
      reason: 'no reason given',
    });
    await all.connections.commands().del(all.jobs.core.queues.keys.cancelled('find', running));
    expect(await found({ states: ['cancelled'] })).toEqual([first?.id, second?.id]);
    await worker.stop();
  });

  test('gives the newest first across queues and states, each job once, whatever the size of the pages', async () => {
    let at = systemClock.wallMs() - 60_000;
    const all = jobsOf({ redis: { url: server.url }, clock: { ...systemClock, wallMs: () => at } });
    const ids: string[] = [];
    for (let count = 0; count < 30; count++) {
      const contract = [small, other, far][count % 3] ?? small;
      const { id } = await all.jobs.enqueue(contract, { count }, count % 5 === 0 ? { delay: 3_600_000 } : {});
      ids.unshift(id);
      at += 1_000;
    }
    for (const limit of [1, 7, 30, 100]) {
      expect(
        (await everyJob(all, {}, limit)).map(({ id }) => id),
        `by ${limit}`,
      ).toEqual(ids);
    }
    expect(await all.jobs.search({}, { limit: 29 })).toMatchObject({ scanned: 30, isWhole: false });
    expect(await all.jobs.search({}, { limit: 30 })).toMatchObject({ scanned: 30, isWhole: true });
  });

  test('keeps to queues, contracts and times', async () => {
    const start = systemClock.wallMs() - 100_000;
    let at = start;
    const all = jobsOf({ redis: { url: server.url }, clock: { ...systemClock, wallMs: () => at } });
    const made: string[] = [];
    for (const contract of [small, other, far, small]) {
      made.push((await all.jobs.enqueue(contract, {})).id);
      at += 10_000;
    }
    const [first, second, third, fourth] = made;
    const found = async (filter: JobFilter): Promise<string[]> => idsOf(await all.jobs.search(filter));
    expect(await found({ queues: ['find'] })).toEqual([fourth, second, first]);
    expect(await found({ queues: ['far'] })).toEqual([third]);
    expect(await found({ names: ['find.small', 'far.job'] })).toEqual([fourth, third, first]);
    expect(await found({ from: start + 10_000, to: start + 30_000 })).toEqual([third, second]);
    expect(await found({ from: new Date(start + 20_000) })).toEqual([fourth, third]);
    expect(await found({ states: [] })).toEqual([]);
    expect(await found({ queues: [] })).toEqual([]);
    await expect(all.jobs.search({ queues: ['finds'] })).rejects.toThrow('there is no queue finds, did you mean find?');
  });

  test('finds a text in the input or the id, capitals or not', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const { id } = await all.jobs.enqueue(small, { to: 'Ann@Example.com', note: 'größer "als"' });
    await all.jobs.enqueue(small, { to: 'bob@example.com' });
    const found = async (text: string): Promise<string[]> => idsOf(await all.jobs.search({ text }));
    expect(await found('ann@example')).toEqual([id]);
    expect(await found('"to":"ANN')).toEqual([id]);
    expect(await found('GRÖSSER')).toEqual([]);
    expect(await found('GRÖßER')).toEqual([id]);
    expect(await found(id.toUpperCase())).toEqual([id]);
    expect(await found('example.com')).toHaveLength(2);
    expect(await found('nobody')).toEqual([]);
  });

  test('shows no secret and finds none, also of an input that is cut', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const pay = contractOf('pay.card', { secrets: ['card.number', 'tokens.*'] });
    await all.jobs.register([pay]);
    const rest = 'r'.repeat(3_000);
    const { id } = await all.jobs.enqueue(pay, {
      user: 'ann',
      card: { number: '4111-1111', name: 'A' },
      tokens: ['t-77'],
      rest,
    });
    const { id: long } = await all.jobs.enqueue(pay, { card: { number: '9'.repeat(5_000) }, user: 'bob' });
    const [second, first] = (await all.jobs.search({})).jobs;
    expect(first?.inputText).toMatch(
      /^\{"user":"ann","card":\{"number":"\[secret\]","name":"A"\},"tokens":\["\[secret\]"\],"rest":"r+…$/,
    );
    expect(first?.inputText).toHaveLength(200);
    expect(second?.inputText).toBe('{"card":{"number":"[secret]"');
    for (const text of ['4111-1', '-1111', 't-77', '99999'])
      expect(idsOf(await all.jobs.search({ text })), text).toEqual([]);
    expect(idsOf(await all.jobs.search({ text: '"user":"ann"' }))).toEqual([id]);
    expect(idsOf(await all.jobs.search({ text: '"user":"bob"' }))).toEqual([long]);
  });

  test('hides a secret wherever else its value stands, and where only the rest of the input tells it', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const pay = contractOf('pay.note', { secrets: ['password'], attempts: 1 });
    await all.jobs.register([pay]);
    const worker = all.work({
      handlers: [
        handle(pay, async ({ note }) => {
          throw new Error(String(note));
        }),
      ],
    });
    const { id: whole } = await all.jobs.enqueue(pay, { note: 'it is hunter2', password: 'hunter2' });
    const rest = 'r'.repeat(100_000);
    const { id: large } = await all.jobs.enqueue(pay, { note: 'now "swordfish"', rest, password: '"swordfish"' });
    for (const id of [whole, large]) await ends(all, id, 'failed');
    for (const text of [undefined, 'note']) {
      const { jobs } = await all.jobs.search({ ...(text !== undefined && { text }) });
      const told = Object.fromEntries(jobs.map(({ id, inputText, reason }) => [id, [inputText.slice(0, 30), reason]]));
      expect(told[whole], text).toEqual(['{"note":"it is [secret]","pass', 'it is [secret]']);
      expect(told[large], text).toEqual(['{"note":"now [secret]","rest":', 'now [secret]']);
    }
    for (const text of ['hunter', 'swordf', 'ordfish'])
      expect(idsOf(await all.jobs.search({ text })), text).toEqual([]);
    await worker.stop();
  });

  test('a large input is neither sent nor read whole; that it was not searched to its end is told', async () => {
    const all = jobsOf({ redis: { url: server.url }, options: { maxPayloadBytes: 10_000_000 } });
    const sent = async (): Promise<number> =>
      server.ask(async (redis) => Number(/total_net_output_bytes:(\d+)/.exec(await redis.info('stats'))?.[1]));
    await all.jobs.enqueue(small, { huge: 'x'.repeat(5_000_000) });
    await all.jobs.enqueue(small, { large: 'y'.repeat(300_000), end: 'needle' });
    const before = await sent();
    const page = await all.jobs.search({});
    expect((await sent()) - before).toBeLessThan(50_000);
    expect(page.jobs.map(({ inputBytes, inputText }) => [inputBytes, inputText.length])).toEqual([
      [300_027, 200],
      [5_000_011, 0],
    ]);
    expect(page.isWhole).toBe(true);
    expect(await all.jobs.search({ text: 'needle' })).toMatchObject({ jobs: [], scanned: 2, isWhole: false });
    expect(await all.jobs.search({ text: 'yyy' })).toMatchObject({ jobs: [{ inputBytes: 300_027 }], isWhole: false });
  });

  test('many inputs of a megabyte are read a few at a time, and in the end all', async () => {
    const all = jobsOf({ redis: { url: server.url }, options: { maxPayloadBytes: 10_000_000, enqueueDeadline: '1m' } });
    const input = { text: 'z'.repeat(900_000) };
    await all.jobs.enqueueMany(
      small,
      Array.from({ length: 40 }, () => input),
    );
    const pages = await everyPage(all, { text: 'nothing like it' });
    expect(pages.reduce((sum, { scanned }) => sum + scanned, 0)).toBe(40);
    expect(Math.max(...pages.map(({ scanned }) => scanned))).toBeLessThan(40);
  });

  test('does a bounded work a call, and goes on where it stopped', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    await all.jobs.enqueueMany(
      small,
      Array.from({ length: 2_500 }, (_item, count) => ({ count: `n${count}.` })),
    );
    await all.jobs.enqueue(far, { count: 'n3.' });
    const pages = await everyPage(all, { text: '"n3."' });
    expect(
      pages
        .flatMap(({ jobs }) => jobs)
        .map(({ queue }) => queue)
        .toSorted(),
    ).toEqual(['far', 'find']);
    for (const { scanned } of pages) expect(scanned).toBeLessThanOrEqual(2_000);
    expect(pages.reduce((sum, { scanned }) => sum + scanned, 0)).toBe(2_501);
    expect(pages.at(-1)?.isWhole).toBe(true);
  });

  test('pages do not run away from jobs that come meanwhile, nor lose their place in a list that moves on', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const enqueued = await all.jobs.enqueueMany(
      small,
      Array.from({ length: 10 }, (_item, count) => ({ count })),
    );
    const first = await all.jobs.search({}, { limit: 4 });
    await eventually(() => expect(systemClock.wallMs()).toBeGreaterThan((first.jobs[0]?.enqueuedAt ?? 0) + 5));
    await all.jobs.enqueueMany(
      small,
      Array.from({ length: 7 }, () => ({ is: 'new' })),
    );
    await all.jobs.enqueue(far, { is: 'new' });
    const second = await all.jobs.search({}, { limit: 100, cursor: first.cursor });
    expect([...idsOf(first), ...idsOf(second)]).toEqual(enqueued.map(({ id }) => id).toReversed());
  });

  test('many queues are walked a group at a time', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    const names = Array.from({ length: 130 }, (_item, index) => `q${String(index).padStart(3, '0')}`);
    await Promise.all(names.map((name) => all.jobs.enqueue(contractOf(`${name}.job`), { name })));
    await all.connections
      .commands()
      .sadd(all.jobs.core.queues.keys.queues, ...Array.from({ length: 1_200 }, (_item, index) => `empty${index}`));
    const many = Array.from({ length: 40 }, () => ({}));
    await all.jobs.enqueueMany(contractOf('aaa.job'), many); // Of a group with more queues than one call looks at.
    const pages = await everyPage(all, {}, 30);
    const found = pages.flatMap(({ jobs }) => jobs).map(({ queue }) => queue);
    expect(found.filter((queue) => queue === 'aaa')).toHaveLength(40);
    expect(found.filter((queue) => queue !== 'aaa').toSorted()).toEqual(names);
    expect(Math.max(...pages.map(({ cursor = '' }) => cursor.length))).toBeLessThan(4_000);
  });

  test('a queue that cannot be asked hides itself only, and that it does is told', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    await all.jobs.enqueue(contractOf('broken.job'), {});
    const { id } = await all.jobs.enqueue(contractOf('fine.job'), {});
    const keys = ['~*queues*', '~*{book}*', '~*{fine}*'];
    await server.ask((redis) => redis.call('ACL', 'SETUSER', 'seeker', 'on', '>secret', '+@all', '&*', ...keys));
    const url = server.url.replace('redis://', 'redis://seeker:secret@');
    const half = jobsOf({ redis: { url }, prefix: all.prefix });
    const page = await half.jobs.search({});
    expect([idsOf(page), page.isWhole, page.cursor]).toEqual([[id], false, undefined]);
    await expect(half.jobs.search({ queues: ['broken'] })).rejects.toMatchObject({ code: 'REDIS_FORBIDDEN' });
  });

  test('shows jobs that plain BullMQ has added', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    await all.jobs.enqueue(small, {});
    const { queue } = all.jobs.bullmq('find');
    const { id } = await queue.add('plain', { by: 'hand' }, { jobId: 'order-7' });
    expect(await all.jobs.search({ text: 'ORDER-7' })).toMatchObject({
      jobs: [{ id, name: 'plain', attempts: 1, version: 1, inputText: '{"by":"hand"}' }],
    });
  });

  test('refuses what it does not know, and cursors that are not of it', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    await all.jobs.enqueueMany(small, [{}, {}]);
    const refused = async (filter: object, options: object = {}): Promise<unknown> =>
      all.jobs
        .search(filter, options)
        .catch(({ code, message }: { code: string; message: string }) => `${code} ${message}`);
    expect(await refused({ state: ['active'] })).toMatch(
      /OPTIONS_INVALID jobs\.search: unknown option state, did you mean states/,
    );
    expect(await refused({ states: ['unknown'] })).toMatch(
      /OPTIONS_INVALID .*states\[0\]: expected active or waiting .*, got "unknown"/,
    );
    expect(await refused({}, { limit: 0 })).toMatch(/OPTIONS_INVALID .*limit/);
    const { cursor } = await all.jobs.search({}, { limit: 1 });
    expect(cursor).toBeTypeOf('string');
    for (const bad of ['', 'x', 'AAAA', `${cursor}x`.slice(3)]) {
      expect(await refused({}, { cursor: bad }), bad).toMatch(/OPTIONS_INVALID .*an earlier page of the same search/);
    }
    expect(await refused({ names: ['find.small'] }, { cursor })).toMatch(/OPTIONS_INVALID/);
  });

  test('ends when it is told to', async () => {
    const all = jobsOf({ redis: { url: server.url } });
    await all.jobs.enqueue(small, {});
    const reason = new Error('the tab was closed');
    await expect(all.jobs.search({}, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});
