/** What those ask of dead letters who look at many of them: texts, pages of bounded work, trends, letters by their ids. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startForFile } from '../../contract/topologies.ts';
import { failureOf } from '../../support/failures.ts';
import { ownedByTest } from '../../support/owned.ts';
import { Graves } from './graves.ts';

const running = startForFile('standalone');
const own = ownedByTest();
const mails = Array.from({ length: 120 }, (_, index) => `m${index}`);
let all: Graves;

beforeAll(async () => {
  all = new Graves(running().redis);
  for (const id of mails) {
    const error = new Error(id === 'm3' ? 'The Needle is lost' : 'broken');
    await all.fail({ id, error, data: { id, user: id === 'm5' ? 'Needle' : 'ann', password: `hidden-${id}` } });
  }
  for (const id of mails) await all.mover.moved('mail', id);
});
afterAll(() => all.close());

test('a text is found in ids, errors and inputs, and not in secrets', async () => {
  const found = async (text: string, secrets?: Record<string, string[]>): Promise<string[]> =>
    (await all.letters.list({ text, secrets })).letters.map(({ jobId }) => jobId);
  expect(await found('needle')).toEqual(['m5', 'm3']);
  expect(await found('M119~0')).toEqual(['m119']);
  expect(await found('hidden-m7"')).toEqual(['m7']);
  expect(await found('hidden-m7"', { 'mail.send': ['password'] })).toEqual([]);
  expect(await all.letters.count({ text: 'needle' })).toBe(2);
  await failureOf(all.letters.list({ text: '' }), 'OPTIONS_INVALID');
});

test('a page that may read few letters goes on from where it ended, and misses none', async () => {
  const ids: string[] = [];
  let pages = 0;
  let cursor: string | undefined;
  do {
    const page = await all.letters.list({ text: 'needle', mostRead: 10, cursor });
    ids.push(...page.letters.map(({ jobId }) => jobId));
    expect(page.read).toBeLessThan(120);
    ({ cursor } = page);
    pages++;
  } while (cursor !== undefined);
  expect(ids).toEqual(['m5', 'm3']);
  expect(pages).toBeGreaterThan(1);
});

test('clusters tell their trend, and how far they are', async () => {
  const seen: number[] = [];
  const clusters = await all.letters.clusters({
    trend: { every: '1h', count: 24 },
    onProgress: ({ read, clusters: soFar }) => {
      seen.push(read);
      expect(soFar().length).toBeGreaterThan(0);
    },
  });
  expect(seen.at(-1)).toBe(120);
  expect(clusters.map(({ count }) => count)).toEqual([119, 1]);
  expect(clusters[0]?.trend).toHaveLength(24);
  expect(clusters[0]?.trend?.slice(-2).reduce((sum, count) => sum + count)).toBe(119);
  const ending = new AbortController();
  ending.abort();
  expect(await all.letters.clusters({ signal: ending.signal })).toEqual([]);
});

test('a letter is found by its id and by that of its job, and other keys of the queue are none', async () => {
  expect(await all.letters.get('m7~0')).toMatchObject({ id: 'm7~0' });
  expect(await all.letters.get('m7')).toMatchObject({ id: 'm7~0' });
  expect(await all.letters.get('m7', { queue: 'mail' })).toMatchObject({ id: 'm7~0' });
  for (const id of ['wait', 'm7~1', 'm7~0~0']) expect(await all.letters.get(id)).toBeUndefined();
  await failureOf(all.letters.redrive('m7'), 'JOB_UNKNOWN');
});

test('letters are meant by their ids, as far as they are there', async () => {
  const dry = await all.letters.redrive(['m1~0', 'm2~0', 'm1~0', 'nobody~0'], { dryRun: true });
  expect(dry).toMatchObject({ matched: 2, queues: { mail: 2 } });
  const steps: string[] = [];
  const result = await all.letters.redrive(['m1~0', 'm2~0'], {
    onProgress: ({ jobs }) => steps.push(...jobs.map(({ id, queue, nextLetter }) => `${id} ${queue} ${nextLetter}`)),
  });
  expect(result).toMatchObject({ matched: 2, redriven: 2 });
  expect(steps.toSorted()).toEqual(['m1 mail m1~1', 'm2 mail m2~1']);
  await failureOf(all.letters.discard([]), 'OPTIONS_INVALID');
  const discarded: number[] = [];
  await all.letters.discard(['m10~0', 'm11~0'], { onProgress: (progress) => discarded.push(progress.discarded) });
  expect(discarded).toEqual([2]);
  const ending = new AbortController();
  ending.abort();
  expect(await all.letters.discard(['m12~0'], { signal: ending.signal })).toMatchObject({ matched: 1, discarded: 0 });
});

test('jobs and letters that are large by what is told of their children are moved and redriven a few at a time', async () => {
  const few = own(new Graves(running().redis));
  const children = JSON.stringify({ results: { child: 'x'.repeat(2_500_000) }, failures: {} });
  const ids = ['p1', 'p2', 'p3'];
  const commits = async (): Promise<number> =>
    Number(/cmdstat_exec:calls=(\d+)/.exec(await few.queues.client.info('commandstats'))?.[1] ?? 0);
  for (const id of ids) await few.fail({ id, opts: { children, redriven: 1 } });
  const before = await commits();
  await Promise.all(ids.map((id) => few.mover.moved('mail', id)));
  expect(await commits()).toBe(before + 3);
  await few.letters.redrive({});
  expect(await commits()).toBe(before + 6);
  expect((await few.states()).waiting).toHaveLength(3);
});

test('of children that returned more than a letter holds, it tells who they were', async () => {
  const few = own(new Graves(running().redis));
  const key = few.queues.get('mail').key('parent');
  const returned = JSON.stringify('x'.repeat(1_500_000));
  await few.fail({ id: 'parent', opts: { kids: 1 } });
  await few.queues.client.hset(`${key}:processed`, 'q:mail:c1', returned, 'q:mail:c2', returned, 'q:mail:c3', returned);
  await few.queues.client.hset(`${key}:failed`, 'q:mail:c4', 'broken');
  await few.mover.moved('mail', 'parent');
  const why = 'completed, but its result was not kept: those of all children were too large';
  expect((await few.letters.get('parent'))?.children).toEqual({
    results: {},
    failures: { c1: why, c2: why, c3: why, c4: 'broken' },
  });
});
