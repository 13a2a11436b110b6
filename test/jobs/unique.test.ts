/** At most one job of a key: what each policy tells and does. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineJob, type JobContract, type UniqueOptions } from '../../src/jobs/contract.ts';
import { handle } from '../../src/jobs/handler.ts';
import { eventually } from '../support/eventually.ts';
import { failureOf } from '../support/failures.ts';
import { ownedJobs } from '../support/jobs.ts';
import { startRedis, type TestServer } from '../support/servers.ts';

const jobsOf = ownedJobs();

/** What a handler waits for until the test lets it go. */
function gate(): { held: Promise<void>; release: () => void } {
  let release: (() => void) | undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  return { held, release: () => release?.() };
}

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());

interface Note {
  to: string;
  text: string;
}

function noteOf(unique: Omit<UniqueOptions<Note>, 'key'>, name = 'note.send'): JobContract<Note, Note> {
  const input = z.object({ to: z.string(), text: z.string() });
  return defineJob({ name, input, unique: { key: ({ to }) => to, ...unique } });
}

/** None of these is about time; the machine may do other work too. */
const options = { enqueueDeadline: '20s' } as const;
const redis = (): { url: string } => ({ url: server.url });

describe('ignore', () => {
  test('the first counts; another is told of it; another key and another contract are others', async () => {
    const { jobs } = jobsOf({ redis: redis(), options });
    const note = noteOf({});
    const first = await jobs.enqueue(note, { to: 'a', text: '1' });
    expect(first.status).toBe('added');
    expect(await jobs.enqueue(note, { to: 'a', text: '2' })).toEqual({ id: first.id, status: 'duplicate' });
    expect(await jobs.enqueue(note, { to: 'b', text: '1' })).toMatchObject({ status: 'added' });
    expect(await jobs.enqueue(noteOf({}, 'note.other'), { to: 'a', text: '1' })).toMatchObject({ status: 'added' });
    expect(await jobs.get(first.id)).toMatchObject({ input: { text: '1' } });
  });

  test('until the job has finished, also while it runs', async () => {
    const { jobs, work } = jobsOf({ redis: redis(), options });
    const note = noteOf({});
    const { held, release } = gate();
    const started: string[] = [];
    work({
      handlers: [
        handle(note, async ({ text }) => {
          started.push(text);
          await held;
        }),
      ],
    });
    const first = await jobs.enqueue(note, { to: 'a', text: '1' });
    await eventually(() => expect(started).toEqual(['1']));
    expect(await jobs.enqueue(note, { to: 'a', text: '2' })).toEqual({ id: first.id, status: 'duplicate' });
    release();
    await eventually(async () => expect(await jobs.get(first.id)).toMatchObject({ state: 'completed' }));
    expect(await jobs.enqueue(note, { to: 'a', text: '3' })).toMatchObject({ status: 'added' });
  });

  test('with `for`, so long, whatever becomes of the job', async () => {
    const { jobs, work } = jobsOf({ redis: redis(), options });
    const note = noteOf({ for: '2s' });
    work({ handlers: [handle(note, () => undefined)] });
    const first = await jobs.enqueue(note, { to: 'a', text: '1' });
    const start = performance.now();
    await eventually(async () => expect(await jobs.get(first.id)).toMatchObject({ state: 'completed' }));
    const second = await jobs.enqueue(note, { to: 'a', text: '2' });
    const isInTime = performance.now() - start < 1_900;
    expect(second.status).toBe(isInTime ? 'duplicate' : 'added');
    await eventually(async () => {
      const later = await jobs.enqueue(note, { to: 'a', text: '3' });
      expect(later.id).not.toBe(first.id);
    });
    expect(performance.now() - start).toBeGreaterThan(1_900);
  });

  test('exactly one of many that come at once from several clients is added', async () => {
    const { jobs, prefix } = jobsOf({ redis: redis(), options });
    const clients = [jobs, ...Array.from({ length: 4 }, () => jobsOf({ redis: redis(), prefix, options }).jobs)];
    const note = noteOf({});
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        clients.map((client) => client.enqueue(note, { to: 'a', text: `${index}` })),
      ).flat(),
    );
    expect(results.filter(({ status }) => status === 'added')).toHaveLength(1);
    expect(results.filter(({ status }) => status === 'duplicate')).toHaveLength(249);
    expect(new Set(results.map(({ id }) => id)).size).toBe(1);
    expect(await jobs.counts('note')).toMatchObject({ waiting: 1 });
  });

  test('long keys, and keys with any characters, are told apart', async () => {
    const { jobs } = jobsOf({ redis: redis(), options });
    const note = noteOf({});
    const long = 'x'.repeat(5_000);
    const keys = ['a b', 'a:b', 'a{b}', 'ä', '#', ' ', `${long}1`, `${long}2`];
    const results = await jobs.enqueueMany(
      note,
      [...keys, ...keys].map((to) => ({ to, text: '' })),
    );
    expect(results.map(({ status }) => status)).toEqual([...keys.map(() => 'added'), ...keys.map(() => 'duplicate')]);
  });
});

describe('replace', () => {
  test('takes the place of a job that is delayed, and of no other', async () => {
    const { jobs } = jobsOf({ redis: redis(), options });
    const note = noteOf({ onConflict: 'replace' });
    const first = await jobs.enqueue(note, { to: 'a', text: '1' }, { delay: '1h' });
    const second = await jobs.enqueue(note, { to: 'a', text: '2' }, { delay: '1h' });
    expect([first.status, second.status]).toEqual(['added', 'replaced']);
    expect(second.id).not.toBe(first.id);
    expect(await jobs.get(first.id)).toBeUndefined();
    const third = await jobs.enqueue(note, { to: 'a', text: '3' });
    expect(third.status).toBe('replaced');
    expect(await jobs.enqueue(note, { to: 'a', text: '4' })).toEqual({ id: third.id, status: 'duplicate' });
    expect(await jobs.get(third.id)).toMatchObject({ state: 'waiting', input: { text: '3' } });
    expect(await jobs.counts('note')).toMatchObject({ waiting: 1, delayed: 0 });
  });

  test('exactly one of many that come at once is left, the others were replaced', async () => {
    const { jobs, prefix } = jobsOf({ redis: redis(), options });
    const clients = [
      jobs,
      jobsOf({ redis: redis(), prefix, options }).jobs,
      jobsOf({ redis: redis(), prefix, options }).jobs,
    ];
    const note = noteOf({ onConflict: 'replace' });
    const results = await Promise.all(
      clients.flatMap((client) =>
        Array.from({ length: 20 }, (_, index) => client.enqueue(note, { to: 'a', text: `${index}` }, { delay: '1h' })),
      ),
    );
    expect(results.filter(({ status }) => status === 'added')).toHaveLength(1);
    expect(results.filter(({ status }) => status === 'replaced')).toHaveLength(59);
    expect(await jobs.counts('note')).toMatchObject({ delayed: 1, waiting: 0 });
  });
});

describe('reschedule', () => {
  test('moves a delayed job, keeps its input, and leaves any other as it is', async () => {
    const { jobs, work } = jobsOf({ redis: redis(), options });
    const note = noteOf({ onConflict: 'reschedule' });
    const first = await jobs.enqueue(note, { to: 'a', text: '1' }, { delay: '1h' });
    const moved = await jobs.enqueue(note, { to: 'a', text: '2' }, { delay: '2h' });
    expect(moved).toEqual({ id: first.id, status: 'rescheduled' });
    const ran: string[] = [];
    work({ handlers: [handle(note, ({ text }) => void ran.push(text))] });
    expect(await jobs.enqueue(note, { to: 'a', text: '3' }, { delay: 300 })).toMatchObject({ status: 'rescheduled' });
    await eventually(() => expect(ran).toEqual(['1']));
  });

  test('a job that waits already is a duplicate', async () => {
    const { jobs } = jobsOf({ redis: redis(), options });
    const note = noteOf({ onConflict: 'reschedule' });
    const { id } = await jobs.enqueue(note, { to: 'a', text: '1' });
    expect(await jobs.enqueue(note, { to: 'a', text: '2' }, { delay: '1h' })).toEqual({ id, status: 'duplicate' });
    expect(await jobs.counts('note')).toMatchObject({ waiting: 1, delayed: 0 });
  });

  test('a delayed job that is to run now is rescheduled, also when a worker takes it at once', async () => {
    const { jobs, work } = jobsOf({ redis: redis(), options });
    const note = noteOf({ onConflict: 'reschedule' });
    work({ handlers: [handle(note, () => undefined)] });
    for (let round = 0; round < 10; round++) {
      const { id } = await jobs.enqueue(note, { to: `${round}`, text: '1' }, { delay: '1h' });
      expect(await jobs.enqueue(note, { to: `${round}`, text: '2' })).toEqual({ id, status: 'rescheduled' });
    }
  });
});

describe('debounce', () => {
  test('runs the latest input once, when it has been quiet since the last', async () => {
    const { jobs, work } = jobsOf({ redis: redis(), options });
    const note = noteOf({ for: 600, onConflict: 'debounce' });
    const ran: Array<{ text: string; atMs: number }> = [];
    work({ handlers: [handle(note, ({ text }) => void ran.push({ text, atMs: performance.now() }))] });
    const statuses: string[] = [];
    let lastMs = 0;
    for (const text of ['1', '2', '3', '4']) {
      lastMs = performance.now();
      statuses.push((await jobs.enqueue(note, { to: 'a', text })).status);
      await eventually(() => expect(performance.now() - lastMs).toBeGreaterThan(100));
    }
    await eventually(() => expect(ran).toHaveLength(1));
    expect(statuses).toEqual(['added', 'replaced', 'replaced', 'replaced']);
    expect(ran[0]?.text).toBe('4');
    expect((ran[0]?.atMs ?? 0) - lastMs).toBeGreaterThan(590);
    await eventually(async () => {
      expect(await jobs.counts('note')).toMatchObject({ delayed: 0, waiting: 0, active: 0, completed: 1 });
    });
  });

  test('an input that comes when the job is due or runs is not lost', async () => {
    const { jobs, work } = jobsOf({ redis: redis(), options });
    const note = noteOf({ for: 200, onConflict: 'debounce' });
    const ran: string[] = [];
    const { held, release } = gate();
    work({
      handlers: [
        handle(note, async ({ text }) => {
          ran.push(text);
          await held;
        }),
      ],
    });
    await jobs.enqueue(note, { to: 'a', text: 'old' });
    await eventually(() => expect(ran).toEqual(['old']));
    await jobs.enqueue(note, { to: 'a', text: 'new' });
    release();
    await eventually(() => expect(ran).toEqual(['old', 'new']));
  });
});

test('a debounced input that meets the earlier job in the moment between due and done is not lost', async () => {
  const { jobs } = jobsOf({ redis: redis(), options });
  const note = noteOf({ for: '1h', onConflict: 'debounce' });
  const { id } = await jobs.enqueue(note, { to: 'a', text: 'old' });
  const { queue } = jobs.core.queues.get('note');
  await (await queue.getJob(id))?.promote(); // As a worker whose clock is ahead would.
  const results = await Promise.all(['1', '2', '3'].map((text) => jobs.enqueue(note, { to: 'a', text })));
  expect(results.map(({ status }) => status).toSorted()).toEqual(['added', 'replaced', 'replaced']);
  expect(await jobs.counts('note')).toMatchObject({ waiting: 1, delayed: 1 });
});

describe('the key', () => {
  test('is not asked of an input that is refused', async () => {
    const { jobs } = jobsOf({ redis: redis(), options });
    await failureOf(jobs.enqueue(noteOf({}), undefined as never), 'INPUT_INVALID');
    await failureOf(jobs.enqueueMany(noteOf({}), [undefined as never]), 'INPUT_INVALID');
  });

  test('that fails, or is no text, is told', async () => {
    const { jobs } = jobsOf({ redis: redis(), options });
    const input = z.object({ to: z.string() });
    const cause = new TypeError('no key');
    const throws = defineJob({
      name: 'note.throws',
      input,
      unique: {
        key: () => {
          throw cause;
        },
      },
    });
    const failed = await failureOf(jobs.enqueue(throws, { to: 'a' }), 'OPTIONS_INVALID');
    expect(failed.message).toBe('enqueue note.throws: unique.key failed for this input');
    expect(failed.cause).toBe(cause);
    const empty = defineJob({ name: 'note.empty', input, unique: { key: () => '' } });
    const { message } = await failureOf(jobs.enqueue(empty, { to: 'a' }), 'OPTIONS_INVALID');
    expect(message).toContain('unique.key: expected a text that is not empty, got ""');
  });
});

describe('idempotencyKey', () => {
  const plain = defineJob({ name: 'note.plain', input: z.object({ to: z.string() }), retention: { count: 0 } });

  test('outlives the job and its record', async () => {
    const { jobs, work } = jobsOf({ redis: redis(), options });
    let runs = 0;
    work({ handlers: [handle(plain, () => void runs++)] });
    const first = await jobs.enqueue(plain, { to: 'a' }, { idempotencyKey: 'order 7' });
    await eventually(async () => expect(await jobs.get(first.id)).toBeUndefined());
    expect(await jobs.enqueue(plain, { to: 'a' }, { idempotencyKey: 'order 7' })).toEqual({
      id: first.id,
      status: 'duplicate',
    });
    expect(await jobs.enqueue(plain, { to: 'a' }, { idempotencyKey: 'order 8' })).toMatchObject({ status: 'added' });
    await eventually(() => expect(runs).toBe(2));
  });

  test('counts as long as is said', async () => {
    const { jobs } = jobsOf({ redis: redis(), options });
    const brief = { idempotencyKey: 'a', idempotentFor: 200 } as const;
    const first = await jobs.enqueue(plain, { to: 'a' }, brief);
    await eventually(async () => {
      expect((await jobs.enqueue(plain, { to: 'a' }, brief)).id).not.toBe(first.id);
    });
  });

  test('of a contract that is unique is refused', async () => {
    const { jobs } = jobsOf({ redis: redis(), options });
    const enqueued = jobs.enqueue(noteOf({}), { to: 'a', text: '' }, { idempotencyKey: 'a' });
    expect((await failureOf(enqueued, 'OPTIONS_INVALID')).message).toContain('the contract has a unique key already');
  });
});
