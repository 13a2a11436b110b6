import { expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock, type Clock } from '../../../src/clock.ts';
import { defineJob } from '../../../src/jobs/contract.ts';
import type { DeadLettersOptions } from '../../../src/jobs/dead-letters/dead-letters.ts';
import { startForFile } from '../../contract/topologies.ts';
import { failureOf } from '../../support/failures.ts';
import { ownedByTest } from '../../support/owned.ts';
import { Graves, type Doomed } from './graves.ts';

const running = startForFile('standalone');
const cluster = startForFile('cluster');
const own = ownedByTest();

async function buried(jobs: readonly Doomed[], letters: DeadLettersOptions = {}): Promise<Graves> {
  const all = own(new Graves(running().redis, { letters }));
  for (const job of jobs) await all.fail(job);
  for (const { queue = 'mail', id } of jobs) await all.mover.moved(queue, id);
  return all;
}

const numbered = (count: number): Doomed[] => Array.from({ length: count }, (_, index) => ({ id: `j${index}` }));
const unique = (id: string): Doomed => ({ id, opts: { deduplication: { id: 'order-7' } } });
const edit = (input: unknown): unknown => ({ to: (input as { to: string }).to.replace(' at ', '@') });

test('a redriven job is as it was enqueued, with its attempts before it', async () => {
  const all = await buried([{ id: 'a', data: { n: 1 }, opts: { priority: 7, v: 3, to: 500, removeOnComplete: true } }]);
  await all.letters.redrive('a~0');
  const job = await all.queues.get('mail').queue.getJob('a');
  expect(job).toMatchObject({ name: 'mail.send', data: { n: 1 }, attemptsMade: 0, attemptsStarted: 0, stacktrace: [] });
  expect(job?.opts).toMatchObject({ attempts: 1, priority: 7, v: 3, to: 500, removeOnComplete: true, redriven: 1 });
  expect((await all.states()).waiting).toEqual(['a']);
});

test('all lives of a job are kept with its letter', async () => {
  const all = await buried([{ id: 'a' }]);
  for (let life = 0; life < 25; life++) {
    await all.letters.redrive(`a~${life}`, { by: `ada ${life}` });
    await all.failNext('mail', new Error('again'));
    await all.mover.moved('mail', 'a');
  }
  const letter = await all.letters.get('a~25');
  expect(letter).toMatchObject({ redriven: 25 });
  expect(letter?.history.map(({ by }) => by)).toEqual(Array.from({ length: 20 }, (_, index) => `ada ${index + 5}`));
  for (const { deadAt, redrivenAt } of letter?.history ?? []) expect(redrivenAt).toBeGreaterThanOrEqual(deadAt);
});

test('a dry run tells how many and does nothing', async () => {
  const all = await buried(numbered(5));
  expect(await all.letters.redrive({}, { dryRun: true, limit: 3 })).toEqual({
    matched: 3,
    redriven: 0,
    skipped: [],
    dryRun: true,
    aborted: false,
    queues: { mail: 3 },
  });
  expect((await all.states()).dead).toHaveLength(5);
});

test('the oldest come first, in the order of their deaths, and no more than the limit', async () => {
  const redriven: string[] = [];
  const all = await buried(numbered(120), { onRedriven: ({ jobId }, to) => redriven.push(`${to}/${jobId}`) });
  expect(await all.letters.redrive({ contract: 'mail.send' }, { limit: 70 })).toMatchObject({ redriven: 70 });
  expect((await all.states()).waiting.toReversed()).toEqual(numbered(70).map(({ id }) => id));
  expect(redriven).toEqual(numbered(70).map(({ id }) => `mail/${id}`));
});

test('a letter whose job is there is left where it is', async () => {
  const all = await buried(numbered(3));
  await all.queues.get('mail').queue.add('mail.send', 'mine', { jobId: 'j1' });
  expect(await all.letters.redrive({})).toMatchObject({ redriven: 2, skipped: [{ id: 'j1~0', why: 'exists' }] });
  expect((await all.states()).dead).toEqual(['j1~0']);
  expect((await all.queues.get('mail').queue.getJob('j1'))?.data).toBe('mine');
});

test('a letter whose unique key another job has by now is left, and gives the key back otherwise', async () => {
  const all = await buried([unique('a'), unique('b')]);
  expect(await all.letters.redrive({})).toMatchObject({ redriven: 1, skipped: [{ id: 'b~0', why: 'duplicate' }] });
  expect(await all.letters.redrive({})).toMatchObject({ redriven: 0, skipped: [{ id: 'b~0', why: 'duplicate' }] });
  const { queue } = all.queues.get('mail');
  expect((await queue.add('mail.send', {}, { jobId: 'c', deduplication: { id: 'order-7' } })).id).toBe('a');
  expect(await all.states()).toEqual({ failed: [], waiting: ['a'], dead: ['b~0'] });
});

test('goes to another queue, and remembers from where', async () => {
  const all = await buried([{ id: 'a' }, { id: 'b', queue: 'billing' }]);
  const { client, keys } = all.queues;
  await client.hset(keys.once('mail', 'a'), 'paid', '"receipt"');
  expect(await all.letters.redrive('a~0', { to: 'billing', by: 'ada' })).toMatchObject({ redriven: 1 });
  expect(await client.hgetall(keys.once('billing', 'a')), 'effects of once()').toEqual({ paid: '"receipt"' });
  await all.failNext('billing', new Error('there too'));
  await all.mover.moved('billing', 'a');
  expect(await all.letters.get('a~1')).toMatchObject({ queue: 'billing', history: [{ by: 'ada', queue: 'mail' }] });
});

test('on a Cluster another queue must be of the same family', async () => {
  const all = own(new Graves(cluster().redis));
  for (const queue of ['mail', 'mail.slow', 'billing']) {
    await all.fail({ id: `a-${queue}`, queue });
    await all.mover.moved(queue, `a-${queue}`);
  }
  await failureOf(all.letters.redrive('a-mail~0', { to: 'billing' }), 'OPTIONS_INVALID');
  expect(await all.letters.redrive('a-mail~0', { to: 'mail.slow' })).toMatchObject({ redriven: 1 });
  expect((await all.states('mail.slow')).waiting).toEqual(['a-mail']);
});

test('an edited input is checked by the contract and becomes one of its version', async () => {
  const contract = defineJob({ name: 'mail.send', version: 4, input: z.object({ to: z.email() }) });
  const all = await buried([
    { id: 'good', data: { to: 'ada at example.com' } },
    { id: 'bad', data: { to: 'nobody' } },
    { id: 'other', name: 'mail.digest' },
  ]);
  const result = await all.letters.redrive({}, { edit, contract });
  expect(result).toMatchObject({ matched: 3, redriven: 1 });
  expect(result.skipped).toEqual([
    { id: 'bad~0', why: 'input', detail: expect.stringContaining('to: ') },
    { id: 'other~0', why: 'contract' },
  ]);
  const job = await all.queues.get('mail').queue.getJob('good');
  expect([job?.data, job?.opts]).toMatchObject([{ to: 'ada@example.com' }, { v: 4 }]);
});

test('a rate is kept evenly, and ends with its signal', async () => {
  const slept: number[] = [];
  let nowMs = 0;
  const stop = new AbortController();
  const clock: Clock = {
    wallMs: () => systemClock.wallMs(),
    monotonicMs: () => nowMs,
    sleep: async (ms, { signal } = {}) => {
      signal?.throwIfAborted();
      slept.push(ms);
      nowMs += ms;
      if (slept.length === 5) stop.abort();
    },
  };
  const all = await buried(numbered(10), { clock });
  const seen: number[] = [];
  const result = await all.letters.redrive(
    {},
    {
      rate: 10,
      signal: stop.signal,
      onProgress: ({ redriven }) => seen.push(redriven),
    },
  );
  expect(slept).toEqual([100, 100, 100, 100, 100]);
  expect(seen).toEqual([1, 2, 3, 4, 5]);
  expect(result).toEqual({ matched: 10, redriven: 5, skipped: [], dryRun: false, aborted: true });
  expect((await all.states()).dead).toHaveLength(5);
});

test('a large rate goes in small batches', async () => {
  const slept: number[] = [];
  let nowMs = 0;
  const clock: Clock = {
    wallMs: () => systemClock.wallMs(),
    monotonicMs: () => nowMs,
    sleep: async (ms) => {
      slept.push(ms);
      nowMs += ms;
    },
  };
  const all = await buried(numbered(40), { clock });
  await all.letters.redrive({}, { rate: 500 });
  expect(slept).toEqual([20, 20, 20]);
});

test('wakes a worker that waits', async () => {
  const all = await buried([{ id: 'a' }]);
  const { queue } = all.queues.get('mail');
  const marker = all.queues.get('mail').key('marker');
  await all.queues.client.del(marker);
  await all.letters.redrive('a~0');
  expect(await all.queues.client.zcard(marker)).toBe(1);
  expect(await queue.getJobState('a')).toBe('waiting');
});
