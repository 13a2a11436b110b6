/** What becomes of scores: policies, ranks, ties, operations, members, metadata. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { BoardOptions } from '../../src/leaderboard/options.ts';
import type { Leaderboard } from '../../src/leaderboard/leaderboard.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { failureOf } from '../support/failures.ts';
import { startRedis, type TestServer } from '../support/servers.ts';
import { lineOf, ownedLeaderboards, type OwnedLeaderboards } from './own-boards.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.stop());
const own = ownedLeaderboards();
let nameCount = 0;

const processOf = (): OwnedLeaderboards => own({ url: server.url });
/** A board of a name that no other test has. */
const boardOf = (options: BoardOptions = {}): Leaderboard => processOf().leaderboards.board(`b${nameCount++}`, options);

async function submitAll(board: Leaderboard, scores: ReadonlyArray<[string, number]>): Promise<void> {
  for (const [member, score] of scores) await board.submit(member, score);
}

const FOUR: ReadonlyArray<[string, number]> = [
  ['c', 10],
  ['d', 5],
  ['b', 20],
  ['a', 10],
];

/** A signal that does something before the second hundred is sent. */
function betweenTwo(act: () => void): AbortSignal {
  const { signal } = new AbortController();
  let asked = 0;
  return Object.assign(signal, { throwIfAborted: () => (++asked === 2 ? act() : undefined) });
}

function failEnough(): never {
  throw new Error('enough');
}

describe('policies', () => {
  test('best keeps the better score, and tells what stood before', async () => {
    const board = boardOf();
    const first = await board.submit('ada', 10);
    expect(first).toEqual({ member: 'ada', score: 10, rank: 1, previous: undefined, isBest: true, isRepeat: false });
    expect(await board.submit('ada', 7)).toMatchObject({ score: 10, previous: 10, isBest: false });
    expect(await board.submit('bob', 11)).toMatchObject({ rank: 1, isBest: true });
    expect(await board.submit('ada', 12)).toMatchObject({ score: 12, previous: 10, rank: 1, isBest: true });
    expect(lineOf(await board.top(5))).toBe('ada 12 #1, bob 11 #2');
  });

  test('best of lowest is the lowest, as of seconds in a race', async () => {
    const race = boardOf({ order: 'lowest' });
    await submitAll(race, [
      ['ada', 58.31],
      ['bob', 57.9],
      ['ada', 60],
      ['ada', 56.025],
    ]);
    expect(lineOf(await race.top(5))).toBe('ada 56.025 #1, bob 57.9 #2');
  });

  test('last replaces, sum adds, and both say whether it got better', async () => {
    const last = boardOf({ policy: 'last' });
    await last.submit('ada', 10);
    expect(await last.submit('ada', 4)).toMatchObject({ score: 4, previous: 10, isBest: false });
    expect(await last.submit('ada', 9)).toMatchObject({ score: 9, isBest: true });
    const sum = boardOf({ policy: 'sum' });
    await sum.submit('ada', 10);
    expect(await sum.submit('ada', -4)).toMatchObject({ score: 6, previous: 10, isBest: false });
    expect(await sum.increment('ada', 0.5)).toMatchObject({ score: 6.5 });
  });

  test('increment adds by every policy, and by best counts where the sum is better', async () => {
    const last = boardOf({ policy: 'last' });
    await last.submit('ada', 10);
    expect((await last.increment('ada', -3)).score).toBe(7);
    const best = boardOf();
    expect((await best.increment('ada', 5)).score).toBe(5);
    expect(await best.increment('ada', -1)).toMatchObject({ score: 5, isBest: false });
    expect((await best.increment('ada', 2)).score).toBe(7);
  });

  test('a hundred processes at once leave the best score, and a sum of all', async () => {
    // Ten connections, with ten on each.
    const processes = Array.from({ length: 10 }, () => processOf().leaderboards).map((leaderboards) => ({
      best: leaderboards.board('many-best'),
      sum: leaderboards.board('many-sum', { policy: 'sum' }),
    }));
    const submits = processes.flatMap(({ best, sum }, process) =>
      Array.from({ length: 10 }, (_, at) => 10 * at + process).flatMap((score) => [
        best.submit('ada', (score * 37) % 100),
        sum.submit('ada', score),
      ]),
    );
    await Promise.all(submits);
    const [one] = processes;
    expect((await one?.best.rank('ada'))?.score).toBe(99);
    expect((await one?.sum.rank('ada'))?.score).toBe(4_950);
  });
});

describe('ranks and ties', () => {
  test.each([
    ['competition', 'b 20 #1, c 10 #2, a 10 #2, d 5 #4'],
    ['dense', 'b 20 #1, c 10 #2, a 10 #2, d 5 #3'],
    ['ordinal', 'b 20 #1, c 10 #2, a 10 #3, d 5 #4'],
  ] as const)('%s, by every reading', async (rank, all) => {
    const board = boardOf({ rank });
    await submitAll(board, FOUR);
    const lines = all.split(', ');
    expect(lineOf(await board.top(4))).toBe(all);
    for (let offset = 0; offset < 4; offset++) {
      const rest = lines.slice(offset).join(', ');
      expect(lineOf(await board.top(4, { offset }))).toBe(rest);
      expect(lineOf((await board.page(offset + 1, { size: 1 })).entries)).toBe(lines[offset]);
    }
    expect(lineOf((await board.around('a', 1))?.entries ?? [])).toBe(lines.slice(1).join(', '));
    expect(lineOf(await board.of(['d', 'nobody', 'a', 'b', 'c', 'a']))).toBe(all);
    expect(lineOf((await board.range(0, 10)).entries)).toBe(lines.slice(1).join(', '));
    expect(lineOf((await board.range(5, 10, { offset: 1, limit: 1 })).entries)).toBe(lines[2]);
    for (const line of lines) {
      const standing = await board.rank(line[0] ?? '');
      expect(lineOf(standing ? [standing] : [])).toBe(line);
    }
  });

  test.each([
    ['first', 'highest', 'c b a'],
    ['last', 'highest', 'a b c'],
    ['member', 'highest', 'a b c'],
    ['first', 'lowest', 'c b a'],
    ['last', 'lowest', 'a b c'],
    ['member', 'lowest', 'a b c'],
  ] as const)('ties go by %s, of %s', async (ties, order, expected) => {
    const board = boardOf({ ties, order, policy: 'last' });
    await submitAll(board, [
      ['a', 1],
      ['c', 5],
      ['b', 5],
      ['a', 5],
      ['c', 5],
    ]);
    expect((await board.top(3)).map(({ member }) => member).join(' ')).toBe(expected);
  });

  test('of one list, the earlier entry has reached a score first', async () => {
    const board = boardOf();
    await board.submitMany(['z', 'm', 'a'].map((member) => ({ member, score: 1 })));
    expect((await board.top(3)).map(({ member }) => member)).toEqual(['z', 'm', 'a']);
  });

  test('around is of constant width, more on the other side where the board ends', async () => {
    const board = boardOf();
    await board.submitMany(Array.from({ length: 20 }, (_, at) => ({ member: `m${at}`, score: 100 - at })));
    const shown = async (member: string): Promise<[number, string] | undefined> => {
      const found = await board.around(member, 2);
      return found && [found.index, found.entries.map((entry) => entry.member).join(' ')];
    };
    expect(await shown('m0')).toEqual([0, 'm0 m1 m2 m3 m4']);
    expect(await shown('m1')).toEqual([1, 'm0 m1 m2 m3 m4']);
    expect(await shown('m10')).toEqual([2, 'm8 m9 m10 m11 m12']);
    expect(await shown('m19')).toEqual([4, 'm15 m16 m17 m18 m19']);
    expect(await shown('nobody')).toBeUndefined();
    expect((await board.around('m3', 0))?.entries).toEqual([{ member: 'm3', score: 97, rank: 4 }]);
    expect((await board.around('m3', 500))?.entries).toHaveLength(20);
  });

  test('a percentile is the share of the others with a worse score', async () => {
    const board = boardOf();
    await board.submit('only', 1);
    expect(await board.percentile('only')).toBe(100);
    await submitAll(board, [
      ['b', 2],
      ['c', 2],
      ['d', 3],
      ['e', 4],
    ]);
    const all = await Promise.all(['only', 'b', 'c', 'd', 'e', 'nobody'].map((member) => board.percentile(member)));
    expect(all).toEqual([0, 25, 25, 75, 100, undefined]);
  });

  test('an empty board has nobody', async () => {
    const board = boardOf();
    expect(await board.top(10)).toEqual([]);
    expect(await board.page(1)).toEqual({ entries: [], total: 0, pages: 0 });
    expect(await board.rank('a')).toBeUndefined();
    expect(await board.around('a')).toBeUndefined();
    expect(await board.percentile('a')).toBeUndefined();
    expect(await board.of([])).toEqual([]);
    expect(await board.range(-Infinity, Infinity)).toEqual({ entries: [], total: 0 });
    expect(await board.size()).toBe(0);
    expect(await board.remove('a')).toBe(false);
  });
});

describe('numbers', () => {
  test.each(['highest', 'lowest'] as const)('of %s come back to the last bit', async (order) => {
    const board = boardOf({ order, policy: 'last' });
    const odd = [1.75, 0.1 + 0.2, 1e21, 5e-324, Number.MAX_VALUE, -1e-7, 2 ** 53 + 2, -123_456_789.123_456_78, 1 / 3];
    for (const score of odd) {
      expect((await board.submit('ada', score)).score).toBe(score);
      expect((await board.rank('ada'))?.score).toBe(score);
      expect((await board.range(score, score)).total).toBe(1);
      expect((await board.submit('ada', score)).previous).toBe(score);
    }
    expect(Object.is((await board.submit('ada', -0)).score, 0)).toBe(true);
    expect(Object.is((await board.top(1))[0]?.score, 0)).toBe(true);
  });

  test('what is no finite number, or out of bounds, is refused and changes nothing', async () => {
    const board = boardOf({ score: { min: 0, max: 100, integer: true } });
    for (const bad of [Number.NaN, Infinity, -Infinity, '5', null, undefined, 5n, -1, 101, 1.5, 2 ** 60])
      await failureOf(board.submit('ada', bad as number), 'SCORE_INVALID');
    await failureOf(board.increment('ada', 0.5), 'SCORE_INVALID');
    await failureOf(
      board.submitMany([
        { member: 'a', score: 1 },
        { member: 'b', score: Number.NaN },
      ]),
      'SCORE_INVALID',
    );
    expect(await board.size()).toBe(0);
  });

  test('a sum that a double cannot hold is refused, on all boards', async () => {
    const { leaderboards } = processOf();
    const whole = leaderboards.board('huge', {
      policy: 'sum',
      score: { integer: true },
      windows: { d: { every: 'day' } },
    });
    await whole.submit('ada', Number.MAX_SAFE_INTEGER);
    const { message } = await failureOf(whole.submit('ada', 1), 'SCORE_INVALID');
    expect(message).toContain('a sum of at most 9007199254740991');
    expect((await whole.rank('ada', { window: 'd' }))?.score).toBe(Number.MAX_SAFE_INTEGER);
    const floats = boardOf({ policy: 'sum' });
    await floats.submit('ada', Number.MAX_VALUE);
    await failureOf(floats.submit('ada', Number.MAX_VALUE), 'SCORE_INVALID');
    expect((await floats.rank('ada'))?.score).toBe(Number.MAX_VALUE);
  });
});

describe('operations', () => {
  test('count once for a member, and tell again what was told', async () => {
    const board = boardOf({ policy: 'sum' });
    const first = await board.increment('ada', 5, { operation: 'purchase:17' });
    await board.increment('ada', 100);
    expect(await board.increment('ada', 5, { operation: 'purchase:17' })).toEqual({ ...first, isRepeat: true });
    expect(await board.increment('bob', 7, { operation: 'purchase:17' })).toMatchObject({ score: 7, isRepeat: false });
    expect((await board.rank('ada'))?.score).toBe(105);
  });

  test('count once among many at once, and in lists', async () => {
    const { leaderboards } = processOf();
    const board = leaderboards.board('once', { policy: 'sum', order: 'lowest' });
    const all = await Promise.all(Array.from({ length: 20 }, () => board.submit('ada', 3, { operation: 'op' })));
    expect(all.filter(({ isRepeat }) => !isRepeat)).toHaveLength(1);
    const list = [1, 2, 3].map((score) => ({ member: 'bob', score, operation: `o${score % 2}` }));
    expect((await board.submitMany(list)).map(({ score, isRepeat }) => [score, isRepeat])).toEqual([
      [1, false],
      [3, false],
      [1, true],
    ]);
    expect(lineOf(await board.top(3))).toBe('ada 3 #1, bob 3 #1');
  });

  test('are forgotten after their time', async () => {
    const { leaderboards, connections } = processOf();
    const board = leaderboards.board('forgets', { operationsFor: '1h' });
    await board.submit('ada', 3, { operation: 'a:b{c}' });
    const ttl = await connections.commands().pttl('millrace:leaderboard:{forgets}:operation:a%3Ab%7Bc%7D:ada');
    expect(ttl).toBeGreaterThan(3_590_000);
    expect(ttl).toBeLessThanOrEqual(3_600_000);
  });
});

describe('members', () => {
  const ODD = [
    'a:b',
    'a b',
    '{x}',
    '*',
    '[a-z]?',
    'ключ',
    '🙂',
    '%',
    '-inf',
    '(5',
    '\0',
    '00000000001x',
    ' ',
    '__proto__',
  ];

  test.each(['first', 'member'] as const)('may have any id; ties by %s', async (ties) => {
    const board = boardOf({ ties, rank: 'dense' });
    for (const [at, member] of ODD.entries()) await board.submit(member, at);
    await board.submit('x', 50); // With its mark, it is stored as another one's id looks.
    expect((await board.top(50)).map(({ member }) => member)).toEqual(['x', ...ODD.toReversed()]);
    for (const [at, member] of ODD.entries()) {
      expect(await board.rank(member)).toMatchObject({ member, score: at });
      expect((await board.around(member, 0))?.entries).toHaveLength(1);
      expect(await board.remove(member)).toBe(true);
    }
    expect(lineOf(await board.top(50))).toBe('x 50 #1');
  });

  test('have ids of 1 to 256 characters that arrive as they are', async () => {
    const board = boardOf();
    for (const bad of ['', 'x'.repeat(257), '\ud800', 7, undefined])
      await failureOf(board.submit(bad as string, 1), 'OPTIONS_INVALID');
    await board.submit('x'.repeat(256), 1);
    expect(await board.size()).toBe(1);
  });

  test.each(['first', 'member'] as const)('are removed without a trace; ties by %s', async (ties) => {
    const { leaderboards, connections } = processOf();
    const options = {
      ties,
      rank: 'dense',
      meta: z.object({ name: z.string() }),
      windows: { daily: { every: 'day' } },
    } as const;
    const board = leaderboards.board(`removed-${ties}`, options);
    await board.submit('ada', 5, { meta: { name: 'Ada' } });
    await board.submit('bob', 5);
    expect(await board.remove('ada')).toBe(true);
    expect(await board.remove('ada')).toBe(false);
    expect(lineOf(await board.top(5, { window: 'daily' }))).toBe('bob 5 #1');
    expect(await board.remove('bob')).toBe(true);
    expect(await connections.commands().keys(`*removed-${ties}*`)).toEqual([
      `millrace:leaderboard:{removed-${ties}}:state`,
    ]);
  });
});

describe('lists', () => {
  test('in which sums are refused are taken but for these, and say which', async () => {
    const { leaderboards } = processOf();
    const board = leaderboards.board('refused', { policy: 'sum', score: { integer: true } });
    await board.submit('big', Number.MAX_SAFE_INTEGER);
    const list = Array.from({ length: 250 }, (_, at) => ({ member: at % 120 === 7 ? 'big' : `m${at}`, score: 1 }));
    const { message, facts } = await failureOf(board.submitMany(list), 'SCORE_INVALID');
    expect(message).toContain('a sum of at most');
    expect(facts).toMatchObject({ member: 'big', refused: [7, 127, 247], taken: 247 });
    expect(await board.size()).toBe(248);
  });

  test('are checked as a whole before anything is sent', async () => {
    const board = boardOf({ policy: 'sum' });
    const bad = [{ member: 'b', score: 1, operaton: 'x' }, null, undefined, 'b', { member: 'b' }];
    for (const [at, entry] of bad.entries()) {
      const code = at === 4 ? 'SCORE_INVALID' : 'OPTIONS_INVALID';
      const { message } = await failureOf(board.submitMany([{ member: 'a', score: 1 }, entry as never]), code);
      expect(message).toContain(['score 1: unknown option operaton', 'score 1: expected an object'][at] ?? '');
    }
    for (const list of [undefined, 'ab', { length: 1 }])
      await failureOf(board.submitMany(list as never), 'OPTIONS_INVALID');
    expect(await board.size()).toBe(0);
  });

  test('end between two hundreds with the signal, or with what is known of a failure', async () => {
    const { leaderboards } = processOf();
    const board = leaderboards.board('ended');
    const list = Array.from({ length: 300 }, (_, at) => ({ member: `m${at}`, score: at }));
    await expect(board.submitMany(list, { signal: betweenTwo(failEnough) })).rejects.toThrow('enough');
    expect(await board.size()).toBe(100);
    await expect(board.submitMany(list, { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before');
    const stopped = board.submitMany(list, { signal: betweenTwo(() => void leaderboards.stop()) });
    expect((await failureOf(stopped, 'CLOSED')).facts).toMatchObject({ taken: 100 });
  });
});

test('what becomes of scores is counted', async () => {
  const metrics = createMetrics();
  const { leaderboards } = own({ url: server.url }, { metrics });
  const board = leaderboards.board('counted');
  await board.submit('ada', 5, { operation: 'x' });
  await board.submit('ada', 5, { operation: 'x' });
  await board.submit('ada', 4);
  const text = await metrics.render();
  for (const outcome of ['better', 'known', 'kept'])
    expect(text).toContain(`millrace_leaderboard_scores_total{outcome="${outcome}"} 1`);
});
