import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startForFile } from '../../contract/topologies.ts';
import { failureOf } from '../../support/failures.ts';
import { ownedByTest } from '../../support/owned.ts';
import { Graves } from './graves.ts';

const running = startForFile('standalone');

/** Fails jobs and moves them, in order. */
async function bury(all: Graves, jobs: ReadonlyArray<Parameters<Graves['fail']>[0]>): Promise<void> {
  for (const job of jobs) await all.fail(job);
  for (const { queue = 'mail', id } of jobs) await all.mover.moved(queue, id);
}

describe('looking', () => {
  let all: Graves;
  const mails = Array.from({ length: 120 }, (_, index) => `m${index}`);

  beforeAll(async () => {
    all = new Graves(running().redis);
    await bury(
      all,
      mails.map((id, index) => ({
        id,
        name: index % 3 === 0 ? 'mail.digest' : 'mail.send',
        error: index % 2 === 0 ? new Error(`user ${index} not found`) : new TypeError('x is not a function'),
        record: { version: `1.0.${index % 2}`, ...(index % 10 === 0 && { reason: 'expired' }) },
      })),
    );
    await bury(all, [
      { id: 'b1', queue: 'billing', name: 'billing.run' },
      { id: 'b2', queue: 'billing', name: 'billing.run' },
    ]);
  });
  afterAll(() => all.close());

  test('lists the newest first, page by page, each once', async () => {
    const pages: string[][] = [];
    let cursor: string | undefined;
    do {
      const page = await all.letters.list({ limit: 50, cursor });
      pages.push(page.letters.map(({ jobId }) => jobId));
      ({ cursor } = page);
    } while (cursor !== undefined);
    expect(pages.map(({ length }) => length)).toEqual([50, 50, 22]);
    expect(new Set(pages.flat()).size).toBe(122);
    expect(pages.flat().slice(0, 2).toSorted()).toEqual(['b1', 'b2']);
    expect(pages.flat().filter((id) => id.startsWith('m'))).toEqual(mails.toReversed());
  });

  test('a field that is undefined is refused by what acts: it would mean every letter', async () => {
    for (const field of ['fingerprint', 'queue', 'contract'] as const) {
      const error = await failureOf(all.letters.discard({ [field]: undefined }), 'OPTIONS_INVALID');
      expect(error.message).toBe(
        `deadLetters.discard: ${field}: expected a value, got undefined; leave it out to mean any`,
      );
      await failureOf(all.letters.redrive({ queue: 'mail', [field]: undefined }), 'OPTIONS_INVALID');
    }
    await failureOf(all.letters.discard(undefined as never), 'OPTIONS_INVALID');
    expect(await all.letters.count({ queue: undefined })).toBe(122);
  });

  test('a page goes on where the last has ended, whatever came and went meanwhile', async () => {
    const own = new Graves(running().redis);
    const ids = Array.from({ length: 9 }, (_, index) => `p${index}`);
    await bury(
      own,
      ids.map((id) => ({ id })),
    );
    const first = await own.letters.list({ queue: 'mail', limit: 3 });
    expect(first.letters.map(({ jobId }) => jobId)).toEqual(['p8', 'p7', 'p6']);
    await bury(own, [{ id: 'new1' }, { id: 'new2' }]);
    await own.letters.discard('p7~0');
    const second = await own.letters.list({ queue: 'mail', limit: 3, cursor: first.cursor });
    expect(second.letters.map(({ jobId }) => jobId)).toEqual(['p5', 'p4', 'p3']);
    await own.letters.discard('p3~0'); // The very letter where the page has ended.
    const third = await own.letters.list({ queue: 'mail', limit: 9, cursor: second.cursor });
    expect(third.letters.map(({ jobId }) => jobId).slice(-3)).toEqual(['p2', 'p1', 'p0']);
    expect(third.cursor).toBeUndefined();
    await own.close();
  });

  test.each([
    [{ queue: 'billing' }, 2],
    [{ contract: 'mail.digest' }, 40],
    [{ reason: 'expired' }, 12],
    [{ contract: 'mail.send', reason: 'attempts' }, 72],
    [{ from: 0, to: new Date(1_000) }, 0],
    [{ from: new Date(1_000) }, 122],
    [{}, 122],
  ] as const)('%o fits %i', async (filter, count) => {
    expect(await all.letters.count(filter)).toBe(count);
    const { letters } = await all.letters.list({ ...filter, limit: 200 });
    expect(letters).toHaveLength(count);
  });

  test('groups by fingerprint, the largest first', async () => {
    const clusters = await all.letters.clusters({ queue: 'mail' });
    expect(clusters.reduce((sum, { count }) => sum + count, 0)).toBe(120);
    expect(clusters.map(({ count }) => count)).toEqual(clusters.map(({ count }) => count).toSorted((a, b) => b - a));
    const missing = clusters.find(({ contract, message }) => contract === 'mail.send' && message.startsWith('user'));
    expect(missing).toMatchObject({ count: 40, queue: 'mail', errorName: 'Error', versions: ['1.0.0'] });
    expect(missing?.firstSeenAt).toBeLessThanOrEqual(missing?.lastSeenAt ?? 0);
    expect(await all.letters.count({ fingerprint: missing?.fingerprint })).toBe(40);
    expect(await all.letters.get(missing?.sample ?? '')).toMatchObject({ contract: 'mail.send' });
  });

  test('clusters tell no secret of a contract that is known, and come to the same count in pages of any size', async () => {
    const own = new Graves(running().redis, {
      letters: { secrets: async () => new Map([['mail.send', ['password']]]) },
    });
    const large = 'x'.repeat(700_000);
    const doomed = ['ann', 'bob', 'eve'].map((user) => ({
      id: user,
      name: 'mail.send',
      data: { user, password: 'hunter two', large },
      error: new Error('hunter two is wrong'),
    }));
    await bury(own, doomed);
    await bury(own, [
      { id: 'plain', name: 'mail.digest', data: { password: 'hunter two' }, error: new Error('hunter two') },
    ]);
    const seen: number[] = [];
    const clusters = await own.letters.clusters({ onProgress: ({ read }) => seen.push(read) });
    expect(clusters.map(({ count, message }) => [count, message])).toEqual([
      [3, '[secret] is wrong'],
      [1, 'hunter two'],
    ]);
    expect(seen.length).toBeGreaterThan(1); // Large letters are not read together.
    await own.close();
  });

  test('gets a letter of any queue, or of one', async () => {
    expect(await all.letters.get('b1~0')).toMatchObject({ queue: 'billing' });
    expect(await all.letters.get('b1~0', { queue: 'mail' })).toBeUndefined();
    expect(await all.letters.get('nobody~0')).toBeUndefined();
  });

  test('a copy that somebody made in a dashboard is no letter', async () => {
    const { queue } = all.queues.get('billing.dead');
    const copy = await queue.add('billing.run', await all.letters.get('b1~0'));
    expect(await all.letters.count({ contract: 'billing.run' })).toBe(2);
    await copy.remove();
  });

  test.each([
    ['list', { colour: 'red' }, 'unknown option colour'],
    ['list', { reason: 'bored' }, 'reason'],
    ['list', { limit: 0 }, 'limit'],
    ['list', { limit: -1 }, 'limit'],
    ['list', { cursor: 'x' }, 'cursor'],
    ['count', { from: 'today' }, 'from: expected date'],
    ['clusters', { queues: 'mail' }, 'did you mean queue?'],
    ['redrive', { contracts: 'x' }, 'did you mean contract?'],
    ['discard', { fingerprints: 'x' }, 'did you mean fingerprint?'],
    ['get', '', 'expected the id'],
    ['redrive', '', 'expected the id'],
  ] as const)('%s(%o) is refused: %s', async (call, argument, message) => {
    const letters = all.letters as unknown as Record<string, (argument: unknown) => Promise<unknown>>;
    expect((await failureOf(letters[call]?.(argument) ?? Promise.resolve(), 'OPTIONS_INVALID')).message).toContain(
      message,
    );
  });

  test.each([{ limit: -1 }, { rate: 0 }, { rate: -1 }, { to: '' }, { edit: 'x' }, { signal: 1 }, { dryrun: true }])(
    'redrive with %o is refused',
    async (options) => {
      await failureOf(all.letters.redrive({}, options as object), 'OPTIONS_INVALID');
      expect(await all.letters.count()).toBe(122);
    },
  );

  test('an unknown id or queue is told, with its neighbour', async () => {
    await failureOf(all.letters.redrive('nobody~0'), 'JOB_UNKNOWN');
    await failureOf(all.letters.discard('nobody~0'), 'JOB_UNKNOWN');
    const error = await failureOf(all.letters.list({ queue: 'biling' }), 'JOB_UNKNOWN');
    expect(error.message).toBe('there is no queue biling, did you mean billing?');
    await failureOf(all.letters.redrive('b1~0', { to: 'nowhere' }), 'JOB_UNKNOWN');
    expect(await all.letters.count()).toBe(122);
  });
});

describe('discarding', () => {
  const own = ownedByTest();

  test('takes the oldest first, up to its limit, and tells how many', async () => {
    const discarded: Array<[string, number]> = [];
    const onDiscarded = (queue: string, count: number) => discarded.push([queue, count]);
    const all = own(new Graves(running().redis, { letters: { onDiscarded } }));
    await bury(
      all,
      ['a', 'b', 'c', 'd'].map((id) => ({ id })),
    );
    expect(await all.letters.discard({}, { dryRun: true })).toEqual({ matched: 4, discarded: 0, dryRun: true });
    expect(await all.letters.discard({ queue: 'mail' }, { limit: 3 })).toMatchObject({ matched: 3, discarded: 3 });
    expect((await all.states()).dead).toEqual(['d~0']);
    expect(discarded).toEqual([['mail', 3]]);
  });
});
